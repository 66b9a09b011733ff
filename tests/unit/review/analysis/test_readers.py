"""Tests of the readers of a timeline, on a record and on stored series with known numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from locust_otel.core import catalogue
from locust_otel.core.errors import ConfigurationError
from locust_otel.review.analysis.readers import from_prometheus, from_record
from locust_otel.review.prometheus import Prometheus, Sample, SampleSeries
from locust_otel.review.record.reader import load
from locust_otel.wire.record import Mark
from tests.unit.factories import Load, record, worker
from tests.unit.tapes import FAILED, HOME, Tape

OTHER = HOME._replace(name="/other")
START = 1_000_000.0


def test_a_record(tmp_path: Path) -> None:
    """A timeline has the intervals with users, requests by endpoint and outcome, and all durations in their bucket."""
    tape = Tape(tmp_path, Load(slow_s=2.0, max_names=9))
    tape.interval(1.0, users={})
    record(tape.aggregate, HOME, [100, 200, -1])
    record(tape.aggregate, FAILED, [300, -1])
    tape.interval(2.0, users={"A": 2, "B": 1}, workers=(worker(cpu_ratio=0.5, reasons=("lag",)),))
    record(tape.aggregate, OTHER, [50] * 4)
    tape.interval(4.0, users={"A": 5}, marks=(Mark(3.0, "m", "note"),), workers=(worker(cpu_ratio=None),))
    tape.interval(5.0, users={"A": 5}, state="stopping")
    tape.end()
    timeline = from_record(load(tape.path), "file")
    assert (timeline.source, timeline.run_id, timeline.marks) == ("file", "run-1", (Mark(3.0, "m", "note"),))
    assert [timeline.start_s.tolist(), timeline.end_s.tolist()] == [[1, 2], [2, 4]]
    assert (timeline.users.tolist(), timeline.keeps_up.tolist()) == ([3, 5], [False, True])
    assert timeline.cpu == pytest.approx([0.5, np.nan], nan_ok=True)
    home, other = timeline.endpoints
    assert (home.label, home.good.tolist(), home.failed.tolist()) == ("GET /", [2, 0], [2, 0])
    assert [home.good_s[0], home.failed_s[0]] == pytest.approx([0.3, 0.3])
    assert (other.label, other.good.tolist()) == ("GET /other", [0, 4])
    bounds = load(tape.path).layout.bounds
    for endpoint, durations in ((home, [(0, 0.1), (0, 0.2), (0, 0.3)]), (other, [(1, 0.05)] * 4)):
        cells = sorted((int(at), int(b)) for (at, b), n in zip(endpoint.cells, endpoint.weights, strict=True)
                       for _ in range(int(n)))  # fmt: skip
        assert cells == [(at, int(np.searchsorted(bounds, duration))) for at, duration in durations]


def test_a_record_without_users(tmp_path: Path) -> None:
    """The timeline of a run without users is empty."""
    tape = Tape(tmp_path, Load(slow_s=2.0, max_names=9))
    tape.interval(1.0, users={})
    tape.end()
    assert len(from_record(load(tape.path))) == 0


class Stored(Prometheus):
    """Server with series: each a name, labels and its values at 0, 5, 10 s and so on, None for a gap."""

    def __init__(self, *series: tuple[str, dict[str, str], list[float | None]]) -> None:
        super().__init__("http://prometheus")
        self.series = series

    def query(self, promql: str) -> list[Sample]:
        """Return the lowest or the highest value of each series."""
        choose, name = re.findall(r"^(min|max)_over_time\((\w+)", promql)[0]
        function = {"min": min, "max": max}[choose]
        values = [
            (labels, [v for v in values if v is not None]) for other, labels, values in self.series if other == name
        ]
        return [Sample(labels, function(of_series)) for labels, of_series in values]

    def range(self, promql: str, start: float, end: float, step_s: float) -> list[SampleSeries]:
        """Return the samples of the series with the name and labels of the one selector."""
        assert (start, end, step_s) == (START, START + 20, 5)
        name, selector = re.findall(r"(locust_\w+)\{(.*)\}", promql)[0]
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', selector))
        assert wanted.pop("run_id") == "r1"
        return [
            SampleSeries(labels, [(START + 5 * at, value) for at, value in enumerate(values) if value is not None])
            for other, labels, values in self.series
            if other == name and wanted.items() <= labels.items()
        ]


def test_prometheus() -> None:
    """Requests are the rises of the counters of all workers, those of a gap at its end; gauges keep their value."""
    run, key = {"job": "locust", "instance": "master"}, {"method": "GET", "name": "/", "outcome": "success"}
    series: list[tuple[str, dict[str, str], list[float | None]]] = [
        ("locust_run_start_time_seconds", run, [START]), ("locust_run_elapsed_seconds", run, [20.0]),
        ("locust_users", run, [0.0, 4, None, 6, 0]), ("locust_run_valid", run, [1.0, 1, 0, 1, 1]),
        (catalogue.WORKER_CPU.name, run, [None, 0.5, 0.75, None, 0.25]),
    ]  # fmt: skip
    for instance in "ab":
        labels = {"job": "locust", "instance": instance} | key
        series += [("locust_requests_total", labels, [None, 10.0, 30, 60, 60]),
                   ("locust_request_duration_seconds_sum", labels, [None, 1.0, 3, 6, 6])]  # fmt: skip
        for edge, values in {"0.1": [None, 5.0, None, 25, 25], "+Inf": [None, 10.0, None, 60, 60]}.items():
            series.append(("locust_request_duration_seconds_bucket", labels | {"le": edge}, values))
    series.append(("locust_requests_total", {"job": "again", "instance": "a"} | key, [None, 10.0, 30, 59, 59]))
    timeline = from_prometheus(Stored(*series), "r1")
    assert (timeline.source, timeline.users.tolist()) == ("http://prometheus", [4, 4, 6])
    assert [timeline.start_s.tolist(), timeline.end_s.tolist()] == [[0, 5, 10], [5, 10, 15]]
    assert (timeline.keeps_up.tolist(), timeline.cpu.tolist()) == ([True, False, True], [0.5, 0.75, 0.75])
    (endpoint,) = timeline.endpoints
    assert (endpoint.good.tolist(), endpoint.failed.tolist()) == ([20, 40, 60], [0, 0, 0])
    assert endpoint.good_s == pytest.approx([2, 4, 6])
    cells = zip(endpoint.cells.tolist(), endpoint.weights.tolist(), strict=True)
    assert sorted((*cell, weight) for cell, weight in cells) == [(0, 0, 10), (0, 1, 10), (2, 0, 40), (2, 1, 60)]
    assert timeline.bounds.tolist() == [0.1]


def test_no_run_in_prometheus() -> None:
    """A run without data is an error."""
    with pytest.raises(ConfigurationError, match=r"no data of run 'r1' in the last 30d.*\(analyze-run-id\)"):
        from_prometheus(Stored(), "r1")
