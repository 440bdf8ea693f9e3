"""What a child says is never believed further than it can be checked."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import RESIZE_MODES, Limits, PixelSpec
from keshikaran.pixels.isolation.messages import (
    MAX_PACKET,
    MAX_VIEWS,
    REQUEST_SIZE,
    ChildDiedError,
    ChildSettings,
    Reply,
    Request,
    read_reply,
)

_sides = st.integers(1, 2**20)
_specs = st.builds(PixelSpec, _sides, _sides, st.sampled_from(RESIZE_MODES))


@given(st.integers(0, 2**63), st.integers(0, 2**40), _specs)
def test_a_request_arrives_as_it_was_sent(number: int, length: int, spec: PixelSpec) -> None:
    packet = Request(number, length, spec).pack()
    assert len(packet) == REQUEST_SIZE
    assert Request.unpack(packet) == Request(number, length, spec)


@given(st.integers(0, 2**63), st.booleans(), st.integers(1, MAX_VIEWS), st.integers(0, 1000))
def test_counts_arrive_as_they_were_sent(number: int, worn: bool, views: int, more: int) -> None:
    reply = Reply(number, worn, views, views + more, views)
    assert read_reply(reply.pack(), number) == reply


def test_a_refusal_arrives_with_its_reason_and_words() -> None:
    sent = Reply(7, refusal=ImageRefusedError("truncated", "the data ends early"))
    refusal = read_reply(sent.pack(), 7).refusal
    assert refusal is not None
    assert (refusal.reason, refusal.detail) == ("truncated", "the data ends early")


@given(st.text(max_size=2000))
def test_words_come_out_as_one_short_printable_line(words: str) -> None:
    refusal = read_reply(Reply(1, refusal=ImageRefusedError("corrupt", words)).pack(), 1).refusal
    assert refusal is not None
    assert refusal.detail.isprintable()
    assert len(refusal.detail) <= 300
    failure = read_reply(Reply(1, failure=words).pack(), 1).failure
    assert failure is not None
    assert failure.isprintable()


@given(st.binary(max_size=200) | st.binary(min_size=MAX_PACKET - 1, max_size=MAX_PACKET + 2))
def test_noise_is_a_childs_death_or_a_reply_within_bounds(packet: bytes) -> None:
    try:
        reply = read_reply(packet, 0)
    except ChildDiedError:
        return
    assert 0 <= reply.views <= MAX_VIEWS
    assert reply.frames_scored <= reply.frames_total


_HEADER = struct.Struct("<QBBIII")


def _packet(kind: int, *counts: int, words: object = None, number: int = 1) -> bytes:
    tail = b"" if words is None else json.dumps(words).encode()
    return _HEADER.pack(number, kind, 0, *(counts or (0, 0, 0))) + tail


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (b"", "0 bytes"),
        (b"x" * (MAX_PACKET + 1), "bytes where a reply"),
        (_packet(0, 1, 1, 1, number=2), "another question"),
        (_packet(9), "unknown kind 9"),
        (_packet(0, 0, 1, 1), "claimed 0 views"),
        (_packet(0, MAX_VIEWS + 1, 1, 1), "claimed"),
        (_packet(0, 2**32 - 1, 2**32 - 1, 1), "claimed"),
        (_packet(0, 2, 1, 2), "2 of 1 frames"),
        (_packet(0, 1, 2**32 - 1, 1), "claimed"),
        (_packet(0, 1, 1, 1, words={}), "an order that 1 views cannot have"),
        (_HEADER.pack(1, 0, 0, 2, 2, 2) + bytes([1, 0]), "an order that 2 views"),
        (_HEADER.pack(1, 0, 0, 2, 2, 2) + bytes([0, 0, 0]), "an order that 2 views"),
        (_HEADER.pack(1, 0, 0, 2, 2, 2) + bytes(300), "an order that 2 views"),
        (_packet(1), "no JSON"),
        (_HEADER.pack(1, 1, 0, 0, 0, 0) + b"[" * 8000, "no JSON"),
        (_packet(1, words=[]), "other words"),
        (_packet(1, words={"reason": "corrupt"}), "other words"),
        (_packet(1, words={"reason": "corrupt", "detail": 3}), "other words"),
        (_packet(1, words={"reason": "pass", "detail": ""}), "a reason that does not exist"),
        (_packet(2, words={"detail": None}), "other words"),
    ],
)
def test_nonsense_is_a_childs_death(packet: bytes, words: str) -> None:
    with pytest.raises(ChildDiedError, match=words):
        read_reply(packet, 1)


def test_settings_arrive_as_they_were_sent() -> None:
    settings = ChildSettings("a.b:c", Limits(1, 2, 3), 4, 5)
    assert ChildSettings.from_json(settings.to_json()) == settings
