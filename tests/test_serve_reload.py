"""Another model takes over: once for however many who ask, and never before the newest file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bundle_support import packed
from keshikaran.errors import BundleError
from keshikaran.predictor import Predictor
from keshikaran.web.metrics import Metrics
from keshikaran.web.problems import RequestRefusedError
from keshikaran.web.service import Service
from keshikaran.web.settings import ServerSettings


class _Loads:
    """Loads the file as it is when it is asked to, and waits until it may go on."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.begun = 0

    def __call__(self, name: str | None) -> Predictor:
        predictor = Predictor.load(self._model, isolation="off")
        self.begun += 1
        assert self.may_go_on.wait(20)
        return predictor


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file, to be replaced."""
    path = tmp_path / "model.onnx"
    path.write_bytes(packed(model_id="first"))
    return path


def test_a_wish_during_a_load_is_kept_and_granted_once(model: Path) -> None:
    loads = _Loads(model)
    service = Service(loads, ServerSettings(), Metrics())

    async def go() -> None:
        loads.may_go_on.clear()
        model.write_bytes(packed(model_id="second"))
        running = asyncio.create_task(service.reload(None))
        while loads.begun < 2:
            await asyncio.sleep(0.01)
        model.write_bytes(packed(model_id="third"))
        wishes = [asyncio.create_task(service.reload_again()) for _ in range(5)]
        await asyncio.sleep(0.05)
        with pytest.raises(RequestRefusedError, match="A model is being loaded"):
            await service.reload(None)
        loads.may_go_on.set()
        assert (await running).model_id == "second"
        await asyncio.gather(*wishes)
        await service.close()

    asyncio.run(go())
    assert service.manifest.model_id == "third"
    assert loads.begun == 3


def test_a_load_that_fails_leaves_room_for_the_next(model: Path) -> None:
    service = Service(_Loads(model), ServerSettings(), Metrics())

    async def go() -> None:
        model.write_bytes(b"broken")
        with pytest.raises(BundleError):
            await service.reload_again()
        assert service.manifest.model_id == "first"
        model.write_bytes(packed(model_id="second"))
        await service.reload_again()
        await service.close()

    asyncio.run(go())
    assert service.manifest.model_id == "second"


_STACK = """
import asyncio, ctypes, sys
from pathlib import Path
from keshikaran.predictor import Predictor
from keshikaran.web.metrics import Metrics
from keshikaran.web.service import Service
from keshikaran.web.settings import ServerSettings

class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

def stack():
    found = Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found.at

before = stack()
load = lambda _: Predictor.load(sys.argv[1], isolation="off")
service = Service(load, ServerSettings(), Metrics())
asyncio.run(service.close())
print(stack() == before)
"""


def test_an_engine_leaves_no_stack_for_signals_in_the_main_thread(model: Path) -> None:
    command = [sys.executable, "-c", _STACK, str(model)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"
