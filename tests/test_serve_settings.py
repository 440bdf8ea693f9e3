"""What the server is told, and what it refuses to be told."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keshikaran.errors import UsageError
from keshikaran.web.budget import BodyMemory
from keshikaran.web.connection_table import ConnectionTable
from keshikaran.web.listener import address_of, listen
from keshikaran.web.problems import RequestRefusedError
from keshikaran.web.settings import ServerSettings, is_loopback
from keshikaran.web.tokens import TokenFile, bearer


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_public_address_needs_a_token(host: str, alone: bool, tmp_path: Path) -> None:
    assert is_loopback(host) == alone
    if alone:
        assert ServerSettings(host=host).host == host
        return
    with pytest.raises(UsageError, match="--token-file"):
        ServerSettings(host=host)
    assert ServerSettings(host=host, token_file=tmp_path / "tokens").host == host


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_waiting": 0},
        {"header_timeout_s": -1.0},
        {"body_timeout_s": float("nan")},
        {"max_body_bytes": 40 * 1024 * 1024},
        {"body_memory_bytes": 1024},
        {"max_parts": 100},
        {"port": 70_000},
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        ServerSettings(**wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no token"),
        ("# only words\n\n", "has no token"),
        ("a-token-of-the-test\nshort\n", "less than 16 characters"),
        ("a-token-with-ümlauts", "not plain ASCII"),
    ],
)
def test_file_of_tokens_that_cannot_be_used_is_refused_at_the_start(
    text: str | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words) as caught:
        TokenFile(path)
    assert str(path) in caught.value.what


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer  ", None),
        ("Basic abc", None),
        ("Bearer abc", "abc"),
        ("bEARER   abc ", "abc"),
    ],
)
def test_token_is_what_follows_bearer(header: str | None, token: str | None) -> None:
    assert bearer(header) == token


def test_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1 port {port} cannot be had"):
            listen(ServerSettings(port=port))
    for host in ("no address", "a" * 70):
        with pytest.raises(UsageError, match="cannot be had"):
            listen(ServerSettings(host=host, token_file=tmp_path))


def test_answers_do_not_wait_for_a_clients_acknowledgement() -> None:
    """Head and body are two packets; Nagle's algorithm would hold the second back for 40 ms."""
    with (
        listen(ServerSettings(port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_address_can_be_typed_into_a_browser(tmp_path: Path) -> None:
    with listen(ServerSettings(port=0)) as found:
        assert address_of(found) == f"http://127.0.0.1:{found.getsockname()[1]}"
    with listen(ServerSettings(host="0.0.0.0", port=0, token_file=tmp_path)) as found:
        assert "0.0.0.0" not in address_of(found)


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=40))
def test_memory_of_bodies_never_exceeds_its_limits_and_comes_back(
    wanted: list[tuple[int, bool]],
) -> None:
    memory = BodyMemory(100, 25, 1.0)
    leases = []
    unannounced = 0
    for count, announced in wanted:
        lease = memory.lease(count if announced else None)
        leases.append(lease)
        before = memory.used
        if before + count <= 100 and (announced or unannounced + count <= 25):
            lease.take(count)
            unannounced += 0 if announced else count
        else:
            with pytest.raises(RequestRefusedError, match="bytes together"):
                lease.take(count)
            assert memory.used == before
    for lease in leases:
        lease.__exit__()
    assert memory.used == 0


def test_connections_are_counted_by_address_and_by_network() -> None:
    refused: list[str] = []
    settings = ServerSettings(connections_per_client=2, proxies=("192.0.2.9",))
    table = ConnectionTable(settings, refused.append)
    for client in ("127.0.0.1", "::1", "192.0.2.9", None):
        assert all(table.enter(client) is None for _ in range(5))
    clients = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.1"]
    assert all(table.enter(client) is None for client in clients)
    refusal = table.enter("2001:db8::3")
    assert refusal is not None
    assert refusal.code == "too_many_connections"
    assert refused == ["too_many_connections"]
    for client in ("2001:db8::1", "2001:db8::3"):
        table.leave(client)
    assert table.enter("2001:db8::4") is None
    assert table.open == 20 + 5 + 2 - 2
    assert table.enter("no address") is None
