"""An answer as it came, and the typed error that it may be."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from keshikaran.errors import BusyError, ClientError, RequestFailedError, UnreachableError
from keshikaran.inert import printable

_OF_A_WHILE = {429, 502, 503, 504}
_MOST_WORDS = 500
_OTHER = "Is the address that of keshikaran serve?"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came: status, headers with lower-case names, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The object in the body; empty if there is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def failure_of(answer: Answer) -> ClientError | None:
    """The error that an answer is; None if it is what was asked for, or `undecided`."""
    if answer.status == 200:
        return None
    said = answer.json()
    code = said.get("code")
    if not isinstance(code, str) or not code:
        return _of_a_stranger(answer)
    if code == "undecided" and isinstance(said.get("prediction"), dict):
        return None
    request_id = said.get("request_id")
    kind = BusyError if answer.status in _OF_A_WHILE else RequestFailedError
    return kind(
        printable(code[:80]),
        f"The server answered {answer.status}: {_words(said.get('detail') or said.get('title'))}",
        _words(said.get("hint")),
        status=answer.status,
        request_id=_words(request_id) or None,
        retry_after_s=retry_after_s(answer.headers),
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number, or a date; None if neither."""
    given = headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit() and len(given) < 10:
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def bad_answer(why: str, answer: Answer) -> UnreachableError:
    """The error for an answer that is not one of this server's."""
    return UnreachableError("bad_answer", f"What came back {why}.", _OTHER, status=answer.status)


def _of_a_stranger(answer: Answer) -> ClientError:
    """Of a proxy before the server, or of another server."""
    what = f"Something before the server answered {answer.status}."
    code, wait = f"http_{answer.status}", retry_after_s(answer.headers)
    if answer.status in _OF_A_WHILE:
        return BusyError(code, what, "Ask again later.", status=answer.status, retry_after_s=wait)
    if 200 <= answer.status < 400:
        return bad_answer(f"has status {answer.status}; redirects are not followed", answer)
    return RequestFailedError(code, what, _OTHER, status=answer.status)


def _words(said: object) -> str:
    """A server's words for a line that people read."""
    return printable(said[:_MOST_WORDS]) if isinstance(said, str) else ""
