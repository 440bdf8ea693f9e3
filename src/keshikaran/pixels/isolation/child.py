"""The loop of a child: take an image file, decode it, give its pixels or the reason why not."""

from __future__ import annotations

import importlib
import importlib.machinery
import io
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import DecodedImage, Limits, PixelSpec
from keshikaran.pixels.decode import decode_image
from keshikaran.pixels.isolation.confine import peak_memory
from keshikaran.pixels.isolation.messages import Reply, Request
from keshikaran.pixels.pillow import load_plugin
from keshikaran.types import UInt8Array

DecodeFunction = Callable[[bytes, PixelSpec, Limits], DecodedImage]
_ORIENTATION_TAG = 0x0112
# Loaded by Pillow on first need. Each format's module too: else the first rare one loads all.
_USED_LATER = (
    *("BmpImagePlugin", "GifImagePlugin", "JpegImagePlugin", "MpoImagePlugin"),
    *("PngImagePlugin", "TiffImagePlugin", "WebPImagePlugin"),
    *(
        "AvifImagePlugin",
        "ExifTags",
        "ImageChops",
        "ImageCms",
        "ImageMode",
        "ImageOps",
        "ImageSequence",
    ),
)
_WORN_BYTES = 256 * 1024 * 1024


class Port(Protocol):
    """A child's way to its parent."""

    def receive(self) -> tuple[Request, bytes] | None:
        """The next image; None when there is none to come."""

    def send(self, reply: Reply, pixels: memoryview) -> None:
        """The answer, with its pixels if it has any."""


class Watch:
    """What a child knows about itself.

    Attributes:
        imports: modules that were looked for since the list was cleared: a child has no files,
            so that it can load none.
    """

    def __init__(self) -> None:
        self.imports: list[str] = []
        # A process that was started, not forked, begins with its parent's peak as its own.
        self._worn_from = max(_WORN_BYTES, peak_memory())

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Note a module; as the first of `sys.meta_path` it is asked for each that is new."""
        self.imports.append(name)
        return None

    def is_worn(self) -> bool:
        """Whether this process has been so large that a fresh one is cheaper to keep."""
        return peak_memory() > self._worn_from


def serve(port: Port, decode: DecodeFunction, limits: Limits) -> None:
    """Answer until the parent hangs up."""
    watch = Watch()
    sys.meta_path.insert(0, watch)
    while (job := port.receive()) is not None:
        watch.imports.clear()
        port.send(*answer(job, decode, limits, watch))


def answer(
    job: tuple[Request, bytes], decode: DecodeFunction, limits: Limits, watch: Watch
) -> tuple[Reply, memoryview]:
    """Decode one image.

    Args:
        job: the request and the image file.
        decode: what decodes.
        limits: what a file may ask for.
        watch: notes what happens meanwhile.
    """
    request, data = job
    none = memoryview(b"")
    try:
        image = decode(data, request.spec, limits)
        pixels = _checked(image, request.spec)
        counts = (len(image.views), image.frames_total, image.frames_scored)
        return Reply(request.number, watch.is_worn(), *counts, order=image.order), pixels
    except ImageRefusedError as refusal:
        if watch.imports:  # a module that could not be loaded here must not look like a bad image
            failure = f"decoding wanted the module {watch.imports[0]}: {refusal.detail}"
            return Reply(request.number, failure=failure), none
        return Reply(request.number, watch.is_worn(), refusal=refusal), none
    except MemoryError:
        detail = "decoding asks for more memory than a decoder may have"
        full = ImageRefusedError("too_many_pixels", detail)
        return Reply(request.number, worn=True, refusal=full), none
    except Exception as error:
        words = " ".join(str(error).split())
        return Reply(request.number, failure=f"{type(error).__name__}: {words}"), none


def _checked(image: DecodedImage, spec: PixelSpec) -> memoryview:
    """All pixels one after the other; the parent counts on the shapes it asked for."""
    flat: list[UInt8Array] = []
    for shape, views in zip(spec.shapes, image.inputs, strict=True):
        wanted = (len(image.views), shape.height, shape.width, 3)
        if views.dtype != np.uint8 or views.shape != wanted:
            msg = f"decoding gave {views.dtype} {views.shape}"
            raise ValueError(msg)
        flat.append(np.ascontiguousarray(views).reshape(-1))
    return (flat[0] if len(flat) == 1 else np.concatenate(flat)).data


def find_function(name: str) -> DecodeFunction:
    """Import `module:name`."""
    module, _, attribute = name.partition(":")
    function: DecodeFunction = getattr(importlib.import_module(module), attribute)
    return function


def warm_up(limits: Limits) -> None:
    """Load whatever decoding loads on first use, by decoding a small picture of each kind.

    Raises:
        MissingExtraError: a format that the limits accept needs a package that is not installed.
    """
    for name in _USED_LATER:
        importlib.import_module(f"PIL.{name}")
    for accepted in limits.formats:
        load_plugin(accepted)
    image = importlib.import_module("PIL.Image")
    exif = image.Exif()
    exif[_ORIENTATION_TAG] = 6
    clear, solid = (image.new("RGBA", (8, 8), (level, 0, 0, level)) for level in (0, 255))
    red, black = solid.convert("RGB"), clear.convert("RGB")
    kinds: list[tuple[str, Any, dict[str, Any]]] = [
        ("JPEG", red, {"exif": exif}),
        ("JPEG", red.convert("CMYK"), {}),
        ("PNG", clear, {"save_all": True, "append_images": [solid]}),
        ("PNG", image.new("I;16", (8, 8)), {}),
        ("WEBP", clear, {"save_all": True, "append_images": [solid], "exif": exif}),
        ("GIF", red, {"save_all": True, "append_images": [black]}),
        ("BMP", red, {}),
        ("TIFF", red, {"save_all": True, "append_images": [black]}),
    ]
    for image_format, picture, options in kinds:
        file = io.BytesIO()
        picture.save(file, image_format, **options)
        decode_image(file.getvalue(), PixelSpec(4, 4, "crop"), limits)
