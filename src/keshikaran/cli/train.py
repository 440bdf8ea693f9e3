"""The command `train`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keshikaran.cli.backbone_options import BackboneOptions
from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.data import PARTLY, say_import
from keshikaran.cli.finetune_options import FinetuneOptions, follows
from keshikaran.cli.grouped import grouped
from keshikaran.cli.options import (
    JsonOption,
    MediaDirOption,
    PolicyOption,
    PositiveOption,
    RehashOption,
    WorkspaceOption,
    chosen_policy,
    need_training,
    open_workspace,
    workspace_words,
)
from keshikaran.cli.split import say_split
from keshikaran.cli.split_options import SplitOptions
from keshikaran.errors import UsageError
from keshikaran.ingest import resolve_sources
from keshikaran.presets import Preset
from keshikaran.store import read_in_use
from keshikaran.types import SPLITS, Refusal

if TYPE_CHECKING:
    from keshikaran.training import TrainingResult

_SHOWN = 10
_FEW = 30


@grouped
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
    *,
    network: BackboneOptions,
    recipe: Annotated[
        Literal["exact", "seed"],
        typer.Option(help="Exact logistic regression, or ten epochs of Adam for comparison."),
    ] = "exact",
    split: SplitOptions,
    finetuning: FinetuneOptions,
    tensorboard: Annotated[bool, typer.Option(help="Write a TensorBoard run.")] = True,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train and judge a classifier on labelled images."""
    need_training()
    from keshikaran.training import train

    _check_preset(preset, network, finetuning)
    if rehash and not sources:
        msg = "--rehash changes nothing without a source."
        raise UsageError(msg, "Name the folders to import again.")
    taught = finetuning.chosen(network.device)
    if follows(taught):
        return
    found = resolve_sources(sources or [], positives=positive or (), media_dir=media_dir)
    options = replace(
        network.settings,
        preset=preset,
        recipe=recipe,
        split=split.chosen,
        policy=chosen_policy(policy, workspace, positive or ()),
        tensorboard=tensorboard,
        rehash=rehash,
        finetune=taught,
        where=workspace_words(workspace),
    )
    place = open_workspace(workspace)
    in_use = read_in_use(place.model_folder).model_id
    done = train(place, found, options, TerminalProgress(), say)
    if as_json:
        result(json.dumps(done.to_dict() | {"model_in_use": in_use}))
    else:
        show_training(done, workspace)
        _say_next(done, in_use, workspace_words(workspace))
    if done.images.skipped or done.features.refused:
        raise typer.Exit(PARTLY)


def _check_preset(preset: Preset, network: BackboneOptions, finetuning: FinetuneOptions) -> None:
    """Refuse what a preset says itself, or cannot have."""
    if preset == "fast":
        return
    if network.backbone or network.resize:
        msg = f"The preset {preset} says itself which backbones and shapes it uses."
        raise UsageError(msg, "Leave out --backbone and --resize, or leave out --preset.")
    if finetuning.finetune:
        msg = f"Fine-tuning teaches one backbone; the preset {preset} looks twice."
        raise UsageError(msg, "Leave out --preset, or leave out --finetune.")


def _say_next(done: TrainingResult, in_use: str | None, where: str) -> None:
    if in_use is None:
        say(f"Next: keshikaran predict IMAGE{where}")
        return
    say(f"{in_use} stays in use until another is promoted.")
    say(f"Next: keshikaran promote {done.model_id}{where}")


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
