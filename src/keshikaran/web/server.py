"""Starting, reloading and ending the server: one process, one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from keshikaran.errors import KeshikaranError
from keshikaran.web.app import Api
from keshikaran.web.connection_table import ConnectionTable
from keshikaran.web.connections import Guard
from keshikaran.web.heap import give_large_blocks_back, leave_alone_what_stays
from keshikaran.web.listener import BACKLOG, address_of, last_connections, listen
from keshikaran.web.log import note
from keshikaran.web.metrics import Metrics
from keshikaran.web.service import Load, Service
from keshikaran.web.settings import ServerSettings

Announce = Callable[[str, str], None]
"""Called once, with the server's address and the id of its model, when it takes requests."""

_OWN_DESCRIPTORS = 256
_LAST_RESORT_S = 30.0


def serve(settings: ServerSettings, load: Load, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP loads the model and the tokens again.

    Args:
        settings: where, and within which limits.
        load: loads the model.
        announce: told where the server is.

    Raises:
        UsageError: the address cannot be listened on, or a file of tokens cannot be used.
        KeshikaranError: the model cannot be loaded.
    """
    give_large_blocks_back()
    listener = listen(settings)
    with contextlib.closing(listener):
        figures = Metrics()
        table = ConnectionTable(settings, figures.rejected)
        service = Service(load, settings, figures)
        try:
            api = Api(service, settings, figures, table)
            _allow_descriptors(settings.max_connections + _OWN_DESCRIPTORS)
            leave_alone_what_stays()
            asyncio.run(_Server(api, table, listener).run(announce))
        except BaseException:
            service.abandon()
            raise


class _Server:
    """The event loop's side of it."""

    def __init__(self, api: Api, table: ConnectionTable, listener: socket.socket) -> None:
        self._api, self._table, self._listener = api, table, listener
        settings = api.settings
        config = uvicorn.Config(
            api.app,
            loop="asyncio",
            http=self._connect,  # type: ignore[arg-type]  # any callable that makes a protocol
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            backlog=BACKLOG,
            timeout_keep_alive=int(settings.idle_timeout_s) + 60,  # the guard's is the one
            timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_s)),
        )
        self._uvicorn = _Uvicorn(config, listener, self._connect)
        self._reloading: set[asyncio.Task[None]] = set()

    async def run(self, announce: Announce) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            _on_signal(loop, number, self._stop)
        _on_signal(loop, signal.SIGHUP, self._reload)
        self._listener.setblocking(False)
        model_id = self._api.service.manifest.model_id
        address = address_of(self._listener)
        loop.call_soon(announce, address, model_id)
        note(logging.INFO, "started", address=address, model_id=model_id)
        await self._uvicorn.serve(sockets=[self._listener])
        await self._api.service.close()
        note(logging.INFO, "stopped")

    def _connect(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Guard:
        def inner(state: dict[str, Any]) -> asyncio.Protocol:
            return HttpToolsProtocol(config, server_state, {**app_state, **state}, _loop)

        return Guard(inner, self._table)

    def _stop(self) -> None:
        """At the first signal gently, at the second at once."""
        if self._api.app.draining:
            self._uvicorn.should_exit = self._uvicorn.force_exit = True
            return
        self._api.app.draining = True
        note(logging.INFO, "stopping")
        loop = asyncio.get_running_loop()
        loop.call_later(self._api.settings.drain_s, self._close)
        last = threading.Timer(_LAST_RESORT_S, functools.partial(os._exit, 1))
        last.daemon = True
        last.start()

    def _close(self) -> None:
        self._table.stopping = True
        self._uvicorn.should_exit = True

    def _reload(self) -> None:
        self._api.reload_tokens()
        task = asyncio.ensure_future(self._reload_model())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload_model(self) -> None:
        with contextlib.suppress(KeshikaranError):  # noted where it was raised
            await self._api.service.reload_again()


class _Uvicorn(uvicorn.Server):
    """Without its own handling of signals; closes no connection that waits to be accepted."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        make: Callable[[uvicorn.Config, ServerState, dict[str, Any]], Guard],
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._make = functools.partial(make, config, self.server_state, {})
        self._late: list[asyncio.Task[Any]] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to us."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take those in that the system has accepted for us, then go on as usual."""
        loop = asyncio.get_running_loop()
        for connection in last_connections(self._listener):
            arriving = loop.connect_accepted_socket(self._make, connection)
            self._late.append(loop.create_task(arriving))
        await super().shutdown(sockets)


def _on_signal(
    loop: asyncio.AbstractEventLoop, number: signal.Signals, act: Callable[[], None]
) -> None:
    """Act on a signal in the loop, whatever else is on its way there.

    asyncio learns of a signal by a byte in the same socket in which threads wake the loop. When the
    loop was held up and some 280 of them have, no byte fits in and the signal is lost. Python's own
    handler is not: it is called as soon as the main thread does anything.
    """
    loop.add_signal_handler(number, lambda: None)  # lets the signal wake the loop
    waker = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))


def _allow_descriptors(wanted: int) -> None:
    """As many open files as there may be connections, if the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
