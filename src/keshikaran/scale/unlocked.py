"""Does a Ray port do what it is asked without a token?

One request of gRPC's protocol by hand (RFC 9113 and 7541, gRPC over HTTP/2), since Ray needs no
gRPC package for Python: whoever is refused gets headers only, whoever is served a DATA frame.
"""

from __future__ import annotations

import socket
import struct

GCS_QUESTION = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"
CLIENT_QUESTION = "/ray.rpc.RayletDriver/ClusterInfo"

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS = 1, 4
_MOST_FRAMES = 64
_MOST_BYTES = 1 << 24


def answers_without_token(host: str, port: int, question: str, timeout_s: float = 5.0) -> bool:
    """Ask a gRPC server an empty question without any authorization.

    Args:
        host: where it listens.
        port: on which port.
        question: path of a method.
        timeout_s: for connecting, and for each piece of the answer.

    Returns:
        Whether it gave an answer. False if it refused, or speaks another protocol (TLS, too).

    Raises:
        OSError: nobody listens there, or no answer came.
    """
    with socket.create_connection((host, port), timeout=timeout_s) as line:
        request = _frame(_SETTINGS, 0, 0, b"")
        request += _frame(_HEADERS, _END_HEADERS, 1, _headers(f"{host}:{port}", question))
        request += _frame(_DATA, _END_STREAM, 1, bytes(5))  # an empty message, not compressed
        line.sendall(_PREFACE + request)
        for _ in range(_MOST_FRAMES):
            kind, flags, stream = _read_frame(line)
            if kind == _DATA and stream == 1:
                return True
            over = kind == _HEADERS and flags & _END_STREAM
            if kind is None or kind == _GOAWAY or (stream == 1 and (over or kind == _RESET)):
                return False
    return False


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    length = struct.pack("!I", len(payload))[1:]
    return length + struct.pack("!BBI", kind, flags, stream) + payload


def _headers(authority: str, path: str) -> bytes:
    """Literal header fields without indexing, names and values as they are."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    coded = b""
    for name, value in fields:
        coded += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return coded


def _read_frame(line: socket.socket) -> tuple[int | None, int, int]:
    """Kind, flags and stream of the next frame; no kind where there is none."""
    head = _read(line, 9)
    if len(head) < 9:
        return None, 0, 0
    length = int.from_bytes(head[:3], "big")
    kind, flags, stream = struct.unpack("!BBI", head[3:])
    if length > _MOST_BYTES or len(_read(line, length)) < length:
        return None, 0, 0
    return kind, flags, stream & 0x7FFFFFFF


def _read(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(min(1 << 16, size - len(data)))
        if not part:
            break
        data += part
    return data
