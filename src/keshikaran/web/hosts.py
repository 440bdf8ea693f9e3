"""Which names in a `Host` header are ours.

A page of somebody else's may have its own name lead to this machine (DNS rebinding): the browser of
whoever reads it then takes our answers for that page's own. The name it asks for is the page's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from keshikaran.web.problems import RequestRefusedError
from keshikaran.web.settings import ServerSettings, is_loopback

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]*)?")
_SHOWN = 80


class HostCheck:
    """Refuses requests for other names.

    Args:
        settings: the names that are taken besides this machine's own. Where none are named, a
            server that asks for a token takes any: without the token, nobody gets an answer.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._names = {name.lower().rstrip(".") for name in settings.allowed_hosts}
        self._any = settings.token_file is not None and not self._names

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Look at a request's head. One without `Host` is no browser's.

        Raises:
            RequestRefusedError: `wrong_host`.
        """
        if self._any:
            return
        for name, value in headers:
            if name == b"host" and not self._is_ours(value.decode("latin-1")):
                shown = ascii(value.decode("latin-1")[:_SHOWN])
                what = f"Its Host header says {shown}."
                hint = "Ask for localhost, or start the server with --allowed-host."
                raise RequestRefusedError("wrong_host", what, hint, close=True)

    def _is_ours(self, host: str) -> bool:
        found = _HOST.fullmatch(host.strip().lower())
        if found is None:
            return False
        name = found.group(1).strip("[]").rstrip(".")
        return name in self._names or is_loopback(name) or name.endswith(".localhost")
