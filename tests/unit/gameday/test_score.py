"""Tests of the scorecard, from histories with known times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from locust_otel.gameday.alertmanager import Notice
from locust_otel.gameday.history import History
from locust_otel.gameday.judge import BROKEN, KEPT
from locust_otel.gameday.schema import StepShape
from locust_otel.gameday.score import scorecard
from locust_otel.slo.counts import Counts
from tests.unit.gameday import days
from tests.unit.gameday.days import BEGIN, MUST, MUST_NOT, burn, history, injected, judged, played, slo_day, step_at


def test_times_are_those_of_the_series() -> None:
    """Each time is that of its sample, from the start or from the end of the fault."""
    notice = Notice({**burn(24, 39).labels, "job": "x"}, BEGIN + 24, BEGIN + 24.5, None, BEGIN + 25, BEGIN + 40)
    card = judged(history(burn(24, 39, pending=22)), MUST, notices=[notice], sees_notices=True)
    assert card.faults[0].times == {
        "first_bad_s": 1.0, "breach_s": 5.0, "pending_s": 2.0, "firing_s": 4.0, "alertmanager_s": 4.5,
        "notified_s": 5.0, "recovered_s": 0.0, "resolved_s": 9.0,
    }  # fmt: skip
    assert card.faults[0].bad == 50
    # 50 bad requests of 1,000 are half of the budget of 90 % in 100 s.
    assert card.budget_spent == pytest.approx({"availability": 0.5})
    assert card.code == 0


@pytest.mark.parametrize(
    ("steps", "more", "past", "code"),
    [
        ([step_at(20, MUST)], {}, history(burn(24, 39)), 0),
        ([step_at(20, MUST), step_at(60, MUST, name="late")], {}, history(), 3),
        ([step_at(20, MUST), step_at(60, MUST, name="late")], {}, history(burn(24, 39)), 4),
        ([step_at(20, MUST)], {"aborted": "SIGINT"}, history(burn(24, 39)), 4),
        ([step_at(20)], {}, history(burn(24, 39)), 4),
        ([step_at(20, MUST)], {"left": ("db",)}, history(), 1),
    ],
    ids=["kept", "broken", "undecided", "early end", "no expectation", "failed undo"],
)
def test_exit_codes(steps: list[StepShape], more: dict[str, Any], past: History, code: int) -> None:
    """A failed undo goes before broken, and broken before undecided."""
    assert scorecard(slo_day(*steps), played(**more), past, [], sees_notices=False).code == code


def test_notes() -> None:
    """A missing rule and a slow load generator are noted, after the notes of the file and of the game day."""
    past = replace(history(rules=frozenset()), is_valid=False)
    planned = replace(slo_day(step_at(20, MUST)), notes=("a",))
    assert scorecard(planned, played(notes=("b",)), past, [], sees_notices=False).notes == (
        "a", "b", "Prometheus has no rule for LocustSLOBudgetBurn: were the rules loaded?",
        "the load generator was too slow at times: it then measured its own slowness.",
    )  # fmt: skip


def test_an_alert_belongs_to_the_fault_before_it() -> None:
    """An alert after the next fault began is that one's; an alert without a fault is listed."""
    two = slo_day(step_at(20, MUST), step_at(60, MUST_NOT, name="second"))
    done = played(injected(), injected("second", 60, 70))
    card = scorecard(two, done, history(burn(10, 15), burn(24, 35), burn(62, 70)), [], sees_notices=False)
    assert [result.outcome for result in card.results] == [KEPT, BROKEN]
    assert [episode.firing_at for episode in card.unprovoked] == [BEGIN + 10]


def test_times_are_those_of_the_expected_alerts() -> None:
    """Another alert that fires first, and one of after the fault, have no part in the times of the fault."""
    spike = burn(21, 90, alertname="LocustFailuresSpike", severity="warning", slo="")
    past = history(spike, burn(24, 35), burn(60, 65), bad=range(21, 61))
    (fault,) = judged(past, MUST).faults
    assert fault.alert is not None
    assert (fault.alert.title, fault.times["firing_s"]) == ("LocustSLOBudgetBurn (critical, availability)", 4.0)
    assert fault.times["resolved_s"] == 5.0
    for expected in ((), (MUST_NOT,), (MUST,)):
        (fault,) = judged(history(spike, burn(60, 65)), *expected).faults
        assert fault.alert is None
        assert {fault.times[key] for key in ("pending_s", "firing_s", "notified_s", "resolved_s")} == {None}


def test_other_alerts_are_listed() -> None:
    """An alert that nobody expects is during its fault or after it; one long after, or before, is without a fault."""
    alerts = [burn(at, at + 1, alertname="Own", severity="info", slo="") for at in (10, 22, 31.5, 40, 61)]
    card = judged(history(burn(24, 35), *alerts), MUST)
    assert [(other.alert.firing_at, other.fault, other.after_s) for other in card.others] == [
        (BEGIN + 22, "db", None), (BEGIN + 31.5, "db", None), (BEGIN + 40, "db", 10.0),
    ]  # fmt: skip
    assert [alert.firing_at for alert in card.unprovoked] == [BEGIN + 10, BEGIN + 61]


def test_a_notification_may_be_seen_before_the_list() -> None:
    """Alertmanager is asked twice a second: it had the alert when its notification came."""
    notice = Notice(burn(24, 39).labels, BEGIN + 24, BEGIN + 24.5, None, BEGIN + 24.1)
    times = judged(history(burn(24, 39)), MUST, notices=[notice], sees_notices=True).faults[0].times
    assert times["alertmanager_s"] == times["notified_s"] == pytest.approx(4.1)


def test_a_fault_that_was_not_injected_leaves_the_others_their_alerts() -> None:
    """An alert after the third fault is not one of the second, also if the first was never injected."""
    three = slo_day(step_at(5, name="first"), step_at(20, MUST_NOT, name="second"), step_at(60, MUST_NOT, name="third"))
    done = played(injected("second", 20, 30), injected("third", 60, 70))
    card = scorecard(three, done, history(burn(62, 70)), [], sees_notices=False)
    assert [result.outcome for result in card.results] == [KEPT, BROKEN]


def test_recovery_is_the_last_bad_request_before_a_quiet_time() -> None:
    """A single bad request long after the fault does not belong to it."""
    past = history(bad=range(21, 34))
    later = {
        at: {"availability": Counts(counts["availability"].good, counts["availability"].bad + (at > BEGIN + 80))}
        for at, counts in past.counts.items()
    }
    assert judged(replace(past, counts=later)).faults[0].times["recovered_s"] == 3.0


def test_without_an_slo_file_failed_requests_are_bad() -> None:
    """They have times and a number, and no budget."""
    failed = [(BEGIN + second, max(0, min(second - 20, 10)), 10 * second) for second in range(1, 101)]
    past = History(BEGIN, BEGIN + 100, failed=failed)
    (fault,) = scorecard(days.day(step_at(20)), played(), past, [], sees_notices=False).faults
    assert (fault.bad, fault.times["first_bad_s"], fault.times["recovered_s"]) == (10, 1.0, 0.0)
    assert (fault.times["breach_s"], fault.budget_spent) == (None, {})
