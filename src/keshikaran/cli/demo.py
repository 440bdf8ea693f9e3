"""The command `demo`: the whole way on pictures it makes itself."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from keshikaran.cli.console import TerminalProgress, result, say
from keshikaran.cli.options import JsonOption, need_training
from keshikaran.cli.predict import prediction_line
from keshikaran.cli.train import show_training
from keshikaran.ingest import resolve_sources
from keshikaran.policy import Policy
from keshikaran.predictor import Predictor
from keshikaran.store import Workspace

DEMO_WORKSPACE = "keshikaran-demo"
_POLICY = Policy(
    objectionable="advertising pasted on a picture: banners, prices, codes",
    acceptable="a plain picture",
)


def demo_command(
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Where the demo keeps everything.")
    ] = Path(DEMO_WORKSPACE),
    count: Annotated[int, typer.Option(min=160, help="How many pictures to make.")] = 480,
    as_json: JsonOption = False,
) -> None:
    """Train, judge and use a classifier on pictures made here. No data, no download."""
    need_training()
    from keshikaran.demo import make_pictures
    from keshikaran.training import TrainingOptions, train

    started = time.perf_counter()
    say("The policy of this demo: advertising pasted on a picture is objectionable.")
    pictures = make_pictures(workspace / "pictures", count=count)
    labelled = pictures.folder / "labelled"
    say(
        f"Made {pictures.plain} plain pictures and {pictures.advert} with advertising in"
        f" {labelled}, two broken files among them, as in real uploads."
    )
    say(f"Now the same as: keshikaran train {labelled} --positive advert -w {workspace}")
    done = train(
        Workspace(workspace),
        resolve_sources([labelled], positives=["advert"]),
        TrainingOptions(policy=_POLICY),
        TerminalProgress(),
    )
    with Predictor.load(done.model_path) as predictor:
        predictions = list(predictor.predict_many(pictures.fresh))
    if as_json:
        fresh = [prediction.to_dict() for prediction in predictions]
        result(json.dumps(done.to_dict() | {"predictions": fresh}))
        return
    show_training(done)
    result("")
    result("pictures that training never saw:")
    for prediction in predictions:
        result(prediction_line(prediction))
    say(f"The whole demo took {time.perf_counter() - started:.1f} s.")
    say("Next, with your own photographs in a folder of class folders:")
    say("  keshikaran train FOLDER --positive NAME")
    say("  keshikaran predict IMAGE")
