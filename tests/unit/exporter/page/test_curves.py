"""Tests of the curves of the live page, from snapshots that are a second apart."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from locust_otel.core.histogram import QUANTILE_ERROR, difference, layout
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import SeriesKey, Snapshot
from locust_otel.exporter.page import curves as curves_module
from locust_otel.exporter.page.curves import COLUMNS, MAX_POINTS, Curves, rounded
from locust_otel.exporter.session import Origin, Session, State
from locust_otel.exporter.settings import resolve
from tests.unit.factories import Load, record, snapshot, worker

GOOD, BAD = SeriesKey("GET", "/", "Shopper", "success"), SeriesKey("GET", "/", "Shopper", "failure")
BUY = SeriesKey("POST", "/buy", "Shopper", "success")


def session(state: State | None = None) -> Session:
    """Return a session without a process."""
    return Session(resolve(values_of(None, {})), Origin(name="host-0"), lambda *_: None, state)


def restarted(before: Session) -> Session:
    """Return the session of a restarted exporter."""
    return session(pickle.loads(before.saved()))  # noqa: S301  # our own


def taken(load: Load, elapsed_s: float, **changes: Any) -> Snapshot:
    """Return a snapshot of a load."""
    return snapshot(load, elapsed_s=elapsed_s, **changes)


def test_rates_are_differences() -> None:
    """Requests, failures and bytes a second are those between two snapshots, at any distance."""
    curves, load = Curves(session()), Load()
    assert curves.last() == {}
    record(load, GOOD, [10] * 8, 100)
    record(load, BAD, [10] * 2, 50)
    curves.add(taken(load, 1.0))
    assert [curves.last()[name] for name in ("at_s", "requests", "failures", "bytes", "users")] == [1, 10, 2, 900, 9]
    record(load, GOOD, [10] * 5)
    curves.add(taken(load, 3.0, users={"Shopper": 12_345}))
    assert [curves.last()[name] for name in ("at_s", "requests", "failures", "bytes", "users")] == [
        3,
        2.5,
        0,
        0,
        12_345,
    ]
    assert curves.columns()["requests"] == [10, 2.5]


def test_requests_without_a_duration() -> None:
    """Requests without a duration count, but have no percentile."""
    curves, load = Curves(session()), Load()
    load.of(GOOD).unmeasured = 4
    curves.add(taken(load, 1.0))
    assert (curves.last()["requests"], curves.last()["p50_s"]) == (4, None)


def test_percentiles_of_the_last_ten_seconds() -> None:
    """Percentiles are those of all requests in the last ten seconds, as in a sorted list."""
    random, curves, load = Random(1), Curves(session()), Load()
    seconds = []
    for second in range(25):
        times = {key: [random.lognormvariate(4 + second / 10, 0.7) for _ in range(30)] for key in (GOOD, BAD, BUY)}
        for key, times_ms in times.items():
            record(load, key, times_ms)
        seconds.append(times)
        curves.add(taken(load, second + 1.0))
        recent = seconds[-10:]
        everything = sorted(time for times in recent for key in times for time in times[key])
        for name, q in (("p50_s", 0.5), ("p95_s", 0.95), ("p99_s", 0.99)):
            true_s = everything[math.ceil(q * len(everything)) - 1] / 1000
            assert curves.last()[name] == pytest.approx(true_s, rel=QUANTILE_ERROR + 0.001)
    buys = sorted(time for times in seconds[-10:] for time in times[BUY])
    recent_buys = curves.recent(layout([5.0]), ("POST", "/buy"))
    assert recent_buys.times_s[0] == pytest.approx(buys[149] / 1000, rel=QUANTILE_ERROR + 0.001)
    assert (recent_buys.rate, recent_buys.failure_rate) == (30, 0)
    both = curves.recent(layout([5.0]), ("GET", "/"))
    assert (both.rate, both.failure_rate) == (60, 30)


def test_an_endpoint_without_requests() -> None:
    """Without requests the rate is 0 and there is no percentile; before the first point there is no rate either."""
    curves, load = Curves(session()), Load()
    assert curves.recent(layout(), ("GET", "/")) == (None, None, (None, None, None))
    record(load, GOOD, [10])
    for second in range(1, 12):
        curves.add(taken(load, float(second)))
    assert curves.recent(layout([5.0]), ("GET", "/")) == (0, 0, (None, None, None))
    assert curves.recent(layout([5.0]), ("PUT", "/none")) == (0, 0, (None, None, None))
    assert curves.last()["p50_s"] is None


def test_series_that_have_not_changed_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only series with new requests are compared."""
    compared = []

    def compare(new: Mapping[int, int], old: Mapping[int, int]) -> dict[int, int]:
        compared.append(sum(new.values()))
        return difference(new, old)

    monkeypatch.setattr(curves_module, "difference", compare)
    curves, load = Curves(session()), Load()
    record(load, GOOD, [10] * 3)
    record(load, BUY, [10] * 4)
    curves.add(taken(load, 1.0))
    curves.add(taken(load, 2.0))
    record(load, BUY, [10])
    curves.add(taken(load, 3.0))
    assert compared == [3, 4, 5]


def test_fifteen_minutes_are_kept() -> None:
    """Points older than fifteen minutes are dropped."""
    curves, load = Curves(session()), Load()
    for second in range(1, MAX_POINTS + 11):
        curves.add(taken(load, float(second)))
    columns = curves.columns()
    assert tuple(columns) == COLUMNS
    assert {len(column) for column in columns.values()} == {MAX_POINTS}
    assert (columns["at_s"][0], columns["at_s"][-1]) == (11, MAX_POINTS + 10)


def test_the_end_of_a_run() -> None:
    """There is no further point after the clock of the run has stopped, nor for a fraction of a second."""
    curves, load = Curves(session()), Load()
    curves.add(taken(load, 1.0))
    record(load, GOOD, [10] * 50)
    for elapsed_s in (1.05, 1.05, 1.05):
        curves.add(taken(load, elapsed_s))
    assert curves.columns()["requests"] == [0]


def test_a_new_run_begins_anew() -> None:
    """The curves are those of one run; a snapshot without a run changes nothing."""
    curves, first, second = Curves(session()), Load(), Load()
    record(first, GOOD, [10] * 100)
    curves.add(taken(first, 1.0, run_id="run-1"))
    record(second, GOOD, [10] * 3)
    curves.add(taken(second, 1.0, run_id="run-2"))
    assert (curves.run_id, curves.columns()["requests"]) == ("run-2", [3])
    assert curves.recent(layout([5.0]), ("GET", "/")).rate == 3
    curves.add(snapshot(None))
    assert curves.columns()["requests"] == [3]


def test_after_a_restart() -> None:
    """A restarted exporter has the points; requests that are reported again cause no peak."""
    before, load = session(), Load()
    curves = Curves(before)
    record(load, GOOD, [10] * 10)
    curves.add(taken(load, 1.0))
    after = Curves(restarted(before))
    assert after.columns() == curves.columns()
    after.add(taken(load, 3.0))
    record(load, GOOD, [10] * 1000)
    after.add(taken(load, 4.0))
    record(load, GOOD, [10] * 10)
    after.add(taken(load, 5.0))
    assert (after.columns()["at_s"], after.columns()["requests"]) == ([1, 5], [10, 10])


def test_after_a_restart_without_a_point() -> None:
    """A restarted exporter without points counts a run from its start."""
    after, load = Curves(restarted(session())), Load()
    record(load, GOOD, [10] * 10)
    after.add(taken(load, 2.0))
    assert after.columns()["requests"] == [5]


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_workers_that_report_every_three_seconds(phase: int) -> None:
    """The rate of a steady load is steady, in any second of the three that its reports come in."""
    curves, load = Curves(session()), Load()
    for second in range(1, 40):
        if second % 3 == phase:
            record(load, GOOD, [10] * 300, 7)
        curves.add(taken(load, float(second), workers_expected=1))
    columns = curves.columns()
    assert columns["requests"][12:] == [100] * 27
    assert columns["bytes"][12:] == [700] * 27
    assert curves.recent(layout([5.0]), ("GET", "/")).rate == 100


def test_the_generator() -> None:
    """CPU is that of the busiest process, lag the mean of all measurements since the last snapshot."""
    curves, load = Curves(session()), Load()
    curves.add(taken(load, 1.0))
    assert (curves.last()["cpu"], curves.last()["lag_s"]) == (None, None)
    quiet = worker("a-0", lags_s=[0.001] * 10, cpu_ratio=0.2)
    curves.add(taken(load, 2.0, workers=(quiet, worker("b-1", lags_s=[0.5], cpu_ratio=None))))
    assert (curves.last()["cpu"], curves.last()["lag_s"]) == (0.2, None)
    late = worker("b-1", lags_s=[0.5, 0.02, 0.04], cpu_ratio=0.9)
    curves.add(taken(load, 3.0, workers=(quiet, late)))
    assert (curves.last()["cpu"], curves.last()["lag_s"]) == (0.9, 0.03)
    curves.add(taken(load, 4.0, workers=(quiet, worker("b-1", lags_s=[0.1], cpu_ratio=0.9))))  # restarted
    assert curves.last()["lag_s"] is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, None), (0.0, 0), (0.0123456, 0.01235), (999.96, 1000), (12_345.678, 12_345.7)],
)
def test_rounding(value: float | None, shown: float | None) -> None:
    """Values have the digits that a chart can show; seconds of a long run and large counts keep theirs."""
    assert rounded(value) == shown
