"""The command `serve`."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path

from keshikaran.cli.console import printable, result, say
from keshikaran.cli.grouped import grouped
from keshikaran.cli.model_options import ModelOptions, model_in_use
from keshikaran.cli.options import JsonOption, WorkspaceOption
from keshikaran.cli.serve_options import LimitOptions, ListenOptions, settings_of
from keshikaran.errors import MissingExtraError, UsageError
from keshikaran.signature import SignatureCheck

_SERVE_MODULES = ("httptools", "prometheus_client", "python_multipart", "starlette", "uvicorn")


@grouped
def serve_command(
    options: ModelOptions,
    listen: ListenOptions,
    limits: LimitOptions,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Answer HTTP requests with scores and verdicts, and show a page, until interrupted."""
    need_serving()
    from keshikaran.web.log import write_to
    from keshikaran.web.server import serve

    settings = settings_of(listen, limits)
    place = _Place(options.model, workspace, options.check)

    def announce(address: str, model_id: str) -> None:
        announce_server(address, model_id, as_json=as_json, token=listen.token_file is not None)

    write_to()
    serve(settings, lambda name: options.load(place.choose(name)), announce)


def need_serving() -> None:
    """Check that what serves is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if any(importlib.util.find_spec(name) is None for name in _SERVE_MODULES):
        what = "Serving"
        raise MissingExtraError(what, "serve")


def announce_server(address: str, model_id: str, *, as_json: bool, token: bool = False) -> None:
    """Say where the server is: for browsers, and as a `curl` line.

    Args:
        address: where it listens.
        model_id: what answers.
        as_json: for machines, on stdout.
        token: whether it asks for one.
    """
    if as_json:
        result(json.dumps({"url": address, "model_id": model_id}))
        sys.stdout.flush()
        return
    header = ' -H "Authorization: Bearer $TOKEN"' if token else ""
    say(f"Serving {printable(model_id)} (Ctrl-C ends it). In a browser: {address}/ Or:")
    say(
        f"  curl{header} -H 'Content-Type: image/jpeg' --data-binary @dog.jpg"
        f" {shlex.quote(address + '/v1/predict')}"
    )


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
        return self._model or model_in_use(self._workspace)
