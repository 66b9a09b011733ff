"""Tests of the codec of reports: every part arrives, and malformed reports are refused."""

from __future__ import annotations

import math
import random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_otel.core.events import Event
from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import ErrorKey, Exemplar, SeriesKey, SlowRequest
from locust_otel.wire.report import (
    EVENTS_PER_REPORT,
    VERSION,
    Piece,
    ReportError,
    SeriesReport,
    Tail,
    Vitals,
    decode,
    decode_counts,
    decode_event,
    encode,
    encode_counts,
    encode_event,
    fingerprint,
)
from tests.unit.factories import ODD_TEXTS, SPAN_ID, TRACE_ID
from tests.unit.spoiling import changed

LAYOUT = fingerprint(layout([5.0]))
EVENT = Event("locust.user_error", "it broke", "ERROR", {"a": 1, "b": "ü", "c": 0.5}, 1.25, TRACE_ID, SPAN_ID)
SLOW = SlowRequest(SeriesKey("GET", "/", "Shopper", "failure"), 6.5, "504", "", "", 2.5)
SERIES: list[Any] = ["GET", "/", "Shopper", 1, 1, 1.5, 10, [3, 4], {1: [0.01, TRACE_ID, SPAN_ID, 100.0]}]
TAIL: dict[str, Any] = {
    "is_over": True, "reset": 3, "missing": -2, "errors": 4, "events": [encode_event(EVENT)],
    "slow": [encode_event(SLOW) | {"key": [*SLOW.key]}], "slow_dropped": 5,
    "vitals": [0.5, 1_000, ["lag", "cpu"], 0.25, {2: 4}, 0.75, {0: 2}],
}  # fmt: skip
GOOD: list[Any] = [VERSION, "run-1", LAYOUT, [SERIES], [[["GET", "/", "500"], 3]], [[["Shopper", "KeyError"], 2]], TAIL]


def test_a_whole_report() -> None:
    """Every part of a report arrives."""
    assert decode(encode(*GOOD[1:])) == Piece(
        run_id="run-1",
        layout=LAYOUT,
        series=(
            SeriesReport(
                SeriesKey("GET", "/", "Shopper", "failure"), 1, 1.5, 10, {2: 4},
                {1: Exemplar(0.01, TRACE_ID, SPAN_ID, 100.0)},
            ),
        ),
        errors=((ErrorKey("GET", "/", "500"), 3),),
        user_errors=((("Shopper", "KeyError"), 2),),
        tail=Tail(
            is_over=True, reset=3, missing=-2, errors=4, events=(EVENT,), slow=(SLOW,), slow_dropped=5,
            vitals=Vitals(0.5, 1_000, ("lag", "cpu"), 0.25, {2: 4}, 0.75, {0: 2}),
        ),
    )  # fmt: skip


def test_an_empty_piece() -> None:
    """A piece may have no run and no series."""
    assert decode(encode("", 0, [])) == Piece("", 0, (), (), (), None)


@pytest.mark.parametrize("text", [*ODD_TEXTS, "\udc80"], ids=ascii)
def test_texts(text: str) -> None:
    """Names and kinds of errors may be any text."""
    series = [text, text, text, 0, 0, 0, 0, [], {}]
    piece = decode(encode(text, 1, [series], [[[text, text, text], 1]], [[[text, text], 1]]))
    assert piece.run_id == text
    assert piece.series[0].key == (text, text, text, "success")
    assert piece.errors == (((text, text, text), 1),)
    assert piece.user_errors == (((text, text), 1),)


def test_unknown_values() -> None:
    """CPU and memory are None before the first measurement, and the difference is None if Locust does not count."""
    report = changed(GOOD, (6, "missing"), None)
    report[6]["vitals"][:2] = [None, None]
    tail = decode(msgpack.packb(report)).tail
    assert tail is not None
    assert (tail.missing, tail.vitals.cpu_ratio, tail.vitals.memory_bytes) == (None, None, None)


# ----------------------------------------------------------------------------------------------------------- counts


@given(st.dictionaries(st.integers(0, 400), st.integers(1, 10**12)), st.randoms(use_true_random=False))
def test_counts(counts: dict[int, int], random_: random.Random) -> None:
    """Counts survive encoding, in any order of the indexes and with duplicates."""
    touched = [*counts, *counts]
    random_.shuffle(touched)
    assert decode_counts(msgpack.unpackb(msgpack.packb(encode_counts(counts, touched)))) == counts


def test_gaps() -> None:
    """A gap is the distance to the previous bucket, which starts at -1; only the given indexes are sent."""
    assert encode_counts({2: 5, 3: 1, 4: 7}, [2, 4]) == [3, 5, 2, 7]
    assert encode_counts({0: 9, 4: 7}, [0]) == [1, 9]
    assert encode_counts({}, []) == []


def test_fingerprints() -> None:
    """Layouts have the same fingerprint exactly if they have the same bounds."""
    assert fingerprint(layout([5.0])) == fingerprint(layout([5.0, 2.5]))  # a classic edge adds no bound
    assert len({fingerprint(layout([threshold])) for threshold in (5.0, 5.1, 0.3)}) == 3


# ------------------------------------------------------------------------------------------------------- malformed


@pytest.mark.parametrize(
    ("message", "version"),
    [
        ([VERSION + 1, "run-1"], VERSION + 1), ([0], 0), ({"v": 2, "runs": []}, 2), (["1"], "str"),
        ([None], "NoneType"), ([], "list"), ({}, "NoneType"), (7, 7), (None, "NoneType"), ("text", "str"),
        ([[1]], "list"),
    ],
)  # fmt: skip
def test_another_version(message: object, version: object) -> None:
    """The error has both versions and the remedy."""
    with pytest.raises(ReportError) as caught:
        decode(msgpack.packb(message))
    assert str(caught.value) == (
        f"a report of version {version} instead of {VERSION}: install the same locust-otel on both"
    )


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x97\x03", b"\x91\x03\x00", None, 7, [], {}, "text"], ids=repr)
def test_not_a_report(data: Any) -> None:
    """Anything but msgpack is refused."""
    with pytest.raises(ReportError):
        decode(data)


COUNTS: list[object] = [-1, "1", None, math.inf, math.nan, 0.0, 1.5, True, 2**48, 2**63, [1]]
TEXTS: list[object] = [7, None, b"x", ["x"], True]
TIMES: list[object] = [math.nan, math.inf, -1.0, "x", None, True, 2**48, 1e300]
TIMESTAMPS: list[object] = [*TIMES, 2**33, 1e12]
TRACES: list[object] = ["", "x", '"} 1\n', TRACE_ID[:-1], TRACE_ID + "0", TRACE_ID + SPAN_ID, TRACE_ID.upper(), 7, None]
IDS_OF_NONE: list[object] = ["x", '"} 1\n', TRACE_ID[:-1], TRACE_ID + SPAN_ID, 7, [1]]
GAPS: list[object] = [
    "ab", [1, 2, 3], ["1", "2"], [0, 1], [5, 1, -2, 1], [1.5, 1], [1.0, 1], [1, 0], [1, -4], [1, 1.5], [1, math.nan],
    [1, [1]], [1, True], [1, 2**48], [2**63, 1], 7, {"a": 1},
]  # fmt: skip
MAPS: list[object] = [{-1: 1}, {"1": 1}, {1.0: 1}, {True: 1}, {2**48: 1}, [1, 2], 7, *({1: count} for count in COUNTS)]
PLACES: list[tuple[tuple[int | str, ...], Any]] = [
    ((1,), TEXTS),
    ((2,), COUNTS),
    ((3,), [None, 7, ["x"], [SERIES[:-1]], [SERIES, [*SERIES, 1]]]),
    *(((3, 0, position), TEXTS) for position in (0, 1, 2)),
    ((3, 0, 3), [2, -1, "failure", None, True, 1.0]),
    ((3, 0, 4), COUNTS),
    ((3, 0, 5), TIMES),
    ((3, 0, 6), [*(count for count in COUNTS if count != 2**48), 2**56]),
    ((3, 0, 7), GAPS),
    ((3, 0, 8), [7, "x", [], {1: [0.01, TRACE_ID, SPAN_ID]}, {1: [0.01, "", "", 100.0]},
                 *({count: SERIES[-1][1]} for count in COUNTS[:-1])]),
    ((3, 0, 8, 1, 0), TIMES),
    ((3, 0, 8, 1, 1), TRACES),
    ((3, 0, 8, 1, 2), [trace for trace in TRACES if trace != TRACE_ID]),
    ((3, 0, 8, 1, 3), TIMESTAMPS),
    ((4,), [None, 7, [["GET", "/", 1]], ["x"], [[["GET", "/"], 1]]]),
    *(((4, 0, 0, position), TEXTS) for position in (0, 1, 2)),
    ((4, 0, 1), COUNTS),
    ((5,), [None, 7, [["GET", 1]]]),
    *(((5, 0, 0, position), TEXTS) for position in (0, 1)),
    ((5, 0, 1), COUNTS),
    ((6,), [[], 7, "x", {}, *({k: v for k, v in TAIL.items() if k != name} for name in TAIL)]),
    *(((6, name), COUNTS) for name in ("reset", "errors", "slow_dropped")),
    ((6, "is_over"), [None, 1, "x"]),
    ((6, "missing"), [number for number in COUNTS if number not in (-1, None)]),
    *(((6, name), [None, 7, {"a": 1}, [1], ["x"], [[]]]) for name in ("events", "slow", "vitals")),
    *(((6, name), [TAIL[name] * (EVENTS_PER_REPORT + 1)]) for name in ("events", "slow")),
    *(((6, "events", 0, name), TEXTS) for name in ("name", "body")),
    ((6, "events", 0, "severity"), ["FATAL", None, []]),
    ((6, "events", 0, "attributes"), [None, 7, "x", {7: "g"},
                                      *({"a": value} for value in (None, [1], {"e": 1}, 2**56, -(2**56)))]),
    *(((6, name, 0, "timestamp"), TIMESTAMPS) for name in ("events", "slow")),
    *(((6, name, 0, part), [*IDS_OF_NONE, None, 0, [], {}, False]) for name in ("events", "slow")
      for part in ("trace_id", "span_id")),
    ((6, "events", 0, "span_id"), [""]),
    *(((6, "slow", 0, "key", position), TEXTS) for position in (0, 1, 2)),
    ((6, "slow", 0, "key", 3), ["", "other", None, [], 0]),
    ((6, "slow", 0, "duration_s"), TIMES),
    ((6, "slow", 0, "status"), TEXTS),
    ((6, "vitals", 0), [time for time in TIMES if time is not None]),
    ((6, "vitals", 1), [count for count in COUNTS if count not in (None, 2**48)]),
    ((6, "vitals", 2), [None, 7, [7], [None], ["other"], ["cpu"] * 4]),
    *(((6, "vitals", position), TIMES) for position in (3, 5)),
    *(((6, "vitals", position), MAPS) for position in (4, 6)),
]  # fmt: skip


@pytest.mark.parametrize(("path", "values"), PLACES, ids=lambda value: str(value) if type(value) is tuple else "")
def test_invalid_values(path: tuple[int | str, ...], values: list[object]) -> None:
    """Each invalid value in a valid report is a `ReportError`."""
    for value in values:
        with pytest.raises(ReportError):
            decode(msgpack.packb(changed(GOOD, path, value)))


@pytest.mark.parametrize("message", [None, 7, ["x"], {}, encode_event(EVENT) | {"severity": "FATAL"}])
def test_events(message: object) -> None:
    """A single event of the plugin is checked in the same way."""
    assert decode_event(encode_event(EVENT)) == EVENT
    with pytest.raises(ReportError):
        decode_event(message)
