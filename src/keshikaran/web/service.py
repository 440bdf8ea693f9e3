"""The model that answers, its threads, and its replacement by another one while requests go on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

from keshikaran.errors import KeshikaranError
from keshikaran.hashing import image_id_of
from keshikaran.manifest import Manifest
from keshikaran.predictor import Predictor
from keshikaran.types import ImageId, Prediction
from keshikaran.web.drift_watch import watch_drift
from keshikaran.web.log import note
from keshikaran.web.metrics import Metrics
from keshikaran.web.multipart import Upload
from keshikaran.web.problems import RequestRefusedError
from keshikaran.web.settings import ServerSettings

_SPARE_THREADS = 2  # as in `keshikaran.inference`: some decode while others wait for the engine

Load = Callable[[str | None], Predictor]
"""Loads a model: the file named, beside the one that is loaded; None: the one asked for at first.

Raises `KeshikaranError`. Called in a thread of its own.
"""


class Service:
    """Answers about images. Used from one event loop; the work is done in threads.

    Args:
        load: loads a model.
        settings: how many images may wait, how many answers are remembered.
        metrics: told of everything.

    Raises:
        KeshikaranError: the model cannot be loaded.
    """

    def __init__(self, load: Load, settings: ServerSettings, metrics: Metrics) -> None:
        self._load, self._settings, self._metrics = load, settings, metrics
        self._waiting = 0
        self._loading = asyncio.Lock()
        self._asked = False
        self._current = _Loaded(self._load_aside(None), settings, metrics)

    @property
    def manifest(self) -> Manifest:
        """What the model that answers says about itself."""
        return self._current.manifest

    def check_room(self, images: int = 1) -> None:
        """Refuse what would wait too long.

        Raises:
            RequestRefusedError: `queue_full`.
        """
        if self._waiting + images > self._settings.max_waiting:
            what = f"{self._waiting} images wait, {self._settings.max_waiting} may."
            raise RequestRefusedError("queue_full", what, "Try again.")

    async def predict(self, uploads: Sequence[Upload]) -> list[Prediction]:
        """Judge images, several at a time, by one model.

        Cancelling takes those back that no thread has begun.

        Raises:
            RequestRefusedError: `queue_full`.
        """
        self.check_room(len(uploads))
        loaded = self._current
        self._count(len(uploads))
        jobs = [self._submit(loaded, upload) for upload in uploads]
        try:
            return list(await asyncio.gather(*jobs))
        finally:
            for job in jobs:
                job.cancel()

    async def reload(self, name: str | None) -> Manifest:
        """Load a model beside the present one, and let it answer from then on.

        Requests that were begun are finished by the old model, which is then closed.

        Raises:
            RequestRefusedError: `reload_running`.
            KeshikaranError: it cannot be loaded; the present one stays.
        """
        if self._loading.locked():
            raise RequestRefusedError("reload_running", "A model is being loaded.", "Wait for it.")
        async with self._loading:
            before = await self._replace(name)
        manifest = self.manifest
        await before.retire()
        return manifest

    async def reload_again(self) -> None:
        """Load the usual model once more; what is being loaded now is waited for.

        However often it is asked for before it begins, it is done once.

        Raises:
            KeshikaranError: it cannot be loaded; the present one stays.
        """
        if self._asked:
            return
        self._asked = True
        async with self._loading:
            self._asked = False
            before = await self._replace(None)
        await before.retire()

    async def _replace(self, name: str | None) -> _Loaded:
        """Let another model answer.

        Returns:
            The one before it.
        """
        note(logging.INFO, "loading_model")
        try:
            predictor = await asyncio.to_thread(self._load_aside, name)
        except KeshikaranError as error:
            self._metrics.reloaded("refused")
            note(logging.ERROR, "model_refused", detail=error.what, hint=error.hint)
            raise
        before, self._current = self._current, _Loaded(predictor, self._settings, self._metrics)
        self._metrics.reloaded("done")
        note(logging.INFO, "model_loaded", model_id=self.manifest.model_id)
        return before

    def _load_aside(self, name: str | None) -> Predictor:
        """Load in a thread that then ends.

        OpenVINO gives the thread that loads a stack for signals, and frees it when the engine is
        torn down, in whichever thread that is. A signal to a main thread with such a stack is a
        fault of the whole process.
        """
        with ThreadPoolExecutor(1) as aside:
            return aside.submit(self._load, name).result()

    async def close(self) -> None:
        """End the threads and the processes that decode."""
        await self._current.retire()

    def abandon(self) -> None:
        """End them where no event loop came to be, or none is left."""
        self._current.threads.shutdown(wait=False, cancel_futures=True)
        self._current.predictor.close()

    def _submit(self, loaded: _Loaded, upload: Upload) -> asyncio.Future[Prediction]:
        """Give an image to the threads; it counts until a thread is done or never begins."""
        loop = asyncio.get_running_loop()
        job = loaded.threads.submit(self._answer, loaded, upload, time.perf_counter())
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._count, -1))
        return asyncio.wrap_future(job)

    def _count(self, images: int) -> None:
        self._waiting += images
        self._metrics.waiting.set(self._waiting)

    def _answer(self, loaded: _Loaded, upload: Upload, submitted: float) -> Prediction:
        """In a thread."""
        self._metrics.stage("queue", time.perf_counter() - submitted)
        cache = loaded.cache
        digest = image_id_of(upload.data) if cache.size else None
        known = cache.get(digest)
        prediction = known or loaded.predictor.predict(upload.data)
        if known is None:
            cache.put(digest, prediction)
        self._metrics.prediction(prediction, cached=known is not None)
        return replace(prediction, path=upload.name)


class _Loaded:
    """A model, its threads, and the answers it gave: another one may answer otherwise."""

    def __init__(self, predictor: Predictor, settings: ServerSettings, metrics: Metrics) -> None:
        predictor.watch_stages(metrics.stage)
        metrics.drift(watch_drift(predictor, settings.drift_window))
        metrics.model(predictor.manifest.model_id)
        self.predictor, self.manifest = predictor, predictor.manifest
        self.cache = _Cache(settings.cache_size)
        self.threads = ThreadPoolExecutor(
            predictor.engine.streams + _SPARE_THREADS, thread_name_prefix="keshikaran"
        )

    async def retire(self) -> None:
        """Wait for the last answer, then end everything."""
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        """In a thread: to tear the engine down takes its time, and the event loop has none."""
        self.threads.shutdown()
        self.predictor.close()
        del self.predictor


class _Cache:
    """The answers given last, by digest of the file. Thread-safe."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = Lock()
        self._known: OrderedDict[ImageId, Prediction] = OrderedDict()

    def get(self, digest: ImageId | None) -> Prediction | None:
        """What was answered; None if nothing is remembered."""
        if digest is None:
            return None
        with self._lock:
            known = self._known.get(digest)
            if known is not None:
                self._known.move_to_end(digest)
            return known

    def put(self, digest: ImageId | None, prediction: Prediction) -> None:
        """Remember an answer; what stayed undecided may go better next time."""
        if digest is None or prediction.verdict == "undecided":
            return
        with self._lock:
            self._known[digest] = prediction
            if len(self._known) > self.size:
                self._known.popitem(last=False)
