"""Decoding in child processes: the same pixels, and no harm whatever happens in there."""

from __future__ import annotations

import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stress.hostile_decoders import EXPECTED
from stress.isolated_corpus import open_descriptors, outcome

from isolation_support import HOSTILE, MANY_VIEWS, is_decoder, outliving, parent_of
from keshikaran.errors import ImageRefusedError, IsolationError
from keshikaran.pixels import Decoder, InProcessDecoder, Limits, PixelSpec, decode_image, isolated
from keshikaran.pixels.isolated import IsolatedDecoder, open_decoder
from keshikaran.pixels.isolation import launch
from keshikaran.pixels.isolation.messages import ChildDiedError
from keshikaran.pixels.isolation.piped import PipedChild
from support import encode, reddish

_SPEC = PixelSpec(32, 48, "crop")
_JPEG = encode(reddish(1), "JPEG")
_VECTORS = Path(__file__).resolve().parent.parent / "docs" / "vectors"
_SMALL_MEMORY = 256 * 1024 * 1024


@pytest.fixture(scope="module", params=["forked", "piped"])
def decoder(request: pytest.FixtureRequest) -> Iterator[IsolatedDecoder]:
    with IsolatedDecoder(workers=2, forked=request.param == "forked") as opened:
        yield opened


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library allocates")
def test_a_child_keeps_the_memory_of_one_picture_for_the_next() -> None:
    spec = PixelSpec(224, 224, "crop")
    picture = encode(reddish(1).resize((400, 400)), "JPEG")
    with IsolatedDecoder(workers=1) as opened:
        for _ in range(20):
            opened.decode(picture, spec)
        (pid,) = opened.pids()
        before = _page_faults(pid)
        for _ in range(50):
            opened.decode(picture, spec)
        assert opened.pids() == [pid]
        assert _page_faults(pid) - before < 50 * 5


def _page_faults(pid: int) -> int:
    """Pages that the system had to give a process, so far."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[7])


@pytest.fixture(scope="module")
def hostile() -> Iterator[IsolatedDecoder]:
    """One child that does what a file says. Do not close it."""
    with _hostile() as opened:
        yield opened


def _hostile(**options: object) -> IsolatedDecoder:
    values: dict[str, object] = {"workers": 1, "timeout_s": 1.5, "memory_bytes": _SMALL_MEMORY}
    return IsolatedDecoder(function=HOSTILE, **{**values, **options})  # type: ignore[arg-type]


def _refusal(decoder: Decoder, data: bytes) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        decoder.decode(data, _SPEC)
    return caught.value


# The same as in this process


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(reddish(3), "JPEG", exif=exif)


_GOOD = {
    "jpeg": _JPEG,
    "grey jpeg": encode(reddish(2).convert("L"), "JPEG"),
    "cmyk jpeg": encode(reddish(2).convert("CMYK"), "JPEG"),
    "progressive": encode(reddish(2), "JPEG", progressive=True),
    "turned": _turned(),
    "png": encode(reddish(4)),
    "16 bits": encode(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16)),
    "palette": encode(reddish(5).quantize(16), transparency=3),
    "see-through": encode(reddish(6).convert("LA")),
    "1 bit": encode(reddish(6).convert("1")),
    "webp": encode(reddish(7), "WEBP"),
    "animated webp": encode(
        reddish(7), "WEBP", save_all=True, append_images=[reddish(8), reddish(9)]
    ),
    "gif": encode(reddish(8), "GIF", save_all=True, append_images=[reddish(9)]),
    "bmp": encode(reddish(9), "BMP"),
    "tiff": encode(reddish(9), "TIFF", compression="tiff_lzw"),
    "jpeg in tiff": encode(reddish(9), "TIFF", compression="jpeg"),
    "deflated tiff": encode(reddish(9), "TIFF", compression="tiff_deflate"),
}
_BAD = {
    "nothing": b"",
    "words": b"words",
    "pdf": b"%PDF-1.7",
    "half a jpeg": _JPEG[:-600],
    "half a png": encode(reddish(4))[:-600],
    "half a webp": encode(reddish(7), "WEBP")[:-300],
    "half a gif": encode(reddish(7), "GIF")[:-300],
    "half a tiff": encode(reddish(9), "TIFF", compression="tiff_lzw")[:300],
    "floats": encode(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"),
    "broken png": b"\x89PNG\r\n\x1a\ngarbage",
}


@pytest.mark.parametrize("name", _GOOD)
def test_pixels_are_those_of_this_process(decoder: IsolatedDecoder, name: str) -> None:
    here, there = decode_image(_GOOD[name], _SPEC), decoder.decode(_GOOD[name], _SPEC)
    assert np.array_equal(here.views, there.views)
    assert (there.views if there.views.base is None else there.views.base).flags.owndata
    assert (here.frames_total, here.frames_scored) == (there.frames_total, there.frames_scored)


@pytest.mark.parametrize("name", _BAD)
def test_refusals_are_those_of_this_process(decoder: IsolatedDecoder, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in any program: here pytest makes errors of them
        here = _refusal(InProcessDecoder(), _BAD[name])
    there = _refusal(decoder, _BAD[name])
    assert (here.reason, here.detail) == (there.reason, there.detail)


def test_published_vectors_are_those_of_this_process(decoder: IsolatedDecoder) -> None:
    files = [path for path in sorted(_VECTORS.iterdir()) if path.suffix not in {".rgb", ".json"}]
    assert len(files) > 20
    for path in files:
        here = outcome(InProcessDecoder(), path.read_bytes())
        assert outcome(decoder, path.read_bytes()) == here, path.name
        if here == "pixels":
            views = decoder.decode(path.read_bytes(), _SPEC).views
            assert np.array_equal(views, decode_image(path.read_bytes(), _SPEC).views), path.name


def test_each_image_gets_its_own_shape(decoder: IsolatedDecoder) -> None:
    for spec in (PixelSpec(1, 1), PixelSpec(7, 300, "pad"), PixelSpec(224, 224, "stretch")):
        assert np.array_equal(decoder.decode(_JPEG, spec).views, decode_image(_JPEG, spec).views)


def test_limits_are_kept() -> None:
    limits = Limits(max_bytes=len(_JPEG), max_pixels=64 * 64 - 1)
    with IsolatedDecoder(limits, workers=1) as decoder:
        assert _refusal(decoder, _JPEG).reason == "too_many_pixels"
        longer = _refusal(decoder, _JPEG + b"x")
    assert longer.detail == _refusal(InProcessDecoder(limits), _JPEG + b"x").detail


def test_large_files_and_small_ones_take_turns(decoder: IsolatedDecoder) -> None:
    rng = np.random.default_rng(0)
    noise = encode(Image.fromarray(rng.integers(0, 256, (800, 800, 3), dtype=np.uint8)))
    assert len(noise) > 1_500_000
    for data in (noise, _JPEG, noise, _JPEG):
        assert np.array_equal(decoder.decode(data, _SPEC).views, decode_image(data, _SPEC).views)


@pytest.mark.parametrize("forked", [True, False])
def test_many_views_come_in_parts(forked: bool) -> None:
    spec = PixelSpec(224, 224)
    with IsolatedDecoder(function=MANY_VIEWS, workers=1, forked=forked) as decoder:
        for count in (200, 1, 56):
            image = decoder.decode(str(count).encode(), spec)
            assert image.views.shape == (count, 224, 224, 3)
            assert (image.views == np.arange(count)[:, None, None, None]).all()
            assert (image.frames_total, image.frames_scored) == (2 * count, count)


def test_several_threads_share_the_children(decoder: IsolatedDecoder) -> None:
    files = [encode(reddish(seed), "JPEG") for seed in range(40)]
    with ThreadPoolExecutor(6) as pool:
        views = list(pool.map(lambda data: decoder.decode(data, _SPEC).views, files))
    assert all(
        np.array_equal(found, decode_image(data, _SPEC).views)
        for found, data in zip(views, files, strict=True)
    )
    assert 1 <= len(decoder.pids()) <= 2


# Harm


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"sleep", "ignore_signals"}))
def test_harm_ends_as_a_refusal_and_the_next_image_is_fine(
    hostile: IsolatedDecoder, name: str
) -> None:
    assert outcome(hostile, name.encode()) in EXPECTED[name]
    assert outcome(hostile, b"harmless") == "pixels"


def test_words_of_a_decoder_that_failed_are_printable(hostile: IsolatedDecoder) -> None:
    detail = _refusal(hostile, b"raise_anything").detail
    assert "ZeroDivisionError" in detail
    assert detail.isprintable()


def test_the_refusal_says_which_signal_ended_the_child(hostile: IsolatedDecoder) -> None:
    assert "SIGSEGV" in _refusal(hostile, b"crash").detail
    assert "exit code 0" in _refusal(hostile, b"leave").detail


@pytest.mark.parametrize("name", ["crash", "exit_politely", "raise_anything", "sleep", "allocate"])
def test_a_child_without_a_zygote_does_no_harm_either(name: str) -> None:
    with _hostile(forked=False, timeout_s=1.0) as decoder:
        assert outcome(decoder, name.encode()) in EXPECTED[name]
        assert outcome(decoder, b"harmless") == "pixels"


@pytest.mark.parametrize("kills", [1, 2])
def test_an_image_survives_one_kill_from_outside(hostile: IsolatedDecoder, kills: int) -> None:
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(outcome(hostile, b"pause")))
    outcome(hostile, b"harmless")
    thread.start()
    killed: set[int] = set()
    while len(killed) < kills:
        fresh = set(hostile.pids()) - killed
        if fresh:
            time.sleep(0.1)
            os.kill(fresh.copy().pop(), signal.SIGKILL)
            killed |= fresh
        time.sleep(0.01)
    thread.join()
    assert results == ["pixels" if kills == 1 else "decoder_died"]
    assert outcome(hostile, b"harmless") == "pixels"


@pytest.mark.parametrize("forked", [True, False])
def test_children_killed_while_they_wait_cost_nothing(forked: bool) -> None:
    with IsolatedDecoder(workers=1, forked=forked) as decoder:
        for _ in range(3):
            assert outcome(decoder, _JPEG) == "pixels"
            (pid,) = decoder.pids()
            os.kill(pid, signal.SIGKILL)
        assert outcome(decoder, _JPEG) == "pixels"


def test_a_killed_zygote_is_started_again(hostile: IsolatedDecoder) -> None:
    outcome(hostile, b"harmless")
    (pid,) = hostile.pids()
    zygote = parent_of(pid)
    os.kill(zygote, signal.SIGKILL)
    assert outcome(hostile, b"harmless") == "pixels"
    assert outliving([pid, zygote]) == []


# Who comes and goes


def test_children_are_replaced_after_some_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "_IMAGES_PER_CHILD", 3)
    seen = []
    with _hostile() as decoder:
        for _ in range(7):
            seen += decoder.pids()
            outcome(decoder, b"harmless")
    assert len(set(seen)) >= 2
    assert outliving(seen) == []


def test_a_child_that_was_busy_for_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "_BUSY_S_PER_CHILD", 0.1)
    with _hostile(timeout_s=30.0) as decoder:
        outcome(decoder, b"harmless")
        before = decoder.pids()
        outcome(decoder, b"pause")
        outcome(decoder, b"harmless")
        assert set(before).isdisjoint(decoder.pids())


def test_a_child_that_was_once_large_is_replaced() -> None:
    with _hostile(memory_bytes=1024 * 1024 * 1024, timeout_s=30.0) as decoder:
        outcome(decoder, b"harmless")
        before = decoder.pids()
        assert outcome(decoder, b"swell") == "pixels"
        outcome(decoder, b"harmless")
        assert set(before).isdisjoint(decoder.pids())


def test_replacing_leaves_no_descriptor_open(hostile: IsolatedDecoder) -> None:
    outcome(hostile, b"harmless")
    before = open_descriptors()
    for _ in range(20):
        outcome(hostile, b"crash")
    outcome(hostile, b"harmless")
    assert open_descriptors() == before


def test_closing_ends_all_processes_and_every_later_question() -> None:
    before = open_descriptors()
    decoder = _hostile(workers=3, timeout_s=30.0)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: outcome(decoder, b"pause"), range(3)))
    pids = decoder.pids()
    zygote = parent_of(pids[0])
    decoder.close()
    decoder.close()
    assert outliving([*pids, zygote]) == []
    assert open_descriptors() == before
    with pytest.raises(IsolationError, match="closed"):
        decoder.decode(b"harmless", _SPEC)


def test_closing_while_images_are_decoded_lets_nobody_wait() -> None:
    hostile = _hostile(timeout_s=30.0)
    trouble: list[BaseException] = []

    def decode() -> None:
        try:
            hostile.decode(b"sleep", _SPEC)
        except (ImageRefusedError, IsolationError) as error:
            trouble.append(error)

    outcome(hostile, b"harmless")
    threads = [threading.Thread(target=decode) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    started = time.monotonic()
    hostile.close()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 29  # where each may take 30
    assert len(trouble) == 3


def test_a_forgotten_decoder_ends_with_its_last_reference() -> None:
    decoder = _hostile()
    outcome(decoder, b"harmless")
    pids = decoder.pids()
    del decoder
    assert outliving(pids) == []


_FORGETFUL = """
import sys
from keshikaran.pixels import PixelSpec
from keshikaran.pixels.isolated import IsolatedDecoder
decoder = IsolatedDecoder(workers=1, forked=sys.argv[1] == "forked")
print(decoder.decode(sys.stdin.buffer.read(), PixelSpec(4, 4)).views.shape)
print(*decoder.pids(), flush=True)
exec(sys.argv[2])
"""


@pytest.mark.parametrize("kind", ["forked", "piped"])
@pytest.mark.parametrize(
    "end", ["", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"]
)
def test_nothing_outlives_the_program_however_it_ends(kind: str, end: str) -> None:
    shared = sorted(Path("/dev/shm").iterdir())
    command = [sys.executable, "-c", _FORGETFUL, kind, end]
    done = subprocess.run(command, input=_JPEG, capture_output=True, timeout=60, check=False)
    shape, pids = done.stdout.decode().splitlines()
    assert shape == "(1, 4, 4, 3)"
    assert done.stderr == b""
    assert outliving(map(int, pids.split())) == []
    assert sorted(Path("/dev/shm").iterdir()) == shared


def test_a_fork_has_children_of_its_own(hostile: IsolatedDecoder) -> None:
    outcome(hostile, b"harmless")
    before = hostile.pids()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = f"{outcome(hostile, b'harmless')} {hostile.pids()[0]}"
            hostile.close()
        except BaseException as error:
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    words, _, other = os.read(reader, 1000).decode().partition(" ")
    os.close(reader)
    os.waitpid(pid, 0)
    assert words == "pixels"
    assert int(other) not in before
    assert outliving([int(other)]) == []
    assert outcome(hostile, b"harmless") == "pixels"
    assert hostile.pids() == before


def test_children_neither_hear_ctrl_c_nor_know_our_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SITE", "hush")
    with IsolatedDecoder(workers=1) as decoder:
        decoder.decode(_JPEG, _SPEC)
        (pid,) = decoder.pids()
        assert os.getsid(pid) != os.getsid(0)
        for process in (pid, parent_of(pid)):
            assert b"hush" not in Path(f"/proc/{process}/environ").read_bytes()
            os.kill(process, signal.SIGINT)
        assert outcome(decoder, _JPEG) == "pixels"
        assert decoder.pids() == [pid]


def test_children_have_the_limits_that_the_system_offers(hostile: IsolatedDecoder) -> None:
    outcome(hostile, b"harmless")
    (pid,) = hostile.pids()
    limits = {
        line[:25].strip(): line[25:].split()[0]
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
    }
    assert limits["Max file size"] == limits["Max core file size"] == limits["Max processes"] == "0"
    assert limits["Max open files"] == str(len(list(Path(f"/proc/{pid}/fd").iterdir())))
    assert int(limits["Max cpu time"]) < 200
    assert _SMALL_MEMORY < int(limits["Max address space"]) < _SMALL_MEMORY + 2**30
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
    status = Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status


def test_children_load_nothing_but_decoders() -> None:
    code = (
        "import sys, keshikaran.pixels.isolation.zygote;"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    heavy = {"onnx", "openvino", "onnxruntime", "sqlite3", "sklearn", "scipy", "typer", "rich"}
    assert heavy & set(done.stdout.split()) == set()


# Where no process can be started


def test_a_system_without_interpreter_gets_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(IsolationError, match="no Python interpreter"):
        IsolatedDecoder(forked=True)
    with (
        pytest.raises(IsolationError, match="no Python interpreter"),
        IsolatedDecoder(forked=False) as decoder,
    ):
        decoder.decode(_JPEG, _SPEC)


@pytest.mark.parametrize("forked", [True, False])
@pytest.mark.parametrize("program", ["/bin/false", "/no/such/python"])
def test_a_program_that_is_no_interpreter_gets_words(
    monkeypatch: pytest.MonkeyPatch, program: str, forked: bool
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with (
        pytest.raises(IsolationError, match="could be started") as caught,
        IsolatedDecoder(forked=forked) as decoder,
    ):
        decoder.decode(_JPEG, _SPEC)
    assert "--isolation off" in caught.value.hint


def test_a_pipe_that_promises_too_much_is_a_childs_death() -> None:
    code = "import sys; sys.stdin.buffer.read(1); sys.stdout.buffer.write(bytes([255] * 50))"
    command = [sys.executable, "-c", code]
    child = PipedChild(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    with pytest.raises(ChildDiedError, match="bytes where a reply was due"):
        child.ask(b"", _SPEC, 30.0)
    assert child.kill() <= 0
    assert not child.is_alive()


def test_a_child_without_pipes_cannot_be_asked() -> None:
    with subprocess.Popen(["true"]) as process, pytest.raises(ValueError, match="needs pipes"):
        PipedChild(process)


def test_a_decoder_that_cannot_be_loaded_gets_words() -> None:
    with (
        IsolatedDecoder(function="keshikaran.pixels.nowhere:decode") as decoder,
        pytest.raises(IsolationError, match=r"cannot start: ModuleNotFoundError.*nowhere"),
    ):
        decoder.decode(_JPEG, _SPEC)


def test_a_system_that_refuses_to_fork_gets_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(max_bytes: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(launch, "shared_memory", exhausted)
    with _hostile() as decoder:
        with pytest.raises(IsolationError, match="Too many open files"):
            decoder.decode(b"harmless", _SPEC)
        monkeypatch.undo()
        assert outcome(decoder, b"harmless") == "pixels"


def test_off_says_what_it_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "keshikaran"):
        decoder = open_decoder("off")
    assert isinstance(decoder, InProcessDecoder)
    assert "isolation off" in caplog.text


def test_process_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    decoder = open_decoder("process")
    decoder.decode(_JPEG, _SPEC)
    assert isinstance(decoder, IsolatedDecoder)
    assert is_decoder(decoder.pids()[0])
    decoder.close()
    assert caplog.text == ""
