"""Train, judge and use an image classifier for your own moderation policy.

The way of an image: import → store → label → split → featurize → fit → evaluate → bundle →
predict / serve. Using a finished model needs only this::

    from keshikaran import Predictor

    predictor = Predictor.load("model.onnx")
    print(predictor.predict("dog.jpg").score)

Importing this package loads nothing that training needs, and the names below only when they
are used: processes that only decode images start in a moment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from keshikaran.version import __version__

if TYPE_CHECKING:
    from keshikaran.client import Client
    from keshikaran.errors import KeshikaranError
    from keshikaran.predictor import Predictor
    from keshikaran.types import Prediction

_HOMES = {
    "Client": "keshikaran.client",
    "KeshikaranError": "keshikaran.errors",
    "Prediction": "keshikaran.types",
    "Predictor": "keshikaran.predictor",
}

__all__ = ["Client", "KeshikaranError", "Prediction", "Predictor", "__version__"]


def __getattr__(name: str) -> object:
    """Load a public name on its first use."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names too, loaded or not."""
    return sorted({*globals(), *__all__})
