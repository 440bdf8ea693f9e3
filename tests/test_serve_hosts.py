"""Names that a request may ask for, and signals that must not be lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serve_support import MULTIPART, RED, Answer, Request, api, call, form, get, in_loop

OURS = [
    *("localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1", "127.0.0.1:8000", "127.8.8.8"),
    *("[::1]", "[::1]:8000", "app.localhost:80"),
]
OTHERS = [
    *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("10.0.0.1", "[::2]", "", "localhost:80:80", "[::1", "user@localhost", "xlocalhost"),
    "notlocalhost:8000",
]


@pytest.mark.parametrize("host", OURS)
def test_this_machines_own_names_are_answered(host: str) -> None:
    assert get(api(), "/v1/model", headers={"host": host}).status == 200


@pytest.mark.parametrize("host", OTHERS)
@pytest.mark.parametrize("path", ["/", "/v1/model", "/livez", "/metrics", "/nothing"])
def test_other_names_are_refused_everywhere(host: str, path: str) -> None:
    answer = get(api(), path, headers={"host": host})
    assert (answer.status, answer.json()["code"]) == (421, "wrong_host")
    assert answer.headers["connection"] == "close"
    assert "--allowed-host" in answer.json()["hint"]


def test_a_request_without_a_name_is_no_browsers() -> None:
    assert get(api(), "/livez").status == 200


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({"allowed_hosts": ("Photos.example",)}, "photos.example:443", 200),
        ({"allowed_hosts": ("photos.example",)}, "localhost", 200),
        ({"allowed_hosts": ("photos.example",)}, "evil.example", 421),
        ({"token": True}, "anything.example", 200),
        ({"token": True, "allowed_hosts": ("photos.example",)}, "evil.example", 421),
    ],
)
def test_names_are_taken_as_configured(
    tmp_path: Path, settings: dict[str, Any], host: str, status: int
) -> None:
    chosen = dict(settings)
    if chosen.pop("token", False):
        (tmp_path / "tokens").write_text("a" * 32)
        chosen["token_file"] = tmp_path / "tokens"
    assert get(api(**chosen), "/livez", headers={"host": host}).status == status


@pytest.mark.parametrize(
    ("body", "headers", "kept"),
    [
        (RED, {}, True),
        (form(("a.png", RED)), MULTIPART, True),
        ([RED[:100], RED[100:]], {}, True),
        (bytes(300_000), {}, False),
        (RED, {"expect": "100-continue"}, False),
    ],
)
def test_a_full_queue_keeps_the_connection_of_whoever_has_sent_all(
    body: Any, headers: dict[str, str], kept: bool
) -> None:
    async def work() -> Answer:
        server = api(max_waiting=1, max_parts=1)
        server.service._count(1)
        answer = await call(server, Request(body=body, headers=headers))
        server.service._count(-1)
        return answer

    answer = in_loop(work)
    assert (answer.status, answer.json()["code"]) == (503, "queue_full")
    assert answer.headers["retry-after"] == "1"
    assert (answer.headers.get("connection") != "close") == kept


def test_a_full_queue_waits_for_nobody() -> None:
    async def work() -> Answer:
        server = api(max_waiting=1, max_parts=1)
        server.service._count(1)
        request = Request(body=[], headers={"content-length": "1000"})
        answer = await asyncio.wait_for(call(server, request), 5)
        server.service._count(-1)
        return answer

    assert in_loop(work).headers["connection"] == "close"


_CROWD = """
import asyncio, os, signal, threading, time
from keshikaran.web.server import _on_signal

seen = []

def crowd(loop):
    for _ in range(2000):
        loop.call_soon_threadsafe(lambda: None)
    os.kill(os.getpid(), signal.SIGHUP)

async def work():
    loop = asyncio.get_running_loop()
    _on_signal(loop, signal.SIGHUP, lambda: seen.append(1))
    thread = threading.Thread(target=crowd, args=(loop,))
    thread.start()
    while thread.is_alive():
        time.sleep(0.01)  # nobody empties the socket
    for _ in range(200):
        await asyncio.sleep(0.01)
        if seen:
            break

asyncio.run(work())
print(seen)
"""


def test_no_signal_is_lost_while_the_loop_is_held_up() -> None:
    """Threads wake the loop through the same socket, and there is room for some 280 bytes."""
    command = [sys.executable, "-c", _CROWD]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[1]\n", "")
