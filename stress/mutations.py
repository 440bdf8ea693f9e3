"""Does a damaged image ever do more than be refused?

Sound files of every kind are cut, flipped, shuffled and spliced, and decoded in a child process.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain

from keshikaran.pixels import FORMATS, ImageFormat, sniff_format
from stress.child import Child, resident_mb
from stress.files import animation, encode, soft
from stress.finding import Finding, Size
from stress.golden import golden_files

_HANG_S = 5.0
_CUTS = 64
_MOST_GROWN_MB = 30.0
_NUMBERS = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
    b"\xff\0",
    b"\0\xff",
]
_MARKS = [
    b"\xff\xda", b"\xff\xc4", b"\xff\xdb", b"IDAT", b"fcTL", b"fdAT", b"PLTE", b"ANMF", b"VP8L",
    b"!\xf9", b",",
]  # fmt: skip

Mutation = Callable[[bytes, bytes, random.Random], bytes]


def run(size: Size) -> Finding:
    """`quick`: 150 files of each format and 4 cut ones; `full`: 10,000 and 100."""
    quick = size == "quick"
    tally: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    before = resident_mb()
    with Child(_HANG_S) as child:
        for name, data in chain(_mutated(150 if quick else 10_000), _cut(4 if quick else 100)):
            answer = child.ask(data)
            tally[answer.outcome if answer.typed else "untyped"] += 1
            slowest = max(slowest, answer.seconds)
            if not answer.typed:
                failures.append(f"{name}: {answer.outcome} ({len(data):,} bytes)")
    grown = resident_mb() - before
    if grown > _MOST_GROWN_MB:
        failures.append(f"the parent grew by {grown:.0f} MB")
    figures = {
        "files": sum(tally.values()),
        "crashes, hangs over 5 s, untyped outcomes": len(failures),
        "slowest, ms": slowest * 1000,
        "parent grew by, MB": grown,
        **dict(tally.most_common()),
    }
    return Finding("Do damaged images give pixels or a typed refusal?", figures, failures)


def _mutated(count: int) -> Iterator[tuple[str, bytes]]:
    """`count` files of each format, the same ones every time."""
    for image_format, files in _by_format().items():
        chance = random.Random(image_format)
        for number in range(count):
            first, second = chance.choice(files), chance.choice(files)
            data = first
            for _ in range(chance.choice((1, 1, 2, 4))):
                data = chance.choice(_MUTATIONS)(data, second, chance)
            yield f"{image_format} {number}", data


def _by_format() -> dict[ImageFormat, list[bytes]]:
    found: dict[ImageFormat, list[bytes]] = {name: [] for name in sorted(FORMATS)}
    for data in golden_files().values():
        found[sniff_format(data)].append(data)
    return found


def _cut(count: int) -> Iterator[tuple[str, bytes]]:
    """Sound pictures, each cut at points spread evenly over it."""
    files = list(golden_files().values())
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
    seed = 1_000
    while len(files) < count:
        kind = kinds[seed % len(kinds)]
        frames = [soft(60, 40, seed), soft(60, 40, seed + 1)]
        files.append(
            encode(frames[0], kind) if kind in {"JPEG", "BMP"} else animation(frames, kind)
        )
        seed += 1
    for number, data in enumerate(files[:: max(1, len(files) // count)][:count]):
        for cut in range(_CUTS):
            yield f"file {number} cut at {cut}/{_CUTS}", data[: len(data) * cut // _CUTS]


# What can be done to a file


def _truncate(data: bytes, _: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _flip_bits(data: bytes, _: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _flip in range(chance.choice((1, 2, 8, 32))):
        if changed:
            changed[_place(changed, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _set_number(data: bytes, _: bytes, chance: random.Random) -> bytes:
    number, place = chance.choice(_NUMBERS), _place(data, chance)
    return data[:place] + number + data[place + len(number) :]


def _set_bytes(data: bytes, _: bytes, chance: random.Random) -> bytes:
    place = _place(data, chance)
    length = chance.randrange(1, 20)
    return data[:place] + chance.randbytes(length) + data[place + length :]


def _insert(data: bytes, _: bytes, chance: random.Random) -> bytes:
    place = _place(data, chance)
    return data[:place] + chance.randbytes(chance.randrange(1, 20)) + data[place:]


def _remove(data: bytes, _: bytes, chance: random.Random) -> bytes:
    place = _place(data, chance)
    return data[:place] + data[place + chance.randrange(1, 40) :]


def _splice(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def _repeat(data: bytes, _: bytes, chance: random.Random) -> bytes:
    start = _place(data, chance)
    piece = data[start : start + chance.randrange(1, 400)]
    return data[:start] + piece * chance.choice((2, 3, 20)) + data[start + len(piece) :]


def _shuffle(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Cut both files at the names of their parts, and put some of these into another order."""
    mark = chance.choice([mark for mark in _MARKS if mark in data] or [b"\0"])
    parts = data.split(mark) + other.split(mark)[1:]
    tail = parts[1:]
    chance.shuffle(tail)
    return mark.join([parts[0], *tail[: chance.randrange(1, 20)]])


def _place(data: bytes | bytearray, chance: random.Random) -> int:
    """Anywhere, half of the time near the start, where the structure is."""
    reach = len(data) if chance.random() < 0.5 else min(len(data), 120)
    return chance.randrange(reach) if reach else 0


_MUTATIONS: list[Mutation] = [
    _truncate,
    _flip_bits,
    _flip_bits,
    _set_number,
    _set_bytes,
    _insert,
    _remove,
    _splice,
    _repeat,
    _shuffle,
]
