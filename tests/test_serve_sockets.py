"""A started server on a loopback port: slow, lying, leaving and far too many clients; signals."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bundle_support import packed
from keshikaran.hashing import image_id_of
from keshikaran.web.budget import SMALL_BYTES
from keshikaran.web.connection_table import ConnectionTable
from keshikaran.web.connections import Guard
from keshikaran.web.listener import listen
from keshikaran.web.settings import ServerSettings
from serve_support import (
    BLUE,
    MODEL_ID,
    OTHER_MODEL_ID,
    RED,
    Answer,
    Running,
    head,
    predictor,
    read_answer,
    seconds_until_closed,
)

SHORT: dict[str, Any] = {
    "header_timeout_s": 0.5,
    "idle_timeout_s": 0.6,
    "body_timeout_s": 1.2,
    "rate_window_s": 0.4,
    "min_body_rate": 1000,
    "send_timeout_s": 0.7,
    "linger_s": 1.0,
    "drain_s": 0.2,
    "max_body_bytes": 1_000_000,
    "max_request_bytes": 2_000_000,
    "body_memory_bytes": 8_000_000,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake model, with another one beside it. Do not change them."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "other.onnx").write_bytes(packed(model_id=OTHER_MODEL_ID))
    path = folder / "model.onnx"
    path.write_bytes(packed())
    return path


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with short deadlines."""
    log = tmp_path_factory.mktemp("log") / "log"
    with Running(model, log, max_header_bytes=8192, **SHORT) as running:
        yield running


def refused(answer: Answer, status: int, code: str) -> None:
    """A problem, after which the connection ends."""
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert answer.headers["connection"] == "close"


def wait_for(server: Running, route: str, code: str, after: int = 0) -> None:
    """Until the log has a line of a request to this route that ended so."""
    until = time.monotonic() + 60
    while (route, code) not in [
        (line.get("route"), line.get("code")) for line in server.lines()[after:]
    ]:
        assert time.monotonic() < until
        time.sleep(0.05)


def wait_until_nobody_listens(server: Running) -> None:
    """Until the server takes no connection any more."""
    until = time.monotonic() + 60
    with suppress(ConnectionRefusedError):
        while True:
            server.connect().close()
            assert time.monotonic() < until
            time.sleep(0.05)


def test_answers_over_one_connection_again_and_again(server: Running) -> None:
    with server.connect() as connection:
        for body in (RED, BLUE, b"no picture", RED):
            connection.sendall(head(len(body)) + body)
            answer = read_answer(connection)
            assert answer.status == (422 if body == b"no picture" else 200)
        connection.sendall(head(len(RED)) + RED + head(len(BLUE)) + BLUE)  # without waiting
        received = b""
        while image_id_of(BLUE).encode() not in received:
            received += connection.recv(65_536)
        assert received.count(b"HTTP/1.1 200 OK") == 2
        assert received.index(image_id_of(RED).encode()) < received.index(
            image_id_of(BLUE).encode()
        )


def test_no_part_of_an_answer_waits_for_the_client_to_confirm_the_one_before() -> None:
    settings = ServerSettings(port=0)

    async def scene() -> int:
        loop = asyncio.get_running_loop()
        with listen(settings) as listener, socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            connection.setblocking(False)
            _, guard = await loop.connect_accepted_socket(
                lambda: Guard(lambda _: asyncio.Protocol(), ConnectionTable(settings)), connection
            )
            mine = guard.transport.get_extra_info("socket")
            option: int = mine.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            guard.transport.abort()
            await asyncio.sleep(0)
            return option

    assert asyncio.run(scene()) != 0


def test_the_same_file_has_the_same_score_as_in_python(server: Running) -> None:
    for body in (RED, BLUE):
        assert server.post(body).json()["score"] == pytest.approx(
            predictor().predict(body).score, abs=1e-3
        )


def test_body_waits_for_the_servers_word_where_the_client_asks(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(len(RED), Expect="100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(RED)
        assert read_answer(connection).status == 200
    with server.connect() as connection:
        connection.sendall(head(10**9, Expect="100-continue"))
        refused(read_answer(connection), 413, "too_large")


# Slow and silent


def test_silent_connection_is_closed(server: Running) -> None:
    started = time.monotonic()
    with server.connect() as connection:
        assert 0.4 < seconds_until_closed(connection, since=started) < 25


def test_head_that_drips_is_closed_with_a_word(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nX-Slow: ")
        for _ in range(8):
            time.sleep(0.1)
            with suppress(OSError):
                connection.sendall(b"a")
        refused(read_answer(connection), 408, "request_timeout")
        assert seconds_until_closed(connection) < 25


def test_idle_connection_is_closed_after_its_answer(server: Running) -> None:
    with server.connect() as connection:
        started = time.monotonic()
        connection.sendall(head(len(RED)) + RED)
        assert read_answer(connection).status == 200
        assert 0.5 < seconds_until_closed(connection, since=started) < 25


def test_next_head_that_drips_is_closed_too(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(len(RED)) + RED)
        assert read_answer(connection).status == 200
        connection.sendall(b"POST /v1/pre")
        assert seconds_until_closed(connection, b"d") < 25


def test_body_that_drips_is_refused_long_before_it_ends(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(1000) + b"a")
        started = time.monotonic()
        refused(read_answer(connection), 408, "request_timeout")
        assert time.monotonic() - started < 20


def test_body_at_a_fair_pace_still_has_an_end(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(900_000))
        started = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - started < 1.5:
                connection.sendall(b"a" * 500)
                time.sleep(0.05)
        refused(read_answer(connection), 408, "request_timeout")


def test_client_that_never_takes_its_answers_is_cut_off(server: Running) -> None:
    """It asks and asks on one connection and reads nothing, until no buffer holds more."""
    question = head(None, "/docs", method="GET")
    with server.connect(0.5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        started = time.monotonic()
        with suppress(TimeoutError):
            while time.monotonic() - started < 3:
                connection.sendall(question * 50)
        wait_for(server, "/docs", "client_left")
        assert seconds_until_closed(connection) < 25


# Lies and nonsense


def test_chunks_beyond_the_limit_are_refused_while_they_come(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(-1))
        chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        with suppress(OSError):
            for _ in range(200):
                connection.sendall(chunk)
        refused(read_answer(connection), 413, "too_large")


def test_more_than_the_declared_length_never_counts_as_an_image(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(head(10) + b"a" * 3_000_000)
        answer = read_answer(connection)
        assert answer.status in (400, 422)
        assert seconds_until_closed(connection) < 25


def test_client_that_leaves_in_the_middle_is_noted_and_costs_nothing(server: Running) -> None:
    before = len(server.lines())
    with server.connect() as connection:
        connection.sendall(head(900_000) + b"a" * 1000)
        time.sleep(0.2)
    wait_for(server, "/v1/predict", "client_left", before)
    assert b"keshikaran_body_bytes 0.0" in server.get("/metrics").body


@pytest.mark.parametrize(
    "words",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ],
    ids=["tls", "cut", "negative", "smuggling", "twice"],
)
def test_what_is_no_request_is_400_in_the_same_shape(server: Running, words: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(words)
        refused(read_answer(connection), 400, "bad_request")
        assert seconds_until_closed(connection) < 25


def judged(server: Running) -> list[bytes]:
    """The counts of images answered."""
    lines = server.get("/metrics").body.split(b"\n")
    return [line for line in lines if line.startswith(b"keshikaran_predictions_total")]


@pytest.mark.parametrize("declared", [100, 300_000])
def test_more_than_was_declared_is_400_that_can_be_read_late(
    server: Running, declared: int
) -> None:
    before = judged(server)
    with server.connect() as connection:
        connection.sendall(head(declared) + b"a" * declared + bytes(100_000))
        time.sleep(0.3)
        refused(read_answer(connection), 400, "bad_request")
    if declared > SMALL_BYTES:
        assert judged(server) == before


def test_endless_head_is_431(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        with suppress(OSError):
            for number in range(300):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"a" * 100))
                time.sleep(0.0005)
        refused(read_answer(connection), 431, "headers_too_large")


def test_websocket_is_answered_as_plain_http(server: Running) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Key": "a"}
    assert server.get("/livez", **upgrade).status == 200


# Too many


def test_connections_of_one_address_and_of_all_are_limited(model: Path, tmp_path: Path) -> None:
    limits = {"connections_per_client": 2, "max_connections": 4, "header_timeout_s": 30.0}
    token = tmp_path / "tokens"
    token.write_text("a-token-for-this-test\n")
    public = {"host": "0.0.0.0", "token_file": str(token)}
    address = next(
        (str(a[4][0]) for a in socket.getaddrinfo(socket.gethostname(), 0, socket.AF_INET)),
        "127.0.0.1",
    )
    with Running(model, tmp_path / "log", **(SHORT | limits | public)) as server:
        kept = [server.connect() for _ in range(4)]
        time.sleep(0.1)
        with server.connect() as connection:
            answer = read_answer(connection)
            refused(answer, 503, "server_full")
            assert answer.headers["retry-after"] == "1"
        for connection in kept:
            connection.close()
        until = time.monotonic() + 60
        while server.get("/livez").status != 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        if not address.startswith("127."):
            mine = [socket.create_connection((address, server.port)) for _ in range(3)]
            refused(read_answer(mine[2]), 429, "too_many_connections")
            for connection in mine:
                connection.close()


# Signals


def test_signal_to_end_finishes_what_was_begun_and_says_no_first(
    model: Path, tmp_path: Path
) -> None:
    slow = SHORT | {"drain_s": 3.0, "rate_window_s": 60.0, "body_timeout_s": 60.0}
    with (
        Running(model, tmp_path / "log", **slow) as server,
        server.connect() as connection,
    ):
        connection.sendall(head(len(RED)) + RED[:100])
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 60
        while (ready := server.get("/readyz")).status != 503:
            assert time.monotonic() < until
        assert ready.json() == {"status": "stopping"}
        assert server.post(BLUE).headers["connection"] == "close"
        wait_until_nobody_listens(server)
        connection.sendall(RED[100:])
        assert read_answer(connection).status == 200
        assert server.process.wait(timeout=30) == 0
    events = [line["event"] for line in server.lines()]
    marks = [event for event in events if event in ("started", "stopping", "stopped")]
    assert marks == ["started", "stopping", "stopped"]
    assert events[-1] == "stopped"


def test_no_accepted_request_is_lost_when_it_ends_under_load(model: Path, tmp_path: Path) -> None:
    """Clients connect anew for every image; only a refused connection may tell that it is over."""
    lost: list[str] = []
    patient = SHORT | {"header_timeout_s": 30.0, "rate_window_s": 30.0, "body_timeout_s": 30.0}
    with Running(model, tmp_path / "log", **patient) as server:

        def client() -> None:
            while True:
                try:
                    connection = server.connect()
                except OSError:
                    return
                with connection:
                    try:
                        connection.sendall(head(len(RED)) + RED)
                        status = read_answer(connection).status
                    except OSError as error:
                        status = -1
                        lost.append(repr(error))
                    if status not in (200, 503, -1):
                        lost.append(str(status))

        threads = [threading.Thread(target=client) for _ in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert server.process.wait(timeout=30) == 0
    assert lost == []


def test_hangup_loads_the_model_file_again_and_a_second_signal_to_end_is_obeyed_at_once(
    model: Path, tmp_path: Path
) -> None:
    own = tmp_path / "model.onnx"
    shutil.copy(model, own)
    with Running(own, tmp_path / "log", **(SHORT | {"drain_s": 60.0})) as server:
        assert server.post(RED).json()["model_id"] == MODEL_ID
        own.write_bytes(packed(model_id=OTHER_MODEL_ID))
        server.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 60
        while server.post(RED).json()["model_id"] != OTHER_MODEL_ID:
            assert time.monotonic() < until
            time.sleep(0.05)
        own.write_bytes(b"broken")
        server.process.send_signal(signal.SIGHUP)
        while "model_refused" not in [line["event"] for line in server.lines()]:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert server.post(RED).json()["model_id"] == OTHER_MODEL_ID
        server.process.send_signal(signal.SIGINT)
        while server.get("/readyz").status != 503:
            assert time.monotonic() < until
            time.sleep(0.05)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=30) == 0


def test_killed_server_leaves_no_process_and_killed_decoder_no_failed_request(
    model: Path, tmp_path: Path
) -> None:
    with Running(model, tmp_path / "log", isolation="process", **SHORT) as server:
        assert server.post(RED).status == 200
        family = descendants(server.process.pid)
        assert len(family) >= 2
        os.kill(family[-1], signal.SIGKILL)
        assert [server.post(RED).status for _ in range(4)] == [200] * 4
        family = descendants(server.process.pid)
        server.process.kill()
        server.process.wait()
        until = time.monotonic() + 60
        while (left := [pid for pid in family if is_there(pid)]) and time.monotonic() < until:
            time.sleep(0.05)
        assert left == []


def descendants(pid: int) -> list[int]:
    """Its children, then theirs."""
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            children += [int(child) for child in (task / "children").read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


def is_there(pid: int) -> bool:
    """Whether it runs; one that has ended and was not asked for its code does not."""
    with suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False
