"""Addresses on the web: fetched politely, once, and never from one's own network."""

from __future__ import annotations

import ipaddress
import json
import ssl
import time
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificate_support import write_certificate
from cli_support import cli
from keshikaran.errors import SourceError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import ImportReport, import_source
from keshikaran.ingest.web import FetchOptions, UrlEntry, UrlSource, read_url_list
from keshikaran.ingest.web.addresses import is_public, parse_address
from keshikaran.ingest.web.connection import Guard
from keshikaran.ingest.web.failure import FetchError
from keshikaran.ingest.web.fetch import check_url
from keshikaran.pixels import Limits
from keshikaran.store import Store
from store_support import Steps, catalogue
from support import encode, reddish
from web_support import Site, content, dripping, guard_for, in_turn, serving, status

_QUICK = FetchOptions(rate=1000, per_host=8, backoff_s=0.01, timeout_s=20, stall_s=5)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "workspace") as opened:
        yield opened


def _fetch(
    store: Store,
    urls: Sequence[str],
    options: FetchOptions = _QUICK,
    *,
    guard: Guard | None = None,
    limits: Limits | None = None,
    **more: Any,
) -> ImportReport:
    entries = [UrlEntry(url, [(url, None)]) for url in urls]
    source = UrlSource(store, entries, options, guard=guard or guard_for(), **more)
    return import_source(store, source, limits=limits or Limits())


def _reason(report: ImportReport) -> tuple[str, str]:
    (refusal,) = report.refusals
    return refusal.reason, refusal.detail


# What is fetched, and how often


def test_images_of_a_list_are_imported_with_their_labels(
    store: Store, site: Site, tmp_path: Path
) -> None:
    images = {f"/{number}.png": encode(reddish(number)) for number in range(6)}
    site.routes = {path: content(data) for path, data in images.items()}
    table = tmp_path / "list.csv"
    lines = [f"{site.url(path)},{number % 2}" for number, path in enumerate(images)]
    table.write_text("url,value\n" + "\n".join(lines) + "\n")
    report = import_source(store, UrlSource(store, read_url_list(table), _QUICK, guard=guard_for()))
    assert (report.seen, report.imported, report.labels) == (6, 6, 6)
    labels = {image.image_id: image.label for image in store.labels.images()}
    expected = {image_id_of(data): n % 2 for n, data in enumerate(images.values())}
    assert labels == expected
    image_id = image_id_of(images["/3.png"])
    assert store.entries_of(image_id) == [site.url("/3.png")]
    assert set(site.hosts) == {f"pictures.test:{site.port}"}


def test_what_was_fetched_is_not_fetched_again(store: Store, site: Site) -> None:
    site.routes = {"/a.png": content(encode(reddish(1))), "/b.txt": content(b"no picture")}
    urls = [site.url(path) for path in ("/a.png", "/b.txt", "/missing.png")]
    first = _fetch(store, urls)
    assert (first.seen, first.imported, first.skipped) == (3, 1, 2)
    rows = catalogue(store.folder)
    site.asked.clear()
    again = _fetch(store, urls)
    assert (again.seen, again.duplicates, again.skipped) == (3, 1, 2)
    assert set(again.refusals) == set(first.refusals)
    assert site.paths() == ["/missing.png"]  # perhaps it is there by now
    assert catalogue(store.folder) == rows
    site.routes["/missing.png"] = content(encode(reddish(2)))
    assert _fetch(store, urls).imported == 1
    assert [refusal.path for refusal in store.skipped()] == [site.url("/b.txt")]


def test_refetch_fetches_everything(store: Store, site: Site) -> None:
    site.routes = {"/a.png": content(encode(reddish(1)))}
    _fetch(store, [site.url("/a.png")])
    site.routes = {"/a.png": content(encode(reddish(2)))}
    assert _fetch(store, [site.url("/a.png")], again=True).imported == 1
    assert _fetch(store, [site.url("/a.png")]).duplicates == 1
    assert store.count_images() == 2


def test_an_image_that_was_lost_is_fetched_again(store: Store, site: Site) -> None:
    data = encode(reddish(1))
    site.routes = {"/a.png": content(data)}
    _fetch(store, [site.url("/a.png")])
    lost = store.blobs.path_of(image_id_of(data), "png")
    lost.unlink()
    assert _fetch(store, [site.url("/a.png")]).duplicates == 1
    assert lost.read_bytes() == data


def test_an_interrupted_import_goes_on_where_it_was(
    store: Store, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("keshikaran.ingest.importer._BATCH", 2)
    images = {f"/{number}.png": encode(reddish(number)) for number in range(12)}
    site.routes = {path: content(data) for path, data in images.items()}
    urls = [site.url(path) for path in images]
    entries = [UrlEntry(url, [(url, 1)]) for url in urls]
    options = FetchOptions(rate=1000, jobs=1, per_host=1)
    with pytest.raises(KeyboardInterrupt):
        import_source(
            store, UrlSource(store, entries, options, guard=guard_for()), progress=Steps(7)
        )
    kept = store.count_images()
    assert 0 < kept < 12
    site.asked.clear()
    report = import_source(store, UrlSource(store, entries, options, guard=guard_for()))
    assert (report.imported, report.duplicates) == (12 - kept, kept)
    assert len(site.paths()) == 12 - kept
    with Store(tmp_path / "other") as other:
        import_source(other, UrlSource(other, entries, _QUICK, guard=guard_for()))
    assert catalogue(store.folder)["sources"] == catalogue(tmp_path / "other")["sources"]


# Manners


def test_a_host_is_asked_no_faster_than_agreed(store: Store, site: Site) -> None:
    paths = [f"/{number}.png" for number in range(4)]
    site.routes = {path: content(encode(reddish(1))) for path in paths}
    options = FetchOptions(rate=5, per_host=4, ignore_robots=True)
    started = time.monotonic()
    _fetch(store, [site.url(path) for path in paths], options)
    times = sorted(at - started for at, _ in site.asked)
    assert len(times) == 4
    assert all(at > 0.2 * number - 0.01 for number, at in enumerate(times))


def test_a_host_is_asked_by_no_more_at_once_than_agreed(store: Store, site: Site) -> None:
    def slowly(handler: Any) -> None:
        time.sleep(0.05)
        content(encode(reddish(1)))(handler)

    paths = [f"/{number}.png" for number in range(12)]
    site.routes = dict.fromkeys(paths, slowly)
    _fetch(store, [site.url(p) for p in paths], FetchOptions(rate=1000, jobs=8, per_host=2))
    assert site.most_at_once == 2


def test_several_hosts_are_asked_at_the_same_time(store: Store, site: Site) -> None:
    def slowly(handler: Any) -> None:
        time.sleep(0.2)
        content(encode(reddish(1)))(handler)

    site.routes = {"/a.png": slowly}
    urls = [site.url("/a.png", f"host{number}.test") for number in range(4)]
    _fetch(store, urls, FetchOptions(rate=1000, per_host=1, jobs=4))
    assert site.most_at_once > 1


def test_robots_are_obeyed_and_can_be_ignored(store: Store, site: Site) -> None:
    rules = b"User-agent: *\nDisallow: /private/*.png$\n"
    site.routes = {
        "/robots.txt": content(rules),
        "/private/a.png": content(encode(reddish(1))),
        "/public/a.png": content(encode(reddish(2))),
    }
    urls = [site.url("/private/a.png"), site.url("/public/a.png")]
    report = _fetch(store, urls)
    assert report.imported == 1
    assert _reason(report)[0] == "robots_disallowed"
    assert site.paths() == ["/public/a.png"]
    assert sum(path == "/robots.txt" for _, path in site.asked) == 1
    agent = {headers["User-Agent"].partition("/")[0] for headers in site.headers}
    assert agent == {"keshikaran"}
    options = FetchOptions(rate=1000, ignore_robots=True)
    assert _fetch(store, urls, options).imported == 1


@pytest.mark.parametrize(("code", "imported"), [(404, 1), (403, 1), (429, 0), (503, 0)])
def test_a_site_whose_wishes_cannot_be_had_is_left_alone(
    store: Store, site: Site, code: int, imported: int
) -> None:
    site.routes = {"/robots.txt": status(code), "/a.png": content(encode(reddish(1)))}
    report = _fetch(store, [site.url("/a.png")])
    assert report.imported == imported
    assert report.skipped == 1 - imported
    assert [refusal.reason for refusal in report.refusals] == ["robots_disallowed"] * (1 - imported)


def test_a_crawl_delay_slows_down(store: Store, site: Site) -> None:
    site.routes = {
        "/robots.txt": content(b"User-agent: keshikaran\nCrawl-delay: 0.4\n"),
        "/a.png": content(encode(reddish(1))),
        "/b.png": content(encode(reddish(2))),
    }
    _fetch(store, [site.url("/a.png"), site.url("/b.png")])
    first, second = (at for at, path in site.asked if path != "/robots.txt")
    assert second - first > 0.25


# Failures


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again(store: Store, site: Site, code: int) -> None:
    site.routes = {"/a.png": in_turn(status(code), status(code), content(encode(reddish(1))))}
    assert _fetch(store, [site.url("/a.png")]).imported == 1
    assert len(site.paths()) == 3


@pytest.mark.parametrize("code", [204, 206, 304, 401, 404, 410, 501])
def test_lasting_failures_are_not(store: Store, site: Site, code: int) -> None:
    site.routes = {"/a.png": status(code)}
    reason, detail = _reason(_fetch(store, [site.url("/a.png")]))
    assert reason == "fetch_failed"
    assert f"HTTP {code}" in detail
    assert len(site.paths()) == 1


def test_attempts_end(store: Store, site: Site) -> None:
    site.routes = {"/a.png": status(500)}
    options = FetchOptions(rate=1000, backoff_s=0.01, retries=2)
    assert (
        _reason(_fetch(store, [site.url("/a.png")], options))[1] == "HTTP 500 Internal Server Error"
    )
    assert len(site.paths()) == 3


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(store: Store, site: Site, as_date: bool) -> None:
    wait = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
    site.routes = {"/a.png": in_turn(status(429, Retry_After=wait), content(encode(reddish(1))))}
    assert _fetch(store, [site.url("/a.png")]).imported == 1
    first, second = (at for at, path in site.asked if path == "/a.png")
    assert second - first > 0.9


def test_a_server_that_asks_for_too_much_patience_is_left_for_another_day(
    store: Store, site: Site
) -> None:
    site.routes = {"/a.png": status(503, Retry_After="3600")}
    reason, detail = _reason(_fetch(store, [site.url("/a.png")]))
    assert reason == "fetch_failed"
    assert "asks to come back in 3,600 s" in detail
    assert len(site.paths()) == 1


def test_a_strange_retry_after_is_as_good_as_none(store: Store, site: Site) -> None:
    site.routes = {"/a.png": in_turn(status(503, Retry_After="soon"), content(encode(reddish(1))))}
    assert _fetch(store, [site.url("/a.png")]).imported == 1


def test_nobody_there_is_said_so(store: Store, site: Site) -> None:
    def resolve(host: str, _: int) -> list[str]:
        if host == "nowhere.test":
            raise OSError(-2, "Name or service not known")
        return ["not a number"] if host == "odd.test" else ["127.0.0.1"]

    options = FetchOptions(rate=1000, retries=0)
    urls = ["http://nowhere.test/a.png", "http://odd.test/a", "http://pictures.test:9/a.png"]
    report = _fetch(store, urls, options, guard=guard_for(resolve))
    details = " ".join(sorted(refusal.detail for refusal in report.refusals))
    assert {refusal.reason for refusal in report.refusals} == {"fetch_failed"}
    assert "nowhere.test leads to no address: Name or service not known" in details
    assert "odd.test leads to no address" in details
    assert "pictures.test does not answer" in details


def test_an_answer_that_drips_ends_when_its_time_is_up(store: Store, site: Site) -> None:
    site.routes = {"/a.png": dripping(bytes(10_000), 0.02)}
    options = FetchOptions(rate=1000, retries=0, timeout_s=0.5, stall_s=5)
    started = time.monotonic()
    reason, detail = _reason(_fetch(store, [site.url("/a.png")], options))
    assert (reason, detail) == ("fetch_failed", "it took longer than 0.5 s")
    assert time.monotonic() - started < 100  # all of it would take 200


def test_a_server_that_says_nothing_is_left(store: Store, site: Site) -> None:
    site.routes = {"/a.png": lambda _: time.sleep(3)}
    options = FetchOptions(rate=1000, retries=0, stall_s=0.2)
    assert _reason(_fetch(store, [site.url("/a.png")], options))[0] == "fetch_failed"


def test_a_connection_that_breaks_is_no_image(store: Store, site: Site) -> None:
    def broken(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(encode(reddish(1))[:50])
        handler.close_connection = True

    site.routes = {"/a.png": broken}
    assert _reason(_fetch(store, [site.url("/a.png")], FetchOptions(rate=1000, retries=0)))[0] == (
        "fetch_failed"
    )


# Sizes


def test_a_declared_size_beyond_the_limit_is_not_read(store: Store, site: Site) -> None:
    site.routes = {"/a.png": content(bytes(50_000))}
    report = _fetch(store, [site.url("/a.png")], limits=Limits(max_bytes=10_000))
    assert _reason(report) == ("too_many_bytes", "it has 50,000 bytes, the limit is 10,000")


def test_an_endless_answer_is_cut_at_the_limit(store: Store, site: Site) -> None:
    sent = [0]

    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(10_000):
            sent[0] += handler.wfile.write(bytes(10_000))

    site.routes = {"/a.png": endless}
    report = _fetch(store, [site.url("/a.png")], limits=Limits(max_bytes=200_000))
    assert _reason(report)[0] == "too_many_bytes"
    assert sent[0] < 50_000_000


def test_packed_answers_are_not_unpacked(store: Store, site: Site) -> None:
    site.routes = {"/a.png": content(b"\x1f\x8b" + bytes(100), Content_Encoding="gzip")}
    reason, detail = _reason(_fetch(store, [site.url("/a.png")]))
    assert reason == "fetch_failed"
    assert "sent packed (gzip)" in detail
    assert all(headers.get("Accept-Encoding") == "identity" for headers in site.headers)


# Where connections go


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255"),
        *("192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1"),
        *("198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1"),
        *("fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::"),
        *("3fff::1", "4000::1"),
    ],
)
def test_addresses_that_are_not_everybodys_are_refused(store: Store, address: str) -> None:
    report = _fetch(store, ["http://evil.test/a.png"], guard=Guard(resolver=lambda *_: [address]))
    reason, detail = _reason(report)
    assert reason == "address_refused"
    assert "not public" in detail


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "2a00:1450::1"])
def test_addresses_that_are_everybodys_pass(address: str) -> None:
    assert is_public(parse_address(address))


@given(st.ip_addresses())
def test_nothing_passes_that_the_standard_library_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::1]"]
)
def test_this_machine_is_refused_however_it_is_spelled(store: Store, site: Site, host: str) -> None:
    options = FetchOptions(rate=1000, retries=0)
    report = _fetch(store, [f"http://{host}:{site.port}/a.png"], options, guard=Guard())
    assert report.skipped == 1
    assert site.asked == []


def test_the_address_that_was_checked_is_the_one_that_is_used(store: Store, site: Site) -> None:
    """A resolver that says something else each time, as in DNS rebinding."""
    site.routes = {"/a.png": content(encode(reddish(1)))}
    answers = iter([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"], ["127.0.0.2"]])
    calls: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        calls.append(host)
        return next(answers)

    options = FetchOptions(rate=1000, ignore_robots=True, retries=0)
    assert _fetch(store, [site.url("/a.png")], options, guard=guard_for(resolve)).imported == 1
    assert calls == ["pictures.test"]
    report = _fetch(store, [site.url("/b.png")], options, guard=guard_for(resolve))
    assert _reason(report)[0] == "address_refused"


def test_numbers_of_ipv6_need_no_brackets_to_be_resolved(store: Store, site: Site) -> None:
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    site.routes = {"/a.png": content(encode(reddish(1)))}
    url = site.url("/a.png", "[2606:4700::1111]")
    assert _fetch(store, [url], guard=guard_for(resolve)).imported == 1
    assert set(asked) == {"2606:4700::1111"}


def test_of_several_addresses_only_public_ones_are_used(store: Store, site: Site) -> None:
    site.routes = {"/a.png": content(encode(reddish(1)))}
    guard = guard_for(lambda *_: ["10.0.0.1", "::1", "127.0.0.1"])
    assert _fetch(store, [site.url("/a.png")], guard=guard).imported == 1


def test_redirects_are_followed_and_checked_at_each_hop(store: Store, site: Site) -> None:
    def resolve(host: str, _: int) -> list[str]:
        return ["169.254.169.254"] if host == "metadata.test" else ["127.0.0.1"]

    site.routes = {
        "/a.png": status(302, Location="/b.png"),
        "/b.png": status(307, Location=site.url("/c.png", "other.test")),
        "/c.png": content(encode(reddish(1))),
        "/secret": status(302, Location="http://metadata.test/latest/meta-data"),
        "/file": status(301, Location="file:///etc/passwd"),
        "/password": status(301, Location=site.url("/c.png").replace("//", "//ada:secret@")),
        "/loop": status(302, Location="/loop"),
    }
    assert _fetch(store, [site.url("/a.png")], guard=guard_for(resolve)).imported == 1
    assert site.hosts[-1] == f"other.test:{site.port}"
    for path, reason in (
        ("/secret", "address_refused"),
        ("/file", "fetch_failed"),
        ("/password", "fetch_failed"),
        ("/loop", "fetch_failed"),
    ):
        report = _fetch(store, [site.url(path)], guard=guard_for(resolve))
        assert _reason(report)[0] == reason
    assert sum(path == "/loop" for _, path in site.asked) == 6


def test_robots_of_the_site_that_a_redirect_leads_to_are_obeyed(store: Store, site: Site) -> None:
    with serving() as other:
        other.routes = {
            "/robots.txt": content(b"User-agent: *\nDisallow: /\n"),
            "/a.png": content(encode(reddish(1))),
        }
        site.routes = {"/a.png": status(302, Location=other.url("/a.png", "other.test"))}
        report = _fetch(store, [site.url("/a.png")])
        assert _reason(report)[0] == "robots_disallowed"
        assert other.paths() == []


def test_robots_txt_cannot_lead_into_the_private_network(store: Store, site: Site) -> None:
    guard = guard_for(lambda host, _: ["10.0.0.1" if host == "inside.test" else "127.0.0.1"])
    site.routes = {"/robots.txt": status(302, Location="http://inside.test/robots.txt")}
    assert _reason(_fetch(store, [site.url("/a.png")], guard=guard))[0] == "address_refused"


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://pictures.test/a.png", "file:///etc/passwd", "data:image/png;base64,AAAA"),
        *("//pictures.test/a.png", "pictures.test/a.png", "http:///a.png", "http://[::1/a.png"),
        *("http://pictures.test/a b.png", "http://pictures.test:99999/", "http://a\x01.test/"),
        "http://pictures.test/" + "a" * 9000,
    ],
)
def test_what_is_no_address_on_the_web_is_refused_without_asking(store: Store, url: str) -> None:
    def resolve(host: str, _: int) -> list[str]:
        raise AssertionError(host)

    assert _reason(_fetch(store, [url], guard=guard_for(resolve)))[0] == "fetch_failed"
    with pytest.raises(FetchError):
        check_url(url)


def test_passwords_are_neither_sent_nor_written_down(
    store: Store, site: Site, tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(site.url("/a.png").replace("//", "//ada:secret@") + "\n")
    source = UrlSource(store, read_url_list(listed), _QUICK, guard=guard_for())
    report = import_source(store, source)
    assert "user name or password" in _reason(report)[1]
    assert site.asked == []
    assert "secret" not in repr(report) + repr(store.skipped())


def test_no_proxy_of_the_environment_is_used(
    store: Store, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.routes = {"/a.png": content(encode(reddish(1)))}
    assert _fetch(store, [site.url("/a.png")]).imported == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for pictures.test, signed by itself, with its key."""
    return write_certificate(tmp_path_factory.mktemp("tls"), "pictures.test")


@pytest.mark.parametrize(("host", "imported"), [("pictures.test", 1), ("other.test", 0)])
def test_tls_verifies_the_name_and_not_the_number(
    store: Store, certificate: Path, host: str, imported: int
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    names: list[str | None] = []
    server.sni_callback = lambda _, name, __: names.append(name)
    client = ssl.create_default_context(cafile=str(certificate))
    with serving(lambda line: server.wrap_socket(line, server_side=True)) as site:
        site.routes = {"/a.png": content(encode(reddish(1)))}
        url = site.url("/a.png", host).replace("http:", "https:")
        options = FetchOptions(rate=1000, retries=0, ignore_robots=True)
        report = _fetch(store, [url], options, context=client)
    assert report.imported == imported
    assert set(names) == {host}


# The list


def test_lists_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\ufeff# pictures\n\nhttp://a.test/1\r\n  http://a.test/2\nhttp://a.test/1\n")
    assert [(entry.url, entry.claims) for entry in read_url_list(path, 1)] == [
        ("http://a.test/1", [("http://a.test/1", 1)]),
        ("http://a.test/2", [("http://a.test/2", 1)]),
    ]


def test_an_address_with_both_values_is_a_contradiction(
    store: Store, site: Site, tmp_path: Path
) -> None:
    site.routes = {"/a.png": content(encode(reddish(1)))}
    url = site.url("/a.png")
    path = tmp_path / "list.csv"
    path.write_text(f"url,value\n{url},1\n{url},0\n{url},1\n\n{url},\n")
    source = UrlSource(store, read_url_list(path), _QUICK, guard=guard_for())
    report = import_source(store, source)
    assert (report.seen, report.imported, report.duplicates) == (3, 1, 2)
    (found,) = store.labels.contradictions()
    assert found.objectionable == (url,)
    assert found.acceptable == (f"{url} (line 3)",)
    assert site.paths() == ["/a.png"]


@pytest.mark.parametrize("row", ["http://a.test/,2", "http://a.test/", "http://a.test/,1,1"])
def test_a_table_with_a_strange_row_is_refused(tmp_path: Path, row: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"url,value\nhttp://a.test/,1\n{row}\n")
    with pytest.raises(SourceError, match="row 3"):
        read_url_list(path)


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gone"):
        read_url_list(tmp_path / "gone")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SourceError, match="UTF-8"):
        read_url_list(tmp_path / "bytes")


def test_a_table_needs_no_label(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("url,value\nhttp://a.test/,1\n")
    with pytest.raises(SourceError, match="values of its own"):
        read_url_list(path, 1)


# The command


def test_command_fetches_from_this_machine_only_when_told_to(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.routes = {"/a.png": content(encode(reddish(1))), "/b.png": content(b"no picture")}
    path = tmp_path / "list.txt"
    path.write_text("".join(f"http://127.0.0.1:{site.port}/{name}.png\n" for name in "ab"))
    words = ("import-urls", path, "--workspace", tmp_path / "w", "--json", "--rate", "100")
    refused = cli(capsys, *words)
    assert refused.code == 3
    assert site.asked == []
    assert {item["reason"] for item in json.loads(refused.out)["refusals"]} == {"address_refused"}
    done = cli(capsys, *words, "--allow-private-addresses", "--label", "1")
    assert done.code == 3
    figures = json.loads(done.out)
    assert (figures["seen"], figures["imported"], figures["labels"]) == (2, 1, 1)
    assert [item["reason"] for item in figures["refusals"]] == ["not_an_image"]
    path.write_text(f"http://127.0.0.1:{site.port}/a.png\n")
    again = cli(capsys, *words[:4], "--label", "1")
    assert again.code == 0
    assert "Nothing new: all 1 images" in again.err


def test_command_says_which_packages_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keshikaran.cli.import_urls._MODULES", ("no_such_package",))
    outcome = cli(capsys, "import-urls", tmp_path / "list.txt")
    assert outcome.code == 1
    assert 'pip install "keshikaran[urls]"' in outcome.err


def test_a_defect_while_fetching_is_not_waited_for_in_vain(
    store: Store, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, cut: bool) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("keshikaran.ingest.web.fetch._content", broken)
    with pytest.raises(ZeroDivisionError):
        _fetch(store, [site.url("/a.png")])
