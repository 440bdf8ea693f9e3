"""What all pages have in common: how they are rendered, and the one script there is."""

from __future__ import annotations

import base64
import hashlib

import jinja2

from keshikaran.inert import printable

_WEBP = b"RIFF"
# Without it the page lacks the buttons, and nothing else.
COPY_SCRIPT = """
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    try { await navigator.clipboard.writeText(code.textContent); }
    catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
    }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
}
"""
COPY_SCRIPT_DIGEST = base64.b64encode(hashlib.sha256(COPY_SCRIPT.encode()).digest()).decode()
"""What a page's content security policy names, so that no other script runs."""


def page_environment() -> jinja2.Environment:
    """Renders the templates of this package; everything that is filled in is inert."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keshikaran.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inert"] = printable
    environment.filters["embedded"] = embedded
    return environment


def embedded(thumbnail: bytes) -> str:
    """A picture as the address of itself."""
    kind = "webp" if thumbnail.startswith(_WEBP) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(thumbnail).decode()}"
