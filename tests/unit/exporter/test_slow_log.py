"""Tests of the log of slow requests: complete lines, at a limited rate."""

from __future__ import annotations

import json
import logging
import pickle
import shlex

import pytest

from locust_otel.core.events import SLOW_REQUEST
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import SeriesKey, SlowRequest
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Origin, Session, State
from locust_otel.exporter.settings import resolve
from locust_otel.exporter.slow_log import BURST, SlowLog, fields, line
from tests.unit.factories import ODD_TEXTS, TRACE_ID, Load

SPAN_ID = "00f067aa0ba902b7"
KEY = SeriesKey("GET", "/item", "Shopper", "success")


def request(number: int = 0, key: SeriesKey = KEY, status: str = "200", trace_id: str = TRACE_ID) -> SlowRequest:
    """Return a slow request."""
    return SlowRequest(key, 5.0004 + number, status, trace_id, SPAN_ID if trace_id else "", 1_764_000_000.0)


class Log:
    """A slow log with a clock that the test sets, and its lines."""

    def __init__(self, caplog: pytest.LogCaptureFixture, state: State | None = None) -> None:
        caplog.set_level(logging.INFO, "locust_otel.exporter.slow_log")
        self._caplog = caplog
        self.now = 100.0
        settings = resolve(values_of(None, {"prometheus_port": "off"}))
        self.session = Session(settings, Origin(name="host-0"), lambda *_: None, state)
        if state is None:
            self.session.state.run = Run("run-1", {}, 0.0, 0.0, {}, Load().merged, None)
        self.log = SlowLog(self.session, lambda: self.now)

    @property
    def run(self) -> Run:
        """The current run."""
        assert self.session.run is not None
        return self.session.run

    def add(self, count: int, dropped: int = 0, worker: str = "host-0") -> None:
        """Take this number of slow requests."""
        self.log.take(worker, [request(number) for number in range(count)], dropped)

    @property
    def lines(self) -> list[str]:
        """The warnings since the last call."""
        records = list(self._caplog.records)
        self._caplog.clear()
        assert {record.levelname for record in records} <= {"WARNING"}
        return [record.getMessage() for record in records]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """Make a slow log."""
    return Log(caplog)


def test_a_line() -> None:
    """A line has all fields in a fixed order."""
    assert line(fields(request(), "run-1", "host-0", 0)) == (
        "slow request run_id=run-1 name=/item method=GET duration_s=5.0 status=200 outcome=success user_class=Shopper "
        f"worker=host-0 trace_id={TRACE_ID}"
    )


def test_empty_fields() -> None:
    """Empty fields are left out; the number of requests without a line is there if it is not 0."""
    key = SeriesKey("", "msg", "", "failure")
    assert line(fields(request(1, key, "", ""), "", "host-0", 7)) == (
        "slow request name=msg duration_s=6.0 outcome=failure worker=host-0 not_logged=7"
    )


@pytest.mark.parametrize("odd", [odd for odd in ODD_TEXTS if odd], ids=ascii)
def test_odd_names(odd: str) -> None:
    """Any name is one field of one line, and can be read back."""
    text = line(fields(request(0, SeriesKey("GET", odd, "", "success")), "", "host-0", 0))
    assert text.isprintable()
    plain = f"name={odd} " in text and " " not in odd and '"' not in odd
    if not plain:
        value = text.partition("name=")[2]
        assert json.JSONDecoder().raw_decode(value)[0] == odd
    elif "\\" not in odd and "'" not in odd:
        assert f"name={odd}" in shlex.split(text)


def test_rate(log: Log) -> None:
    """A burst is logged at once, then one line a second; the others wait."""
    log.add(15)
    log.log.emit()
    assert len(log.lines) == BURST == 10
    log.log.emit()
    assert log.lines == []
    log.now += 2.5
    log.log.collect(log.session.snapshot())
    assert len(log.lines) == 2
    log.now += 0.5
    log.log.emit()
    assert [text.split("duration_s=")[1].split()[0] for text in log.lines] == ["17.0"]


def test_the_burst_is_limited(log: Log) -> None:
    """After an hour without slow requests a burst is as large as at the start."""
    log.add(3)
    log.log.emit()
    log.now += 3_600
    log.add(20)
    log.log.emit()
    assert len(log.lines) == 3 + BURST


def test_dropped_requests(log: Log) -> None:
    """The next line has the number of requests without a line, dropped here or in the generating process."""
    log.add(12)
    log.add(13, dropped=4)
    log.log.emit()
    lines = log.lines
    assert lines[0].endswith("not_logged=9")
    assert not any("not_logged" in text for text in lines[1:])
    assert "duration_s=10.0 " in lines[0]  # the oldest five are dropped


def test_the_end(log: Log) -> None:
    """At the end the rate still holds, and the last line has the number of the other slow requests."""
    log.add(27)
    log.log.finish(log.run)
    lines = log.lines
    assert lines[-1] == "slow requests not_logged=10"
    not_logged = sum(int(text.rpartition("not_logged=")[2]) for text in lines if "not_logged" in text)
    assert not_logged + len(lines) - 1 == 27
    log.log.finish(log.run)
    assert log.lines == []


def test_before_the_first_run(log: Log) -> None:
    """A slow request before the first run has no run id in its line."""
    log.session.state.run = None
    log.add(1)
    log.log.emit()
    (text,) = log.lines
    assert text.startswith("slow request name=/item")


def test_events(log: Log) -> None:
    """Each line is an event too, with time and trace of the request."""
    log.add(1)
    log.add(1, worker="host-1")
    log.log.emit()
    first, second = log.session.state.events.peek(10)
    assert [first.body, second.body] == log.lines
    assert (first.name, first.severity, first.timestamp) == (SLOW_REQUEST, "WARN", 1_764_000_000.0)
    assert (first.trace_id, first.span_id) == (TRACE_ID, SPAN_ID)
    assert first.attributes == fields(request(0), "run-1", "host-0", 0)
    assert second.attributes["worker"] == "host-1"


def test_a_successor(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """A successor logs the requests that wait, and repeats no line."""
    log.add(15, dropped=3)
    log.log.emit()
    assert len(log.lines) == 10
    log.add(7, dropped=2)
    successor = Log(caplog, pickle.loads(log.session.saved()))  # noqa: S301
    successor.log.finish(successor.run)
    lines = successor.lines
    assert len(lines) == 11
    assert lines[0].endswith("not_logged=2")
    assert lines[-1] == "slow requests not_logged=2"
