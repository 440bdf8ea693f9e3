"""Known images behind the HTTP API: who answered is said, described, and up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cli_support import cli
from keshikaran import Predictor
from keshikaran.hashing import image_id_of
from keshikaran.known import export_memory
from keshikaran.memory import pack_memory
from keshikaran.store import Workspace
from keshikaran.web.app import Api
from known_support import allowed_scene, banned_scene, copies, scene
from memory_support import small_memory
from serve_support import MULTIPART, Answer, api, ask, form, get
from support import encode

TOKEN = "a-token-of-the-test"


@pytest.fixture(scope="module")
def model(scenes_workspace: Workspace) -> Path:
    path = scenes_workspace.latest_model()
    assert path is not None
    return path


@pytest.fixture
def memory(scenes_workspace: Workspace, model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "known.memory"
    export_memory(scenes_workspace, model, path, isolation="off")
    return path


def serving(model: Path, memory: Path, **settings: Any) -> Api:
    return api(lambda _: Predictor.load(model, memory=memory, isolation="off"), **settings)


def test_answers_say_which_known_image_they_rest_on_as_described(
    model: Path, memory: Path, scenes: Path
) -> None:
    server = serving(model, memory)
    banned = banned_scene(scenes).read_bytes()
    files = {
        "exact": banned,
        "near_duplicate": copies(scene(10_005, red=False))["half"],
        "model": encode(scene(777), "JPEG"),
    }
    document = get(server, "/openapi.json").json()
    schema = {"$ref": "#/components/schemas/Prediction", "components": document["components"]}
    check = Draft202012Validator(schema).validate
    together = ask(server, body=form(*files.items()), headers=MULTIPART).json()["predictions"]
    for (source, data), among_others in zip(files.items(), together, strict=True):
        found = ask(server, body=data).json()
        check(found)
        assert (found["source"], among_others["source"]) == (source, source)
        assert among_others == {**found, "path": source}
        if source == "model":
            assert found["evidence"] is None
        else:
            assert found["evidence"]["image_id"] == image_id_of(banned)
            assert (found["evidence"]["label"], found["verdict"]) == (1, "block")
    described = document["components"]["schemas"]["Prediction"]["properties"]
    assert {"enum": ["exact", "near_duplicate", "model"]} in described["source"]["anyOf"]
    evidence = described["evidence"]["anyOf"][0]["properties"]
    assert set(evidence) == {"image_id", "label", "similarity", "agreement", "turn"}


def test_known_images_are_read_again_with_the_model_and_remembered_answers_go(
    model: Path, memory: Path, scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(TOKEN)
    server = serving(model, memory, cache_size=10, admin_token_file=tmp_path / "tokens")
    banned = banned_scene(scenes).read_bytes()

    def reload() -> Answer:
        headers = {"authorization": f"Bearer {TOKEN}"}
        return ask(server, path="/v1/model", body=b"", headers=headers)

    for _ in range(2):
        assert ask(server, body=banned).json()["source"] == "exact"
    assert b"keshikaran_cached_total 1.0" in get(server, "/metrics").body
    whole = memory.read_bytes()
    memory.write_bytes(whole[:-1])
    refused = reload()
    assert (refused.status, refused.json()["code"]) == (422, "model_refused")
    assert ask(server, body=banned).json()["source"] == "exact"
    memory.write_bytes(pack_memory(small_memory((0, 1), rows=0)))
    assert reload().status == 200
    assert ask(server, body=banned).json()["source"] == "model"


def test_remembered_answers_keep_their_source_under_another_name(
    model: Path, memory: Path, scenes: Path
) -> None:
    server = serving(model, memory, cache_size=10)
    data = allowed_scene(scenes).read_bytes()
    first = ask(server, body=data).json()
    named = {"content-disposition": 'attachment; filename="again.jpg"'}
    assert ask(server, body=data, headers=named).json() == {**first, "path": "again.jpg"}
    assert (first["source"], first["verdict"]) == ("exact", "pass")


def test_known_images_of_another_model_keep_the_server_from_starting(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.memory"
    path.write_bytes(pack_memory(small_memory()))
    done = cli(capsys, "serve", "--model", model, "--memory", path, "--port", "0")
    assert done.code == 1
    assert "The known images were prepared with" in done.err
    done = cli(capsys, "serve", "--model", model, "--memory", tmp_path / "gone", "--port", "0")
    assert done.code == 1
    assert "gone" in done.err
