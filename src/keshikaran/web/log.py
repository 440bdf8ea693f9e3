"""What the server writes down: one JSON object a line, on stderr.

Never an image, a part of one, a file name or a token. What a client chose (an address, a request
id) is escaped by JSON, kept short, and cannot start a line of its own.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

_LEVELS = {
    "keshikaran": logging.INFO,
    "uvicorn": logging.ERROR,
    "asyncio": logging.WARNING,
    "python_multipart": logging.ERROR,  # warns of what clients send, in words of its own
}
LOGGER = logging.getLogger("keshikaran.web")


def note(level: int, name: str, **fields: Any) -> None:  # noqa: ANN401
    """Write a line: what happened, and its figures."""
    LOGGER.log(level, name, extra={"event": fields})


class JsonLines(logging.Formatter):
    """A record as one line of ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, event, then the event's own fields."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "event", {}),
        }
        if record.exc_info:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=str)


def write_to(stream: TextIO | None = None) -> None:
    """Send this package's and the HTTP server's records to a stream (default: stderr)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
