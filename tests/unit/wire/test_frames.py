"""Tests of the messages between plugin and exporter, and of their decoder."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given
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
    """A stream in two parts gives the same messages, each as soon as its last byte is fed."""
    ends = [sum(len(packed(*message)) for message in MESSAGES[: n + 1]) for n in range(len(MESSAGES))]
    for at in range(len(DATA) + 1):
        decoder = Frames()
        first = list(decoder.feed(DATA[:at]))
        assert first == MESSAGES[: sum(end <= at for end in ends)]
        assert first + list(decoder.feed(DATA[at:])) == MESSAGES


@given(st.lists(st.integers(0, len(DATA)), max_size=20))
@example(list(range(len(DATA))))
def test_any_splits(cuts: list[int]) -> None:
    """A stream in any number of parts gives the same messages."""
    decoder, messages, start = Frames(), list[Any](), 0
    for cut in [*sorted(cuts), len(DATA)]:
        messages += decoder.feed(DATA[start:cut])
        start = cut
    assert messages == MESSAGES


def test_partial_reading() -> None:
    """A reader may stop after the first message; the next call yields the others once."""
    decoder = Frames()
    assert next(decoder.feed(DATA)) == MESSAGES[0]
    assert list(decoder.feed(b"")) == MESSAGES[1:]


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf"], ids=["list", "object"])
def test_too_many_items(head: bytes) -> None:
    """A list or object with too many items is refused before memory for them is allocated."""
    with pytest.raises(FrameError, match="exceeds max_"):
        list(Frames().feed(b"\x91" + struct.pack(">cI", head, 1 << 23)))


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """An incomplete message has a maximum length."""
    monkeypatch.setattr("locust_otel.wire.frames.MAX_BYTES", 1000)
    decoder = Frames()
    assert list(decoder.feed(b"\x91" + struct.pack(">cI", b"\xc6", 2000) + bytes(900))) == []
    with pytest.raises(FrameError, match="BufferFull"):
        list(decoder.feed(bytes(200)))


@pytest.mark.parametrize(
    "body", [b"\x90", b"\x91\x07", b"\xa4stop", b"\x80", b"\xc0", b"\xc1", b"\x91\xc0", b"\x91" * 2_000],
    ids=lambda body: repr(body[:8]),
)  # fmt: skip
def test_malformed_messages(body: bytes) -> None:
    """Anything but a list with a name is refused; the messages before it are decoded."""
    messages = Frames().feed(packed("stop") + body + packed("hurry"))
    assert next(messages) == ["stop"]
    with pytest.raises(FrameError):
        next(messages)


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Any bytes are messages or a FrameError."""
    try:
        for message in Frames().feed(data):
            assert type(message[0]) is str
    except FrameError:
        pass
