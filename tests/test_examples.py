"""The upload guards of `examples/`: nothing is stored in public that did not pass."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bundle_support import packed
from client_support import problem, scripted
from keshikaran import Client
from serve_support import BLUE, MULTIPART, RED, Answer, Running, ask, form

EXAMPLES = Path(__file__).parent.parent / "examples"
Send = Callable[[bytes], Answer]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    model = folder / "model.onnx"
    model.write_bytes(packed())
    with Running(model, folder / "log", drain_s=0) as server:
        yield server


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Load a module of the folder, as `python examples/NAME.py` would find its neighbours."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


@pytest.fixture(params=["fastapi", "django"])
def shop(
    request: pytest.FixtureRequest, example: Callable[[str], ModuleType], tmp_path: Path
) -> Callable[[str], Send]:
    """Given the address of a server: how an upload is sent to the example that asks it."""
    if request.param == "fastapi":
        return lambda url: _fastapi(example("fastapi_uploads"), url, tmp_path)
    return lambda url: _django(example("django_uploads"), url, tmp_path)


def _fastapi(module: Any, url: str, folder: Path) -> Send:
    app: Any = SimpleNamespace(app=module.make_app(Client(url, tries=1), folder))
    return lambda data: ask(app, path="/photos", body=form(("../x.png", data)), headers=MULTIPART)


def _django(module: Any, url: str, folder: Path) -> Send:
    import django
    from django.test import Client as Browser
    from django.test import override_settings

    django.setup()

    def send(data: bytes) -> Answer:
        module.client.cache_clear()
        asking = {"KESHIKARAN_URL": url, "MEDIA_ROOT": str(folder), "ALLOWED_HOSTS": ["testserver"]}
        with override_settings(**asking):
            kind = MULTIPART["content-type"]
            done = Browser().post("/photos", form(("../x.png", data)), content_type=kind)
            module.client().close()
        return Answer(done.status_code, dict(done.headers), done.content)

    return send


def stored(folder: Path) -> dict[str, list[bytes]]:
    """The contents of what was kept, by place."""
    return {
        place.name: [path.read_bytes() for path in place.iterdir()]
        for place in sorted(folder.iterdir())
    }


def test_uploads_are_stored_held_back_or_rejected_by_their_verdict(
    shop: Callable[[str], Send], running: Running, tmp_path: Path
) -> None:
    send = shop(f"http://127.0.0.1:{running.port}")
    fates = [(send(data).status, send(data).json()["fate"]) for data in (RED, b"no image", BLUE)]
    assert fates == [(201, "store"), (202, "review"), (422, "reject")]
    assert stored(tmp_path) == {"held": [b"no image"] * 2, "public": [RED] * 2}
    names = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert all(name.isalnum() and len(name) == 32 for name in names)


def test_nothing_passes_because_the_server_is_away_or_refuses(
    shop: Callable[[str], Send], tmp_path: Path
) -> None:
    with scripted(problem(503, "queue_full", Retry_After="1")) as site:
        assert shop(site.url)(RED).json()["fate"] == "review"
    assert shop(site.url)(RED).json()["fate"] == "review"
    with scripted(problem(401, "unauthorized")) as site:
        assert shop(site.url)(RED).json()["fate"] == "review"
    assert stored(tmp_path) == {"held": [RED] * 3}
