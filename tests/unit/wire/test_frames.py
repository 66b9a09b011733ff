"""Tests of the messages between plugin and exporter: whole ones, however their bytes come."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_otel.wire.frames import FrameError, Frames, packed

MESSAGES: list[list[Any]] = [
    ["stop"],
    ["report", "host-0", b"\x00\xff" * 10],
    ["ask", 7, "page", None],
    ["settings", {"slo": "/home/\udcff ü.yaml", "labels": ["a=b"], "ratio": 0.1, "run": {"a": {1: True}}}],
]
DATA = b"".join(packed(*message) for message in MESSAGES)


def test_any_split() -> None:
    """Cut in two anywhere, the messages are the same, each as soon as it is whole."""
    ends = [sum(len(packed(*message)) for message in MESSAGES[: n + 1]) for n in range(len(MESSAGES))]
    for at in range(len(DATA) + 1):
        messages = Frames()
        first = list(messages.feed(DATA[:at]))
        assert first == MESSAGES[: sum(end <= at for end in ends)]
        assert first + list(messages.feed(DATA[at:])) == MESSAGES


@given(st.lists(st.integers(0, len(DATA)), max_size=20))
def test_any_splits(cuts: list[int]) -> None:
    """So they are cut into however many parts."""
    messages, found, at = Frames(), list[Any](), 0
    for cut in [*sorted(cuts), len(DATA)]:
        found += messages.feed(DATA[at:cut])
        at = cut
    assert found == MESSAGES


def test_byte_by_byte() -> None:
    """So they are, one byte at a time."""
    messages = Frames()
    assert [message for byte in DATA for message in messages.feed(bytes([byte]))] == MESSAGES


def test_a_reader_that_stops_in_the_middle() -> None:
    """The first message was what it looked for: the others come next, once."""
    messages = Frames()
    for message in messages.feed(DATA):
        assert message == MESSAGES[0]
        break
    assert list(messages.feed(b"")) == MESSAGES[1:]


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf"], ids=["list", "object"])
def test_too_many_items(head: bytes) -> None:
    """A number of items that no message of ours has is refused at once, before there is room made for them."""
    with pytest.raises(FrameError, match="exceeds max_"):
        list(Frames().feed(b"\x91" + struct.pack(">cI", head, 1 << 23)))


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the rest of a message does not grow without end."""
    monkeypatch.setattr("locust_otel.wire.frames.MAX_BYTES", 1000)
    messages = Frames()
    assert list(messages.feed(b"\x91" + struct.pack(">cI", b"\xc6", 2000) + bytes(900))) == []
    with pytest.raises(FrameError, match="BufferFull"):
        list(messages.feed(bytes(200)))


@pytest.mark.parametrize(
    "body", [b"\x90", b"\x91\x07", b"\xa4stop", b"\x80", b"\xc0", b"\xc1", b"\x91\xc0", b"\x91" * 2_000],
    ids=lambda body: repr(body[:8]),
)  # fmt: skip
def test_rubbish(body: bytes) -> None:
    """What is no list with a name is no message; those before it are."""
    feeding = Frames().feed(packed("stop") + body + packed("hurry"))
    assert next(feeding) == ["stop"]
    with pytest.raises(FrameError):
        next(feeding)


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Nothing else is raised, whatever comes."""
    messages = Frames()
    try:
        for message in messages.feed(data):
            assert type(message[0]) is str
    except FrameError:
        pass
