"""Tests of the log of slow requests: complete lines, at a bounded rate."""

from __future__ import annotations

import logging
import shlex
from types import SimpleNamespace

import pytest

from locust_otel.core.events import SLOW_REQUEST, EventQueue
from locust_otel.core.snapshot import SeriesKey
from locust_otel.exporter.slow_log import BURST, SlowLog, fields, line
from locust_otel.plugin.recorder import Recorder, SlowRequest
from locust_otel.plugin.series import Aggregate
from tests.unit.factories import ODD_TEXTS, TRACE_ID, Shopper

SPAN_ID = "00f067aa0ba902b7"
KEY = SeriesKey("GET", "/item", "Shopper", "success")


def request(number: int = 0, key: SeriesKey = KEY, status: str = "200", trace_id: str = TRACE_ID) -> SlowRequest:
    """Return a slow request."""
    return SlowRequest(key, 5.0004 + number, status, trace_id, SPAN_ID if trace_id else "", 1_764_000_000.0)


class Log:
    """A slow log with a clock to turn, and the lines it wrote."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "locust_otel.exporter.slow_log")
        self._caplog = caplog
        self.now = 100.0
        self.recorder = Recorder(Aggregate(slow_s=5.0, max_names=10), Shopper)
        self.events = EventQueue()
        self.log = SlowLog(self.recorder, self.events, lambda: ("run-1", "host-0"), lambda: self.now)

    def add(self, count: int) -> None:
        """Have this many slow requests wait."""
        for number in range(count):
            self.recorder._keep_slow(request(number))

    @property
    def lines(self) -> list[str]:
        """Return the lines since the last look; all are warnings."""
        records = list(self._caplog.records)
        self._caplog.clear()
        assert {record.levelname for record in records} <= {"WARNING"}
        return [record.getMessage() for record in records]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """Make a slow log."""
    return Log(caplog)


def test_a_line() -> None:
    """A line holds all that is known, in one order."""
    assert line(fields(request(), "run-1", "host-0", 0)) == (
        "slow request run_id=run-1 name=/item method=GET duration_s=5.0 status=200 outcome=success user_class=Shopper "
        f"worker=host-0 trace_id={TRACE_ID}"
    )


def test_what_is_not_known_is_left_out() -> None:
    """Fields without a value do not appear; how many were left out does where there are any."""
    key = SeriesKey("", "msg", "", "failure")
    assert line(fields(request(1, key, "", ""), "", "host-0", 7)) == (
        "slow request name=msg duration_s=6.0 outcome=failure worker=host-0 not_logged=7"
    )


@pytest.mark.parametrize("odd", [odd for odd in ODD_TEXTS if odd], ids=ascii)
def test_odd_names_stay_one_field_of_one_line(odd: str) -> None:
    """Whatever a name holds, the line stays one line, and the name one field that can be read back."""
    text = line(fields(request(0, SeriesKey("GET", odd, "", "success")), "", "host-0", 0))
    assert text.isprintable()
    plain = f"name={odd} " in text and " " not in odd and '"' not in odd
    if not plain:
        value = text.partition("name=")[2]
        import json

        assert json.JSONDecoder().raw_decode(value)[0] == odd
    elif "\\" not in odd and "'" not in odd:
        assert f"name={odd}" in shlex.split(text)


def test_rate(log: Log) -> None:
    """A burst is logged at once, then one line a second, and the rest waits."""
    log.add(15)
    log.log.emit()
    assert len(log.lines) == BURST == 10
    log.log.emit()
    assert log.lines == []
    log.now += 2.5
    log.log.emit()
    assert len(log.lines) == 2
    log.now += 0.5
    log.log.emit()
    assert [text.split("duration_s=")[1].split()[0] for text in log.lines] == ["17.0"]


def test_the_allowance_does_not_pile_up(log: Log) -> None:
    """After an hour of silence a burst is as large as at the start."""
    log.add(3)
    log.log.emit()
    log.now += 3_600
    log.add(20)
    log.log.emit()
    assert len(log.lines) == 3 + BURST


def test_what_was_dropped_is_told_once(log: Log) -> None:
    """The next line says how many found no place before it."""
    log.add(25)
    log.log.emit()
    lines = log.lines
    assert lines[0].endswith("not_logged=5")
    assert not any("not_logged" in text for text in lines[1:])
    assert log.recorder.slow_requests_dropped == 0


def test_flush(log: Log) -> None:
    """At the end what the rate allows is logged, and the rest is a number: each slow request is told of once."""
    log.add(27)
    log.log.flush()
    lines = log.lines
    assert lines[-1] == "slow requests not_logged=10"
    told = sum(int(text.rpartition("not_logged=")[2]) for text in lines if "not_logged" in text)
    assert told + len(lines) - 1 == 27
    log.log.flush()
    assert log.lines == []


def test_flush_of_nothing(log: Log) -> None:
    """Without slow requests nothing is logged."""
    log.log.emit()
    log.log.flush()
    assert log.lines == []


def test_unused() -> None:
    """The worker's name is asked for when a line is written, since Locust gives it late."""
    names = SimpleNamespace(asked=0)

    def origin() -> tuple[str, str]:
        names.asked += 1
        return "run-1", "host-3"

    recorder = Recorder(Aggregate(slow_s=5.0, max_names=10), Shopper)
    log = SlowLog(recorder, EventQueue(), origin)
    assert names.asked == 0
    recorder._keep_slow(request())
    log.emit()
    assert names.asked == 1


def test_each_line_is_an_event_too(log: Log) -> None:
    """What is logged is pushed as well, with the time of the request and the trace it belongs to."""
    log.add(2)
    log.log.emit()
    first, second = log.events.peek(10)
    assert [first.body, second.body] == log.lines
    assert (first.name, first.severity, first.timestamp) == (SLOW_REQUEST, "WARN", 1_764_000_000.0)
    assert (first.trace_id, first.span_id) == (TRACE_ID, SPAN_ID)
    assert first.attributes == fields(request(0), "run-1", "host-0", 0)
