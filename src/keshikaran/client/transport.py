"""Requests over kept connections: one deadline for all tries, and no other host."""

from __future__ import annotations

import os
import random
import ssl
import time

import urllib3
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import EmptyPoolError, HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError
from urllib3.response import BaseHTTPResponse

from keshikaran.client.answers import Answer, bad_answer, failure_of
from keshikaran.client.body import Body, Deadline
from keshikaran.client.endpoint import Endpoint
from keshikaran.errors import ClientError, UnreachableError
from keshikaran.version import __version__

_MOST_ANSWER_BYTES = 4 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_STALL_S = 10.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class Transport:
    """Sends requests and tries again where that can help. Thread-safe.

    Redirects are not followed, proxies of the environment not used, and connections not shared
    with a process that was forked.

    Args:
        endpoint: where to.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._pool, self._owner = _pool(endpoint), os.getpid()

    def ask(self, method: str, path: str, body: Body | None = None, tries: int = 0) -> Answer:
        """One request, sent again while the server has no room or cannot be reached.

        Only for requests that may be repeated: all there are here change nothing.

        Args:
            method: of HTTP.
            path: a route of the API.
            body: what is sent along.
            tries: how often it is sent at most; 0: as the endpoint says.

        Raises:
            ClientError: there was no answer to what was asked.
            ImageRefusedError: `unreadable_file`: the body could not be read.
        """
        deadline = Deadline(self.endpoint.timeout_s)
        tried = 0
        while True:
            tried += 1
            try:
                return self._once(method, self.endpoint.path(path), body, deadline)
            except ClientError as error:
                pause = _pause_s(tried, error.retry_after_s)
                spent = tried >= (tries or self.endpoint.tries) or pause >= deadline.left_s
                if not error.is_passing or spent or not (body is None or body.rewind()):
                    raise
            time.sleep(pause)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _once(self, method: str, path: str, body: Body | None, deadline: Deadline) -> Answer:
        if body is not None:
            body.deadline = deadline
        try:
            answer = self._send(method, path, body, deadline)
        except HTTPError as error:
            raise _of_the_network(error, self.endpoint) from error
        failure = failure_of(answer)
        if failure is not None:
            raise failure
        return answer

    def _send(self, method: str, path: str, body: Body | None, deadline: Deadline) -> Answer:
        left = max(0.001, deadline.left_s)
        response = self._connections().urlopen(
            method,
            path,
            body=body,
            headers=self._headers(body),
            retries=False,
            redirect=False,
            timeout=urllib3.Timeout(connect=min(_STALL_S, left), read=left),
            pool_timeout=left,  # type: ignore[arg-type]  # urllib3 takes fractions, too
            preload_content=False,
            decode_content=False,
        )
        try:
            data = _read(response, deadline)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, data)

    def _connections(self) -> HTTPConnectionPool:
        if os.getpid() != self._owner:
            self._pool, self._owner = _pool(self.endpoint), os.getpid()
        return self._pool

    def _headers(self, body: Body | None) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"keshikaran/{__version__}",
        }
        if self.endpoint.token is not None:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
            if body.length is not None:
                headers["Content-Length"] = str(body.length)
        return headers


def _pool(endpoint: Endpoint) -> HTTPConnectionPool:
    parts = endpoint.parts
    host, most = parts.hostname or "", endpoint.connections
    if parts.scheme == "http":
        return HTTPConnectionPool(
            host, parts.port, maxsize=most, block=True, blocksize=_PIECE_BYTES
        )
    return HTTPSConnectionPool(
        host,
        parts.port,
        maxsize=most,
        block=True,
        ssl_context=endpoint.context or ssl.create_default_context(),
    )


def _read(response: BaseHTTPResponse, deadline: Deadline) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(_PIECE_BYTES):
        deadline.check()
        size += len(piece)
        if size > _MOST_ANSWER_BYTES:
            raise bad_answer("has no end", Answer(response.status, {}, b""))
        pieces.append(piece)
    return b"".join(pieces)


def _pause_s(tried: int, asked_s: float | None) -> float:
    """Longer each time, never less than the server asks for, and not the same for all clients."""
    usual = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (tried - 1))
    return max(usual, asked_s or 0.0) + random.uniform(0.0, usual)


def _of_the_network(error: HTTPError, endpoint: Endpoint) -> UnreachableError:
    where = f"{endpoint.parts.hostname}:{endpoint.parts.port or endpoint.parts.scheme}"
    if isinstance(error, SSLError):
        what = f"{where} could not prove who it is: {error}."
        return UnreachableError("untrusted", what, "Give the certificate of its authority.")
    if isinstance(error, EmptyPoolError):
        what = f"All connections to {where} were in use until time was up."
        return UnreachableError("timed_out", what, "Allow more connections, or more time.")
    if isinstance(error, HTTPTimeoutError) and not isinstance(error, NewConnectionError):
        what = f"{where} did not answer in time."
        return UnreachableError("timed_out", what, "Ask again later, or allow more time.")
    what = f"{where} cannot be reached, or broke off: {error}."
    return UnreachableError("unreachable", what, "Is the server running, and the address right?")
