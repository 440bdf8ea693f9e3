"""Bearer tokens: several at once, read again when their file changes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from pathlib import Path

from keshikaran.errors import UsageError

MIN_TOKEN_CHARACTERS = 16
_LOOK_AGAIN_S = 1.0

_logger = logging.getLogger("keshikaran.web")


class TokenFile:
    """The tokens of a file: one a line; blank lines and lines that start with # do not count.

    A file that cannot be used later on, a mistake while it is edited, leaves the tokens as they
    were, and the log says so.

    Args:
        path: the file.

    Raises:
        UsageError: it cannot be read, has no token, or one that is too short or no plain text.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digests = _read(path)
        self._stamp = _stamp(path)
        self._looked = time.monotonic()

    def knows(self, token: str | None) -> bool:
        """Whether a token is one of them.

        Each is compared, and digests of one length are, so that time tells nothing about them.
        """
        self._look()
        digest = _digest(token or "")
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found and token is not None

    def reload(self) -> None:
        """Read the file again."""
        self._stamp = _stamp(self._path)
        try:
            self._digests = _read(self._path)
        except UsageError as error:
            _logger.error("tokens_kept", extra={"event": {"detail": error.what}})
        else:
            _logger.info("tokens_read", extra={"event": {"tokens": len(self._digests)}})

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_AGAIN_S:
            return
        self._looked = now
        if _stamp(self._path) != self._stamp:
            self.reload()


def bearer(header: str | None) -> str | None:
    """The token of an Authorization header; None if it has none."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _read(path: Path) -> list[bytes]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        msg = f"The tokens in {path} cannot be read: {error.strerror}."
        raise UsageError(msg, "Check the path and its rights.") from error
    except UnicodeDecodeError as error:
        msg = f"The tokens in {path} are not plain ASCII text."
        raise UsageError(msg, "Make them with: openssl rand -hex 32") from error
    tokens = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not tokens or min(map(len, tokens)) < MIN_TOKEN_CHARACTERS:
        msg = f"{path} has no token, or one of less than {MIN_TOKEN_CHARACTERS} characters."
        raise UsageError(msg, "Make each with: openssl rand -hex 32")
    return [_digest(token) for token in tokens]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
