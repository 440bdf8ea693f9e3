"""Many images on one offline page for a person to look through, blurred until asked for."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from keshikaran.hashing import write_durably
from keshikaran.inert import printable
from keshikaran.report.templating import page_templates

_WEBP = b"RIFF"
# Without it the page lacks the buttons, and nothing else.
_COPY_SCRIPT = """
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


@dataclass(frozen=True, slots=True)
class SheetImage:
    """One image of a sheet. All texts may hold anything; they are inert on the page.

    Attributes:
        thumbnail: a small picture, as `make_thumbnail` gives it; None if there is none.
        caption: what it is, for instance its path.
        facts: what is known of it: name and value, in order.
        command: what to type about it, shown with a button that copies it.
    """

    thumbnail: bytes | None
    caption: str
    facts: tuple[tuple[str, str], ...] = ()
    command: str | None = None


@dataclass(frozen=True, slots=True)
class SheetSection:
    """Rows of images that belong together.

    Attributes:
        heading: says what they have in common.
        rows: the first of each row is what the row is about, the others lie beside it. Rows of
            one image flow side by side.
        note: a sentence below the heading.
    """

    heading: str
    rows: tuple[tuple[SheetImage, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """What a sheet shows.

    Attributes:
        title: its heading.
        intro: what to do with it, in a sentence or two.
        sections: in order; those without rows are left out.
    """

    title: str
    intro: str
    sections: tuple[SheetSection, ...]


def write_contact_sheet(path: Path, sheet: ContactSheet) -> None:
    """Write the page durably.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    write_durably(path, render_contact_sheet(sheet).encode())


def render_contact_sheet(sheet: ContactSheet) -> str:
    """The page as text: needs nothing beside itself, loads nothing, sends nothing."""
    environment = page_templates()
    environment.filters["inert"] = printable
    environment.filters["embedded"] = _embedded
    digest = hashlib.sha256(_COPY_SCRIPT.encode()).digest()
    return environment.get_template("contact_sheet.html.j2").render(
        sheet=sheet,
        sections=[section for section in sheet.sections if section.rows],
        script=_COPY_SCRIPT,
        script_digest=base64.b64encode(digest).decode(),
    )


def _embedded(thumbnail: bytes) -> str:
    """A picture as the address of itself."""
    kind = "webp" if thumbnail.startswith(_WEBP) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(thumbnail).decode()}"
