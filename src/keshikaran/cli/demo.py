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
from keshikaran.cli.serve import announce_server, need_serving
from keshikaran.cli.train import show_training
from keshikaran.errors import UsageError
from keshikaran.ingest import resolve_sources
from keshikaran.policy import Policy
from keshikaran.predictor import Predictor
from keshikaran.store import Workspace

DEMO_WORKSPACE = "keshikaran-demo"
_DEFAULT_PORT = 8000
_POLICY = Policy(
    objectionable="advertising pasted on a picture: banners, prices, codes",
    acceptable="a plain picture",
)


def demo_command(
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Where the demo keeps everything.")
    ] = Path(DEMO_WORKSPACE),
    count: Annotated[int, typer.Option(min=160, help="How many pictures to make.")] = 480,
    serve: Annotated[
        bool, typer.Option("--serve", help="At the end, serve the model and a page to try it on.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="With --serve; 0 takes a free one. [default: 8000]",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train, judge and use a classifier on pictures made here. No data, no download."""
    need_training()
    _check_serving(port, serve=serve)
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
    else:
        show_training(done)
        result("")
        result("pictures that training never saw:")
        for prediction in predictions:
            result(prediction_line(prediction))
        say(f"The whole demo took {time.perf_counter() - started:.1f} s.")
    if serve:
        _serve(done.model_path, _port(port), pictures.folder, as_json=as_json)
    elif not as_json:
        say("Next, with your own photographs in a folder of class folders:")
        say("  keshikaran train FOLDER --positive NAME")
        say("  keshikaran predict IMAGE")


def _port(port: int | None) -> int:
    return _DEFAULT_PORT if port is None else port


def _check_serving(port: int | None, *, serve: bool) -> None:
    """Find out now what would fail after all the work.

    Raises:
        UsageError: a port without `--serve`, or one that cannot be had.
        MissingExtraError: what serves is not installed.
    """
    if not serve:
        if port is not None:
            msg = "--port changes nothing without --serve."
            raise UsageError(msg, "Add --serve, or leave --port out.")
        return
    need_serving()
    from keshikaran.web.listener import listen
    from keshikaran.web.settings import ServerSettings

    listen(ServerSettings(port=_port(port))).close()


def _serve(model: Path, port: int, pictures: Path, *, as_json: bool) -> None:
    """Serve the model until interrupted, and say what to drop on its page."""
    from keshikaran.demo.pictures import BROKEN_NAME
    from keshikaran.web.log import write_to
    from keshikaran.web.server import serve
    from keshikaran.web.settings import ServerSettings

    def announce(address: str, model_id: str) -> None:
        announce_server(address, model_id, as_json=as_json)
        if not as_json:
            say(f"Drop the pictures of {pictures / 'fresh'} on the page: training never saw them.")
            broken = pictures / "labelled" / "plain" / BROKEN_NAME
            say(f"And {broken}, which is cut off: it is never passed.")

    write_to()
    serve(ServerSettings(port=port), lambda _: Predictor.load(model), announce)
