"""The page at `/`: a few files of this folder, served as they are, with no build step.

It asks nobody but the server it came from. What browsers are told to refuse on it is
`CONTENT_SECURITY_POLICY`; texts of models, files and answers reach it as text, never as markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from keshikaran.web.settings import ServerSettings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Own scripts and styles only, no place to send anything else to, no text that becomes markup."""

HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every file of the page."""

_START = "index.html"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page.

    Attributes:
        media_type: its Content-Type.
        body: its bytes.
    """

    media_type: str
    body: bytes


def page_files(settings: ServerSettings) -> dict[str, PageFile]:
    """All files of the page by the path they are served at.

    Args:
        settings: the page is told how large a file may be.
    """
    found = {}
    for item in files(__name__).iterdir():
        kind = _KINDS.get(item.name[item.name.rfind(".") :])
        if kind is None:
            continue
        body = item.read_bytes()
        if item.name == _START:
            body = body.replace(b"{{max_body_bytes}}", str(settings.max_body_bytes).encode())
        found["/" if item.name == _START else f"/page/{item.name}"] = PageFile(kind, body)
    return found
