"""Where the server is, and what asking it may cost."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from keshikaran.errors import UsageError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the server is, how long and how often it is asked.

    Attributes:
        url: its address, with a path if it lies below one.
        token: what it asks for; in no `repr`.
        timeout_s: until an answer is complete, further tries included.
        tries: how often a request is sent at most.
        connections: open at once at most, and kept for the next request.
        context: whom to trust with TLS; None trusts whom this system trusts.

    Raises:
        UsageError: the address is none, or a number makes no sense.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 30.0
    tries: int = 4
    connections: int = 8
    context: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._check_address()
        token = self.token
        if token is not None and not (token and token.isascii() and token.isprintable()):
            msg = "The token is empty, or has characters that no token has."
            raise UsageError(msg, "Give it without the end of its line.")
        if not (self.timeout_s > 0 and self.tries >= 1 and self.connections >= 1):
            msg = "timeout_s, tries and connections must be more than 0."
            raise UsageError(msg, "Give positive numbers.")

    @property
    def parts(self) -> SplitResult:
        """The address in parts."""
        return urlsplit(self.url)

    def path(self, name: str) -> str:
        """The path of a route of the API, below the address's own."""
        return self.parts.path.rstrip("/") + name

    def _check_address(self) -> None:
        """The address itself is not shown: it may hold a password."""
        try:
            parts = self.parts
            fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            fits = False
        if not fits:
            msg = "The server's address is none that starts with http:// or https://."
            raise UsageError(msg, "Give one like http://127.0.0.1:8000.")
        if parts.username is not None or parts.query or parts.fragment:
            msg = f"The address of {parts.hostname} holds more than a name, a port and a path."
            raise UsageError(msg, "Give a token with token=…, and nothing after the path.")
        if not (self.url.isascii() and self.url.isprintable() and " " not in self.url):
            msg = f"The address of {parts.hostname!a} has characters that no address has."
            raise UsageError(msg, "Write names of other scripts in their ASCII form (xn--…).")
