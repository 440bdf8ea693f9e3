"""Sound pictures of every kind that is accepted, made in code.

The tests hold them against what another library makes of the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from stress.files import (
    adam7_scanlines,
    animation,
    chunk,
    encode,
    exif,
    png,
    scanlines,
    soft,
    stored,
    tiff,
    with_chunk,
    with_segment,
)
from stress.profiles import (
    ADOBE_RGB,
    D50,
    DISPLAY_P3,
    PROPHOTO,
    SRGB,
    SRGB_CURVE,
    grey_profile,
    rgb_profile,
)

WIDTH, HEIGHT = 48, 32
_P3 = rgb_profile(DISPLAY_P3, SRGB_CURVE)
_ADOBE = rgb_profile(ADOBE_RGB, (2.2,))


def golden_files() -> dict[str, bytes]:
    """All of them, by a name that ends with the usual extension."""
    return dict([*_jpegs(), *_pngs(), *_webps(), *_gifs(), *_tiffs(), *_bmps()])


def _picture(seed: int = 1) -> Image.Image:
    return soft(WIDTH, HEIGHT, seed)


def _transparent() -> Image.Image:
    image = _picture(2)
    image.putalpha(soft(WIDTH, HEIGHT, 3).convert("L"))
    return image


def _jpegs() -> Iterator[tuple[str, bytes]]:
    image = _picture()
    good = {"quality": 92}
    for number in range(1, 9):
        data = encode(stored(image, number), "JPEG", exif=exif(number), **good)
        yield f"orientation-{number}.jpg", data
    for sampling in ("4:4:4", "4:2:2", "4:2:0"):
        yield (
            f"{sampling.replace(':', '')}.jpg",
            encode(image, "JPEG", subsampling=sampling, **good),
        )
    yield "progressive.jpg", encode(image, "JPEG", progressive=True, **good)
    yield "grey.jpg", encode(image.convert("L"), "JPEG", **good)
    yield "odd-size.jpg", encode(soft(37, 23), "JPEG", **good)
    yield "cmyk.jpg", encode(image.convert("CMYK"), "JPEG", **good)
    yield "ycck.jpg", _ycck(image)
    yield "display-p3.jpg", encode(image, "JPEG", icc_profile=_P3, **good)
    yield "adobe-rgb.jpg", encode(image, "JPEG", icc_profile=_ADOBE, **good)
    yield "srgb.jpg", encode(image, "JPEG", icc_profile=rgb_profile(SRGB, SRGB_CURVE), **good)
    yield (
        "grey-profile.jpg",
        encode(image.convert("L"), "JPEG", icc_profile=grey_profile(1.8), **good),
    )
    trailer = encode(_picture(9), "JPEG")
    yield "second-picture-behind.jpg", encode(image, "JPEG", **good) + trailer
    yield "broken-exif.jpg", with_segment(encode(image, "JPEG", **good), 0xE1, b"Exif\0\0MM\0*junk")


def _ycck(image: Image.Image) -> bytes:
    """Luma, chroma and black as the four bands, and an Adobe marker that says so."""
    ycc = [np.asarray(band) for band in image.convert("YCbCr").split()]
    black = np.full_like(ycc[0], 255)
    bands = np.stack([*ycc, black], axis=-1)
    data = encode(Image.fromarray(255 - bands, "CMYK"), "JPEG", quality=92)
    transform = data.index(b"Adobe") + 11
    return data[:transform] + b"\x02" + data[transform + 1 :]


def _pngs() -> Iterator[tuple[str, bytes]]:
    image, clear = _picture(), _transparent()
    size = image.size
    yield "rgb.png", encode(image)
    yield "rgba.png", encode(clear)
    yield "grey.png", encode(image.convert("L"))
    yield "grey-alpha.png", encode(clear.convert("LA"))
    yield "one-bit.png", encode(image.convert("1"))
    yield "palette.png", encode(image.quantize(32))
    yield (
        "palette-transparent.png",
        encode(image.quantize(32), transparency=bytes(range(0, 256, 8))),
    )
    yield "interlaced.png", png(size, 8, 2, adam7_scanlines(np.asarray(image)), adam7=True)
    deep = np.asarray(clear).astype(np.uint16) * 257 + 5
    yield "rgb-16.png", png(size, 16, 2, scanlines(deep[..., :3].copy()))
    yield "rgba-16.png", png(size, 16, 6, scanlines(deep))
    yield "grey-16.png", png(size, 16, 0, scanlines(deep[..., :1].copy()))
    yield "grey-alpha-16.png", png(size, 16, 4, scanlines(deep[..., ::3].copy()))
    key = chunk(b"tRNS", int(deep[3, 3, 0]).to_bytes(2, "big"))
    yield "grey-16-key.png", png(size, 16, 0, scanlines(deep[..., :1].copy()), extra=key)
    packed = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH // 4, 1), dtype=np.uint8)
    yield "grey-2-key.png", png(size, 2, 0, scanlines(packed), extra=chunk(b"tRNS", b"\0\2"))
    packed = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH // 2, 1), dtype=np.uint8)
    yield "grey-4.png", png(size, 4, 0, scanlines(packed))
    pixel = image.getpixel((5, 5))
    yield "rgb-key.png", encode(image, transparency=pixel)
    yield "display-p3.png", encode(image, icc_profile=_P3)
    yield "prophoto.png", encode(image, icc_profile=rgb_profile(PROPHOTO, (1.8,), D50))
    yield "orientation-6.png", encode(stored(image, 6), exif=exif(6))
    yield "texts.png", with_chunk(encode(image), b"tEXt", b"Comment\0a few words")
    frames = [image, _picture(5), _picture(6)]
    yield "animated.png", animation(frames, "PNG")


def _webps() -> Iterator[tuple[str, bytes]]:
    image, clear = _picture(), _transparent()
    yield "lossy.webp", encode(image, "WEBP", quality=90)
    yield "lossless.webp", encode(image, "WEBP", lossless=True)
    yield "rgba.webp", encode(clear, "WEBP", lossless=True, exact=True)
    yield "lossy-alpha.webp", encode(clear, "WEBP", quality=90)
    yield "orientation-8.webp", encode(stored(image, 8), "WEBP", lossless=True, exif=exif(8))
    yield "adobe-rgb.webp", encode(image, "WEBP", lossless=True, icc_profile=_ADOBE)
    yield "animated.webp", animation([image, _picture(5)], "WEBP", lossless=True)


def _gifs() -> Iterator[tuple[str, bytes]]:
    flat = _picture().quantize(64)
    yield "plain.gif", encode(flat, "GIF", interlace=0)
    yield "interlaced.gif", encode(flat, "GIF", interlace=1)
    yield "transparent.gif", encode(flat, "GIF", transparency=7)
    yield "animated.gif", animation([flat, _picture(5).quantize(64)], "GIF")


def _tiffs() -> Iterator[tuple[str, bytes]]:
    image, size = _picture(), (WIDTH, HEIGHT)
    yield "rgb.tif", encode(image, "TIFF")
    yield "lzw.tif", encode(image, "TIFF", compression="tiff_lzw")
    yield "deflate-grey.tif", encode(image.convert("L"), "TIFF", compression="tiff_adobe_deflate")
    yield "jpeg.tif", encode(image, "TIFF", compression="jpeg", quality=92)
    yield "group4.tif", encode(image.convert("1"), "TIFF", compression="group4")
    yield "palette.tif", encode(image.quantize(32), "TIFF")
    yield "rgba.tif", encode(_transparent(), "TIFF")
    yield "cmyk.tif", encode(image.convert("CMYK"), "TIFF")
    deep = np.asarray(image).astype("<u2") * 257
    yield "grey-16.tif", tiff(size, 16, 1, deep[..., 0].tobytes())
    yield "rgb-16.tif", tiff(size, 16, 2, deep.tobytes(), samples=3)
    yield "orientation-5.tif", encode(stored(image, 5), "TIFF", exif=exif(5))
    yield "pages.tif", animation([image, _picture(5)], "TIFF")
    yield "display-p3.tif", encode(image, "TIFF", icc_profile=_P3)


def _bmps() -> Iterator[tuple[str, bytes]]:
    yield "rgb.bmp", encode(_picture(), "BMP")
    yield "palette.bmp", encode(_picture().quantize(32), "BMP")
