"""Tests of the history of a run: from series with known samples, and from its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from locust_otel.gameday.history import Episode, History, StoredMark, episodes, observed, recorded
from locust_otel.gameday.judge import KEPT, UNDECIDED, InjectedFault
from locust_otel.gameday.score import Played, scorecard
from locust_otel.review.prometheus import AlertRule, Prometheus, SampleSeries
from locust_otel.review.record.reader import load
from locust_otel.slo.counts import Counts
from locust_otel.wire.record import Mark
from tests.unit.factories import Load, record
from tests.unit.gameday.days import BURN, MUST, MUST_NOT, SLO, slo_day, step_at
from tests.unit.tapes import FAILED, HOME, Tape

START = 1_764_000_000.25
MASTER = {"job": "locust", "instance": "m"}
PUSHED = {"job": "shop", "instance": "7"}

Series = tuple[str, Mapping[str, str], Mapping[float, float]]


class Stored(Prometheus):
    """A Prometheus with series: name, labels, and samples by time."""

    def __init__(self, *series: Series) -> None:
        super().__init__("http://nowhere")
        self._series = series

    def stored(self, selector: str, begin: float, end: float) -> list[SampleSeries]:
        """Return the series of a name."""
        return [
            SampleSeries({**labels}, [(at, value) for at, value in samples.items() if begin <= at <= end])
            for name, labels, samples in self._series
            if selector == f'{name}{{run_id="r"}}'
        ]

    def alert_rules(self) -> list[AlertRule] | None:
        """Return None: it does not list its rules."""
        return None


def history(*series: Series) -> History:
    """Return the history of a run of 10 s."""
    return observed(Stored(*series), "r", 0.0, 10.0)


def requests(outcome: str, samples: Mapping[float, float], **exporter: str) -> Series:
    """Return a counter of requests."""
    labels = {"method": "GET", "name": "/", "user_class": "U", "outcome": outcome, **exporter}
    return "locust_requests_total", labels, samples


def events(outcome: str, samples: Mapping[float, float], **exporter: str) -> Series:
    """Return a counter of judged requests."""
    return "locust_slo_events_total", {"slo": "s", "slo_service": "shop", "outcome": outcome, **exporter}, samples


def test_workers_add_up() -> None:
    """Each worker counts once, at the times of its own scrapes, even if two jobs scrape it."""
    run = history(
        ("locust_run_active", MASTER, {1: 1, 2: 1, 3: 1}),
        requests("success", {1.0: 10, 2.0: 20, 3.0: 30}, job="locust", instance="a"),
        requests("failure", {2.0: 1, 3.0: 2}, job="locust", instance="a"),
        requests("success", {1.5: 5, 2.5: 6}, job="locust", instance="b"),
        requests("success", {1.1: 10, 2.1: 20}, job="again", instance="a"),
    )
    assert run.failed == [(1.0, 0, 10), (1.5, 0, 15), (2.0, 1, 26), (2.5, 1, 27), (3.0, 2, 38)]
    assert run.scrapes == [1, 2, 3]


def test_scraped_and_pushed_counts_once() -> None:
    """Of two exporters of the whole run, the one with more samples is taken."""
    run = history(
        ("locust_run_active", MASTER, {1: 1, 2: 1}),
        ("locust_run_active", PUSHED, {1.5: 1}),
        requests("success", {1: 10, 2: 20}, **MASTER),
        requests("success", {1.5: 15}, **PUSHED),
        events("good", {1: 8, 2: 17}, **MASTER),
        events("bad", {1: 2, 2: 3}, **MASTER),
        events("good", {1.5: 13}, **PUSHED),
        ("locust_marks_total", {**MASTER, "mark": "db", "kind": "fault-start"}, {1: 1, 2: 1}),
        ("locust_marks_total", {**PUSHED, "mark": "db", "kind": "fault-start"}, {1.5: 1}),
        ("locust_run_valid", MASTER, {1: 1, 2: 0}),
    )
    assert run.failed == [(1, 0, 10), (2, 0, 20)]
    assert run.counts == {1: {"s": Counts(8, 2)}, 2: {"s": Counts(17, 3)}}
    assert run.marks == [StoredMark(1, "db", "fault-start")]
    assert not run.is_valid


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Record ten requests a second; half of them fail from second 21 to 30, between two marks."""
    tape = Tape(tmp_path, Load(slow_s=2.0, max_names=9), SLO)
    for second in range(1, 61):
        is_bad = 21 <= second <= 30
        record(tape.aggregate, HOME, [10] * (5 if is_bad else 10))
        if is_bad:
            record(tape.aggregate, FAILED, [10] * 5)
        marks = {20: (Mark(20.0, "db", "fault-start"),), 30: (Mark(30.0, "db", "fault-end"),)}.get(second, ())
        tape.interval(float(second), marks=marks)
    tape.end()
    return tape.path


def test_the_record_has_the_effects_of_a_fault(path: Path) -> None:
    """First and last bad second and bad requests are those of the record; without alerts nothing is judged."""
    run = recorded(load(str(path)))
    card = scorecard(slo_day(step_at(20, MUST, MUST_NOT)), _played(run), run, [], sees_notices=False)
    times = card.faults[0].times
    assert times["first_bad_s"] == pytest.approx(1.0)
    assert times["recovered_s"] == pytest.approx(0.0)
    assert times["firing_s"] is None
    assert card.faults[0].bad == 50
    assert {result.outcome for result in card.results} == {UNDECIDED}
    assert card.code == 4


def test_alerts_come_from_prometheus(path: Path) -> None:
    """With the alerts of Prometheus expectations are judged, with the exact counts of the record."""
    labels = {"alertname": BURN, "severity": "critical", "slo": "availability", "run_id": "run-1"}
    alert = Episode(labels, START + 23, START + 24, START + 39)
    stored = History(START, START + 100, scrapes=[START + second for second in range(1, 100)], episodes=[alert])
    run = recorded(load(str(path)), stored)
    card = scorecard(slo_day(step_at(20, MUST)), _played(run), run, [], sees_notices=False)
    assert [result.outcome for result in card.results] == [KEPT]
    assert card.faults[0].times["firing_s"] == pytest.approx(4.0)
    assert card.faults[0].bad == 50


def alerts(state: str, samples: Mapping[float, float], **labels: str) -> Series:
    """Return the series of an alert."""
    return "ALERTS", {"alertname": BURN, "alertstate": state, **labels}, samples


def test_alerts_of_severity_none_are_left_out() -> None:
    """Neither `LocustRunActive` nor another alert that only inhibits is an alert of the run."""
    run = history(
        ("locust_run_active", MASTER, {1: 1, 2: 1, 3: 1}),
        alerts("firing", {1: 1, 2: 1}, alertname="LocustRunActive", severity="none"),
        alerts("firing", {1: 1, 2: 1}, alertname="Planned", severity="none"),
        alerts("firing", {2: 1, 3: 1}, severity="critical"),
    )
    assert [episode.title for episode in run.episodes] == [f"{BURN} (critical)"]


def test_the_delay_of_alerts() -> None:
    """An alert shows a request after a scrape and an evaluation; evaluations may be rarer than scrapes."""
    scrapes = ("locust_run_active", MASTER, {float(second): 1.0 for second in range(10)})
    assert history(scrapes).delay_s == 2.0
    run = history(scrapes, alerts("pending", {0: 1, 3: 1}), alerts("firing", {6: 1, 9: 1}))
    assert run.delay_s == 4.0
    assert [(episode.pending_at, episode.firing_at) for episode in run.episodes] == [(0.0, 6.0)]


def test_episodes_end_where_a_sample_is_missing() -> None:
    """An alert with a gap has two episodes; pending comes before firing; a recent sample means it is still active."""
    labels = {"alertname": "A", "slo": "x"}
    series = [
        SampleSeries({**labels, "alertstate": "pending"}, [(10.0, 1.0), (11.0, 1.0)]),
        SampleSeries({**labels, "alertstate": "firing"}, [(12.0, 1.0), (13.0, 1.0), (30.0, 1.0), (31.0, 1.0)]),
    ]
    first, second = episodes(series, 32.0, 1.0)
    assert first == Episode(labels, 10.0, 12.0, 14.0)
    assert second == Episode(labels, 30.0, 30.0, None)


def _played(run: History) -> Played:
    starts = {mark.kind: mark.at for mark in run.marks}
    return Played("run-1", (InjectedFault("db", starts["fault-start"], starts["fault-end"]),))
