"""What sites ask robots not to fetch (RFC 9309)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from protego import Protego
from urllib3.util import Url

from keshikaran.ingest.web.failure import FetchError
from keshikaran.ingest.web.fetch import AGENT_TOKEN, origin_of

ROBOTS_BYTES = 512 * 1024

_THERE_ARE_NONE = frozenset(range(400, 500)) - {429}


class Robots:
    """Rules of each site, asked for once; a site that fails is asked a few times more.

    Args:
        fetch: gets the content of an address, at most `ROBOTS_BYTES` of it.
        attempts: how often a failing site is asked before it is left alone.
    """

    def __init__(self, fetch: Callable[[str], bytes], attempts: int) -> None:
        self._fetch = fetch
        self._attempts = attempts
        self._lock = threading.Lock()
        self._sites: dict[str, _Site] = {}

    def check(self, url: Url) -> float:
        """How many seconds the site wants between two fetches; 0 if it does not say.

        Raises:
            FetchError: the site does not want the address fetched, or its wishes cannot be had.
        """
        rules = self._rules_of(origin_of(url))
        if not rules.can_fetch(url.url, AGENT_TOKEN):
            raise FetchError("robots_disallowed", "the site's robots.txt asks not to")
        return rules.crawl_delay(AGENT_TOKEN) or 0.0

    def _rules_of(self, origin: str) -> Protego:
        with self._lock:
            site = self._sites.setdefault(origin, _Site())
        with site.lock:
            if site.failure is not None:
                raise site.failure
            if site.rules is None:
                try:
                    site.rules = self._ask(origin)
                except FetchError as error:
                    site.failures += 1
                    if not error.is_passing or site.failures >= self._attempts:
                        site.failure = FetchError(error.reason, error.detail)
                    raise
            return site.rules

    def _ask(self, origin: str) -> Protego:
        try:
            content = self._fetch(f"{origin}/robots.txt")
        except FetchError as error:
            if error.status is None:
                raise  # nobody answers, or nobody may be asked
            if error.status not in _THERE_ARE_NONE:
                raise FetchError(
                    "robots_disallowed",
                    f"robots.txt could not be had: {error.detail}",
                    is_passing=error.is_passing,
                    wait_s=error.wait_s,
                ) from error
            content = b""
        return Protego.parse(content.decode("utf-8", "replace"))


@dataclass(slots=True)
class _Site:
    lock: threading.Lock = field(default_factory=threading.Lock)
    rules: Protego | None = None
    failures: int = 0
    failure: FetchError | None = None
