"""What becomes of an upload: the one decision that both web frameworks' examples share."""

from __future__ import annotations

import logging
from typing import BinaryIO, Literal

from keshikaran import Client, KeshikaranError, Prediction

Fate = Literal["store", "review", "reject"]

_FATES: dict[str, Fate] = {"pass": "store", "block": "reject"}
_logger = logging.getLogger(__name__)


def fate_of(client: Client, image: BinaryIO) -> tuple[Fate, Prediction | None]:
    """Decide before anything is stored. Only a verdict of `pass` lets an upload through.

    An image that could not be judged, and one that nobody could be asked about, wait for a
    person: whoever can make the server fail must not gain by it.

    Args:
        client: the server's.
        image: the upload; it is read from its start, and stands there again afterwards.
    """
    image.seek(0)
    try:
        prediction = client.predict(image)
    except KeshikaranError as error:
        _logger.warning("An upload waits for a person: %s", error)
        return "review", None
    finally:
        image.seek(0)
    return _FATES.get(prediction.verdict, "review"), prediction
