"""Who is connected, how often, and whether that is too often."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable

from keshikaran.web.problems import RequestRefusedError
from keshikaran.web.settings import ServerSettings, is_loopback

_READ_BYTES = 64 * 1024


class ConnectionTable:
    """Who is connected.

    Args:
        settings: how many may be.
        rejected: told the code of each refusal.
    """

    def __init__(
        self, settings: ServerSettings, rejected: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings = settings
        self.buffer = bytearray(_READ_BYTES)
        self.open = 0
        self.stopping = False
        self._rejected = rejected
        self._by_client: Counter[str] = Counter()
        self._uncounted = set(settings.proxies)

    def enter(self, client: str | None) -> RequestRefusedError | None:
        """Count a connection; says why it may not stay, or None."""
        self.open += 1
        key = self._key(client)
        if key is not None:
            self._by_client[key] += 1
            if self._by_client[key] > self.settings.connections_per_client:
                return self._refuse("too_many_connections", "Close some, or use them again.")
        if self.open > self.settings.max_connections:
            return self._refuse("server_full", "Try again later.")
        return None

    def leave(self, client: str | None) -> None:
        """A connection is gone."""
        self.open -= 1
        key = self._key(client)
        if key is not None:
            self._by_client[key] -= 1
            if not self._by_client[key]:
                del self._by_client[key]

    def refuse(self, code: str, what: str, hint: str) -> RequestRefusedError:
        """A refusal of something that never became a request."""
        self._rejected(code)
        return RequestRefusedError(code, what, hint, close=True)

    def _refuse(self, code: str, hint: str) -> RequestRefusedError:
        return self.refuse(code, "This connection is one too many.", hint)

    def _key(self, client: str | None) -> str | None:
        if client is None or client in self._uncounted or is_loopback(client):
            return None
        try:
            address = ipaddress.ip_address(client.partition("%")[0])
        except ValueError:
            return client
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        return str(address)
