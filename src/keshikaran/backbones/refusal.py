"""How the checks of a network say no; `graph.read_graph` adds the file's name."""

from __future__ import annotations


class NetworkRefusedError(Exception):
    """A network breaks one of the rules.

    Args:
        words: what is wrong, to be read after the file's name.
        hint: what to do about it.
    """

    def __init__(self, words: str, hint: str) -> None:
        super().__init__(words)
        self.words = words
        self.hint = hint


SIMPLIFY = "Export the network with a fixed image size and constants folded."
STANDARD = "Export the network with standard operators only, as one plain graph."
DAMAGED = "The file is damaged or was made by hand; copy or export it again."
"""Hints that several checks share."""
