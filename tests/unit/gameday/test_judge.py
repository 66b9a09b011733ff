"""Tests of the judge: kept, broken or undecided, from histories with known times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from locust_otel.gameday.alertmanager import Notice
from locust_otel.gameday.history import Episode, History
from locust_otel.gameday.judge import BROKEN, KEPT, UNDECIDED, ExpectationOutcome, InjectedFault
from locust_otel.gameday.schema import ExpectShape
from locust_otel.gameday.score import scorecard
from tests.unit.gameday.days import BEGIN, BURN, MUST, MUST_NOT, burn, history, judged, played, slo_day, step_at

CASES: list[tuple[str, ExpectShape, list[Episode], ExpectationOutcome, str]] = [
    ("in time", MUST, [burn(24, 39)], KEPT, "after 4.0 s; gone 9.0 s after the fault"),
    ("too late", MUST, [burn(36, 50)], BROKEN, "it fired after 16.0 s, not within 15 s"),
    ("never", MUST, [], BROKEN, "it did not fire within 15 s"),
    ("pending only", MUST, [burn(None, None, pending=22)], BROKEN, "it did not fire within 15 s"),
    ("another severity", MUST, [burn(24, 39, severity="warning")], BROKEN, "it did not fire within 15 s"),
    ("lasts", MUST, [burn(24, 55)], BROKEN, "after 4.0 s; gone 25.0 s after the fault, not within 20 s"),
    ("never ends", MUST, [burn(24, None)], BROKEN, "after 4.0 s; it still fired 20 s after the fault"),
    ("comes back", MUST, [burn(24, 32), burn(45, 60)], BROKEN,
     "after 4.0 s; gone 30.0 s after the fault, not within 20 s"),
    ("was there", MUST, [burn(5, None)], UNDECIDED, "it was firing before the fault"),
    ("quiet", MUST_NOT, [], KEPT, "it did not fire"),
    ("quiet before", MUST_NOT, [burn(5, 15)], KEPT, "it did not fire"),
    ("not quiet", MUST_NOT, [burn(28, 70)], BROKEN, "it fired after 8.0 s"),
    ("not quiet later", MUST_NOT, [burn(70, 80, pending=29)], BROKEN, "it fired after 50.0 s"),
    ("seen one scrape and one evaluation later", MUST_NOT, [burn(31.9, 40)], BROKEN, "it fired after 11.9 s"),
    ("after the fault", MUST_NOT, [burn(33, 40)], KEPT, "it did not fire"),
    ("long after the fault", MUST_NOT, [burn(60, 70)], KEPT, "it did not fire"),
    ("only after the fault", MUST, [burn(60, 70)], BROKEN, "it did not fire within 15 s"),
    ("before its deadline", MUST, [burn(33, 40)], KEPT, "after 13.0 s; gone 10.0 s after the fault"),
    ("began before", MUST, [burn(24, 39, pending=18)], UNDECIDED, "it was pending before the fault"),
    ("not quiet, and began before", MUST_NOT, [burn(24, 39, pending=18)], UNDECIDED, "it was pending before the fault"),
    ("not quiet before", MUST_NOT, [burn(5, 25)], UNDECIDED, "it was firing before the fault"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("expectation", "alerts", "outcome", "reason"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_expectations(
    expectation: ExpectShape, alerts: list[Episode], outcome: ExpectationOutcome, reason: str
) -> None:
    """Each way in which an alert can fire and end has its outcome and its reason."""
    (result,) = judged(history(*alerts), expectation).results
    assert (result.outcome, result.reason) == (outcome, reason)


def _notice(
    arrived: float | None, notified: float | None, *inhibited: dict[str, str], since: float | None = None
) -> Notice:
    def at(second: float | None) -> float | None:
        return None if second is None else BEGIN + second

    return Notice(burn(24, 39).labels, BEGIN + 24, at(arrived), None, at(notified), None, inhibited, at(since))


SATURATED = {"alertname": "LocustGeneratorSaturated"}


@pytest.mark.parametrize(
    ("notices", "outcome", "reason"),
    [
        ([], BROKEN, "it fired after 4.0 s, and no notification was sent"),
        ([_notice(24.5, None)], KEPT, "after 4.0 s, at Alertmanager after 4.5 s; gone 9.0 s after the fault"),
        ([_notice(24.5, 26)], KEPT, "after 4.0 s, notified after 6.0 s; gone 9.0 s after the fault"),
        ([_notice(24.5, 50)], BROKEN, "it was notified after 30.0 s, not within 15 s"),
        ([_notice(24.5, None, SATURATED)], BROKEN,
         "it fired after 4.0 s, and no notification was sent: suppressed by LocustGeneratorSaturated"),
        ([_notice(24.5, None, SATURATED, since=24.5)], BROKEN,
         "it fired after 4.0 s, and no notification was sent: suppressed by LocustGeneratorSaturated"),
        ([_notice(24.5, 26, SATURATED, since=33)], KEPT,
         "after 4.0 s, notified after 6.0 s; gone 9.0 s after the fault"),
        ([_notice(24.5, 26, SATURATED, since=24.5)], KEPT,
         "after 4.0 s, notified after 6.0 s; gone 9.0 s after the fault"),
        ([_notice(24.5, 50, SATURATED, since=24.5)], BROKEN, "it was notified after 30.0 s, not within 15 s"),
        ([_notice(24.5, None, SATURATED, since=33)], UNDECIDED,
         "after 4.0 s, at Alertmanager after 4.5 s, "
         "and suppressed by LocustGeneratorSaturated after 13.0 s: a notification may have been sent "
         "before, but none was seen; gone 9.0 s after the fault"),
        ([_notice(24.5, None, SATURATED, since=36)], KEPT,
         "after 4.0 s, at Alertmanager after 4.5 s; gone 9.0 s after the fault"),
        ([_notice(24.5, None, {"alertname": BURN, "slo": "availability"})], KEPT,
         "after 4.0 s, at Alertmanager after 4.5 s; gone 9.0 s after the fault"),
    ],
)  # fmt: skip
def test_an_alert_counts_from_its_notification(notices: list[Notice], outcome: ExpectationOutcome, reason: str) -> None:
    """If Alertmanager was watched, an alert needs a notification in time; what suppresses it later does not matter."""
    (result,) = judged(history(burn(24, 39)), MUST, notices=notices, sees_notices=True).results
    assert (result.outcome, result.reason) == (outcome, reason)


@pytest.mark.parametrize("expectation", [MUST, MUST_NOT])
@pytest.mark.parametrize(
    "past",
    [
        replace(history(), scrapes=[BEGIN + second for second in range(1, 22)]),
        History(BEGIN, BEGIN + 100),
        history(rules=frozenset({"Other"})),
    ],
    ids=["a gap", "no sample", "no rule"],
)
def test_without_data_nothing_is_decided(past: History, expectation: ExpectShape) -> None:
    """Neither kind of expectation is decided by missing samples or a missing rule."""
    assert judged(past, expectation).results[0].outcome == UNDECIDED


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (InjectedFault("db", BEGIN + 20, BEGIN + 21, "it failed"), "it failed"),
        (InjectedFault("other"), "the fault was not injected"),
    ],
)
def test_without_a_fault_nothing_is_decided(fault: InjectedFault, reason: str) -> None:
    """A fault that failed or was not injected has no effect to judge."""
    card = scorecard(slo_day(step_at(20, MUST)), played(fault), history(), [], sees_notices=False)
    assert (card.results[0].outcome, card.results[0].reason) == (UNDECIDED, reason)


def _hole(begin: float, end: float, *alerts: Episode) -> History:
    """Return a run without samples between two seconds."""
    past = history(*alerts)
    return replace(past, scrapes=[at for at in past.scrapes if not BEGIN + begin < at < BEGIN + end])


NO_DATA = "Prometheus has no data of the run for part of that time"


@pytest.mark.parametrize(
    ("past", "outcome", "reason"),
    [
        (_hole(22, 28), UNDECIDED, NO_DATA),
        (_hole(60, 70), BROKEN, "it did not fire within 15 s"),
        (_hole(22, 36, burn(36, 39)), UNDECIDED, f"it fired after 16.0 s, not within 15 s; {NO_DATA}"),
        (_hole(32, 38, burn(24, 55)), UNDECIDED,
         f"after 4.0 s; gone 25.0 s after the fault, not within 20 s; {NO_DATA}"),
        (_hole(32, 38, burn(24, None)), UNDECIDED, f"after 4.0 s; it still fired 20 s after the fault; {NO_DATA}"),
        # Prometheus stopped while the alert fired, and answered again before and after the alert must be gone.
        (_hole(31, 48, burn(24, 32)), KEPT, "after 4.0 s; gone 2.0 s after the fault"),
        (_hole(31, 55, burn(24, 32)), UNDECIDED, f"after 4.0 s; {NO_DATA}"),
        (_hole(26, 101, burn(24, 27)), UNDECIDED, f"after 4.0 s; {NO_DATA}"),
        (History(BEGIN, BEGIN + 100, sees_alerts=False), UNDECIDED, NO_DATA),
        (history(end=25), UNDECIDED, "it was not watched for 15 s"),
    ],
)  # fmt: skip
def test_without_an_answer_of_prometheus_nothing_is_broken(
    past: History, outcome: ExpectationOutcome, reason: str
) -> None:
    """An expectation is undecided if there is no data for part of the time that it covers."""
    (result,) = judged(past, MUST).results
    assert (result.outcome, result.reason) == (outcome, reason)


UNNOTIFIED = "it fired after 4.0 s, and no notification was sent"


@pytest.mark.parametrize(
    ("silence", "arrived", "outcome", "reason"),
    [
        ((26, 29), None, UNDECIDED, f"{UNNOTIFIED}; Alertmanager did not answer for part of that time"),
        ((20, 99), None, UNDECIDED, f"{UNNOTIFIED}; Alertmanager did not answer for part of that time"),
        ((26, 40), 41, UNDECIDED,
         "it was notified after 21.0 s, not within 15 s; Alertmanager did not answer for part of that time"),
        ((10, 23), None, BROKEN, UNNOTIFIED),
        ((36, 40), None, BROKEN, UNNOTIFIED),
        ((26, 29), 30, KEPT, "after 4.0 s, at Alertmanager after 10.0 s; gone 9.0 s after the fault"),
    ],
)  # fmt: skip
def test_without_an_answer_of_alertmanager_nothing_is_broken(
    silence: tuple[float, float], arrived: float | None, outcome: ExpectationOutcome, reason: str
) -> None:
    """A time without its answers matters if the alert should have arrived then; an alert that arrived is kept."""
    notices = [] if arrived is None else [_notice(arrived, None)]
    silences = ((BEGIN + silence[0], BEGIN + silence[1]),)
    card = scorecard(
        slo_day(step_at(20, MUST)), played(silences=silences), history(burn(24, 39)), notices, sees_notices=True
    )
    assert (card.results[0].outcome, card.results[0].reason) == (outcome, reason)
