"""The OpenAPI description as a page for people: no script, no request to anywhere else."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
code { font-family: ui-monospace, monospace; }
section { border-top: 1px solid; margin-top: 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
"""What a browser is told to refuse on this page: everything but its own style."""


def docs_page(document: dict[str, Any]) -> str:
    """The whole page."""
    info = document["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info['description'])} For machines: "
        '<a href="/openapi.json">/openapi.json</a>.</p>',
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(_section(path, method, operation))
    return "".join([*parts, "</main></body></html>"])


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    words = [operation["summary"] + ".", operation.get("description", "")]
    body = operation.get("requestBody", {})
    words.append(body.get("description", ""))
    kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in body.get("content", {}))
    rows = "".join(
        f"<tr><th scope=row>{escape(status)}</th><td>{_marked(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    asks = " Needs a token." if operation["security"] else ""
    return (
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"
        + "".join(f"<p>{_marked(text)}</p>" for text in words if text)
        + (f"<p>Takes {kinds}.</p>" if kinds else "")
        + (f"<p>{asks}</p>" if asks else "")
        + f"<table><caption>Answers</caption>{rows}</table></section>"
    )


def _marked(text: str) -> str:
    """Text with `code` in it."""
    pieces = escape(text).split("`")
    return "".join(
        f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces)
    )
