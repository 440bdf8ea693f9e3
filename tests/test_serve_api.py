"""The HTTP API, asked directly: what it answers, and in which words it refuses."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from keshikaran.errors import BundleError
from keshikaran.hashing import image_id_of
from keshikaran.types import Prediction
from keshikaran.web import log, openapi
from keshikaran.web.app import Api
from keshikaran.web.problems import KINDS, MEDIA_TYPE
from keshikaran.web.settings import ServerSettings
from serve_support import (
    BLUE,
    BOUNDARY,
    MODEL_ID,
    MULTIPART,
    OTHER_MODEL_ID,
    RED,
    Answer,
    Request,
    api,
    ask,
    call,
    form,
    fresh_predictor,
    get,
    in_loop,
    predictor,
)

TOKEN, OTHER_TOKEN = "a-token-of-the-test", "another-token-there-is"


@pytest.fixture(scope="module")
def plain() -> Api:
    return api()


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# those who may ask\n{TOKEN}\n\n{OTHER_TOKEN}\n")
    return path


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the server logs; afterwards logging is as it was."""
    loggers = [logging.getLogger(name) for name in ("keshikaran", "uvicorn", "asyncio")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    out = io.StringIO()
    log.write_to(out)
    yield out
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem, in the documented shape."""
    found: dict[str, Any] = answer.json()
    assert (answer.status, found["code"]) == (status, code), found
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert found["status"] == status == KINDS[code].status
    assert found["title"] == KINDS[code].title
    assert found["detail"]
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


# Answers


def test_raw_image_is_answered_with_the_object_of_predict(plain: Api) -> None:
    answer = ask(plain, body=RED, headers={"content-type": "image/png"})
    assert answer.status == 200
    assert answer.json() == predictor().predict(RED).to_dict()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def test_format_is_told_by_the_bytes_not_by_the_header(plain: Api) -> None:
    for kind in ("image/gif", "application/octet-stream", "IMAGE/X-NONSENSE; q=1"):
        assert ask(plain, body=BLUE, headers={"content-type": kind}).status == 200
    assert ask(plain, body=BLUE).status == 200


def test_bodies_in_pieces_and_without_a_length_give_the_same_answer(plain: Api) -> None:
    pieces = [RED[at : at + 700] for at in range(0, len(RED), 700)]
    whole = ask(plain, body=RED).json()
    assert ask(plain, body=pieces).json() == whole
    assert ask(plain, body=pieces, declared=False).json() == whole


def test_multipart_gives_each_file_its_own_outcome_in_order(plain: Api) -> None:
    body = form(("a.png", RED), ("b.txt", b"no picture"), ("c.jpg", BLUE), ("empty", b""))
    answer = ask(plain, body=body, headers=MULTIPART)
    assert answer.status == 200
    found = answer.json()["predictions"]
    assert [item["path"] for item in found] == ["a.png", "b.txt", "c.jpg", "empty"]
    assert [item["verdict"] for item in found] == ["pass", "undecided", "block", "undecided"]
    assert found[0]["score"] == pytest.approx(predictor().predict(RED).score, abs=1e-6)
    assert found[1]["reason"].startswith("not_an_image: ")
    assert found[3]["reason"].startswith("empty_file: ")


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_multipart_may_be_cut_anywhere(plain: Api, size: int) -> None:
    body = form(("a.png", RED), ("c.jpg", BLUE))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    found = ask(plain, body=pieces, headers=MULTIPART).json()["predictions"]
    assert [item["image_id"] for item in found] == [image_id_of(RED), image_id_of(BLUE)]


def test_name_comes_back_and_can_do_no_harm(plain: Api) -> None:
    evil = "a\r\nSet-Cookie: x=1<script>\x1b[31m\u202e.png"
    disposition = {"content-disposition": 'attachment; filename="../../etc/pass<b>.png"'}
    answer = ask(plain, body=RED, headers=disposition)
    assert answer.json()["path"] == "../../etc/pass<b>.png"
    answer = ask(plain, body=form((evil.replace("\r\n", "\x07"), RED)), headers=MULTIPART)
    (found,) = answer.json()["predictions"]
    assert found["path"] == "a\\x07Set-Cookie: x=1<script>\\x1b[31m\\u202e.png"
    assert answer.body.isascii() or b"\x1b" not in answer.body
    long = ask(plain, body=form(("n" * 1500, RED)), headers=MULTIPART)
    assert len(long.json()["predictions"][0]["path"]) == 255


def test_model_says_what_it_is(plain: Api) -> None:
    answer = get(plain, "/v1/model")
    assert answer.json()["model_id"] == MODEL_ID
    assert answer.json()["thresholds"] == {"review": 0.25, "block": 0.75}


# What stays undecided


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty_file"), (b"no picture", "not_an_image"), (RED[:200], "truncated")],
)
def test_image_that_cannot_be_judged_is_422_with_the_reason_never_a_pass(
    plain: Api, data: bytes, reason: str
) -> None:
    found = problem(ask(plain, body=data), 422, "undecided")
    assert found["detail"].startswith(f"{reason}: ")
    assert found["prediction"]["verdict"] == "undecided"
    assert found["prediction"]["score"] is None
    assert found["prediction"]["reason"] == found["detail"]


# Refusals


def test_other_kinds_of_bodies_are_415(plain: Api) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    found = problem(ask(plain, body=RED, headers=kind), 415, "unsupported_media_type")
    assert "multipart/form-data" in found["hint"]
    packed = {"content-encoding": "gzip"}
    problem(ask(plain, body=RED, headers=packed), 415, "unsupported_media_type")


def test_unknown_address_and_method() -> None:
    plain = api()
    problem(get(plain, "/v1/nothing"), 404, "not_found")
    problem(get(plain, "/v1/predict/"), 404, "not_found")
    answer = get(plain, "/v1/predict")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    answer = ask(plain, method="DELETE", path="/v1/model")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_declared_length_is_refused_before_a_byte_is_read() -> None:
    small = api(max_body_bytes=1000)
    headers = {"content-length": str(10**9)}
    answer = ask(small, body=[b"x"], headers=headers)
    assert "1,000 bytes" in problem(answer, 413, "too_large")["detail"]
    assert answer.headers["connection"] == "close"


def test_length_is_counted_where_none_is_declared() -> None:
    small = api(max_body_bytes=1000, max_request_bytes=2000)
    answer = ask(small, body=[b"x" * 600] * 2, declared=False)
    problem(answer, 413, "too_large")
    assert answer.headers["connection"] == "close"
    body = form(("a", b"x" * 1001))
    problem(ask(small, body=body, headers=MULTIPART), 413, "too_large")
    body = form(("a", b"x" * 990), ("b", b"x" * 990))
    problem(ask(small, body=body, headers=MULTIPART), 413, "too_large")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (form(("a.png", RED), closed=False), MULTIPART),
        (b"no boundary at all", MULTIPART),
        (f"--{BOUNDARY}--\r\n".encode(), MULTIPART),
        (form(("a.png", RED)), {"content-type": "multipart/form-data"}),
        (form(("a.png", RED)), {"content-type": f"multipart/form-data; boundary={'b' * 71}"}),
        (form(("a.png", RED)).replace(b'; filename="a.png"', b""), MULTIPART),
        (
            form(("a.png", b"AAAA")).replace(
                b"Content-Type: image/png", b"Content-Transfer-Encoding: base64"
            ),
            MULTIPART,
        ),
        (form(("a.png", RED)).replace(b"image/png", b"x" * 5000), MULTIPART),
        (form(("a.png", RED)).replace(b"\r\n\r\n", b"\r\nA: b" * 20 + b"\r\n\r\n", 1), MULTIPART),
    ],
    ids=["cut", "none", "empty", "no boundary", "long boundary", "field", "base64", "long", "many"],
)
def test_multipart_that_is_none_of_image_files_is_400(
    plain: Api, body: bytes, headers: dict[str, str]
) -> None:
    problem(ask(plain, body=body, headers=headers), 400, "bad_multipart")


def test_too_many_files_are_413() -> None:
    few = api(max_parts=2)
    body = form(("a", RED), ("b", RED))
    assert ask(few, body=body, headers=MULTIPART).status == 200
    body = form(("a", RED), ("b", RED), ("c", RED))
    assert (
        "2 image files"
        in problem(ask(few, body=body, headers=MULTIPART), 413, "too_large")["detail"]
    )


def test_defect_is_500_without_its_words(
    monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    broken = api()

    def explode(_: object) -> Prediction:
        msg = "secret words"
        raise RuntimeError(msg)

    monkeypatch.setattr("keshikaran.predictor.Predictor.predict", lambda *_: explode(None))
    answer = ask(broken, body=RED)
    problem(answer, 500, "internal")
    assert b"secret" not in answer.body
    (defect,) = [
        line for line in map(json.loads, lines.getvalue().splitlines()) if line["event"] == "defect"
    ]
    assert "secret words" in defect["traceback"]
    assert defect["request_id"] == answer.headers["x-request-id"]


# Room


def slow_model(
    monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[Api, threading.Event, list[float]]:
    """A server whose model waits for the event; and when it began with each image."""
    go, begun = threading.Event(), list[float]()
    plain = api(**settings)
    answer = predictor().predict

    def wait(_: object, data: bytes) -> Prediction:
        begun.append(time.monotonic())
        assert go.wait(20)
        return answer(data)

    monkeypatch.setattr("keshikaran.predictor.Predictor.predict", wait)
    return plain, go, begun


def test_full_queue_refuses_at_once_before_the_body_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy, go, begun = slow_model(monkeypatch, max_waiting=5, max_parts=2)

    async def scene() -> tuple[list[Answer], Answer, Answer]:
        first = [asyncio.create_task(call(busy, Request(body=RED))) for _ in range(5)]
        while len(begun) < 3:
            await asyncio.sleep(0.01)
        refused = await call(busy, Request(body=BLUE, headers={"content-length": "1000000"}))
        several = await call(busy, Request(body=form(("a", RED)), headers=MULTIPART))
        go.set()
        return await asyncio.gather(*first), refused, several

    done, refused, several = in_loop(scene)
    assert [answer.status for answer in done] == [200] * 5
    problem(refused, 503, "queue_full")
    problem(several, 503, "queue_full")
    assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
    assert ask(busy, body=RED).status == 200
    figures = get(busy, "/metrics").body.decode()
    assert 'keshikaran_rejected_total{code="queue_full"} 2.0' in figures
    assert "keshikaran_queue_depth 0.0" in figures


def test_work_of_a_client_that_has_left_is_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, go, begun = slow_model(monkeypatch)
    threads = predictor().engine.streams + 2

    async def scene() -> Answer:
        held = [asyncio.create_task(call(busy, Request(body=RED))) for _ in range(threads)]
        while len(begun) < threads:
            await asyncio.sleep(0.01)
        leaves = asyncio.Event()
        late = asyncio.create_task(call(busy, Request(body=BLUE, leaves_after=leaves)))
        await asyncio.sleep(0.05)
        leaves.set()
        answer = await late
        go.set()
        await asyncio.gather(*held)
        return answer

    assert in_loop(scene).status == 0
    assert len(begun) == threads
    assert 'code="client_left"' in get(busy, "/metrics").body.decode()


def test_memory_of_all_bodies_together_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(RED)
    busy, go, begun = slow_model(
        monkeypatch, max_body_bytes=size, max_request_bytes=size, body_memory_bytes=2 * size
    )

    async def scene() -> tuple[list[Answer], Answer]:
        held = [asyncio.create_task(call(busy, Request(body=RED))) for _ in range(2)]
        while len(begun) < 2:
            await asyncio.sleep(0.01)
        refused = await call(busy, Request(body=BLUE))
        go.set()
        return await asyncio.gather(*held), refused

    held, refused = in_loop(scene)
    assert [answer.status for answer in held] == [200, 200]
    problem(refused, 503, "memory_full")
    assert refused.headers["retry-after"] == "1"
    assert ask(busy, body=RED).status == 200
    unannounced = ask(busy, body=RED, declared=False)
    problem(unannounced, 411, "length_required")
    assert b"keshikaran_body_bytes 0.0" in get(busy, "/metrics").body


def test_answers_are_remembered_by_digest_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []
    answer = predictor().predict

    def counted(_: object, data: bytes) -> Prediction:
        calls.append(data)
        return answer(data)

    monkeypatch.setattr("keshikaran.predictor.Predictor.predict", counted)
    remembering = api(cache_size=1)
    first = ask(remembering, body=RED).json()
    named = ask(remembering, body=form(("again.png", RED)), headers=MULTIPART).json()
    assert named["predictions"] == [{**first, "path": "again.png"}]
    assert calls == [RED]
    ask(remembering, body=BLUE)
    ask(remembering, body=RED)
    assert calls == [RED, BLUE, RED]
    for _ in range(2):
        ask(remembering, body=b"nothing")
    assert calls[3:] == [b"nothing"] * 2
    assert b"keshikaran_cached_total 1.0" in get(remembering, "/metrics").body


# Who may ask


def test_without_a_token_or_with_a_wrong_one_nobody_is_answered(tokens: Path) -> None:
    guarded = api(token_file=tokens)
    wrong = ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"]
    for header in [{}, *({"authorization": value} for value in wrong)]:
        answer = ask(guarded, body=RED, headers=header)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    problem(get(guarded, "/v1/model"), 401, "unauthorized")
    for token in (TOKEN, OTHER_TOKEN):
        allowed = {"authorization": f"bearer {token}"}
        assert ask(guarded, body=RED, headers=allowed).status == 200
        assert get(guarded, "/v1/model", headers=allowed).status == 200
    for open_path in ("/livez", "/readyz", "/docs", "/openapi.json"):
        assert get(guarded, open_path).status == 200


def test_figures_are_for_this_machine_and_for_tokens(tokens: Path) -> None:
    guarded = api(token_file=tokens)
    assert get(guarded, "/metrics").status == 200
    problem(get(guarded, "/metrics", client="192.0.2.1"), 401, "unauthorized")
    proxied = {"x-forwarded-for": "192.0.2.1"}
    problem(get(guarded, "/metrics", headers=proxied), 401, "unauthorized")
    allowed = {"authorization": f"Bearer {TOKEN}", **proxied}
    assert get(guarded, "/metrics", headers=allowed).status == 200


def test_tokens_are_read_again_when_their_file_changes(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keshikaran.web.tokens._LOOK_AGAIN_S", 0.0)
    guarded = api(token_file=tokens)
    new = {"authorization": "Bearer a-quite-new-token"}
    assert ask(guarded, body=RED, headers=new).status == 401
    tokens.write_text("a-quite-new-token\n")
    assert ask(guarded, body=RED, headers=new).status == 200
    assert ask(guarded, body=RED, headers={"authorization": f"Bearer {TOKEN}"}).status == 401
    tokens.write_text("short\n")  # a mistake: those before stay
    assert ask(guarded, body=RED, headers=new).status == 200
    tokens.unlink()
    assert ask(guarded, body=RED, headers=new).status == 200


# Another model


def models(name: str | None) -> Any:
    """A loader: a file named here, else the usual one."""
    if name == "bad.onnx":
        msg = "bad.onnx is damaged."
        raise BundleError(msg, "Copy it again.")
    return fresh_predictor(OTHER_MODEL_ID if name else MODEL_ID)


def test_nobody_changes_the_model_where_no_admin_tokens_are(plain: Api, tokens: Path) -> None:
    problem(ask(plain, path="/v1/model"), 403, "forbidden")
    guarded = api(token_file=tokens, admin_token_file=tokens)
    problem(ask(guarded, path="/v1/model"), 401, "unauthorized")


def test_admin_loads_another_model_and_a_bad_one_changes_nothing(tokens: Path) -> None:
    server = api(models, admin_token_file=tokens)
    admin = {"authorization": f"Bearer {TOKEN}"}

    def load(body: bytes) -> Answer:
        return ask(server, path="/v1/model", body=body, headers=admin)

    assert ask(server, body=RED).json()["model_id"] == MODEL_ID
    assert load(b'{"file": "other.onnx"}').json() == {"model_id": OTHER_MODEL_ID}
    assert ask(server, body=RED).json()["model_id"] == OTHER_MODEL_ID
    found = problem(load(b'{"file": "bad.onnx"}'), 422, "model_refused")
    assert (found["detail"], found["hint"]) == ("bad.onnx is damaged.", "Copy it again.")
    assert get(server, "/readyz").json() == {"status": "ready", "model_id": OTHER_MODEL_ID}
    assert load(b"").json() == {"model_id": MODEL_ID}
    for wrong in (
        b"[]",
        b"{",
        b'{"file": 1}',
        b'{"file": ""}',
        b'{"file": null}',
        b'{"url": "http://x"}',
        b"[" * 4000,
    ):
        problem(load(wrong), 400, "bad_json")
    figures = get(server, "/metrics").body
    assert b'keshikaran_reloads_total{outcome="done"} 2.0' in figures
    assert b'keshikaran_reloads_total{outcome="refused"} 1.0' in figures
    assert figures.count(b"keshikaran_model_loaded_timestamp_seconds{") == 1


def test_no_request_is_lost_while_models_change_and_only_one_is_loaded_at_a_time(
    tokens: Path,
) -> None:
    server = api(models, admin_token_file=tokens)
    admin = {"authorization": f"Bearer {TOKEN}"}

    async def upload(until: asyncio.Event) -> list[Answer]:
        done = []
        while not until.is_set():
            done.append(await call(server, Request(body=RED)))
        return done

    async def scene() -> tuple[list[Answer], list[set[int]]]:
        over = asyncio.Event()
        clients = [asyncio.create_task(upload(over)) for _ in range(4)]
        statuses = []
        for body in (b'{"file": "other.onnx"}', b"", b'{"file": "other.onnx"}'):
            request = Request(path="/v1/model", body=body, headers=admin)
            both = await asyncio.gather(call(server, request), call(server, request))
            statuses.append({answer.status for answer in both})
            await asyncio.sleep(0.1)
        over.set()
        return [answer for client in clients for answer in await client], statuses

    uploads, loads = in_loop(scene)
    assert {answer.status for answer in uploads} == {200}
    assert loads == [{200, 409}] * 3
    assert {answer.json()["model_id"] for answer in uploads} == {MODEL_ID, OTHER_MODEL_ID}


# Seen from outside


def test_alive_ready_and_stopping() -> None:
    server = api()
    assert get(server, "/livez").json() == {"status": "alive"}
    assert get(server, "/readyz").json() == {"status": "ready", "model_id": MODEL_ID}
    server.app.draining = True
    stopping = get(server, "/readyz")
    assert (stopping.status, stopping.json()) == (503, {"status": "stopping"})
    assert get(server, "/livez").status == 200
    answer = ask(server, body=RED)
    assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_figures_count_verdicts_codes_scores_and_stages() -> None:
    server = api()
    for body in (RED, RED, BLUE, b"nothing"):
        ask(server, body=body)
    get(server, "/surely/not/here/1")
    get(server, "/surely/not/here/2")
    figures = get(server, "/metrics").body.decode()
    for line in (
        'keshikaran_requests_total{code="",route="/v1/predict",status="200"} 3.0',
        'keshikaran_requests_total{code="undecided",route="/v1/predict",status="422"} 1.0',
        'keshikaran_requests_total{code="not_found",route="other",status="404"} 2.0',
        'keshikaran_predictions_total{verdict="pass"} 2.0',
        'keshikaran_predictions_total{verdict="block"} 1.0',
        'keshikaran_predictions_total{verdict="undecided"} 1.0',
        "keshikaran_score_count 3.0",
        'keshikaran_stage_seconds_count{stage="decode"} 4.0',
        'keshikaran_stage_seconds_count{stage="infer"} 3.0',
        'keshikaran_stage_seconds_count{stage="queue"} 4.0',
        'keshikaran_stage_seconds_count{stage="body"} 4.0',
        'keshikaran_predictions_total{verdict="review"} 0.0',
        'keshikaran_rejected_total{code="queue_full"} 0.0',
        'keshikaran_reloads_total{outcome="refused"} 0.0',
        "keshikaran_queue_depth 0.0",
    ):
        assert line in figures
    assert "surely" not in figures


def test_log_has_a_line_a_request_and_nothing_that_a_client_could_forge(
    lines: io.StringIO,
) -> None:
    server = api(drift_window=0)
    given = {"x-request-id": "order-66", "content-disposition": 'attachment; filename="secret.png"'}
    answer = ask(server, body=RED, headers=given)
    assert answer.headers["x-request-id"] == "order-66"
    forged = {"x-request-id": 'x", "level": "error'}
    assert ask(server, body=RED, headers=forged).headers["x-request-id"] != forged["x-request-id"]
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert (
        first.items()
        >= {
            "event": "request",
            "request_id": "order-66",
            "route": "/v1/predict",
            "method": "POST",
            "status": 200,
            "verdicts": ["pass"],
            "model_id": MODEL_ID,
            "bytes": len(RED),
        }.items()
    )
    assert second["level"] == "info"
    assert "secret" not in lines.getvalue()
    assert lines.getvalue().isascii()


def test_description_is_valid_and_says_what_is_answered(plain: Api, tokens: Path) -> None:
    document = get(plain, "/openapi.json").json()
    validate(document)
    validate(openapi.document(ServerSettings(token_file=tokens)))
    assert set(document["paths"]) >= {"/v1/predict", "/v1/model", "/livez", "/readyz", "/metrics"}
    fields = document["components"]["schemas"]["Prediction"]
    assert fields["required"] == list(predictor().predict(RED).to_dict())
    assert {"type": "null"} in fields["properties"]["score"]["anyOf"]
    statuses = set(document["paths"]["/v1/predict"]["post"]["responses"])
    assert statuses >= {"200", "400", "401", "408", "411", "413", "415", "422", "429", "503"}
    described = json.dumps(document)
    assert all(
        f"`{code}`" in described
        for code in KINDS
        if code not in ("not_found", "method_not_allowed")
    )


def test_answers_fit_their_description(plain: Api) -> None:
    document = get(plain, "/openapi.json").json()
    predict = document["paths"]["/v1/predict"]["post"]["responses"]
    for answer in (
        ask(plain, body=RED),
        ask(plain, body=b"no picture"),
        ask(plain, body=form(("a", BLUE), ("b", b"")), headers=MULTIPART),
        ask(plain, body=RED, headers={"content-type": "text/plain"}),
        ask(plain, body=b"nothing", headers=MULTIPART),
    ):
        described = predict[str(answer.status)]["content"]
        (schema,) = [described[kind]["schema"] for kind in described]
        assert list(described) == [answer.headers["content-type"]]
        Draft202012Validator({**schema, "components": document["components"]}).validate(
            answer.json()
        )


def test_page_of_the_description_asks_nobody_else(plain: Api) -> None:
    page = get(plain, "/docs")
    text = page.body.decode()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "POST /v1/predict" in text
