"""The page, in a browser: what people see, hear and take away."""

from __future__ import annotations

import base64
import csv
import io
import json
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from browser_support import BROWSER_MARKS, findings, headless, watched
from bundle_support import packed
from keshikaran.inert import printable
from serve_support import BLUE, MODEL_ID, RED, Running, predictor
from support import encode, reddish

pytestmark = BROWSER_MARKS

BLACK = encode(Image.new("RGB", (64, 48), (0, 0, 0)))
BROKEN = RED[: len(RED) // 2]
EACH_VERDICT = (("red.png", RED), ("black.png", BLACK), ("blue.jpg", BLUE), ("half.png", BROKEN))
TOKEN = "a-token-of-the-test"
_OF_422 = "the server responded with a status of 422"
_SCREENS: tuple[tuple[int, Literal["light", "dark"]], ...] = ((360, "light"), (1280, "dark"))
_DROP = """files => {
    const transfer = new DataTransfer();
    for (const [name, data] of files) {
        const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name));
    }
    return transfer;
}"""
_COUNT_OPEN = """() => {
    const ask = window.fetch;
    window.asked = { all: 0, open: 0, most: 0 };
    window.fetch = async (...given) => {
        window.asked.all += 1;
        window.asked.open += 1;
        window.asked.most = Math.max(window.asked.most, window.asked.open);
        try {
            return await ask(...given);
        } finally {
            window.asked.open -= 1;
        }
    };
}"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(packed())
    return path


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Running]:
    with Running(model, model.with_name("log"), max_body_bytes=200_000) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless() as opened:
        yield opened


@contextmanager
def shown(browser: Browser, server: Running, **context: Any) -> Iterator[Page]:
    """The page, opened; it may complain about nothing but images that cannot be judged."""
    origin = f"http://127.0.0.1:{server.port}"
    with watched(browser, origin, **context) as (page, troubles):
        page.goto(origin + "/")
        yield page
        assert [line for line in troubles if _OF_422 not in line] == []


def drop(page: Page, *files: tuple[str, bytes]) -> None:
    """Let files fall on the page, as if dragged there."""
    packed_files = [[name, base64.b64encode(data).decode()] for name, data in files]
    transfer = page.evaluate_handle(_DROP, packed_files)
    page.dispatch_event("#drop", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def done(page: Page) -> None:
    expect(page.locator("#spoken")).to_contain_text("Done.")


def verdicts(page: Page) -> list[str]:
    return page.locator(".result .verdict").all_inner_texts()


def saved(page: Page, button: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes()


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_dropped_images_get_their_verdicts_and_can_be_taken_away(
    browser: Browser, server: Running
) -> None:
    with shown(browser, server) as page:
        expect(page.locator("#facts")).to_contain_text(MODEL_ID)
        drop(page, *EACH_VERDICT)
        done(page)
        said = "Done. 1 pass, 1 review, 1 block, 1 undecided."
        assert page.inner_text("#spoken") == said
        expected = [predictor().predict(data) for _, data in EACH_VERDICT]
        found = [text.split() for text in verdicts(page)]
        assert [words[0].lower() for words in found] == [each.verdict for each in expected]
        for words, each in zip(found[:3], expected, strict=False):
            assert float(words[1]) == pytest.approx(each.score, abs=1e-3)
        sentence, code = (page.locator(".result .reason").text_content() or "").rsplit(" ", 1)
        assert expected[3].reason == f"{code}: {sentence}"

        answers = json.loads(saved(page, "Download JSON"))
        assert [list(answer) for answer in answers] == [list(each.to_dict()) for each in expected]
        assert [answer["path"] for answer in answers] == [name for name, _ in EACH_VERDICT]
        rows = rows_of(saved(page, "Download CSV"))
        assert list(rows[0]) == ["path", "image_id", "score", "verdict", "reason", "model_id"]
        for row, answer, each in zip(rows, answers, expected, strict=True):
            assert row["image_id"] == answer["image_id"] == each.image_id
            assert row["verdict"] == answer["verdict"] == each.verdict
            assert row["reason"] == (answer["reason"] or "")
            assert row["score"] == ("" if answer["score"] is None else str(answer["score"]))
        assert rows[3]["score"] == ""


def test_everything_can_be_done_from_the_keyboard(
    browser: Browser, server: Running, tmp_path: Path
) -> None:
    paths = [tmp_path / name for name, _ in EACH_VERDICT]
    for path, (_, data) in zip(paths, EACH_VERDICT, strict=True):
        path.write_bytes(data)

    def focused() -> str:
        name = "document.activeElement.ariaLabel || document.activeElement.innerText"
        return str(page.evaluate(f"() => document.activeElement.id || {name}"))

    def tab_to(wanted: str) -> None:
        for _ in range(30):
            if focused().startswith(wanted):
                return
            page.keyboard.press("Tab")
        pytest.fail(f"{wanted} is not reached; the focus is on {focused()}")

    with shown(browser, server) as page:
        # Choosers are caught from now on: asked for at the last moment, it may be too late.
        page.on("filechooser", lambda _: None)
        expect(page.locator("#facts")).to_contain_text(MODEL_ID)
        tab_to("picker")
        ring = "() => getComputedStyle(document.querySelector('.pick label')).outlineStyle"
        assert page.evaluate(ring) == "solid"
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(paths)
        done(page)
        tab_to("Undecided")
        page.keyboard.press("Enter")
        expect(page.locator(".result:visible")).to_have_count(1)
        page.keyboard.press("Shift+Tab")
        tab_to("Block")
        page.keyboard.press(" ")
        tab_to("order")
        page.keyboard.press("ArrowDown")
        tab_to("save-csv")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert len(rows_of(Path(download.value.path()).read_bytes())) == 4
        tab_to("Show clearly: blue.jpg")
        assert (
            page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") != "none"
        )
        page.keyboard.press(" ")
        expect(page.locator(".picture[aria-pressed=true]")).to_have_count(1)
        page.keyboard.press("Shift+Tab")
        tab_to("clear")
        assert focused() == "clear"
        page.keyboard.press("Enter")
        expect(page.locator("#results")).to_be_hidden()
        assert focused() == "picker"


def test_axe_finds_nothing_serious_and_nothing_is_cut_off(
    browser: Browser, server: Running
) -> None:
    with shown(browser, server, color_scheme="light") as page:
        expect(page.locator("#facts")).to_contain_text(MODEL_ID)
        assert findings(page) == []
        drop(page, *EACH_VERDICT, ("n" * 200 + ".png", RED))
        done(page)
        for width, scheme in _SCREENS:
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme)
            assert findings(page) == []
            assert page.evaluate("() => document.documentElement.scrollWidth") == width


def test_pictures_are_blurred_until_somebody_wants_to_see_them(
    browser: Browser, server: Running
) -> None:
    with shown(browser, server, reduced_motion="reduce") as page:
        drop(page, ("one.png", RED), ("two.png", encode(reddish(4))), ("three.png", BROKEN))
        done(page)
        pictures = page.locator(".picture canvas")
        expect(pictures).to_have_count(2)  # what the server cannot decode, the browser is not given

        def blurred() -> list[bool]:
            style = "canvas => getComputedStyle(canvas).filter.startsWith('blur')"
            return [bool(each.evaluate(style)) for each in pictures.all()]

        assert blurred() == [True, True]
        pictures.first.hover()
        assert blurred() == [False, True]
        page.mouse.move(0, 0)
        assert blurred() == [True, True]
        pictures.last.click()
        page.mouse.move(0, 0)
        assert blurred() == [True, False]
        page.get_by_label("Show all pictures clearly").check()
        assert blurred() == [False, False]
        drawn = "canvas => [...canvas.getContext('2d').getImageData(9, 9, 1, 1).data]"
        red, green, blue, alpha = pictures.first.evaluate(drawn)
        assert alpha == 255
        assert red > max(green, blue)


HOSTILE = [
    "<img src=x onerror=alert(1)>.png",
    "=cmd|' ' C!A0.png",
    "+1.png",
    "@SUM(1).png",
    "'-1.png",
    "＝1.png",
    'quo"te,comma;.png',
    "evil\u202egnp.exe",
    "line\nbreak\tand\u200bspace\u00a0.png",
    "\ud800half.png",
]


def test_names_of_files_can_do_nothing(browser: Browser, server: Running) -> None:
    with shown(browser, server) as page:
        drop(page, *[(name, RED) for name in HOSTILE[:-1]])
        done(page)
        names = page.locator(".result .name bdi").all_text_contents()
        assert names == [printable(name) for name in HOSTILE[:-1]]
        assert page.locator("#list img").count() == 0
        paths = [row["path"] for row in rows_of(saved(page, "Download CSV"))]
        assert [path.removeprefix("'") for path in paths] == names
        assert not any(path.startswith(("=", "+", "-", "@", "＝", "\t")) for path in paths)
        pages = "async text => (await import('/page/inert.js')).printable(text)"
        assert page.evaluate(pages, HOSTILE[1]) == HOSTILE[1]


def test_what_cannot_be_seen_is_the_same_here_and_there(browser: Browser, server: Running) -> None:
    script = """async ranges => {
        const { printable } = await import('/page/inert.js');
        const changed = [];
        for (const [first, last] of ranges) {
            for (let code = first; code <= last; code += 1) {
                const one = String.fromCodePoint(code);
                const shown = printable(one);
                if (shown !== one) changed.push(`${code} ${shown}`);
            }
        }
        return changed.join('\\n');
    }"""
    ranges = [(0, 0xE0FF), (0xF8F0, 0x1FFFF), (0xE0000, 0xE01FF), (0x10FFF0, 0x10FFFF)]
    with shown(browser, server) as page:
        lines = page.evaluate(script, ranges).split("\n")
    there = {int(code): text for code, text in (line.split(" ") for line in lines)}
    codes = [code for first, last in ranges for code in range(first, last + 1)]
    known = [code for code in codes if unicodedata.category(chr(code)) != "Cn"]
    here = {code: printable(chr(code)) for code in known if not chr(code).isprintable()}
    assert {code: there[code] for code in known if code in there} == here


def test_server_that_asks_for_time_is_given_it(browser: Browser, server: Running) -> None:
    asked: list[float] = []

    def answer(route: Route) -> None:
        asked.append(time.monotonic())
        if len(asked) == 1:
            problem = {"code": "queue_full", "title": "Too many.", "detail": "32 wait.", "hint": ""}
            route.fulfill(status=503, headers={"Retry-After": "2"}, body=json.dumps(problem))
        else:
            route.continue_()

    with watched(browser, f"http://127.0.0.1:{server.port}") as (page, troubles):
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.route("**/v1/predict", answer)
        drop(page, ("0.png", RED))
        expect(page.locator("#progress-words")).to_contain_text("The server is busy")
        drop(page, *[(f"{number}.png", RED) for number in range(1, 6)])
        done(page)
        assert verdicts(page) == [verdicts(page)[0]] * 6
        assert asked[1] - asked[0] > 1.9
        assert [line for line in troubles if "503" not in line] == []


def test_few_requests_at_a_time_and_all_of_many_images(browser: Browser, server: Running) -> None:
    with shown(browser, server) as page:
        page.evaluate(_COUNT_OPEN)
        drop(page, *[(f"{number}.png", encode(reddish(number))) for number in range(40)])
        done(page)
        expect(page.locator("#filters button").first).to_have_text("All 40")
        assert page.locator('.result[data-verdict="waiting"]').count() == 0
        assert page.evaluate("() => window.asked") == {"all": 40, "open": 0, "most": 4}


def test_image_that_got_no_answer_has_not_passed_and_can_be_tried_again(
    browser: Browser, server: Running
) -> None:
    with watched(browser, f"http://127.0.0.1:{server.port}") as (page, troubles):
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.route("**/v1/predict", lambda route: route.fulfill(status=500, body="oh no"))
        drop(page, ("one.png", RED))
        done(page)
        assert verdicts(page) == ["Undecided"]
        expect(page.locator(".reason")).to_have_text(
            "Not judged. The server answered with status 500."
        )
        (answer,) = json.loads(saved(page, "Download JSON"))
        assert (answer["verdict"], answer["score"]) == ("undecided", None)
        assert answer["reason"] == "status_500: The server answered with status 500."
        page.unroute("**/v1/predict")
        dropped: list[int] = []
        page.route("**/v1/predict", lambda route: lose_once(route, dropped))
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".verdict")).to_contain_text("Pass")
        assert dropped == [1]
        expect(page.get_by_role("button", name="Try again")).to_be_hidden()
        assert all("500" in line or "ERR_CONNECTION_RESET" in line for line in troubles)


def lose_once(route: Route, lost: list[int]) -> None:
    if lost:
        route.continue_()
    else:
        lost.append(1)
        route.abort("connectionreset")


def test_what_is_too_large_is_said_and_not_sent(browser: Browser, server: Running) -> None:
    with shown(browser, server) as page:
        page.route("**/v1/predict", lambda route: route.abort())
        drop(page, ("large.png", bytes(300_000)))
        done(page)
        expect(page.locator(".reason")).to_have_text(
            "Not judged. It has 0.3 MiB; this server takes at most 0.2."
        )


def test_sending_can_be_stopped_and_results_can_be_sorted(
    browser: Browser, server: Running
) -> None:
    with watched(browser, f"http://127.0.0.1:{server.port}") as (page, _):
        page.goto(f"http://127.0.0.1:{server.port}/")
        drop(page, *EACH_VERDICT)
        done(page)
        held: list[Route] = []
        page.route("**/v1/predict", lambda route: held.append(route))
        drop(page, *[(f"{number}.png", RED) for number in range(6)])
        page.get_by_role("button", name="Stop").click()
        reasons = page.locator(".reason", has_text="Not sent: stopped.")
        expect(reasons).to_have_count(6)
        for route in held:
            route.abort()
        page.get_by_label("Order").select_option("score")
        names = page.locator(".result .name").all_inner_texts()
        assert names[:2] != ["blue.jpg", "black.png"]  # those to be looked at come first
        assert names[-3:] == ["blue.jpg", "black.png", "red.png"]
        page.get_by_label("Order").select_option("added")
        assert page.locator(".result .name").all_inner_texts()[:4] == [n for n, _ in EACH_VERDICT]
        page.get_by_role("button", name="Clear", exact=True).click()
        expect(page.locator(".result")).to_have_count(0)


def test_token_is_asked_for_and_kept_nowhere(browser: Browser, model: Path, tmp_path: Path) -> None:
    tokens, gone = tmp_path / "tokens", tmp_path / "gone.png"
    tokens.write_text(TOKEN + "\n")
    gone.write_bytes(RED)
    with (
        Running(model, tmp_path / "log", token_file=str(tokens)) as guarded,
        watched(browser, f"http://127.0.0.1:{guarded.port}") as (page, troubles),
    ):
        page.goto(f"http://127.0.0.1:{guarded.port}/")
        field = page.get_by_label("This server asks for a token.")
        expect(field).to_be_focused()
        assert findings(page) == []
        drop(page, ("red.png", RED))
        page.set_input_files("#picker", [gone])
        expect(page.locator(".verdict").first).to_contain_text("Waiting for a token")
        expect(page.locator(".result")).to_have_count(2)
        gone.unlink()
        for wrong, words in (("no good", "no spaces"), ("wrong-token", "does not know")):
            field.fill(wrong)
            field.press("Enter")
            expect(page.locator("#token-error")).to_contain_text(words)
        field.fill(TOKEN)
        field.press("Enter")
        expect(field).to_be_hidden()
        done(page)
        assert verdicts(page)[0].startswith("Pass")
        expect(page.locator(".reason")).to_have_text(
            "Not judged. The file cannot be read any more."
        )
        kept = page.evaluate(
            "() => JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
            " + document.documentElement.outerHTML"
        )
        assert TOKEN not in kept
        assert field.input_value() == ""
        assert all("401" in line or "ERR_FILE_NOT_FOUND" in line for line in troubles)


def test_pasted_images_and_folders_are_taken(browser: Browser, server: Running) -> None:
    folders = """async () => {
        const { dropped } = await import('/page/intake.js');
        const file = (path) => ({
            isFile: true, fullPath: path, file: (then) => then(new File([], path)),
        });
        const folder = (...parts) => ({
            createReader: () => ({ readEntries: (then) => then(parts.splice(0, 2)) }),
        });
        const entry = folder(file('/a/1'), folder(file('/a/b/2')), file('/a/3'));
        const items = [{ kind: 'string' }, { kind: 'file', webkitGetAsEntry: () => entry }];
        return (await dropped({ items, files: [] })).map(({ name }) => name);
    }"""
    paste = "clipboardData => dispatchEvent(new ClipboardEvent('paste', { clipboardData }))"
    with shown(browser, server) as page:
        assert page.evaluate(folders) == ["a/1", "a/b/2", "a/3"]
        data = base64.b64encode(RED).decode()
        for name in ("image.png", "image.png", "cat.png"):
            page.evaluate(paste, page.evaluate_handle(_DROP, [[name, data]]))
        done(page)
        names = page.locator(".result .name").all_inner_texts()
        assert names == ["pasted-1.png", "pasted-2.png", "cat.png"]


def test_model_says_what_it_is_and_is_asked_again_when_another_answers(
    browser: Browser, server: Running
) -> None:
    with watched(browser, f"http://127.0.0.1:{server.port}") as (page, _):
        asked: list[int] = []

        def about(route: Route) -> None:
            asked.append(1)
            if len(asked) == 1:
                route.fulfill(status=500, body="{}")
            else:
                route.continue_()

        page.route("**/v1/model", about)
        page.goto(f"http://127.0.0.1:{server.port}/")
        expect(page.locator("#trouble")).to_contain_text("status 500")
        page.reload()
        facts = page.locator("#facts dd")
        expect(facts.last).to_have_text(MODEL_ID)
        words = facts.all_inner_texts()
        assert words[:4] == [
            "objectionable", "pass: below 0.25", "review: from 0.25", "block: from 0.75"
        ]  # fmt: skip
        assert "50% of the uploads" in words[4]
        other = {**predictor().predict(RED).to_dict(), "model_id": "another"}
        page.route("**/v1/predict", lambda route: route.fulfill(json=other))
        drop(page, ("one.png", RED))
        done(page)
        page.wait_for_timeout(50)
        assert len(asked) == 3
