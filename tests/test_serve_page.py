"""The page, asked for directly: which files there are, and what a browser is told about them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keshikaran.web.app import Api
from keshikaran.web.page import PageFile, page_files
from keshikaran.web.settings import ServerSettings
from serve_support import api, ask, get


@pytest.fixture(scope="module")
def plain() -> Api:
    return api()


@pytest.fixture(scope="module")
def files() -> dict[str, PageFile]:
    return page_files(ServerSettings())


def test_every_file_of_the_page_comes_with_its_type_and_a_strict_policy(
    plain: Api, files: dict[str, PageFile]
) -> None:
    assert {"/", "/page/page.css", "/page/page.js", "/page/icon.svg"} <= set(files)
    for path, file in files.items():
        answer = get(plain, path)
        assert (answer.status, answer.body) == (200, file.body)
        assert answer.headers["content-type"] == file.media_type
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        directives = answer.headers["content-security-policy"].split("; ")
        assert {
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        } <= set(directives)
        assert not re.search(r"unsafe|\*|http|data:|blob:", " ".join(directives))
        assert ask(plain, method="POST", path=path).status == 405


def test_page_names_only_files_that_are_there_and_nothing_outside(
    files: dict[str, PageFile],
) -> None:
    page = files["/"].body.decode()
    named = set(re.findall(r'(?:href|src)="(/page/[^"]+)"', page))
    assert named <= set(files)
    for path, file in files.items():
        text = file.body.decode()
        for imported in re.findall(r'from "\./([^"]+)"', text):
            assert f"/page/{imported}" in files
        outside = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.", outside), path
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text), path
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", page)


def test_page_is_told_how_large_a_file_may_be() -> None:
    page = get(api(max_body_bytes=12_345), "/").body.decode()
    assert 'data-max-bytes="12345"' in page
    assert "{{" not in page


@pytest.mark.parametrize(
    "path", ["/page", "/page/", "/page/__init__.py", "/page/../app.py", "/page/index.html", "//"]
)
def test_nothing_else_of_the_package_is_served(plain: Api, path: str) -> None:
    answer = get(plain, path)
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


def test_page_needs_no_token_and_the_model_behind_it_does(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-the-test\n")
    guarded = api(token_file=tokens)
    assert get(guarded, "/").status == 200
    assert get(guarded, "/page/page.js").status == 200
    assert get(guarded, "/v1/model").status == 401


def test_requests_for_the_page_are_counted_under_their_paths(plain: Api) -> None:
    get(plain, "/page/page.css")
    figures = get(plain, "/metrics").body.decode()
    assert re.search(r'keshikaran_requests_total\{[^}]*route="/page/page\.css"', figures)
