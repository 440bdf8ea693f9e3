"""A model file → predictions and verdicts. The same code answers Python, command line and HTTP."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from keshikaran.backbones import Device, Engine, EngineName, open_engine
from keshikaran.bundle import Bundle, Manifest, SignatureCheck, check_self_test, read_bundle
from keshikaran.errors import BackboneError, ImageRefusedError
from keshikaran.hashing import image_id_of
from keshikaran.inference import Inferred, Outputs, Pipeline, infer_many, infer_one
from keshikaran.memory import Memory, read_memory
from keshikaran.pixels import DEFAULT_LIMITS, Decoder, InProcessDecoder, Limits
from keshikaran.pixels.isolated import Isolation, open_decoder
from keshikaran.recognition import Recognizer, check_fit
from keshikaran.stage_times import Record, timed
from keshikaran.types import (
    Float32Array,
    ImageId,
    KnownImage,
    Precision,
    Prediction,
    PredictionSource,
    Thresholds,
    verdict_of,
)

Image = str | Path | bytes
"""An image file: its path, or its bytes."""

Seen = Callable[[float, Float32Array], None]
"""Called with an image's score and the features of its first view, float32 [D]; must not raise."""

_logger = logging.getLogger("keshikaran")


class Predictor:
    """A loaded model. Thread-safe; make one and keep it.

    Example::

        with Predictor.load("model.onnx") as predictor:
            prediction = predictor.predict("dog.jpg")
            print(prediction.score, prediction.verdict)

    Closing it ends the processes that decode; so does the end of the program.

    Args:
        bundle: a checked model file.
        engine: an engine that has loaded it.
        limits: what an image file may ask for.
        decoder: turns image files into pixels; closed with the predictor. Default: one in this
            process.
        memory: known images to look for first.

    Raises:
        MemoryFileError: the known images were prepared for another model.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        limits: Limits = DEFAULT_LIMITS,
        decoder: Decoder | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.manifest: Manifest = bundle.manifest
        self.engine = engine
        self.limits = limits
        self._decoder = decoder or InProcessDecoder(limits)
        sketched = memory is not None
        self._pipeline = Pipeline(self._decoder, engine, self.manifest.pixels, sketched)
        self._recognizer: Recognizer | None = None
        self._seen: Seen | None = None
        if memory is not None:
            check_fit(memory, self.manifest)
            self._recognizer = Recognizer(memory, self._decoder)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        engine: EngineName = "auto",
        device: Device = "auto",
        precision: Precision | None = None,
        streams: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        isolation: Isolation = "process",
        signature: SignatureCheck | None = None,
        memory: str | Path | Memory | None = None,
    ) -> Predictor:
        """Read a model file, check it, run its self-test.

        Args:
            path: a file that `keshikaran train` wrote.
            engine: `auto`, `openvino` or `onnxruntime`.
            device: `cpu`; `cuda` or `tensorrt`, which are a card or an error; `auto`, which is a
                card where ONNX Runtime's CUDA build is installed and one answers.
            precision: None takes the model's own where the machine has it, else f32.
            streams: images inferred side by side; default: one for each usable processor.
            limits: what an image file may ask for.
            isolation: `process` decodes in child processes, so that no image file can harm this
                one; `off` decodes here.
            signature: who must have signed the file; None asks for no signature.
            memory: known images to look for before the model is asked: a file that
                `keshikaran export-memory` wrote, or what `keshikaran.known.open_known` gives.

        Raises:
            BundleError: the file is missing, damaged, unsafe, not a model of ours, or not signed
                as asked.
            MemoryFileError: the known images are missing, damaged, or for another model.
            BackboneError: the engine, device or precision asked for cannot be had.
            MissingExtraError: the engine, or what checks a signature, is not installed.
            IsolationError: no process can be started to decode images in.
        """
        decoder = open_decoder(isolation, limits)  # first: it gets ready while the engine loads
        try:
            bundle = read_bundle(Path(path), signature)
            opened = _open(bundle, _Asked(engine, device, precision, streams))
            check_self_test(bundle, opened)
            known = memory if isinstance(memory, Memory | None) else read_memory(Path(memory))
            return cls(bundle, opened, limits, decoder, known)
        except BaseException:
            decoder.close()
            raise

    def watch_stages(self, record: Record) -> None:
        """Have the seconds of each decoding and each inference told, from now on.

        Args:
            record: called in the thread that does the work.
        """
        self._pipeline = timed(self._pipeline, record)

    def watch_images(self, seen: Seen) -> None:
        """Have score and features of each image that the network answers told, from now on.

        Args:
            seen: called in the thread that asked.
        """
        self._seen = seen

    def close(self) -> None:
        """End what decodes; nothing can be predicted afterwards."""
        self._decoder.close()

    def __enter__(self) -> Predictor:
        """The predictor itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    @property
    def thresholds(self) -> Thresholds:
        """The model's cuts on the score."""
        return self.manifest.thresholds

    def predict(self, image: Image) -> Prediction:
        """Score one image.

        Args:
            image: a path, or the bytes of an image file.

        Returns:
            The prediction. An image that cannot be read is `undecided` with its reason; this
            never raises for what is in the file.
        """
        job = self._job(image)
        return self._prediction(infer_one(job, job.read, self._pipeline))

    def predict_many(self, images: Iterable[Image]) -> Iterator[Prediction]:
        """Score many images, several at a time; predictions come in the order of the images.

        Args:
            images: paths or bytes; read as they are needed, so it may be endless.
        """
        items = ((job, job.read) for job in map(self._job, images))
        for result in infer_many(items, self._pipeline):
            yield self._prediction(result)

    def _job(self, image: Image) -> _Job:
        return _Job(image, self.limits.max_bytes, self._recognizer)

    def _prediction(self, result: Inferred[_Job]) -> Prediction:
        job, outputs = result.key, result.outputs
        answer = self._answer(job, outputs)
        if self._seen is not None and outputs is not None:
            self._seen(outputs.score(), outputs["features"][0])
        verdict = verdict_of(answer.score, self.thresholds)
        reason = str(result.refusal) if result.refusal is not None else None
        if verdict == "undecided":
            answer = _NO_ANSWER
            reason = reason or "no_score: the network gave no number"
        return Prediction(
            path=job.name,
            image_id=job.image_id,
            score=answer.score,
            verdict=verdict,
            reason=reason,
            model_id=self.manifest.model_id,
            frames_total=None if outputs is None else outputs.frames_total,
            frames_scored=None if outputs is None else outputs.frames_scored,
            source=answer.source,
            evidence=answer.known,
        )

    def _answer(self, job: _Job, outputs: Outputs | None) -> _Answer:
        """By the same bytes, else by a copy and the model together, else by the model.

        A copy can only raise the score: whoever alters an acceptable picture must not gain by it.
        """
        if job.known is not None:
            return _Answer(float(job.known.label), "exact", job.known)
        if outputs is None:
            return _NO_ANSWER
        score, known = outputs.score(), None
        if self._recognizer is not None:
            known = self._recognizer.by_pixels(outputs, job.read_again)
        if known is None:
            return _Answer(score, "model", None)
        return _Answer(max(score, float(known.label)), "near_duplicate", known)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A score, and who gave it."""

    score: float | None
    source: PredictionSource | None
    known: KnownImage | None


_NO_ANSWER = _Answer(None, None, None)


@dataclass(slots=True)
class _Job:
    """One image on its way; remembers the hash of what was read, and whom it was known by."""

    image: Image
    max_bytes: int
    recognizer: Recognizer | None = None
    image_id: ImageId | None = None
    known: KnownImage | None = None

    @property
    def name(self) -> str:
        return "-" if isinstance(self.image, bytes) else str(self.image)

    def read(self) -> bytes | None:
        """The bytes to ask the network about; None if they are known."""
        data = self._bytes()
        self.image_id = image_id_of(data)
        if self.recognizer is not None:
            self.known = self.recognizer.by_bytes(self.image_id)
        return data if self.known is None else None

    def read_again(self) -> bytes:
        """The same bytes once more: keeping those of every image would cost memory.

        Raises:
            ImageRefusedError: they are gone, or others by now.
        """
        data = self._bytes()
        if image_id_of(data) != self.image_id:
            raise ImageRefusedError("unreadable_file", "the file has changed meanwhile")
        return data

    def _bytes(self) -> bytes:
        return self.image if isinstance(self.image, bytes) else self._read_file(Path(self.image))

    def _read_file(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                # Asked for as many bytes as are allowed, Python would clear memory for them all.
                expected = min(os.fstat(file.fileno()).st_size, self.max_bytes)
                data = file.read(expected + 1)
                if len(data) > expected:  # a pipe, or a file that grows
                    data += file.read(self.max_bytes - expected)
        except (OSError, ValueError) as error:
            detail = getattr(error, "strerror", None) or str(error)
            raise ImageRefusedError("unreadable_file", detail) from error
        if len(data) > self.max_bytes:
            detail = f"the file has more than {self.max_bytes:,} bytes"
            raise ImageRefusedError("too_many_bytes", detail)
        return data


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a model is to be run."""

    engine: EngineName
    device: Device
    precision: Precision | None
    streams: int | None


def _open(bundle: Bundle, asked: _Asked) -> Engine:
    def opened(chosen: Precision) -> Engine:
        return open_engine(
            bundle.model,
            engine=asked.engine,
            device=asked.device,
            precision=chosen,
            streams=asked.streams,
        )

    own = bundle.manifest.precision
    loaded = _own_or_f32(opened, own) if asked.precision is None else opened(asked.precision)
    if loaded.precision != own:
        _logger.warning(
            "The model was made in %s and runs in %s: single scores can differ by up to 0.1.",
            own,
            loaded.precision,
        )
    return loaded


def _own_or_f32(opened: Callable[[Precision], Engine], own: Precision) -> Engine:
    try:
        return opened(own)
    except BackboneError:
        if own == "f32":
            raise
        return opened("f32")
