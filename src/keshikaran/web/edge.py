"""Around the application: every request gets an id, an answer, a figure and a line in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keshikaran.web.connections import STATE_KEY, Guard
from keshikaran.web.hosts import HostCheck
from keshikaran.web.log import LOGGER, note
from keshikaran.web.metrics import REJECTIONS, Metrics
from keshikaran.web.problems import SAFE_HEADERS, ClientLeftError, RequestRefusedError

NOTES_KEY = "notes"
"""Under this name a request's scope state holds what the log line is to say besides."""

CLIENT_LEFT = 499
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = [(name.encode(), value.encode()) for name, value in SAFE_HEADERS.items()]


class Edge:
    """The outermost application.

    Args:
        app: answers, or raises `RequestRefusedError`, `ClientLeftError` or a routing error.
        metrics: told of every request.
        routes: the paths that exist; others are counted as `other`.
        send_timeout_s: how long a client may take to take an answer.
        hosts: which names may be asked for.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        routes: frozenset[str],
        send_timeout_s: float,
        hosts: HostCheck,
    ) -> None:
        self._app, self._metrics, self._hosts = app, metrics, hosts
        self._routes, self._send_timeout_s = routes, send_timeout_s
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(scope, receive, send, self)
        started = time.perf_counter()
        code = ""
        try:
            code = await self._answer(exchange)
        finally:
            exchange.end()
            seconds = time.perf_counter() - started
            route = scope["path"] if scope["path"] in self._routes else "other"
            self._metrics.request(route, exchange.status, code, seconds)
            if code in REJECTIONS:
                self._metrics.rejected(code)
            exchange.write_line(route, code, seconds)

    async def _answer(self, exchange: _Exchange) -> str:
        """Returns the code of the problem, or nothing."""
        try:
            self._hosts.check(exchange.scope["headers"])
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except RequestRefusedError as refusal:
            return await exchange.refuse(refusal)
        except HTTPException as error:
            return await exchange.refuse(_of_routing(error))
        except ClientLeftError:
            exchange.status = CLIENT_LEFT
            exchange.cut_off()
            return "client_left"
        except Exception:
            LOGGER.exception("defect", extra={"event": {"request_id": exchange.request_id}})
            words = f"The log has the details, under request id {exchange.request_id}."
            return await exchange.refuse(RequestRefusedError("internal", words, close=True))
        return str(exchange.notes.pop("code", ""))

    @property
    def send_timeout_s(self) -> float:
        """How long a client may take to take a part of an answer."""
        return self._send_timeout_s


class _Exchange:
    """One request and its answer, watched."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, edge: Edge) -> None:
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        self.scope, self._receive, self._send, self._edge = scope, receive, send, edge
        self.guard: Guard | None = state.get(STATE_KEY)
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        fits = _REQUEST_ID.fullmatch(given) is not None
        self.request_id = given.decode() if fits else secrets.token_hex(8)
        self.notes: dict[str, Any] = {}
        self.status = 0
        state["request_id"], state[NOTES_KEY] = self.request_id, self.notes
        scope["app"] = edge  # lets Starlette's routes raise instead of answering
        self._body_is_whole = (
            b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"
        )
        if self.guard is not None:
            self.guard.request_began()
            if self._body_is_whole:
                self.guard.body_ended()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._body_is_whole = True
            if self.guard is not None:
                self.guard.body_ended()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), *_HEADERS]
            headers.append((b"x-request-id", self.request_id.encode()))
            names = {name for name, _ in headers}
            if b"connection" not in names and (self._edge.draining or not self._body_is_whole):
                headers.append((b"connection", b"close"))
            message["headers"] = headers
            if self.guard is not None:
                self.guard.answer_began()
        try:
            async with asyncio.timeout(self._edge.send_timeout_s):
                await self._send(message)
        except TimeoutError as error:
            raise ClientLeftError from error

    async def refuse(self, refusal: RequestRefusedError) -> str:
        """Answer with a problem, unless an answer has begun."""
        if self.status:
            self.cut_off()
            return refusal.code
        body = refusal.body(self.request_id)
        headers = {**refusal.headers(), "content-length": str(len(body))}
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        start = {
            "type": "http.response.start",
            "status": refusal.kind.status,
            "headers": pairs,
        }
        try:
            await self.send(start)
            await self.send({"type": "http.response.body", "body": body})
        except ClientLeftError:
            self.cut_off()
        return refusal.code

    def cut_off(self) -> None:
        """End the connection where no answer, or half of one, can follow."""
        if self.guard is not None:
            self.guard.give_up()

    def end(self) -> None:
        if self.guard is not None:
            self.guard.request_ended()

    def write_line(self, route: str, code: str, seconds: float) -> None:
        client = self.scope.get("client")
        note(
            logging.WARNING if self.status >= 500 else logging.INFO,
            "request",
            request_id=self.request_id,
            client=client[0] if client else None,
            method=self.scope["method"][:16],
            route=route,
            status=self.status,
            code=code,
            ms=round(1e3 * seconds, 2),
            **self.notes,
        )


def _of_routing(error: HTTPException) -> RequestRefusedError:
    if error.status_code == 405:
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        allowed = headers.get("allow", "")
        what = f"This address takes {allowed}."
        return RequestRefusedError("method_not_allowed", what, "See /docs.", headers=headers)
    return RequestRefusedError("not_found", "No such address.", "See /docs for those there are.")
