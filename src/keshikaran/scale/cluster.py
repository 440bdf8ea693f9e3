"""Finding a Ray cluster, and refusing one that works for anybody.

Whoever reaches a Ray cluster can run programs on it. Ray asks for a token where `RAY_AUTH_MODE` is
`token` on all of its machines; here nothing starts or is connected to without one, and a cluster
that answers without one gets no work.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keshikaran.backbones.engine import usable_cores
from keshikaran.errors import ClusterError, MissingExtraError, UsageError
from keshikaran.scale.unlocked import CLIENT_QUESTION, GCS_QUESTION, answers_without_token

MODE_VARIABLE = "RAY_AUTH_MODE"
TOKEN_VARIABLE = "RAY_AUTH_TOKEN"
TOKEN_FILE_VARIABLE = "RAY_AUTH_TOKEN_PATH"

_ADDRESS = re.compile(r"auto|local|(ray://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_MODULES = ("ray", "pyarrow", "fsspec")
_HINT = (
    "On one machine: ray get-auth-token --generate. Bring the same token to all machines, as"
    f" ~/.ray/auth_token, in a file named by ${TOKEN_FILE_VARIABLE}, or in ${TOKEN_VARIABLE}, and"
    f" start Ray with {MODE_VARIABLE}=token."
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Machines to work on.

    Attributes:
        address: `local` starts some workers on this machine, `auto` finds the cluster that it
            belongs to; else `host:port`, or `ray://host:port` from outside of the cluster.
        workers: how many at once; None for one on each processor, or on each card.
    """

    address: str
    workers: int | None = None

    def __post_init__(self) -> None:
        """Raises `UsageError` where that cannot be an address."""
        if _ADDRESS.fullmatch(self.address) is None:
            msg = f"{self.address} is no address of a Ray cluster."
            raise UsageError(msg, "Use local, auto, HOST:PORT or ray://HOST:PORT.")


def need_ray(what: str) -> None:
    """Refuse early when Ray, or what it needs to read and write data, is missing.

    Raises:
        MissingExtraError: names the extra.
    """
    if any(importlib.util.find_spec(name) is None for name in _MODULES):
        raise MissingExtraError(what, "ray")


def require_token(address: str) -> None:
    """Make Ray ask for a token, here and in all that starts from here.

    For `local`, where nobody else takes part, a token is made up if there is none.

    Raises:
        ClusterError: tokens are switched off, or there is none.
    """
    mode = os.environ.get(MODE_VARIABLE, "token").lower()
    if mode != "token":
        msg = f"{MODE_VARIABLE} is {mode}: whoever reaches that cluster could run programs on it."
        raise ClusterError(msg, f"Set {MODE_VARIABLE}=token. {_HINT}")
    os.environ[MODE_VARIABLE] = "token"
    if _has_token():
        return
    if address != "local":
        msg = "There is no token for the Ray cluster."
        raise ClusterError(msg, _HINT)
    os.environ[TOKEN_VARIABLE] = secrets.token_hex(32)


def _has_token() -> bool:
    """In the order in which Ray looks for it; a file that is named must be there."""
    if os.environ.get(TOKEN_VARIABLE, "").strip():
        return True
    named = os.environ.get(TOKEN_FILE_VARIABLE)
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        if path.read_text(encoding="utf-8").strip():
            return True
    except (OSError, ValueError) as error:
        if named:
            msg = f"The token file {path} cannot be read: {error}."
            raise ClusterError(msg, _HINT) from error
        return False
    if named:
        msg = f"The token file {path} is empty."
        raise ClusterError(msg, _HINT)
    return False


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected to the cluster; disconnected, or ended if it is a local one, afterwards.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: no token, no cluster, or one that works without a token.
    """
    need_ray("Working on many machines")
    require_token(cluster.address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    ray = importlib.import_module("ray")
    if ray.is_initialized():
        msg = "This program is connected to a Ray cluster already."
        raise ClusterError(msg, "End that connection first: ray.shutdown().")
    options: dict[str, Any] = {"address": cluster.address}
    if cluster.address == "local":
        cores = max(usable_cores(), cluster.workers or 1)
        options |= {"num_cpus": cores, "include_dashboard": False}
    with redirect_stdout(sys.stderr):  # Ray prints deaths of workers; results they are not
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises many kinds
            raise _unreachable(cluster.address, error) from error
        try:
            _refuse_unlocked(ray, cluster.address)
            yield ray
        finally:
            ray.shutdown()


def _refuse_unlocked(ray: Any, address: str) -> None:  # noqa: ANN401 - Ray has no types
    """Ask the cluster's head something without a token: it must not answer."""
    if address.startswith("ray://"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        question = CLIENT_QUESTION
    else:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        question = GCS_QUESTION
    try:
        is_open = answers_without_token(host.strip("[]"), int(port), question)
    except OSError as error:
        raise _unreachable(address, error) from error
    if is_open:
        msg = f"The Ray cluster at {host}:{port} works for anybody who reaches it, without a token."
        raise ClusterError(msg, f"Start it again with a token. {_HINT}")


def _unreachable(address: str, error: Exception) -> ClusterError:
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"[:400].rstrip(".: ")
    msg = f"The Ray cluster ({address}) cannot be used: {words}."
    hint = "Check the address and the token, and that Ray runs there: ray status."
    return ClusterError(msg, hint)
