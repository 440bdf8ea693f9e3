"""The client: what comes back, what is tried again, and what never counts as an answer."""

from __future__ import annotations

import io
import itertools
import json
import os
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_support import packed
from certificate_support import write_certificate
from client_support import (
    Script,
    after,
    drip,
    hang_up,
    judge,
    prediction,
    problem,
    reply,
    scripted,
)
from keshikaran import Client
from keshikaran.client.answers import Answer, failure_of, retry_after_s
from keshikaran.client.contents import prediction_of
from keshikaran.errors import (
    BusyError,
    ClientError,
    MissingExtraError,
    RequestFailedError,
    UnreachableError,
    UsageError,
)
from keshikaran.hashing import image_id_of
from keshikaran.types import Prediction, Thresholds
from serve_support import BLUE, MODEL_ID, RED, Running, predictor


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "model.onnx").write_bytes(packed())
    with Running(
        folder / "model.onnx", folder / "log", max_body_bytes=1_000_000, drain_s=0
    ) as server:
        yield server


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{running.port}") as asking:
        yield asking


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the client makes, none of which lasts."""
    made: list[float] = []
    monkeypatch.setattr("keshikaran.client.transport.time.sleep", made.append)
    return made


def asked(url: str, **options: Any) -> Prediction:
    """What the server at an address says about an image."""
    with Client(url, **options) as asking:
        return asking.predict(RED)


def failure(script: Script, **options: Any) -> tuple[ClientError, int]:
    """The error that an answer leads to, and how often the server was asked."""
    with scripted(script) as site:
        with pytest.raises(ClientError) as caught:
            asked(site.url, **options)
        return caught.value, len(site.asked)


# What comes back


def test_an_image_may_be_a_path_bytes_or_an_open_file(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(RED)
    assert client.predict(RED) == predictor().predict(RED)
    expected = predictor().predict(path)
    assert client.predict(path) == expected
    assert client.predict(str(path)) == expected
    with path.open("rb") as file:
        assert client.predict(file) == expected
        assert not file.closed
    behind = io.BytesIO(b"head" + RED)
    behind.seek(4)
    assert client.predict(behind) == predictor().predict(RED)
    assert client.predict(io.BytesIO()).verdict == "undecided"


def test_a_pipe_is_sent_without_knowing_its_length(client: Client) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(RED)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb") as pipe:
        assert client.predict(pipe).score == predictor().predict(RED).score
    thread.join()


def test_what_cannot_be_judged_is_undecided_as_it_is_for_the_predictor(client: Client) -> None:
    for data in (b"", b"no picture", RED[:200]):
        assert client.predict(data) == predictor().predict(data)
        assert client.predict(data).verdict == "undecided"


def test_a_file_that_cannot_be_read_is_undecided_and_nobody_is_asked(
    client: Client, tmp_path: Path
) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    class Lying(io.BytesIO):
        def seekable(self) -> bool:
            raise OSError(5, "Input/output error")

    class Shrinking(io.BytesIO):
        def seek(self, to: int, how: int = 0) -> int:
            return super().seek(to, how) + (1000 if how == os.SEEK_END else 0)

    for image, reason in (
        (tmp_path / "gone.png", "unreadable_file: No such file or directory"),
        (tmp_path, "unreadable_file: Is a directory"),
        ("a\0b", "unreadable_file: "),
        (Failing(RED), "unreadable_file: Input/output error"),
        (Lying(RED), "unreadable_file: Input/output error"),
        (Shrinking(RED), "unreadable_file: the file has changed meanwhile"),
    ):
        found = client.predict(image)
        assert (found.verdict, found.score, found.image_id) == ("undecided", None, None)
        assert (found.reason or "").startswith(reason)
    assert client.predict(RED).verdict == "pass"


def test_a_file_opened_as_text_is_wrong_usage(client: Client) -> None:
    with pytest.raises(UsageError, match="opened as text"):
        client.predict(io.StringIO("text"))  # type: ignore[arg-type]
    assert client.predict(RED).verdict == "pass"


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        Client("http://127.0.0.1:8000")
    assert 'pip install "keshikaran[client]"' in caught.value.hint


def test_model_and_readiness_can_be_asked_for(client: Client) -> None:
    model = client.model()
    assert (model.model_id, model.thresholds) == (MODEL_ID, Thresholds(0.25, 0.75))
    assert model.manifest["policy"] == {"objectionable": "objectionable"}
    assert client.ready()


def test_a_server_that_stops_or_is_away_is_not_ready(pauses: list[float]) -> None:
    with scripted(reply(503, b'{"status": "stopping"}')) as site, Client(site.url) as asking:
        assert not asking.ready()
        assert len(site.asked) == 1
    with Client(site.url) as asking:
        assert not asking.ready()
    with (
        scripted(reply(200, b"<html>")) as site,
        Client(site.url) as asking,
        pytest.raises(UnreachableError, match="ready"),
    ):
        asking.ready()
    assert pauses == []


def test_too_large_a_file_is_refused_with_the_servers_words(client: Client) -> None:
    for size in (1_000_001, 30_000_000):
        with pytest.raises(RequestFailedError, match=r"413: It has more than 1,000,000") as caught:
            client.predict(b"x" * size)
        assert (caught.value.code, caught.value.status) == ("too_large", 413)
        assert caught.value.request_id


def test_a_known_images_evidence_comes_along() -> None:
    evidence = {"image_id": "ab" * 32, "label": 1, "similarity": 0.9, "agreement": 1.0}
    said = judge(score=1.0, verdict="block", source="near_duplicate", evidence=evidence)
    with scripted(said) as site:
        found = asked(site.url)
    assert found.source == "near_duplicate"
    assert found.evidence is not None
    assert (found.evidence.image_id, found.evidence.label) == ("ab" * 32, 1)
    assert (found.evidence.similarity, found.evidence.turn) == (0.9, None)


# Another try


def test_a_busy_server_is_asked_again_when_it_says_with_the_same_bytes(
    pauses: list[float],
) -> None:
    busy = problem(503, "queue_full", Retry_After="1")
    with scripted(busy, problem(429, "too_many_connections"), hang_up, judge()) as site:
        assert asked(site.url).verdict == "pass"
    assert [each.body for each in site.asked] == [RED] * 4
    first, second, third = pauses
    assert 1.0 <= first <= 1.1
    assert 0.2 <= second <= 0.4
    assert 0.4 <= third <= 0.8


def test_tries_end_and_say_why(pauses: list[float]) -> None:
    error, count = failure(problem(503, "memory_full", Retry_After="2"), tries=3)
    assert isinstance(error, BusyError)
    assert (error.code, error.status, error.retry_after_s) == ("memory_full", 503, 2.0)
    assert error.request_id == "r-1"
    assert (count, len(pauses)) == (3, 2)


def test_nobody_waits_longer_than_there_is_time(pauses: list[float]) -> None:
    error, count = failure(problem(503, "queue_full", Retry_After="3600"), timeout_s=5)
    assert isinstance(error, BusyError)
    assert (error.retry_after_s, count, pauses) == (3600.0, 1, [])


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "bad_request"), (401, "unauthorized"), (413, "too_large"), (500, "internal")],
)
def test_what_would_be_refused_again_is_not_asked_again(
    status: int, code: str, pauses: list[float]
) -> None:
    error, count = failure(problem(status, code, Retry_After="0"))
    assert isinstance(error, RequestFailedError)
    assert (error.code, count, pauses) == (code, 1, [])


def test_a_proxys_own_answers_have_codes_too(pauses: list[float]) -> None:
    error, count = failure(reply(502, b"<html>Bad gateway", Retry_After="0"), tries=2)
    assert (type(error), error.code, error.status, count) == (BusyError, "http_502", 502, 2)
    error, count = failure(reply(413, b"<html>Too large"))
    assert (type(error), error.code, count) == (RequestFailedError, "http_413", 1)


def test_a_pipe_that_was_read_is_not_sent_a_second_time(pauses: list[float]) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with scripted(problem(503, "queue_full"), judge()) as site, Client(site.url) as asking:
        with pytest.raises(BusyError):
            asking.predict(Pipe(RED))
        assert len(site.asked) == 1

    class Broken(io.BytesIO):
        def seek(self, to: int, how: int = 0) -> int:
            if how == 0 and self.tell() == len(RED) and site.asked:
                raise OSError(5, "Input/output error")
            return super().seek(to, how)

    with scripted(problem(503, "queue_full"), judge()) as site, Client(site.url) as asking:
        found = asking.predict(Broken(RED))
    assert (found.verdict, found.reason) == ("undecided", "unreadable_file: Input/output error")


def test_a_server_that_is_not_there_is_unreachable(pauses: list[float]) -> None:
    with scripted(judge()) as site:
        pass
    with pytest.raises(UnreachableError, match="cannot be reached") as caught:
        asked(site.url, tries=2)
    assert (caught.value.code, len(pauses)) == ("unreachable", 1)


@pytest.mark.parametrize("script", [drip, after(2.0, judge())], ids=["drips", "is silent"])
def test_time_is_up_however_the_answer_is_delayed(script: Script) -> None:
    error, count = failure(script, timeout_s=0.5)
    assert (type(error), error.code, count) == (UnreachableError, "timed_out", 1)


def test_time_is_up_while_an_image_is_read() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.sleep(0.15)
            return super().read(1)

    with (
        scripted(judge()) as site,
        Client(site.url, timeout_s=0.2) as asking,
        pytest.raises(UnreachableError) as caught,
    ):
        asking.predict(Slow(RED))
    assert caught.value.code == "timed_out"


def test_waiting_for_a_free_connection_has_an_end_too() -> None:
    with (
        scripted(after(1.5, judge())) as site,
        Client(site.url, connections=1, timeout_s=30) as asking,
    ):
        thread = threading.Thread(target=asking.predict, args=(RED,))
        thread.start()
        while not site.asked:
            time.sleep(0.01)
        asking._transport.endpoint = type(asking._transport.endpoint)(site.url, timeout_s=0.1)
        with pytest.raises(UnreachableError, match="connections") as caught:
            asking.predict(RED)
        thread.join()
    assert caught.value.code == "timed_out"


@pytest.mark.parametrize(
    ("given_words", "seconds"),
    [("", None), ("soon", None), ("7", 7.0), ("-1", None), ("9" * 400, None), ("٣", None)],
)
def test_retry_after_is_a_number_or_a_date(given_words: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": given_words}) == seconds
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < (retry_after_s({"retry-after": soon}) or 0) <= 60
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after_s({}) is None


# Connections


def test_connections_are_kept_and_not_shared_with_a_forked_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with scripted(judge()) as site, Client(site.url) as asking:
        for _ in range(3):
            asking.predict(RED)
        assert len({each.client_port for each in site.asked}) == 1
        monkeypatch.setattr(os, "getpid", lambda: -1)
        asking.predict(RED)
        assert len({each.client_port for each in site.asked}) == 2
        asking.close()


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else() -> None:
    with scripted(judge()) as elsewhere:
        away = reply(307, b"", Location=f"{elsewhere.url}/v1/predict")
        error, count = failure(away, token="a-token-of-the-test")
    assert (type(error), error.code, count) == (UnreachableError, "bad_answer", 1)
    assert elsewhere.asked == []


def test_the_token_and_nothing_of_this_machine_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "holiday in Bergen.png"
    path.write_bytes(RED)
    with (
        scripted(judge()) as site,
        Client(site.url + "/moderation/", token="a-token-of-the-test") as asking,
    ):
        assert asking.predict(path).path == str(path)
        assert "a-token" not in repr(vars(asking)) + repr(asking._transport.endpoint)
    (request,) = site.asked
    assert request.path == "/moderation/v1/predict"
    assert request.headers["authorization"] == "Bearer a-token-of-the-test"
    assert request.headers["content-length"] == str(len(RED))
    assert "Bergen" not in str(request.headers)


def test_tls_is_verified_unless_somebody_else_is_trusted(tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with scripted(judge(), wrap=lambda s: context.wrap_socket(s, server_side=True)) as site:
        url = f"https://localhost:{site.port}"
        with pytest.raises(UnreachableError, match="could not prove") as caught:
            asked(url)
        assert caught.value.code == "untrusted"
        with Client(url) as asking, pytest.raises(UnreachableError):
            asking.ready()
        assert site.asked == []
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert asked(url, context=trusting).verdict == "pass"
        with pytest.raises(UnreachableError):
            asked(f"https://127.0.0.1:{site.port}", context=trusting)


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("", {}, "address"),
        ("127.0.0.1:8000", {}, "address"),
        ("ftp://a", {}, "address"),
        ("http://", {}, "address"),
        ("http://a:99999", {}, "address"),
        ("http://[::1", {}, "address"),
        ("http://kim:secret@a", {}, "more than"),
        ("http://a/?q=1", {}, "more than"),
        ("http://a/#x", {}, "more than"),
        ("http://a/ b", {}, "characters"),
        ("http://ä.example", {}, "characters"),
        ("http://a", {"token": "x\r\nEvil: 1"}, "token"),
        ("http://a", {"token": ""}, "token"),
        ("http://a", {"timeout_s": 0}, "timeout_s"),
        ("http://a", {"tries": 0}, "tries"),
        ("http://a", {"connections": 0}, "connections"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    url: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Client(url, **options)
    assert "secret" not in str(caught.value)


# What is no answer

_OF_RED = prediction(RED)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"[" * 3000,
        b"{}",
        *(
            json.dumps({**_OF_RED, **changed}).encode()
            for changed in (
                {"image_id": image_id_of(BLUE)},
                {"image_id": None},
                {"score": None},
                {"score": -0.1},
                {"score": float("nan")},
                {"score": 1e400},
                {"score": "high"},
                {"verdict": "fine"},
                {"verdict": ["pass"]},
                {"verdict": "undecided"},
                {"model_id": 1},
                {"reason": 1},
                {"source": "hearsay"},
                {"frames_total": "1"},
                {"evidence": {"image_id": "ab", "label": 2}},
                {"evidence": 3},
            )
        ),
        b" " * 5_000_000,
    ],
)
def test_an_answer_that_is_no_prediction_of_this_image_is_none(body: bytes) -> None:
    error, count = failure(reply(200, body))
    assert (type(error), error.code, count) == (UnreachableError, "bad_answer", 1)


def test_a_description_that_is_none_is_refused() -> None:
    for body in (b"{}", b'{"model_id": "a", "thresholds": {"review": 0.9, "block": 0.1}}'):
        with (
            scripted(reply(200, body)) as site,
            Client(site.url) as asking,
            pytest.raises(UnreachableError, match="describes no model"),
        ):
            asking.model()


_TEXT = st.text("pas\u00e9\x1b\u202e\ud800", max_size=5)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)
_SAID = st.dictionaries(
    st.sampled_from([*_OF_RED, "code", "prediction", "detail"]), _JSON, max_size=4
)


@given(st.sampled_from([200, 204, 301, 400, 422, 429, 500, 503]), _SAID)
def test_whatever_comes_back_it_is_an_error_or_a_verdict(status: int, said: dict[str, Any]) -> None:
    answer = Answer(status, {}, json.dumps({**_OF_RED, **said}).encode())
    error = failure_of(answer)
    if error is not None:
        assert error.code.isprintable()
        assert str(error).isprintable()
        return
    try:
        found = prediction_of(answer, image_id_of(RED), "-")
    except UnreachableError:
        return
    assert found.image_id == image_id_of(RED)
    assert (found.score is None) == (found.verdict == "undecided")


# Many


def test_many_come_in_order_and_not_too_many_at_once(client: Client) -> None:
    files = [RED, BLUE, b"no picture", RED, BLUE] * 4
    verdicts = [each.verdict for each in client.predict_many(iter(files), concurrency=3)]
    assert verdicts == ["pass", "block", "undecided", "pass", "block"] * 4
    assert list(client.predict_many([])) == []


def test_no_more_requests_than_asked_for_run_at_once_and_images_are_taken_late() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield b"%d" % number

    with scripted(after(0.01, judge())) as site, Client(site.url) as asking:
        found = asking.predict_many(endless(), concurrency=3)
        first = [next(found).image_id for _ in range(20)]
        found.close()  # type: ignore[attr-defined]
    assert first == [image_id_of(b"%d" % number) for number in range(20)]
    assert site.most_at_once <= 3
    assert taken <= 20 + 6
    assert not any(each.name.startswith("keshikaran-client") for each in threading.enumerate())


def test_an_error_comes_at_its_image_after_those_before_it(pauses: list[float]) -> None:
    with (
        scripted(judge(), judge(), problem(401, "unauthorized")) as site,
        Client(site.url, connections=1) as asking,
    ):
        found = asking.predict_many([RED] * 10, concurrency=1)
        assert [next(found).verdict for _ in range(2)] == ["pass", "pass"]
        with pytest.raises(RequestFailedError) as caught:
            next(found)
    assert caught.value.code == "unauthorized"


def test_no_number_of_requests_but_a_positive_one(client: Client) -> None:
    with pytest.raises(UsageError, match="concurrency"):
        next(client.predict_many([RED], concurrency=0))
