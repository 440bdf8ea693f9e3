"""The loop of a child: take an image file, decode it, give its pixels or the reason why not."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import DecodedImage, Limits, PixelSpec
from keshikaran.pixels.isolation.confine import peak_memory
from keshikaran.pixels.isolation.messages import Reply, Request

DecodeFunction = Callable[[bytes, PixelSpec, Limits], DecodedImage]
_WORN_BYTES = 256 * 1024 * 1024


class Port(Protocol):
    """A child's way to its parent."""

    def receive(self) -> tuple[Request, bytes] | None:
        """The next image; None when there is none to come."""

    def send(self, reply: Reply, pixels: memoryview) -> None:
        """The answer, with its pixels if it has any."""


def serve(port: Port, decode: DecodeFunction, limits: Limits) -> None:
    """Answer until the parent hangs up."""
    imports = _ImportWatch()
    sys.meta_path.insert(0, imports)
    while (job := port.receive()) is not None:
        imports.names.clear()
        port.send(*answer(job, decode, limits, imports.names))


def answer(
    job: tuple[Request, bytes], decode: DecodeFunction, limits: Limits, imports: list[str]
) -> tuple[Reply, memoryview]:
    """Decode one image.

    Args:
        job: the request and the image file.
        decode: what decodes.
        limits: what a file may ask for.
        imports: names of modules that were looked for meanwhile; `decode` adds to it.
    """
    request, data = job
    none = memoryview(b"")
    try:
        image = decode(data, request.spec, limits)
        pixels = memoryview(np.ascontiguousarray(image.views)).cast("B")
        counts = (len(image.views), image.frames_total, image.frames_scored)
        return Reply(request.number, is_worn(), *counts), pixels
    except ImageRefusedError as refusal:
        if imports:  # a module that could not be loaded here must not look like a bad image
            failure = f"decoding wanted the module {imports[0]}: {refusal.detail}"
            return Reply(request.number, failure=failure), none
        return Reply(request.number, is_worn(), refusal=refusal), none
    except MemoryError:
        detail = "decoding asks for more memory than a decoder may have"
        refusal = ImageRefusedError("too_many_pixels", detail)
        return Reply(request.number, worn=True, refusal=refusal), none
    except Exception as error:
        words = " ".join(str(error).split())
        return Reply(request.number, failure=f"{type(error).__name__}: {words}"), none


def find_function(name: str) -> DecodeFunction:
    """Import `module:name`."""
    module, _, attribute = name.partition(":")
    function: DecodeFunction = getattr(importlib.import_module(module), attribute)
    return function


def is_worn() -> bool:
    """Whether this process has once been so large that a fresh one is cheaper to keep."""
    return peak_memory() > _WORN_BYTES


class _ImportWatch:
    """Notes which modules are looked for: a child has no files, so that it can load none."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        self.names.append(name)
        return None


def warm_up(decode: DecodeFunction, limits: Limits) -> None:
    """Load whatever decoding loads on first use, by decoding a small picture of each kind."""
    import io

    from PIL import ExifTags, Image, ImageCms, ImageMode, ImageSequence, MpoImagePlugin, TiffTags

    del ExifTags, ImageCms, ImageMode, ImageSequence, MpoImagePlugin, TiffTags
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("RGBA", (8, 8), (level, 0, 0, level)) for level in (0, 255)]
    plain = [frame.convert("RGB") for frame in frames]
    many: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    kinds: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("JPEG", plain[0], {"exif": exif}),
        ("JPEG", plain[0].convert("CMYK"), {}),
        ("PNG", frames[0], many),
        ("PNG", Image.new("I;16", (8, 8)), {}),
        ("WEBP", frames[0], {**many, "exif": exif}),
        ("GIF", plain[0], {**many, "append_images": plain[1:]}),
        ("BMP", plain[0], {}),
        ("TIFF", plain[0], {"save_all": True, "append_images": plain[1:]}),
    ]
    for image_format, picture, options in kinds:
        file = io.BytesIO()
        picture.save(file, image_format, **options)
        decode(file.getvalue(), PixelSpec(4, 4, "crop"), limits)
