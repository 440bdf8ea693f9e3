"""Reading a page strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "br", "hr", "img", "link", "input"}


@dataclass
class Page(HTMLParser):
    """What a page holds; every element that opens must close, in order."""

    open: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it and wait for its end."""
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.append(tag)
        self.attributes.extend((tag, name, value or "") for name, value in attrs)

    def handle_endtag(self, tag: str) -> None:
        """It must be the one opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text outside of scripts and styles."""
        if not self.open or self.open[-1] not in {"script", "style"}:
            self.text.append(data)

    def values(self, tag: str, name: str) -> list[str]:
        """Every value of one attribute of one kind of element."""
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]

    def words(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.text).split())


def read_page(html: str) -> Page:
    """The page, which must be well formed."""
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page
