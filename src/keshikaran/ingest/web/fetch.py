"""One address → its bytes: redirects checked hop by hop, sizes and times limited."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Url, parse_url

from keshikaran.ingest.web.connection import Guard, pool_manager
from keshikaran.ingest.web.failure import FetchError
from keshikaran.version import __version__

USER_AGENT = f"keshikaran/{__version__}"
AGENT_TOKEN = "keshikaran"  # what robots.txt may call us

_CHUNK = 1 << 16
_LONGEST = 8192
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to fetch.

    Attributes:
        jobs: fetches at once, all hosts together.
        per_host: fetches at once from one host.
        rate: fetches from one host per second, at most.
        timeout_s: for one answer as a whole, however slowly it comes.
        stall_s: without a single byte.
        retries: further attempts where that may help.
        backoff_s: before the first of them; doubled each time, unless the server says how long.
        longest_wait_s: a server that asks for more patience is left for another run.
        max_redirects: hops after the first.
        ignore_robots: fetch what robots.txt asks not to.
        allow_private: fetch from one's own network too.
    """

    jobs: int = 8
    per_host: int = 2
    rate: float = 2.0
    timeout_s: float = 60.0
    stall_s: float = 15.0
    retries: int = 3
    backoff_s: float = 1.0
    longest_wait_s: float = 120.0
    max_redirects: int = 5
    ignore_robots: bool = False
    allow_private: bool = False


def check_url(text: str) -> Url:
    """Take an address apart.

    Raises:
        FetchError: it is no address on the web, or carries a password.
    """
    try:
        url = parse_url(text)
    except LocationParseError as error:
        raise FetchError("fetch_failed", "that is no address") from error
    if len(text) > _LONGEST or any(ord(letter) <= ord(" ") for letter in text):
        raise FetchError("fetch_failed", "that is no address")
    if url.scheme not in _PORTS or not url.host:
        raise FetchError("fetch_failed", "only http:// and https:// addresses are fetched")
    if url.auth is not None:
        raise FetchError("fetch_failed", "addresses with a user name or password are not fetched")
    return url


def origin_of(url: Url) -> str:
    """Scheme, host and port."""
    return f"{url.scheme}://{url.host}:{url.port or _PORTS[url.scheme or 'http']}"


class Fetcher:
    """Fetches addresses over kept connections; used by several threads.

    Args:
        guard: makes the connections.
        options: how.
        context: for TLS; None for the system's certificates.
    """

    def __init__(
        self, guard: Guard, options: FetchOptions, context: ssl.SSLContext | None = None
    ) -> None:
        self._guard = guard
        self._options = options
        self._pools = pool_manager(guard, options.jobs, context or ssl.create_default_context())

    def cut(self) -> None:
        """End what is under way; each of those fetches fails."""
        self._guard.cut_all()

    def close(self) -> None:
        """Give kept connections back."""
        self._pools.clear()

    def fetch(
        self,
        address: str,
        max_bytes: int,
        before_hop: Callable[[Url], None] = lambda _: None,
        *,
        cut_at_limit: bool = False,
    ) -> bytes:
        """Follow redirects to the content.

        Args:
            address: http or https.
            max_bytes: no more than this is read.
            before_hop: called with each address before it is asked; may raise `FetchError`.
            cut_at_limit: give the first `max_bytes` of longer contents instead of refusing.

        Raises:
            FetchError: says why, and whether trying again may help.
        """
        for _ in range(self._options.max_redirects + 1):
            url = check_url(address)
            before_hop(url)
            with self._guard.leash(self._options.timeout_s) as leash:
                try:
                    found = self._ask(url, max_bytes, cut=cut_at_limit)
                except (HTTPError, OSError, ValueError) as error:
                    detail = f"it took longer than {self._options.timeout_s:g} s"
                    if not leash.is_cut:
                        detail = _in_words(error)
                    raise FetchError("fetch_failed", detail, is_passing=True) from error
            if isinstance(found, bytes):
                return found
            address = urljoin(url.url, found)
        detail = f"more than {self._options.max_redirects} redirects"
        raise FetchError("fetch_failed", detail)

    def _ask(self, url: Url, max_bytes: int, *, cut: bool) -> bytes | str:
        """The content, or where to ask instead."""
        response = self._pools.request(
            "GET",
            url.url,
            headers={"User-Agent": USER_AGENT, "Accept": "image/*, */*;q=0.1"},
            timeout=urllib3.Timeout(self._options.stall_s),
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )
        with closing(response):
            target = response.headers.get("Location")
            if response.status in _REDIRECTS and target:
                return target
            return _content(response, max_bytes, cut=cut)


def _content(response: urllib3.BaseHTTPResponse, max_bytes: int, *, cut: bool) -> bytes:
    _check_head(response, max_bytes, cut=cut)
    data = bytearray()
    while more := response.read1(_CHUNK):
        data += more
        if len(data) > max_bytes:
            break
    if len(data) <= max_bytes:
        response.release_conn()
    elif not cut:
        detail = f"it has more than {max_bytes:,} bytes, the limit"
        raise FetchError("too_many_bytes", detail)
    return bytes(data[:max_bytes])


def _check_head(response: urllib3.BaseHTTPResponse, max_bytes: int, *, cut: bool) -> None:
    status = response.status
    if status != 200:
        detail = f"HTTP {status} {response.reason or ''}".rstrip()
        wait_s = _retry_after(response.headers.get("Retry-After"))
        passing = status in _PASSING
        raise FetchError("fetch_failed", detail, is_passing=passing, status=status, wait_s=wait_s)
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("", "identity"):  # it was not asked for, and may unpack to anything
        detail = f"sent packed ({packing[:20]}) without being asked to"
        raise FetchError("fetch_failed", detail)
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes and not cut:
        detail = f"it has {int(length[:20]):,} bytes, the limit is {max_bytes:,}"
        raise FetchError("too_many_bytes", detail)


def _retry_after(value: str | None) -> float | None:
    """Seconds, or a date, as a server may put it."""
    if value is None:
        return None
    text = value.strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _in_words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
