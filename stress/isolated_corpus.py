"""Whatever happens inside a decoder: a typed refusal, and the parent unharmed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import Decoder, PixelSpec
from keshikaran.pixels.isolated import IsolatedDecoder
from stress.finding import Finding, Size
from stress.hostile_decoders import EXPECTED

FUNCTION = "stress.hostile_decoders:decode"
PIXELS = "pixels"
_SPEC = PixelSpec(224, 224)
_THREADS = 4
_MEMORY = 256 * 1024 * 1024
_GROWTH_MB = 40.0


def outcome(decoder: Decoder, data: bytes, spec: PixelSpec = _SPEC) -> str:
    """`pixels`, or the reason of the refusal; anything else is an exception."""
    try:
        decoder.decode(data, spec)
    except ImageRefusedError as refusal:
        return refusal.reason
    return PIXELS


def through_pool(
    files: Iterable[tuple[str, bytes]], decoder: Decoder, spec: PixelSpec = _SPEC
) -> tuple[dict[str, str], list[str]]:
    """Decode a corpus by several threads.

    Returns:
        Each file's outcome by its name, and what should not have happened, in words.
    """
    failures: list[str] = []

    def one(file: tuple[str, bytes]) -> tuple[str, str]:
        name, data = file
        try:
            return name, outcome(decoder, data, spec)
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
            return name, type(error).__name__

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(pool.map(one, files)), failures


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the path object would add one


def resident_mb() -> float:
    """Memory of this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def run(size: Size) -> Finding:
    """Every behaviour once (quick), or ten times between harmless files."""
    times, timeout_s = (1, 4.0) if size == "quick" else (10, 5.0)
    files = [
        (f"{name} {number}", content)
        for number in range(times)
        for name in EXPECTED
        for content in (name.encode(), b"harmless")
    ]
    files = [(f"{name} {n}", content) for n, (name, content) in enumerate(files)]
    with IsolatedDecoder(timeout_s=timeout_s, function=FUNCTION, memory_bytes=_MEMORY) as decoder:
        outcome(decoder, b"harmless")
        # Growth counts once every thread has its memory: after a first round, where there are more.
        # The largest legal answer has 30 MB; a thread that was promised one keeps its memory.
        first = 2 * len(EXPECTED) if times > 1 else 0
        found, failures = through_pool(files[:first], decoder)
        through_pool(((f"largest {n}", b"promise_more") for n in range(first // 5)), decoder)
        before = open_descriptors() - 2 * len(decoder.pids()), resident_mb()
        rest, more = through_pool(files[first:], decoder)
        found |= rest
        failures += more
        for name, content in files:
            allowed = EXPECTED.get(content.decode(), (PIXELS,))
            if found[name] not in allowed:
                failures.append(f"{content.decode()}: {found[name]}, not {' or '.join(allowed)}")
        grown_mb = resident_mb() - before[1]
        idle = open_descriptors() - 2 * len(decoder.pids())
    left = before[0] - idle
    if left < 0:
        failures.append(f"{-left} descriptors were left open")
    if grown_mb > _GROWTH_MB:
        failures.append(f"the parent grew by {grown_mb:.0f} MB")
    figures = {
        "hostile behaviours": len(EXPECTED),
        "files": len(files),
        "time limit, s": timeout_s,
        "the parent grew by, MB": grown_mb,
        **{f"outcome {name}": count for name, count in Counter(found.values()).most_common()},
    }
    question = "Can a decoder that was taken over harm more than its own image?"
    return Finding(question, figures, failures)
