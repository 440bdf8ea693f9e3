"""Connections that go to the address that was checked, and end when their time is up."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from keshikaran.ingest.web.addresses import (
    Address,
    Resolver,
    is_public,
    parse_address,
    system_resolver,
)
from keshikaran.ingest.web.failure import FetchError


class Guard:
    """Resolves a name once, and connects to one of the addresses that passed.

    There is no second look-up that could say something else: the check and the connection use
    the same number. TLS still verifies the name that was asked for.

    Args:
        allow_private: let addresses of one's own network pass.
        resolver: how names are resolved.
        is_allowed: which addresses pass otherwise.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolver: Resolver = system_resolver,
        is_allowed: Callable[[Address], bool] = is_public,
    ) -> None:
        self._allow_private = allow_private
        self._resolver = resolver
        self._is_allowed = is_allowed
        self._local = threading.local()
        self._leashes: set[Leash] = set()
        self._lock = threading.Lock()

    def connect(self, host: str, port: int, timeout_s: float | None) -> socket.socket:
        """A connected socket.

        Raises:
            FetchError: the name leads to no address, to refused ones only, or nobody answers.
        """
        allowed = self._allowed(host, port)
        problem = OSError("no address")
        for text in allowed:
            try:
                return self._connect(text, port, timeout_s)
            except OSError as error:
                problem = error
        detail = f"{host} does not answer: {problem.strerror or problem}"
        raise FetchError("fetch_failed", detail, is_passing=True) from problem

    def leash(self, timeout_s: float) -> Leash:
        """A time limit for what this thread fetches."""
        return Leash(self, timeout_s)

    def hold(self, line: socket.socket) -> None:
        """Put the connection that this thread uses now on its leash."""
        leash: Leash | None = getattr(self._local, "leash", None)
        if leash is not None:
            leash.hold(line)

    def cut_all(self) -> None:
        """End every connection in use."""
        with self._lock:
            leashes = list(self._leashes)
        for leash in leashes:
            leash.cut()

    def enter(self, leash: Leash) -> None:
        """Begin a leash in this thread."""
        self._local.leash = leash
        with self._lock:
            self._leashes.add(leash)

    def leave(self, leash: Leash) -> None:
        """End it."""
        self._local.leash = None
        with self._lock:
            self._leashes.discard(leash)

    def _allowed(self, host: str, port: int) -> list[str]:
        try:
            found = [text.partition("%")[0] for text in self._resolver(host.strip("[]"), port)]
            addresses = [parse_address(text) for text in found]
        except (OSError, ValueError) as error:
            detail = f"{host} leads to no address: {getattr(error, 'strerror', None) or error}"
            raise FetchError("fetch_failed", detail, is_passing=True) from error
        if self._allow_private:
            return found
        allowed = [
            text
            for text, address in zip(found, addresses, strict=True)
            if self._is_allowed(address)
        ]
        if not allowed:
            detail = f"{host} leads to {', '.join(map(str, addresses)) or 'nowhere'}, not public"
            raise FetchError("address_refused", detail)
        return allowed

    def _connect(self, text: str, port: int, timeout_s: float | None) -> socket.socket:
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        line = socket.socket(family, socket.SOCK_STREAM)
        try:
            line.settimeout(timeout_s)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.connect((text, port))
        except BaseException:
            line.close()
            raise
        return line


class Leash:
    """Cuts a connection when its time is up, however slowly bytes still drip in.

    Timeouts of sockets begin anew with every byte; this one does not.
    """

    def __init__(self, guard: Guard, timeout_s: float) -> None:
        self._guard = guard
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._timer = threading.Timer(timeout_s, self.cut)
        self._timer.daemon = True
        self._ends_at = time.monotonic() + timeout_s
        self.is_cut = False

    def __enter__(self) -> Leash:
        self._guard.enter(self)
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._guard.leave(self)
        with self._lock:
            self._line = None

    def hold(self, line: socket.socket) -> None:
        """Take another connection; cut it at once if time is up already."""
        with self._lock:
            self._line = line
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        """End the connection; whoever reads from it gets an error or an end."""
        with self._lock:
            self.is_cut = True
            if self._line is not None:
                with contextlib.suppress(OSError):
                    self._line.shutdown(socket.SHUT_RDWR)


def pool_manager(guard: Guard, connections: int, context: ssl.SSLContext) -> urllib3.PoolManager:
    """Connection pools in which every connection is made by `guard`.

    No proxy of the environment is used: it would do the connecting, and check nothing.
    """

    class Plain(_Guarded, HTTPConnection):
        _guard = guard

    class Secure(_Guarded, HTTPSConnection):
        _guard = guard

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    manager = urllib3.PoolManager(maxsize=connections, ssl_context=context)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


class _Guarded:
    """Where urllib3's connections make their socket, and where they wait for an answer."""

    _guard: Guard
    _line: socket.socket | None = None
    host: str
    port: int
    timeout: Any

    def _new_conn(self) -> socket.socket:
        made = self._guard.connect(self.host, self.port, self.timeout)
        # TLS takes the socket over; a second handle stays ours, to cut the connection by.
        self._line = made.dup()
        self._guard.hold(self._line)
        return made

    def getresponse(self) -> Any:  # noqa: ANN401 - urllib3's response, whichever class
        if self._line is not None:
            self._guard.hold(self._line)  # perhaps a connection that another fetch made
        return super().getresponse()  # type: ignore[misc]

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        if self._line is not None:
            self._line.close()
            self._line = None
