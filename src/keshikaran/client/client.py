"""The client: images in, predictions out, as `keshikaran.predictor.Predictor` gives them."""

from __future__ import annotations

import importlib.util
import ssl
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from keshikaran.client.answers import bad_answer
from keshikaran.client.body import Body, Source, name_of
from keshikaran.client.contents import ServedModel, model_of, prediction_of
from keshikaran.client.endpoint import Endpoint
from keshikaran.errors import (
    BusyError,
    ImageRefusedError,
    MissingExtraError,
    UnreachableError,
    UsageError,
)
from keshikaran.types import Prediction

_AHEAD = 2


class Client:
    """Asks a server that runs `keshikaran serve`. Thread-safe; make one and keep it.

    Example::

        with Client("http://127.0.0.1:8000") as client:
            prediction = client.predict("dog.jpg")
            if prediction.verdict == "pass":
                publish()

    Requests are sent again, after a pause, where the server has no room or cannot be reached.
    That is safe: asking changes nothing.

    Args:
        url: the server's address, with a path if it lies below one.
        token: what it asks for.
        timeout_s: until an answer is complete, further tries included.
        tries: how often a request is sent at most.
        connections: open at once at most, and kept for the next request.
        context: whom to trust with TLS; None trusts whom this system trusts.

    Raises:
        UsageError: the address is none, or a number makes no sense.
        MissingExtraError: urllib3 is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        tries: int = 4,
        connections: int = 8,
        context: ssl.SSLContext | None = None,
    ) -> None:
        endpoint = Endpoint(url, token, timeout_s, tries, connections, context)
        if importlib.util.find_spec("urllib3") is None:
            what = "Asking a server"
            raise MissingExtraError(what, "client")
        from keshikaran.client.transport import Transport

        self._transport = Transport(endpoint)

    def predict(self, image: Source) -> Prediction:
        """Score one image.

        Args:
            image: a path, the bytes of an image file, or such a file opened for reading bytes,
                which is sent piece by piece from where it stands.

        Returns:
            The prediction, under the image's name here. An image that cannot be judged is
            `undecided` with its reason, as is a file that cannot be read (`image_id` is None and
            `model_id` empty then: nobody was asked).

        Raises:
            BusyError: the server had no room.
            UnreachableError: no answer came, or none that is a prediction of these bytes.
            RequestFailedError: the server refuses the request.
            UsageError: the file was opened as text.
        """
        name = name_of(image)
        try:
            body = Body(image)
        except ImageRefusedError as refusal:
            return _unread(name, refusal)
        try:
            answer = self._transport.ask("POST", "/v1/predict", body)
            return prediction_of(answer, body.image_id, name)
        except ImageRefusedError as refusal:
            return _unread(name, refusal)
        finally:
            body.close()

    def predict_many(
        self, images: Iterable[Source], *, concurrency: int = 4
    ) -> Iterator[Prediction]:
        """Score many images, several at a time; predictions come in the order of the images.

        Args:
            images: as `predict` takes them; taken as they are needed, so it may be endless.
            concurrency: requests at once; more than `connections` wait for each other.

        Raises:
            ClientError: as `predict`, at the first image that it concerns.
            UsageError: `concurrency` is less than 1.
        """
        if concurrency < 1:
            msg = f"concurrency must be at least 1, not {concurrency}."
            raise UsageError(msg, "Give a positive number.")
        waiting: deque[Future[Prediction]] = deque()
        with ThreadPoolExecutor(concurrency, thread_name_prefix="keshikaran-client") as threads:
            try:
                for image in images:
                    waiting.append(threads.submit(self.predict, image))
                    if len(waiting) >= _AHEAD * concurrency:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for job in waiting:
                    job.cancel()

    def model(self) -> ServedModel:
        """The model that answers.

        Raises:
            ClientError: as `predict`.
        """
        return model_of(self._transport.ask("GET", "/v1/model"))

    def ready(self) -> bool:
        """Whether the server takes requests now; asked once.

        Raises:
            UnreachableError: `untrusted` or `bad_answer`: waiting would not help.
            RequestFailedError: something refuses the question.
        """
        try:
            answer = self._transport.ask("GET", "/readyz", tries=1)
        except BusyError:
            return False
        except UnreachableError as error:
            if error.is_passing:
                return False
            raise
        if answer.json().get("status") != "ready":
            raise bad_answer("does not say whether it is ready", answer)
        return True

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        """The client itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()


def _unread(name: str, refusal: ImageRefusedError) -> Prediction:
    return Prediction(name, None, None, "undecided", str(refusal), "")
