"""Whoever gets in while the server closes its door is served; nobody is let in and then dropped."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import closing

import pytest

from keshikaran.web.listener import last_connections, listen
from keshikaran.web.settings import ServerSettings

_CLIENTS = 3
_ROUNDS = 8


def _knock(address: tuple[str, int], seen: list[str]) -> None:
    """Connect again and again until nobody listens; what became of each connection."""
    while True:
        try:
            wire = socket.create_connection(address, timeout=10)
        except ConnectionRefusedError:
            return
        with closing(wire):
            try:
                seen.append("served" if wire.recv(1) == b"x" else "closed")
            except ConnectionResetError:
                seen.append("reset")


def _serve(connection: socket.socket) -> None:
    with closing(connection):
        connection.sendall(b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such filter")
def test_no_connection_is_taken_in_and_then_dropped() -> None:
    seen: list[str] = []
    for _ in range(_ROUNDS):
        listener = listen(ServerSettings(host="127.0.0.1", port=0))
        listener.setblocking(False)
        knocking = [
            threading.Thread(target=_knock, args=(listener.getsockname()[:2], seen))
            for _ in range(_CLIENTS)
        ]
        for each in knocking:
            each.start()
        begun = len(seen)
        while len(seen) < begun + 5 * _CLIENTS:
            try:
                _serve(listener.accept()[0])
            except BlockingIOError:
                continue
        late = list(last_connections(listener))
        listener.close()
        for connection in late:
            _serve(connection)
        for each in knocking:
            each.join(timeout=20)
    assert set(seen) == {"served"}
