"""The command `train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keshikaran.backbones import DEFAULT_BACKBONE, EngineName
from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.data import PARTLY, say_import
from keshikaran.cli.finetune_options import (
    AugmentOption,
    BlocksOption,
    EpochsOption,
    FinetuneOption,
    SeedOption,
    chosen_finetuning,
    follows,
)
from keshikaran.cli.options import (
    AcceptOption,
    BalanceOption,
    DeviceOption,
    IsolationOption,
    JsonOption,
    MediaDirOption,
    NoGuardOption,
    PolicyOption,
    PositiveOption,
    RehashOption,
    SaltOption,
    SchemeOption,
    WorkspaceOption,
    chosen_policy,
    formats_of,
    need_training,
    open_workspace,
    workspace_words,
)
from keshikaran.cli.split import chosen_scheme, say_split
from keshikaran.errors import UsageError
from keshikaran.ingest import resolve_sources
from keshikaran.pixels import ResizeMode
from keshikaran.presets import Preset
from keshikaran.store import read_in_use
from keshikaran.types import SPLITS, Precision, Refusal

if TYPE_CHECKING:
    from keshikaran.training import TrainingResult

_SHOWN = 10
_FEW = 30


def train_command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to import first: folders of class folders, archives, or a label.csv.",
            show_default=False,
        ),
    ] = None,
    positive: PositiveOption = None,
    policy: PolicyOption = None,
    media_dir: MediaDirOption = None,
    rehash: RehashOption = False,
    preset: Annotated[
        Preset, typer.Option(help="How much accuracy for how much time: docs/presets.md.")
    ] = "fast",
    backbone: Annotated[
        str | None,
        typer.Option(help="A name, or the path of an ONNX file.", show_default=DEFAULT_BACKBONE),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="f32 is exact everywhere; bf16 is about twice as fast; f16 is for cards."
        ),
    ] = "f32",
    resize: Annotated[
        ResizeMode | None,
        typer.Option(help="How images get the backbone's shape.", show_default="crop"),
    ] = None,
    recipe: Annotated[
        Literal["exact", "seed"],
        typer.Option(help="Exact logistic regression, or ten epochs of Adam for comparison."),
    ] = "exact",
    engine: Annotated[EngineName, typer.Option(help="What runs the backbone.")] = "auto",
    device: DeviceOption = "auto",
    scheme: SchemeOption = None,
    salt: SaltOption = "",
    balance: BalanceOption = False,
    no_guard: NoGuardOption = False,
    isolation: IsolationOption = "process",
    accept: AcceptOption = None,
    tensorboard: Annotated[bool, typer.Option(help="Write a TensorBoard run.")] = True,
    finetune: FinetuneOption = False,
    blocks: BlocksOption = None,
    augment: AugmentOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train and judge a classifier on labelled images."""
    need_training()
    from keshikaran.training import DEFAULT_RESIZE_MODE, TrainingOptions, train

    if preset != "fast" and (backbone or resize):
        msg = f"The preset {preset} says itself which backbones and shapes it uses."
        raise UsageError(msg, "Leave out --backbone and --resize, or leave out --preset.")
    if preset != "fast" and finetune:
        msg = f"Fine-tuning teaches one backbone; the preset {preset} looks twice."
        raise UsageError(msg, "Leave out --preset, or leave out --finetune.")
    if rehash and not sources:
        msg = "--rehash changes nothing without a source."
        raise UsageError(msg, "Name the folders to import again.")
    taught = chosen_finetuning(finetune, blocks, augment, epochs, seed, device)
    if follows(taught):
        return
    found = resolve_sources(sources or [], positives=positive or (), media_dir=media_dir)
    options = TrainingOptions(
        backbone=backbone or DEFAULT_BACKBONE,
        resize_mode=resize or DEFAULT_RESIZE_MODE,
        precision=precision,
        engine=engine,
        device=device,
        recipe=recipe,
        split=chosen_scheme(scheme, salt, balance=balance, guard=not no_guard),
        policy=chosen_policy(policy, workspace, positive or ()),
        tensorboard=tensorboard,
        isolation=isolation,
        accept=formats_of(accept),
        rehash=rehash,
        finetune=taught,
        where=workspace_words(workspace),
        preset=preset,
    )
    place = open_workspace(workspace)
    in_use = read_in_use(place.model_folder).model_id
    done = train(place, found, options, TerminalProgress(), say)
    if as_json:
        result(json.dumps(done.to_dict() | {"model_in_use": in_use}))
    else:
        show_training(done, workspace)
        following = "predict IMAGE" if in_use is None else f"promote {done.model_id}"
        if in_use is not None:
            say(f"{in_use} stays in use until another is promoted.")
        say(f"Next: keshikaran {following}{workspace_words(workspace)}")
    if done.images.skipped or done.features.refused:
        raise typer.Exit(PARTLY)


def show_training(done: TrainingResult, workspace: Path | None = None) -> None:
    """Print what a training run did and found."""
    if done.images.seen:
        say_import(done.images, len(done.contradictions))
    decode = [refusal for refusal in done.refusals if refusal.stage == "decode"]
    say_refusals(decode)
    say_split(done.split_report, workspace)
    test = done.evaluation.test
    (tn, fp), (fn, tp) = test.confusion_matrix
    for side in SPLITS:
        counts = done.split[side]
        result(f"{side:<18} {counts['0']:>7,} acceptable {counts['1']:>7,} objectionable")
    if min(done.split["test"].values()) < _FEW:
        say(f"Only {test.images} test images: take the figures below as rough.")
    result("")
    result(f"{'test ROC AUC':<18} {test.roc_auc:.4f}")
    result(f"{'average precision':<18} {test.average_precision:.4f}")
    result(f"{'calibration error':<18} {done.evaluation.calibration_words()}")
    result(f"{'prevalence':<18} {done.manifest.prevalence:.4f}")
    result(f"{'block from':<18} {done.manifest.thresholds.block:.4f}")
    result(f"{'review from':<18} {done.manifest.thresholds.review:.4f}")
    result("")
    result(f"{'at block, test':<18} {'passed':>10} {'blocked':>10}")
    result(f"{'acceptable':<18} {tn:>10,} {fp:>10,}")
    result(f"{'objectionable':<18} {fn:>10,} {tp:>10,}")
    result("")
    say_promises(done)
    result(f"{'model':<18} {done.model_path}")
    result(f"{'report':<18} {done.report_path}")
    words = done.features.rate_words()
    total, fit = done.timing_s["total"], done.timing_s["fit"]
    say(f"Done in {total:.1f} s ({words}), of which the fit took {fit:.1f} s ({fit / total:.0%}).")


def say_promises(done: TrainingResult) -> None:
    """Print what became of each demand of the policy, and what was not calibrated."""
    for outcome in done.calibrated.points.outcomes:
        result(f"{outcome.status:<18} {outcome.words}")
    if done.calibrated.points.outcomes:
        result("")
    if done.calibrated.note is not None:
        say(done.calibrated.note)


def say_refusals(refusals: list[Refusal]) -> None:
    """List files that were stored but could not be decoded."""
    for refusal in refusals[:_SHOWN]:
        path, detail = printable(refusal.path), printable(refusal.detail)
        say(f"  not decodable: {path}: {refusal.reason} ({detail})")
    if len(refusals) > _SHOWN:
        say(f"  … and {len(refusals) - _SHOWN:,} more, all in skipped.csv.")
