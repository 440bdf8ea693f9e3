"""The one shape of a refusal: RFC 9457's `application/problem+json`, with a stable code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from keshikaran.errors import KeshikaranError

MEDIA_TYPE = "application/problem+json"
SAFE_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""Of every answer: nobody keeps it, and no browser takes it for something else."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of refusal.

    Attributes:
        status: the HTTP status code.
        title: what it means, the same words each time.
        retry_after_s: after how many seconds the same request may succeed; None: never.
    """

    status: int
    title: str
    retry_after_s: int | None = None


KINDS: dict[str, Kind] = {
    "bad_request": Kind(400, "The request is not well-formed HTTP."),
    "bad_multipart": Kind(400, "The multipart body is not one of image files."),
    "bad_json": Kind(400, "The body is not the JSON object that is wanted."),
    "unauthorized": Kind(401, "A token is missing or wrong."),
    "forbidden": Kind(403, "This server lets nobody do that."),
    "not_found": Kind(404, "There is nothing at this address."),
    "method_not_allowed": Kind(405, "This address does not take this method."),
    "request_timeout": Kind(408, "The request took too long to arrive."),
    "reload_running": Kind(409, "Another model is being loaded.", 5),
    "length_required": Kind(411, "So large a body needs a declared length."),
    "too_large": Kind(413, "The body is larger than this server takes."),
    "unsupported_media_type": Kind(415, "The body is of a kind that is not taken."),
    "wrong_host": Kind(421, "This server does not answer for that name."),
    "undecided": Kind(422, "The image could not be judged. It has not passed."),
    "model_refused": Kind(422, "The model file cannot be used; the one before stays."),
    "too_many_connections": Kind(429, "Too many connections from one address.", 1),
    "headers_too_large": Kind(431, "The request's head is too large."),
    "internal": Kind(500, "A defect of the server."),
    "queue_full": Kind(503, "Too many images are waiting.", 1),
    "memory_full": Kind(503, "Too many bytes are waiting.", 1),
    "server_full": Kind(503, "Too many connections.", 1),
}
"""Every code there is. A closed list: clients rely on it, `openapi` shows it."""


class RequestRefusedError(KeshikaranError):
    """A request that is answered with a problem.

    Args:
        code: a key of `KINDS`.
        what: what exactly was wrong, in words.
        hint: what the client can do.
        close: whether the connection ends with the answer.
        headers: further headers of the answer.
        more: further members of the JSON object.
    """

    def __init__(
        self,
        code: str,
        what: str,
        hint: str = "",
        *,
        close: bool = False,
        headers: dict[str, str] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(what, hint)
        self.code = code
        self.kind = KINDS[code]
        self.close = close
        self.more = more or {}
        self._headers = headers or {}

    def headers(self) -> dict[str, str]:
        """Headers of the answer, lower case, without its length."""
        found = {"content-type": MEDIA_TYPE, **self._headers}
        if self.kind.retry_after_s is not None:
            found["retry-after"] = str(self.kind.retry_after_s)
        if self.close:
            found["connection"] = "close"
        return found

    def body(self, request_id: str | None) -> bytes:
        """The JSON object."""
        return json.dumps(
            {
                "status": self.kind.status,
                "code": self.code,
                "title": self.kind.title,
                "detail": self.what,
                "hint": self.hint,
                "request_id": request_id,
                **self.more,
            }
        ).encode()

    def raw(self) -> bytes:
        """A whole answer, for a connection on which no request was understood."""
        reason = {408: "Request Timeout", 429: "Too Many Requests", 503: "Service Unavailable"}
        body = self.body(None)
        headers = {**self.headers(), **SAFE_HEADERS, "content-length": str(len(body))}
        headers["connection"] = "close"
        status = self.kind.status
        lines = [f"HTTP/1.1 {status} {reason.get(status, 'Bad Request')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


class ClientLeftError(Exception):
    """The client has closed the connection: there is nobody to answer."""
