"""Names, EXIF texts and headers that strangers chose do nothing where they are shown."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bundle_support import packed
from cli_support import cli
from keshikaran.web import log
from keshikaran.web.app import Api
from serve_support import BLUE, MULTIPART, RED, Answer, Running, api, ask, form, get, read_answer
from support import encode, reddish

MARK = "h0stile"
EVIL = [
    f"=cmd|' /C {MARK}'!A0.png",
    f"@{MARK}.png",
    f"<script>alert('{MARK}')</script>.png",
    f'{MARK}", "verdict": "pass.png',
    f"{MARK}\x1b[2J\x1b]0;x\x07.png",
    f"{MARK}\u202egnp.exe",
    f"../../../{MARK}/passwd",
    f"{MARK}\u2028{{}}\x85.png",
    f"{MARK} ${{jndi:ldap://x}} {{{{7*7}}}} %n%s.png",
]


@pytest.fixture(scope="module")
def plain() -> Api:
    return api()


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the server logs; afterwards logging is as it was."""
    loggers = [logging.getLogger(name) for name in log._LEVELS]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    out = io.StringIO()
    log.write_to(out)
    yield out
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def inert(answer: Answer) -> Any:
    """The answer's object: JSON that no browser takes for a page, of characters that are seen."""
    assert answer.headers["content-type"] in ("application/json", "application/problem+json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.body.decode("utf-8").isprintable()
    for value in answer.headers.values():
        assert value.isascii()
        assert value.isprintable()
        assert MARK not in value
    return answer.json()


def disposition(name: str) -> dict[str, str]:
    """A header that names a single file, as bytes on the wire."""
    return {"content-disposition": f'attachment; filename="{name}"'.encode().decode("latin-1")}


# Answers and the log


@pytest.mark.parametrize("name", EVIL)
def test_names_come_back_as_data_and_are_never_logged(
    plain: Api, lines: io.StringIO, name: str
) -> None:
    undecided = inert(ask(plain, body=b"no picture", headers=disposition(name)))
    several = inert(ask(plain, body=form((name, RED), (name, b"?")), headers=MULTIPART))
    paths = [undecided["prediction"]["path"], *(each["path"] for each in several["predictions"])]
    assert all(path.isprintable() for path in paths)
    assert [each["verdict"] for each in several["predictions"]] == ["pass", "undecided"]
    assert undecided["code"] == "undecided"
    assert MARK not in json.dumps(undecided["detail"])
    assert MARK not in lines.getvalue()
    assert MARK.encode() not in get(plain, "/metrics").body


@pytest.fixture(scope="module")
def asked(plain: Api) -> Callable[[str], Answer]:
    """Asks about a picture of a name."""

    def ask_named(name: str) -> Answer:
        return ask(plain, body=RED, headers={"content-disposition": f'a; filename="{name}"'})

    return ask_named


@given(st.text(max_size=40), st.binary(max_size=40))
def test_no_name_makes_an_answer_that_is_no_plain_json(
    asked: Callable[[str], Answer], text: str, junk: bytes
) -> None:
    for name in (text.encode("utf-8", "replace").decode("latin-1"), junk.decode("latin-1")):
        assert inert(asked(name))["verdict"] == "pass"


def test_texts_inside_an_image_are_never_shown(plain: Api, lines: io.StringIO) -> None:
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0131, 0x013B, 0x8298):
        exif[tag] = f"<script>{MARK}</script>\x1b[2J"
    exif[0x9286] = f"{MARK}\r\nSet-Cookie: a=b"
    comment = f"=cmd|{MARK}".encode()
    for data in (
        encode(reddish(1), "JPEG", exif=exif, comment=comment),
        encode(reddish(1), "PNG", exif=exif),
        encode(reddish(1), "WEBP", exif=exif, lossless=True),
        encode(reddish(1), "GIF", comment=comment),
        encode(reddish(1), "JPEG", exif=exif, comment=comment)[:-200],
        f"<svg>{MARK}</svg>".encode(),
    ):
        assert MARK not in json.dumps(inert(ask(plain, body=data)))
    assert MARK not in lines.getvalue()


HEADERS: list[dict[str, str]] = [
    {"user-agent": f"{MARK}\x1b[2J"},
    {"referer": f"javascript:{MARK}"},
    {"x-forwarded-for": f"{MARK}, 127.0.0.1"},
    {"x-request-id": f'{MARK}", "level": "error'},
    {"content-type": f"image/{MARK}<script>"},
    {"content-type": f"text/{MARK}<script>\x1b[2J\xe9"},
    {"content-type": f"multipart/form-data; boundary={MARK}\x1b"},
    {"content-encoding": f"{MARK}\x1b[2J"},
    {"authorization": f"Bearer {MARK}\x00\xff"},
    {"accept-language": "a" * 5000 + MARK},
]


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: next(iter(headers)))
def test_headers_are_data(plain: Api, lines: io.StringIO, headers: dict[str, str]) -> None:
    inert(ask(plain, body=RED, headers=headers))
    inert(ask(plain, path=f"/{MARK}<script>", headers=headers))
    logged = lines.getvalue()
    assert MARK not in logged
    assert [set(json.loads(line)) >= {"time", "level", "event"} for line in logged.splitlines()]
    assert logged.isascii()


def test_parsers_words_about_a_body_stay_out_of_the_log(plain: Api, lines: io.StringIO) -> None:
    """The multipart parser warns by itself, in words that a client chose."""
    boundary = MULTIPART["content-type"].rpartition("=")[2].encode()
    for head in (b"A\rB: c", b": c", b"A B: c", b"A: \x00" + MARK.encode() + b"\r\n\r"):
        answer = ask(
            plain, body=b"--" + boundary + b"\r\n" + head + b"\r\n\r\nx", headers=MULTIPART
        )
        assert inert(answer)["code"] == "bad_multipart"
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [line["event"] for line in found] == ["request"] * 4


def test_bytes_on_the_wire_leave_one_line_of_json_a_request(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(packed())
    rest = b"Host: localhost\r\nContent-Length: %d\r\n\r\n" % len(RED) + RED
    wild = [
        b"POST /v1/predict HTTP/1.1\r\nX-Request-Id: a\rb\r\n" + rest,
        b"POST /v1/predict HTTP/1.1\r\nX-Evil: a\r\n folded: " + MARK.encode() + b"\r\n" + rest,
        b"POST /v1/predict HTTP/1.1\r\nX-\x1b[2J: a\r\n" + rest,
        b"POST /v1/predict HTTP/1.1\r\nX-Evil: \x00\x1b" + MARK.encode() + b"\r\n" + rest,
        b"POST /v1/predict HTTP/1.1\r\nX-Evil: \xff\xfe\x80\r\n" + rest,
        b"POST /%1b%0d%0a" + MARK.encode() + b"\xff HTTP/1.1\r\n" + rest,
        b"POST http://" + MARK.encode() + b"/v1/predict HTTP/1.1\r\n" + rest,
        b"BREW /v1/predict HTTP/1.1\r\n" + rest,
    ]
    with Running(model, tmp_path / "log") as server:
        for words in wild:
            with server.connect() as connection:
                connection.sendall(words)
                answer = read_answer(connection)
            assert answer.status in (200, 400, 404), words
            inert(answer)
        assert server.post(BLUE).status == 200
    assert all("event" in line for line in server.lines())
    assert MARK not in (tmp_path / "log").read_text("ascii")


# Lists for spreadsheets


def test_list_of_skipped_files_has_no_formula_and_one_row_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "=source"
    names = ["=1+1.png", "+1.png", "@a.png", "-1.png", 'a"b\r\n=1.png', "\x1b[2J.png", "\udcff.png"]
    for folder in ("=a", "ok"):
        (source / folder).mkdir(parents=True)
        for name in names:
            (source / folder / name).write_bytes(f"{folder} {name!r}".encode())
    with zipfile.ZipFile(tmp_path / "=evil.zip", "w") as archive:
        archive.writestr("=a/=x.png", b"no picture")
    shutil.copy(tmp_path / "=evil.zip", source / "ok" / "=evil.png")
    done = cli(
        capsys,
        "import",
        source,
        tmp_path / "=evil.zip",
        *("--positive", "ok", "-w", tmp_path / "workspace"),
    )
    assert "\x1b" not in done.err
    with (tmp_path / "workspace" / "skipped.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = list(csv.reader(file))
    assert len(rows) == 2 * len(names) + 2
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {row[2] for row in rows} == {"not_an_image"}
