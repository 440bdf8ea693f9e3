"""Where the server listens, whom it answers, and what a client may cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keshikaran.web.settings import ServerSettings

_MIB = 1024 * 1024
_REQUEST_MIB = 21


@dataclass(frozen=True)
class ListenOptions:
    """Where, and for whom."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000
    token_file: Annotated[
        Path | None,
        typer.Option(help="Tokens of those who may ask, one a line.", show_default=False),
    ] = None
    admin_token_file: Annotated[
        Path | None,
        typer.Option(help="Tokens of those who may change the model.", show_default=False),
    ] = None
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Speaks for many clients: not counted as one. Repeat for several.",
            show_default=False,
        ),
    ] = None
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name that requests may ask for, besides localhost. Repeat for several.",
            show_default=False,
        ),
    ] = None
    drain_s: Annotated[
        float, typer.Option(help="How long /readyz says no before the port closes.")
    ] = 1.0


@dataclass(frozen=True)
class LimitOptions:
    """What a client may cost, and all of them together."""

    max_mib: Annotated[int, typer.Option(min=1, help="Size of an image file.")] = 20
    body_memory_mib: Annotated[
        int, typer.Option(min=2, help="Uploads in memory, all together.")
    ] = 22
    max_parts: Annotated[int, typer.Option(min=1, help="Image files in one request.")] = 16
    queue: Annotated[int, typer.Option(min=1, help="Images that wait or are at work.")] = 32
    cache: Annotated[int, typer.Option(min=0, help="Answers to remember.")] = 0
    drift_window: Annotated[
        int, typer.Option(min=0, help="Images to compare with the labelled ones; 0: none.")
    ] = 1000
    body_timeout_s: Annotated[float, typer.Option(help="Until an upload is complete.")] = 60.0
    min_body_rate: Annotated[int, typer.Option(help="Bytes a second of an upload.")] = 2048
    max_connections: Annotated[int, typer.Option(min=1, help="Open connections.")] = 1000
    connections_per_client: Annotated[
        int, typer.Option(min=1, help="Those of one address; this machine's are not counted.")
    ] = 100


def settings_of(listen: ListenOptions, limits: LimitOptions) -> ServerSettings:
    """The options in the server's own units.

    Raises:
        UsageError: they make no sense together.
    """
    from keshikaran.web.budget import for_large
    from keshikaran.web.settings import ServerSettings

    memory = limits.body_memory_mib * _MIB
    return ServerSettings(
        host=listen.host,
        port=listen.port,
        token_file=listen.token_file,
        admin_token_file=listen.admin_token_file,
        allowed_hosts=tuple(listen.allowed_host or ()),
        proxies=tuple(listen.proxy or ()),
        drain_s=listen.drain_s,
        max_body_bytes=limits.max_mib * _MIB,
        max_request_bytes=min(max(_REQUEST_MIB, limits.max_mib) * _MIB, for_large(memory)),
        max_parts=min(limits.max_parts, limits.queue),
        body_memory_bytes=memory,
        max_waiting=limits.queue,
        cache_size=limits.cache,
        drift_window=limits.drift_window,
        body_timeout_s=limits.body_timeout_s,
        min_body_rate=limits.min_body_rate,
        max_connections=limits.max_connections,
        connections_per_client=limits.connections_per_client,
    )
