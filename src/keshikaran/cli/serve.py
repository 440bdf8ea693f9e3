"""The command `serve`."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from keshikaran.backbones import EngineName
from keshikaran.cli.console import printable, result, say
from keshikaran.cli.options import (
    AcceptOption,
    IsolationOption,
    JsonOption,
    PublicKeyOption,
    SignatureOption,
    WorkspaceOption,
    asked_signature,
    limits_with,
    open_workspace,
)
from keshikaran.errors import BundleError, MissingExtraError, UsageError
from keshikaran.predictor import Predictor
from keshikaran.signature import SignatureCheck
from keshikaran.types import Precision

_SERVE_MODULES = ("httptools", "prometheus_client", "python_multipart", "starlette", "uvicorn")
_MIB = 1024 * 1024


def serve_command(
    model: Annotated[
        Path | None,
        typer.Option(
            help="A model file. Default: the one in use, else the latest.", show_default=False
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Tokens of those who may ask, one a line.", show_default=False),
    ] = None,
    admin_token_file: Annotated[
        Path | None,
        typer.Option(help="Tokens of those who may change the model.", show_default=False),
    ] = None,
    max_mib: Annotated[int, typer.Option(min=1, help="Size of an image file.")] = 20,
    body_memory_mib: Annotated[
        int, typer.Option(min=2, help="Uploads in memory, all together.")
    ] = 64,
    max_parts: Annotated[int, typer.Option(min=1, help="Image files in one request.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Images that wait or are at work.")] = 32,
    cache: Annotated[int, typer.Option(min=0, help="Answers to remember.")] = 0,
    body_timeout_s: Annotated[float, typer.Option(help="Until an upload is complete.")] = 60.0,
    min_body_rate: Annotated[int, typer.Option(help="Bytes a second of an upload.")] = 2048,
    max_connections: Annotated[int, typer.Option(min=1, help="Open connections.")] = 1000,
    connections_per_client: Annotated[
        int, typer.Option(min=1, help="Those of one address; this machine's are not counted.")
    ] = 100,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Speaks for many clients: not counted as one. Repeat for several.",
            show_default=False,
        ),
    ] = None,
    drain_s: Annotated[
        float, typer.Option(help="How long /readyz says no before the port closes.")
    ] = 1.0,
    as_json: JsonOption = False,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Default: the one the model was made in.", show_default=False),
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="What runs the model.")] = "auto",
    isolation: IsolationOption = "process",
    accept: AcceptOption = None,
    signature: SignatureOption = None,
    public_key: PublicKeyOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Answer HTTP requests with scores and verdicts, until interrupted."""
    if any(importlib.util.find_spec(name) is None for name in _SERVE_MODULES):
        what = "Serving"
        raise MissingExtraError(what, "serve")
    from keshikaran.web.log import write_to
    from keshikaran.web.server import serve
    from keshikaran.web.settings import ServerSettings

    settings = ServerSettings(
        host=host,
        port=port,
        token_file=token_file,
        admin_token_file=admin_token_file,
        max_body_bytes=max_mib * _MIB,
        max_request_bytes=min(max(32, max_mib), body_memory_mib) * _MIB,
        max_parts=min(max_parts, queue),
        body_memory_bytes=body_memory_mib * _MIB,
        max_waiting=queue,
        cache_size=cache,
        body_timeout_s=body_timeout_s,
        min_body_rate=min_body_rate,
        max_connections=max_connections,
        connections_per_client=connections_per_client,
        proxies=tuple(proxy or ()),
        drain_s=drain_s,
    )
    check = asked_signature(signature, public_key)
    place = _Place(model, workspace, check)

    def load(name: str | None) -> Predictor:
        return Predictor.load(
            place.choose(name),
            engine=engine,
            precision=precision,
            isolation=isolation,
            limits=limits_with(accept),
            signature=check,
        )

    def announce(address: str, model_id: str) -> None:
        if as_json:
            result(json.dumps({"url": address, "model_id": model_id}))
            sys.stdout.flush()
            return
        token = ' -H "Authorization: Bearer $TOKEN"' if token_file else ""
        say(f"Serving {printable(model_id)} at {address} (Ctrl-C ends it). Try:")
        say(
            f"  curl{token} -H 'Content-Type: image/jpeg' --data-binary @dog.jpg"
            f" {shlex.quote(address + '/v1/predict')}"
        )

    write_to()
    serve(settings, load, announce)


class _Place:
    """Where model files are taken from: the file asked for, or others beside it.

    Args:
        model: the file named on the command line, if one was.
        workspace: else the one whose latest is taken.
        signature: what vouches for the file named, and for no other.
    """

    def __init__(
        self, model: Path | None, workspace: Path | None, signature: SignatureCheck | None
    ) -> None:
        self._model, self._workspace, self._signature = model, workspace, signature

    def choose(self, name: str | None) -> Path:
        """The file to load.

        Args:
            name: a file beside the first one; None: the first one.

        Raises:
            UsageError: the name is more than that of a file beside it.
            BundleError: there is no model.
        """
        usual = self._usual()
        if name is None:
            return usual
        if Path(name).name != name or name in (".", "..") or not name.endswith(".onnx"):
            msg = "The model must be named as a file, without a folder, that ends in .onnx."
            raise UsageError(msg, "Put it beside the one that is served.")
        if self._signature is not None and name != usual.name:
            msg = "The signature asked for vouches for one file; no other is loaded."
            raise UsageError(msg, "Start the server with the other one's signature.")
        return usual.parent / name

    def _usual(self) -> Path:
        if self._model is not None:
            return self._model
        place = open_workspace(self._workspace)
        latest = place.model_to_use()
        if latest is None:
            msg = f"There is no model in {place.folder}."
            hint = "Train one with: keshikaran train, or name one with --model FILE."
            raise BundleError(msg, hint)
        return latest
