"""ICC profiles made from nothing but their primaries and their gamma, as image files carry them."""

from __future__ import annotations

import struct

import numpy as np

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
SRGB: Primaries = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_RGB: Primaries = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
DISPLAY_P3: Primaries = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
PROPHOTO: Primaries = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def rgb_profile(
    primaries: Primaries,
    curve: tuple[float, ...] = (2.2,),
    white: tuple[float, float] = D65,
) -> bytes:
    """A display profile of three primaries and one curve.

    Args:
        primaries: chromaticities x, y of red, green, blue.
        curve: the exponent, or the five numbers of sRGB's kind of curve.
        white: chromaticity of the white point.
    """
    columns = _adapted(_xyz(white)) @ _scaled(primaries, _xyz(white))
    tags = {
        b"desc": _text("test"),
        b"cprt": _text("none"),
        b"wtpt": _xyz_tag(_D50),
        b"rXYZ": _xyz_tag(columns[:, 0]),
        b"gXYZ": _xyz_tag(columns[:, 1]),
        b"bXYZ": _xyz_tag(columns[:, 2]),
    }
    return _profile(b"RGB ", tags | {name: _curve(curve) for name in (b"rTRC", b"gTRC", b"bTRC")})


def grey_profile(gamma: float) -> bytes:
    """A profile for grey pictures."""
    tags = {b"desc": _text("test"), b"cprt": _text("none"), b"wtpt": _xyz_tag(_D50)}
    return _profile(b"GRAY", tags | {b"kTRC": _curve((gamma,))})


def _xyz(chromaticity: tuple[float, float]) -> np.ndarray:
    x, y = chromaticity
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _scaled(primaries: Primaries, white: np.ndarray) -> np.ndarray:
    columns = np.stack([_xyz(primary) for primary in primaries], axis=1)
    scaled: np.ndarray = columns * np.linalg.solve(columns, white)
    return scaled


def _adapted(white: np.ndarray) -> np.ndarray:
    """From light of `white` to D50, by Bradford's method."""
    ratios = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    matrix: np.ndarray = np.linalg.inv(_BRADFORD) @ ratios @ _BRADFORD
    return matrix


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _xyz_tag(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def _curve(numbers: tuple[float, ...]) -> bytes:
    kind = {1: 0, 5: 3}[len(numbers)]
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(*numbers)


def _text(words: str) -> bytes:
    encoded = words.encode("utf-16-be")
    record = struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28)
    return b"mluc" + bytes(4) + record + encoded


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    place = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4s", 128 + len(table) + len(body), bytes(4), 0x04300000, b"mntr", space,
        b"XYZ ", bytes(12), b"acsp", bytes(4),
    )  # fmt: skip
    return header.ljust(68, b"\0") + _fixed(*_D50).ljust(60, b"\0") + table + body
