"""What a request says about itself, and waiting for an answer as long as its client does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request

from keshikaran.web.problems import ClientLeftError, RequestRefusedError
from keshikaran.web.tokens import TokenFile, bearer

T = TypeVar("T")
_SMALL_BYTES = 256 * 1024


def check_token(request: Request, tokens: TokenFile) -> None:
    """Refuse whoever has none of these tokens.

    Raises:
        RequestRefusedError: `unauthorized`.
    """
    if not tokens.knows(bearer(request.headers.get("authorization"))):
        what = "This request needs a token that the server knows."
        hint = "Send the header Authorization: Bearer TOKEN."
        asked = {"www-authenticate": "Bearer"}
        raise RequestRefusedError("unauthorized", what, hint, headers=asked)


def check_encoding(request: Request) -> None:
    """Refuse a packed body.

    Raises:
        RequestRefusedError: `unsupported_media_type`.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        what = f"Its Content-Encoding is {encoding[:80]!r}; nothing is unpacked here."
        raise RequestRefusedError("unsupported_media_type", what, "Send the file as it is.")


def declared_length(request: Request) -> int | None:
    """The declared length; the HTTP parser has refused what is none."""
    given = request.headers.get("content-length", "")
    return int(given) if given.isascii() and given.isdigit() else None


async def drop_what_is_here(request: Request, declared: int | None) -> None:
    """Take a small body that has arrived with its head, so that its connection can be kept.

    A new connection costs both sides more than a refusal does. Nothing is waited for, and no client
    that asked whether to send is told to.
    """
    if declared is None or declared > _SMALL_BYTES or "expect" in request.headers:
        return
    more = declared > 0
    while more:
        waiting = asyncio.ensure_future(request.receive())
        await asyncio.sleep(0)
        if not waiting.done():
            waiting.cancel()
            return
        more = bool(waiting.result().get("more_body", False))


def file_in(body: bytes) -> str | None:
    """The file name in the body of a request to load a model; None if it names none.

    Raises:
        RequestRefusedError: `bad_json`.
    """
    try:
        wanted = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        wanted = None
    if wanted == {}:
        return None
    name = wanted.get("file") if isinstance(wanted, dict) and set(wanted) == {"file"} else None
    if not (isinstance(name, str) and name):
        what = 'The body must be empty or {"file": "NAME.onnx"}.'
        raise RequestRefusedError("bad_json", what, "See /docs.")
    return name


async def while_there(request: Request, work: Awaitable[T]) -> T:
    """Wait for work as long as the client does; else take it back.

    Raises:
        ClientLeftError: it has gone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeftError
        return working.result()
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working


async def _left(request: Request) -> None:
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await request.receive()
