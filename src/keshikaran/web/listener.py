"""The socket on which connections arrive: from the first to the last one."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys
from collections.abc import Iterator

from keshikaran.errors import UsageError
from keshikaran.web.settings import ServerSettings

BACKLOG = 1024

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_BPF_RETURN = 0x06  # linux/bpf_common.h: a packet is cut to so many bytes, none of them here


def listen(settings: ServerSettings) -> socket.socket:
    """The socket that the server listens on.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        words = getattr(error, "strerror", None) or str(error)
        msg = f"The address {settings.host} port {settings.port} cannot be had: {words}."
        raise UsageError(msg, "Choose another with --host and --port.") from error
    # Connections inherit it. asyncio sets it only on sockets that name their protocol; without it
    # the body of an answer waits some 40 ms for its head to be acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def last_connections(listener: socket.socket) -> Iterator[socket.socket]:
    """All that the system has accepted by now; nobody is let in any more.

    Args:
        listener: does not block.
    """
    _let_nobody_in(listener)
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection


def _let_nobody_in(listener: socket.socket) -> None:
    """Have the system drop whatever asks for a connection from now on.

    What it takes in after the last `accept` and before the socket is closed would be reset though
    the client believes that it was accepted. Who is dropped asks again a second later, and is
    refused by then. What stays is who is half in: its confirmation is on its way over the network,
    and is dropped. Systems other than Linux keep the whole of that moment's risk.
    """
    if not sys.platform.startswith("linux"):
        return
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(drop_all))
    with contextlib.suppress(OSError):  # a kernel without filters: as on other systems
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
