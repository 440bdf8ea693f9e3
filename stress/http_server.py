"""A started server for the questions about HTTP: its processes, their memory, a client or two."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keshikaran.backbones import open_engine
from keshikaran.bundle import pack, run_self_test
from stress.hostile_bundles import SIDE, manifest, network

HOST = "127.0.0.1"
MODEL_VARIABLE = "KESHIKARAN_STRESS_MODEL"
"""Names a model file to serve instead of the tiny one."""

_DRIVER = """
import json, sys
from pathlib import Path
from keshikaran.predictor import Predictor
from keshikaran.web.log import write_to
from keshikaran.web.server import serve
from keshikaran.web.settings import ServerSettings
settings = json.loads(sys.argv[2])
files = {name: Path(settings.pop(name)) for name in list(settings) if name.endswith("_file")}
write_to()
serve(
    ServerSettings(port=0, **files, **settings),
    lambda _: Predictor.load(sys.argv[1]),
    lambda url, _: print(url, flush=True),
)
"""


class Server:
    """A server as a process of its own, with its decoders.

    Args:
        process: it, just started.
        log: where it writes.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log
        line = process.stdout.readline().strip() if process.stdout is not None else ""
        if not line:
            message = f"the server did not start: {log.read_text('utf-8')[-500:]}"
            raise RuntimeError(message)
        self.port = int(line.rpartition(":")[2])

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.port}"

    def family(self) -> list[int]:
        """Process ids: its own, then those of all its descendants."""
        return [self.process.pid, *descendants(self.process.pid)]

    def memory_mb(self) -> float:
        """Resident memory of all its processes, added up."""
        return sum(_status_mb(pid, "VmRSS") for pid in self.family())

    def forget_peak(self) -> None:
        """Let each process's highest memory count from here."""
        for pid in self.family():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")

    def peak_mb(self) -> float:
        """The highest memory of each of its processes, added up: together they had no more."""
        return sum(_status_mb(pid, "VmHWM") for pid in self.family())

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def events(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        return [json.loads(line) for line in self.log.read_text("utf-8").split("\n")[:-1]]


@contextmanager
def started(folder: Path, name: str = "server", **settings: Any) -> Iterator[Server]:
    """A server that ends with the block.

    Args:
        folder: for its model and its log.
        name: of the log.
        settings: of `ServerSettings`.
    """
    model = _model(folder)
    log = folder / f"{name}.log"
    with (
        log.open("wb") as err,
        subprocess.Popen(
            [sys.executable, "-c", _DRIVER, str(model), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        ) as process,
    ):
        try:
            yield Server(process, log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()


def _model(folder: Path) -> Path:
    if MODEL_VARIABLE in os.environ:
        return Path(os.environ[MODEL_VARIABLE])
    path = folder / "model.onnx"
    if not path.exists():
        engine = open_engine(network().SerializeToString(), streams=1)
        fitting = replace(manifest(), self_test=run_self_test(engine, SIDE, SIDE))
        path.write_bytes(pack(network(), fitting))
    return path


def descendants(pid: int) -> list[int]:
    """Its children, then theirs."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                children += map(int, (task / "children").read_text("ascii").split())
    return [*children, *(below for child in children for below in descendants(child))]


def still_there(pids: list[int], within_s: float) -> list[int]:
    """Which of these processes run, after a time to end; one that waits to be reaped does not."""
    until = time.monotonic() + within_s
    while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    return False


def _status_mb(pid: int, line: str) -> float:
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        found = re.search(rf"^{line}:\s+(\d+)", status, re.MULTILINE)
        return int(found.group(1)) / 1e3 if found else 0.0
    return 0.0


# What is sent


def picture(seed: int = 0, width: int = 160, height: int = 120) -> bytes:
    """A JPEG of noise."""
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def request(body: bytes, *, kind: str = "image/jpeg", close: bool = False) -> bytes:
    """A whole request to `/v1/predict`."""
    lines = ["POST /v1/predict HTTP/1.1", "Host: localhost", f"Content-Type: {kind}"]
    lines += [f"Content-Length: {len(body)}", *(["Connection: close"] if close else [])]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def warm_up(server: Server) -> None:
    """Work as on any day, so that every decoder there is to be has been started."""

    async def client(seed: int) -> None:
        wire = await Wire.open(server.port)
        for _ in range(20):
            await wire.ask(request(picture(seed, 640, 480)))
        await wire.close()

    await asyncio.gather(*(client(seed) for seed in range(8)))


class Wire:
    """One connection that is kept as long as the server keeps it. Make it with `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.is_kept = True

    @classmethod
    async def open(cls, port: int) -> Wire:
        """Connect.

        Raises:
            OSError: nobody listens.
        """
        return cls(*await asyncio.open_connection(HOST, port))

    async def ask(self, words: bytes) -> int:
        """Send a request and take the whole answer; its status.

        Raises:
            OSError, asyncio.IncompleteReadError: there was none, or a part of one.
        """
        self._writer.write(words)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)
        self.is_kept = b"connection: close" not in head
        return int(head[9:12])

    async def close(self) -> None:
        """End it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
