"""Room for bodies: who waits, who is refused, what is left of what was sent."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import io
import socket
import subprocess
import sys
import weakref
from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image

from keshikaran.pixels import InProcessDecoder
from keshikaran.pixels.contract import PixelSpec
from keshikaran.pixels.isolated import IsolatedDecoder
from keshikaran.pixels.isolation.forked import LARGE_FILE
from keshikaran.web.budget import READ_AHEAD_BYTES, SMALL_BYTES, BodyMemory, Lease, for_large
from keshikaran.web.connection_table import ConnectionTable
from keshikaran.web.connections import Guard
from keshikaran.web.heap import leave_alone_what_stays
from keshikaran.web.multipart import Upload
from keshikaran.web.problems import RequestRefusedError
from keshikaran.web.settings import ServerSettings
from serve_support import RED, Request, api, call, in_loop

_TOTAL = 4 * 1024 * 1024
_LARGE = 3 * 1024 * 1024


async def receive_all(lease: Lease, size: int) -> None:
    """As a body of that size would arrive."""
    for start in range(0, size, READ_AHEAD_BYTES):
        await lease.make_room()
        await asyncio.sleep(0)
        lease.take(min(READ_AHEAD_BYTES, size - start))
    lease.complete()


async def upload(memory: BodyMemory, size: int, held_s: float = 0.01) -> str:
    """A whole request: its outcome."""
    with memory.lease(size) as lease:
        try:
            await receive_all(lease, size)
        except RequestRefusedError as refusal:
            return refusal.code
        await asyncio.sleep(held_s)
        return "done"


def test_a_body_waits_for_those_before_it_instead_of_being_refused() -> None:
    async def work() -> tuple[str, str, int]:
        memory = BodyMemory(_TOTAL, 0, 5.0)
        first = asyncio.create_task(upload(memory, _LARGE))
        await asyncio.sleep(0.005)
        second = await upload(memory, _LARGE)
        return await first, second, memory.used

    assert in_loop(work) == ("done", "done", 0)


def test_of_many_at_once_the_first_is_completed_and_room_is_never_exceeded() -> None:
    most = 0

    async def work() -> list[str]:
        nonlocal most
        memory = BodyMemory(_TOTAL, 0, 5.0)
        tasks = [asyncio.create_task(upload(memory, _LARGE)) for _ in range(20)]
        while not all(task.done() for task in tasks):
            most = max(most, memory.used)
            await asyncio.sleep(0)
        assert memory.used == 0
        return [task.result() for task in tasks]

    outcomes = in_loop(work)
    assert outcomes[0] == "done"
    assert set(outcomes) == {"done", "memory_full"}
    assert 0 < most <= _TOTAL


def test_small_bodies_pass_the_large_ones_that_wait() -> None:
    async def work() -> tuple[bool, str]:
        memory = BodyMemory(10 * _TOTAL, 0, 5.0)
        with memory.lease(for_large(10 * _TOTAL)) as lease:
            await receive_all(lease, for_large(10 * _TOTAL))
            large = asyncio.create_task(upload(memory, _LARGE))
            await asyncio.sleep(0.01)
            small = await upload(memory, SMALL_BYTES)
            waited = not large.done()
        assert await large == "done"
        return waited, small

    assert in_loop(work) == (True, "done")


def test_a_body_does_not_wait_for_ever() -> None:
    async def work() -> tuple[str, int]:
        memory = BodyMemory(_TOTAL, 0, 0.05)
        with ExitStack() as stack:
            slow = stack.enter_context(memory.lease(_LARGE))
            await receive_all(slow, 2 * 1024 * 1024)
            second = await upload(memory, _LARGE)
        return second, memory.used

    assert in_loop(work) == ("memory_full", 0)


def test_a_client_that_was_made_to_wait_is_not_called_slow() -> None:
    size = 300_000

    async def work() -> tuple[int, int]:
        server = api(
            body_memory_bytes=400_000,
            max_body_bytes=size,
            max_request_bytes=size,
            rate_window_s=0.5,
            body_timeout_s=0.8,
        )
        block = server._memory.lease(350_000)
        await receive_all(block, 350_000)
        asking = asyncio.create_task(call(server, Request(body=[bytes(100_000)] * 3)))
        await asyncio.sleep(1.2)
        still = not asking.done()
        block.__exit__()
        return still, (await asking).status

    assert in_loop(work) == (True, 422)


@pytest.mark.parametrize("kind", ["image/jpeg", "multipart/form-data; boundary=b"])
def test_a_body_longer_than_declared_costs_no_decoding(kind: str) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
    first = part if kind.startswith("multipart") else b""
    left = asyncio.Event()
    left.set()  # what the guard has the HTTP server say when more bytes come than were declared
    body = [first + bytes(SMALL_BYTES), bytes(1000) + b"\r\n--b--\r\n"]

    async def work() -> tuple[int, int]:
        server = api()
        request = Request(body=body, headers={"content-type": kind}, leaves_after=left)
        status = (await call(server, request)).status
        return status, server._memory.used

    assert in_loop(work) == (0, 0)


def test_a_connection_that_ended_leaves_nothing_for_the_collector() -> None:
    async def work() -> bool:
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        inner: list[weakref.ref[asyncio.Protocol]] = []

        def make(_: object) -> asyncio.Protocol:
            protocol = _Echo()
            inner.append(weakref.ref(protocol))
            return protocol

        table = ConnectionTable(ServerSettings())
        server = await loop.create_server(lambda: Guard(make, table), sock=listener)
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"a")
        await asyncio.sleep(0.05)
        held = inner[0]() is not None
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)
        server.close()
        return held and inner[0]() is None

    gc.disable()
    try:
        assert in_loop(work)
    finally:
        gc.enable()


class _Echo(asyncio.Protocol):
    """Holds its transport, as the HTTP server's protocol does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


def test_the_collector_leaves_alone_what_was_loaded_before() -> None:
    before = gc.get_freeze_count()
    try:
        leave_alone_what_stays()
        assert gc.get_freeze_count() > before
        assert len(gc.get_objects()) < 1000
    finally:
        gc.unfreeze()


def test_a_model_that_was_replaced_goes_without_the_collector() -> None:
    async def work() -> bool:
        service = api().service
        old = weakref.ref(service._current.predictor)
        await service.predict([Upload("a", RED)])
        await service.reload(None)
        gone = old() is None
        await service.close()
        return gone

    gc.disable()
    try:
        assert in_loop(work)
    finally:
        gc.enable()


_HEAP = """
import sys
from pathlib import Path
from keshikaran.web.heap import give_large_blocks_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

told = sys.argv[1] == "told" and give_large_blocks_back()
block = bytearray(20_000_000)
del block
before = resident()
blocks = [bytearray(b"a" * 1_000_000) for _ in range(30)]
last = blocks[-1]
del blocks
print(told, resident() - before)
"""


def test_large_blocks_go_back_to_the_system() -> None:
    command = [sys.executable, "-c", _HEAP]
    told, grown = subprocess.run(
        [*command, "told"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert told == str(hasattr(ctypes.CDLL(None), "mallopt"))
    assert told == "False" or int(grown) < 3_000_000


def test_a_large_file_is_decoded_as_any_other() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 800, 3), np.uint8))
    out = io.BytesIO()
    picture.save(out, "PNG")
    data, spec = out.getvalue(), PixelSpec(64, 64, "crop")
    assert len(data) > 2 * LARGE_FILE
    expected = InProcessDecoder().decode(data, spec).views
    with IsolatedDecoder(workers=1) as decoder:
        for _ in range(2):
            assert np.array_equal(decoder.decode(data, spec).views, expected)
