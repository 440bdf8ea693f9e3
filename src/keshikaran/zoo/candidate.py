"""A network on its way into the registry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """An ONNX file and what is known of it; not checked yet.

    Attributes:
        name: a name for it, unless the user has another.
        model: the ONNX file's bytes.
        licence: of the weights.
        source: what it was made from, as it is typed.
        source_sha256: of the file that the weights came from; empty where there was none.
        random_weights: whether it was never taught anything.
        difference: largest distance between its features and those of the program that it was
            exported from, as a share of the largest feature; None where there is no such program.
        checked_on: number of images that the difference was taken on.
    """

    name: str
    model: bytes
    licence: str
    source: str
    source_sha256: str = ""
    random_weights: bool = False
    difference: float | None = None
    checked_on: int = 0
