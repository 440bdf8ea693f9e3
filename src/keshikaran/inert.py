"""Text that anybody may have written, made harmless where it is shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text for a line that people read: what cannot be seen comes out as an escape.

    That is control characters, marks that turn the direction of writing, and halves of
    characters; file names can hold all of these.
    """
    if text.isprintable():
        return text
    return (
        "".join(
            character if character.isprintable() else repr(character)[1:-1] for character in text
        )
        .encode("utf-8", "backslashreplace")
        .decode()
    )
