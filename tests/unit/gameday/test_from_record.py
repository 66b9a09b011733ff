"""Tests of the score of a game day from the record of its run."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday import playing, scoreboard
from locust_otel.gameday.from_record import history_of
from locust_otel.gameday.history import Episode, History
from locust_otel.gameday.score import Done, ExpectationOutcome, Played, scorecard
from locust_otel.review.record.reader import load
from locust_otel.wire.record import Mark
from tests.unit.factories import Load, record
from tests.unit.gameday.test_score import BURN, MUST, MUST_NOT, SLO, day, step
from tests.unit.tapes import FAILED, HOME, Tape

START = 1_764_000_000.25


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Record ten requests a second, half of them failed from second 21 to 30, as two marks say."""
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


def test_what_a_fault_did_is_in_the_record(path: Path) -> None:
    """First and last bad second, bad requests and spent budget are those of the run; alerts cannot be judged."""
    history = history_of(load(str(path)))
    card = scorecard(day(step(20, MUST, MUST_NOT)), _played(history), history, [], has_told=False)
    times = scoreboard.times(card.faults[0])
    assert times["first_bad_s"] == pytest.approx(1.0)
    assert times["recovered_s"] == pytest.approx(0.0)
    assert times["firing_s"] is None
    assert card.faults[0].impact is not None
    assert card.faults[0].impact.bad == 50
    assert {result.outcome for result in card.results} == {ExpectationOutcome.UNDECIDED}
    assert card.code == 4


def test_alerts_are_those_of_prometheus(path: Path) -> None:
    """With what Prometheus has stored, expectations are judged, beside the exact counts of the record."""
    labels = {"alertname": BURN, "severity": "critical", "slo": "availability", "run_id": "run-1"}
    alert = Episode(labels, START + 23, START + 24, START + 39)
    stored = History(
        "run-1", START, START + 100, scrapes=[START + second for second in range(1, 100)], episodes=[alert]
    )
    history = history_of(load(str(path)), stored)
    card = scorecard(day(step(20, MUST)), _played(history), history, [], has_told=False)
    assert [result.outcome for result in card.results] == [ExpectationOutcome.KEPT]
    assert scoreboard.times(card.faults[0])["firing_s"] == pytest.approx(4.0)
    assert card.faults[0].impact is not None
    assert card.faults[0].impact.bad == 50


def test_a_record_is_of_a_run_that_is_over(tmp_path: Path) -> None:
    """Without --score-only the flag is refused."""
    file = tmp_path / "day.yaml"
    file.write_text("name: x\nsteps: [{at: 1s, fault: {name: a, run: x, undo: x, for: 1s}}]\n")
    options = Namespace(
        undo=False, file=str(file), run_id="r", dry_run=False, record="x", score_only=False, prometheus=None
    )
    with pytest.raises(ConfigurationError, match="of a run that is over"):
        playing.run(options)


def _played(history: History) -> Played:
    starts = {mark.kind: mark.at for mark in history.marks}
    return Played("run-1", (Done("db", starts["fault-start"], starts["fault-end"]),))
