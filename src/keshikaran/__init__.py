"""Train, judge and use an image classifier for your own moderation policy.

The way of an image: import → store → label → split → featurize → fit → evaluate → bundle →
predict / serve. Using a finished model needs only this::

    from keshikaran import Predictor

    predictor = Predictor.load("model.onnx")
    print(predictor.predict("dog.jpg").score)

Importing this package loads nothing that training needs.
"""

from keshikaran.errors import KeshikaranError
from keshikaran.predictor import Predictor
from keshikaran.types import Prediction
from keshikaran.version import __version__

__all__ = ["KeshikaranError", "Prediction", "Predictor", "__version__"]
