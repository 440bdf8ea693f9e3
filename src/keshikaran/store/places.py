"""Where an image was met, as one text: what a claim is called, and what people are shown."""

from __future__ import annotations


def place_of(root: str, entry: str) -> str:
    """Join a source's root and the name of one of its entries, with forward slashes.

    Plain text: a path would take the double slash out of an address, and is slow. An entry that
    is an address itself needs no root.
    """
    return entry if "://" in entry else f"{root.rstrip('/')}/{entry}"
