"""Featurizing and predicting on a Ray cluster of two workers. `make test-ray` runs these."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli_support import Outcome, process
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import Store
from keshikaran.training import TrainingResult
from ray_support import RunningCluster, alive, descendants, kill, ray_cluster
from support import encode, reddish, write_classes

pytestmark = pytest.mark.ray

_COUNT = 90
_PART = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with ray_cluster(tmp_path_factory.mktemp("ray")) as running:
        yield running


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """180 pictures, one of several frames, and one that is broken."""
    folder = write_classes(tmp_path_factory.mktemp("pictures"), _COUNT)
    frames = [reddish(seed) for seed in (1001, 1002, 1003)]
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:], loop=0)
    (folder / "red" / "moves.gif").write_bytes(data.getvalue())
    (folder / "blue" / "torn.png").write_bytes(encode(reddish(1004))[:-400])
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A workspace whose features this machine computed, without Ray. Do not change it."""
    folder = _imported(tmp_path_factory.mktemp("local"), pictures)
    done = process("featurize", "-w", folder)
    assert done.code == 3, done.err  # one picture is torn
    return folder


def _imported(folder: Path, pictures: Path) -> Path:
    with Store(folder) as store:
        import_source(store, scan_folder(pictures, ["red"]))
    return folder


def _words(cluster: RunningCluster, *words: str | Path) -> list[str]:
    return [*map(str, words), "--ray", cluster.address, "--part-size", str(_PART)]


def _run(cluster: RunningCluster, *words: str | Path) -> Outcome:
    return process(*_words(cluster, *words), environment=cluster.environment)


def _started(cluster: RunningCluster, *words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "keshikaran", *_words(cluster, *words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **cluster.environment},
    )


def _cached(workspace: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that a feature cache says, in order."""
    tables = {
        "features": "recipe, image_id, view, vector",
        "sketches": "recipe, image_id, pixels",
        "refusals": "pixel_contract, image_id, reason, detail",
    }
    database = sqlite3.connect(workspace / "features.sqlite")
    try:
        return {
            table: database.execute(f"SELECT {names} FROM {table} ORDER BY {names}").fetchall()
            for table, names in tables.items()
        }
    finally:
        database.close()


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _wait_for(folder: Path, count: int, running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(_shards(folder)) < count and time.monotonic() < deadline:
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)


def _finished(running: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = running.communicate(timeout=240)
    assert running.returncode == 3, err
    done: dict[str, Any] = json.loads(out)
    return done


def test_a_killed_worker_costs_time_only(
    cluster: RunningCluster, local: Path, pictures: Path, tmp_path: Path
) -> None:
    workspace, shards = _imported(tmp_path / "far", pictures), tmp_path / "shards"
    running = _started(cluster, "featurize", "-w", workspace, "--shards", shards, "--json")
    _wait_for(shards, 2, running)
    victim = cluster.workers()[0]
    decoders = descendants(victim)[1:]
    assert decoders
    kill(victim)
    done = _finished(running)
    assert (done["images"], done["added"], done["refused"]) == (2 * _COUNT + 2, 2 * _COUNT + 1, 1)
    assert len(_shards(shards)) == done["tasks"] > 10
    assert _cached(workspace) == _cached(local)
    assert {len(rows) > 0 for rows in _cached(workspace).values()} == {True}
    assert not [pid for pid in [victim, *decoders] if alive(pid)]


def test_work_that_kills_whoever_has_it_is_given_up(
    cluster: RunningCluster, pictures: Path, tmp_path: Path
) -> None:
    workspace = _imported(tmp_path / "far", pictures)
    words = ["featurize", "-w", str(workspace), "--ray", cluster.address]  # all in one part
    running = subprocess.Popen(
        [sys.executable, "-m", "keshikaran", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **cluster.environment},
    )
    killed: set[int] = set()
    deadline = time.monotonic() + 200
    while running.poll() is None and time.monotonic() < deadline:
        for worker in set(cluster.workers()) - killed:
            if len(descendants(worker)) > 1:  # it has begun
                kill(worker)
                killed.add(worker)
        time.sleep(0.05)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, len(killed)) == (1, "", 6), err
    assert "Work on the Ray cluster failed" in err
    assert _shards(workspace / "shards") == []


def test_a_killed_command_goes_on_where_it_was(
    cluster: RunningCluster, local: Path, pictures: Path, tmp_path: Path
) -> None:
    workspace = _imported(tmp_path / "far", pictures)
    running = _started(cluster, "featurize", "-w", workspace, "--json")
    _wait_for(workspace / "shards", 3, running)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not (workspace / "features.sqlite").exists() or not _cached(workspace)["features"]
    torn = _shards(workspace / "shards")[0]
    torn.write_bytes(torn.read_bytes()[:-1])  # as if that disk had lied
    done = _finished(_started(cluster, "featurize", "-w", workspace, "--json"))
    assert done["reused"] >= 2
    assert done["machines"]
    assert _cached(workspace) == _cached(local)
    assert list((workspace / "shards").iterdir()) == []


def test_shards_of_webdataset_are_featurized_before_and_merged_once_after_they_are_imported(
    cluster: RunningCluster, local: Path, pictures: Path, tmp_path: Path
) -> None:
    tars = tmp_path / "tars"
    _write_tars(pictures, tars)
    workspace, shards = tmp_path / "far", tmp_path / "shards"
    words = ("featurize", f"file://{tars}/train-{{0..1}}.tar", "-w", workspace, "--shards", shards)
    first = _run(cluster, *words, "--json")
    assert first.code == 3, first.err
    done = json.loads(first.out)
    assert (done["tasks"], done["added"], done["elsewhere"]) == (2, 0, 2 * _COUNT + 1)
    assert [refusal["name"].rpartition("!/")[2] for refusal in done["refusals"]] == ["torn.png"]
    assert _cached(workspace)["features"] == []
    _imported(workspace, pictures)
    nobody = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}
    for added in (2 * _COUNT + 1, 0):  # no cluster is needed: all is there
        again = process(*words, "--ray", "127.0.0.1:1", "--json", environment=nobody)
        assert again.code == 3, again.err
        done = json.loads(again.out)
        assert (done["added"], done["elsewhere"], done["reused"]) == (added, 0, 2)
        assert _cached(workspace) == _cached(local)


def _write_tars(pictures: Path, folder: Path) -> None:
    folder.mkdir()
    for number, name in enumerate(("blue", "red")):
        with tarfile.open(folder / f"train-{number}.tar", "w") as archive:
            for path in sorted((pictures / name).iterdir()):
                archive.add(path, path.name)
                label = tarfile.TarInfo(f"{path.stem}.cls")
                label.size = 1
                archive.addfile(label, io.BytesIO(str(number).encode()))


def test_predictions_are_those_of_this_machine_in_the_order_given(
    cluster: RunningCluster, trained: TrainingResult, pictures: Path, tmp_path: Path
) -> None:
    folders = (pictures / "red", pictures / "blue")
    words = ("predict", *folders, "--model", trained.model_path, "--json")
    here = process(*words)
    there = _run(cluster, *words, "--shards", tmp_path / "shards")
    assert (here.code, there.code) == (3, 3), there.err
    assert _lines(there) == _lines(here)
    again = process(
        *(*words, "--shards", tmp_path / "shards", "--part-size", str(_PART)),
        *("--ray", "127.0.0.1:1"),
        environment=cluster.environment,
    )
    assert _lines(again) == _lines(here)


def _lines(outcome: Outcome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_a_cluster_of_ones_own_needs_no_token_and_leaves_nothing(
    trained: TrainingResult, tmp_path: Path
) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(encode(reddish(5)))
    environment = {"HOME": str(tmp_path)}
    words = ("predict", path, tmp_path / "gone.png", "--model", trained.model_path)
    before = _ray_processes()
    done = process(
        *words, "--ray", "local", "--shards", tmp_path / "shards", environment=environment
    )
    assert done.code == 1
    assert "gone.png cannot be listed" in done.err
    done = process(
        *(*words[:2], *words[3:]),
        *("--ray", "local", "--shards", tmp_path / "shards", "--quiet"),
        environment=environment,
    )
    assert done.code == 0, done.err
    assert 0.5 < float(done.out) <= 1
    assert not (tmp_path / ".ray").exists()
    deadline = time.monotonic() + 20
    while _ray_processes() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _ray_processes() <= before


def _ray_processes() -> set[int]:
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            title = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if b"raylet" in title or b"gcs_server" in title or title.startswith(b"ray::"):
            found.add(int(place.name))
    return found


def test_what_lies_in_the_memory_of_a_program_is_sent_along(
    cluster: RunningCluster, local: Path, pictures: Path, tmp_path: Path
) -> None:
    code = """
import json, sys
from pathlib import Path
import fsspec
from keshikaran.scale.cluster import Cluster
from keshikaran.scale.featurizing import FeaturizeRequest, featurize_on
from keshikaran.store import Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import SilentProgress
files = fsspec.filesystem("memory")
for path in sorted(Path(sys.argv[2]).iterdir())[:3]:
    files.pipe(f"/pictures/{path.name}", path.read_bytes())
request = FeaturizeRequest(Cluster(sys.argv[3]), ("memory://pictures/*.png",), sys.argv[4])
done = featurize_on(Workspace(Path(sys.argv[1])), request, TrainingOptions(), SilentProgress())
print(json.dumps(done.to_dict()))
"""
    words = [local, pictures / "red", cluster.address, tmp_path / "shards"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, **cluster.environment},
    )
    found = json.loads(done.stdout)
    assert (found["images"], found["added"], found["elsewhere"]) == (3, 0, 0)
    assert found["shards"] == str(tmp_path / "shards")


# Tokens


def test_no_port_answers_without_a_token(cluster: RunningCluster) -> None:
    """But for gRPC's health check, which says "serving" to anybody."""
    client = _ray_client(cluster)
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        ports, methods = cluster.ports(), _methods()
        assert len(ports) >= 5  # head, raylet (two), agent, Ray's client
        assert len(methods) > 100
        found = {port: _codes(*port, methods) for port in [*ports, *_ports_of(client.pid)]}
    finally:
        client.kill()
        client.communicate()
    for (host, port), codes in found.items():
        served = {method for method, code in codes.items() if code == "OK"}
        guarded = {method for method, code in codes.items() if code == "UNAUTHENTICATED"}
        assert served <= {"/grpc.health.v1.Health/Check"}, (host, port)
        assert set(codes.values()) <= {"OK", "UNAUTHENTICATED", "UNIMPLEMENTED", "HTTP 401"}
        assert guarded or "HTTP 401" in codes.values() or len(served) == 1, (host, port)
    guarded_somewhere = [codes for codes in found.values() if "UNAUTHENTICATED" in codes.values()]
    assert len(guarded_somewhere) >= 4
    head, _, number = cluster.address.rpartition(":")
    health = "/grpc.health.v1.Health/Check"
    assert _codes(head, int(number), [health]) == {health: "OK"}  # it has survived all that


def _ports_of(pid: int) -> list[tuple[str, int]]:
    """Of a driver: it is no part of the cluster, and listens as well."""
    return RunningCluster("", pid, {}).ports()


def _codes(host: str, port: int, methods: list[str]) -> dict[str, str]:
    """What a port says to each method without a token."""
    import grpc

    codes: dict[str, str] = {}
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for method in methods:
            codes[method] = _code(grpc, channel, method)
            if codes[method] == "UNAVAILABLE":  # no gRPC here
                return {"/": f"HTTP {_http_status(host, port)}"}
    return codes


def _ray_client(cluster: RunningCluster) -> subprocess.Popen[str]:
    """A driver with two actors, so that their ports are open, too."""
    code = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
@ray.remote
class Idle:
    def here(self):
        return 1
idle = [Idle.remote() for _ in range(2)]
ray.get([each.here.remote() for each in idle])
print("ready", flush=True)
time.sleep(300)
"""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, cluster.address],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **cluster.environment},
    )


def _methods() -> list[str]:
    """Every method that Ray's programs and its client know, by name."""
    import ray
    from ray.core.generated import ray_client_pb2

    core = Path(ray.__file__).parent / "core" / "src" / "ray"
    names = {"/grpc.health.v1.Health/Check"}
    for program in ("raylet/raylet", "gcs/gcs_server"):
        data = (core / program).read_bytes()
        names |= {match.decode() for match in re.findall(rb"/ray\.rpc\.[\w.]+/\w+", data)}
    for service in ray_client_pb2.DESCRIPTOR.services_by_name.values():
        names |= {f"/{service.full_name}/{method.name}" for method in service.methods}
    return sorted(names)


def _code(grpc: Any, channel: Any, method: str) -> str:
    plain = {"request_serializer": bytes, "response_deserializer": bytes}
    try:
        if method.endswith("/StartSync"):  # without this header Ray 2.60 ends, before any token
            header = [("node_id", "0" * 56)]
            call = channel.stream_stream(method, **plain)
            next(iter(call(iter([b""]), timeout=10, metadata=header)))
        else:
            channel.unary_unary(method, **plain)(b"", timeout=10)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def _http_status(host: str, port: int) -> int:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _refused(address: str, environment: Mapping[str, str], tmp_path: Path) -> str:
    picture = tmp_path / "one.png"
    picture.write_bytes(encode(Image.new("RGB", (40, 40), "red")))
    done = process(
        *("featurize", picture, "-w", tmp_path / "w", "--shards", tmp_path / "shards"),
        *("--ray", address),
        environment=environment,
    )
    assert (done.code, done.out) == (1, "")
    assert not (tmp_path / "shards").exists()
    return done.err


def test_another_token_is_refused(cluster: RunningCluster, tmp_path: Path) -> None:
    environment = {**cluster.environment, "RAY_AUTH_TOKEN": "w" * 64}
    assert "cannot be used" in _refused(cluster.address, environment, tmp_path)


def test_a_cluster_that_works_for_anybody_gets_no_work(tmp_path: Path) -> None:
    with ray_cluster(tmp_path, mode="disabled", cores=1) as unlocked:
        environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "w" * 64}
        said = _refused(unlocked.address, environment, tmp_path)
    assert "without a token" in said
    assert "ray get-auth-token --generate" in said
