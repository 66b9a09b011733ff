"""Tests of the scorecard, from series whose every time is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from locust_otel.gameday import scoreboard
from locust_otel.gameday.command import GAMEDAY_FORMATS
from locust_otel.gameday.history import Episode, History, episodes
from locust_otel.gameday.judge import Done, ExpectationOutcome
from locust_otel.gameday.observer import Notice, Notices, unix
from locust_otel.gameday.plan import GameDay
from locust_otel.gameday.schema import ExpectShape, StepShape
from locust_otel.gameday.score import Played, Scorecard, scorecard
from locust_otel.review.prometheus import SampleSeries
from locust_otel.slo.counts import Counts
from locust_otel.slo.file import parse
from tests.unit.gameday import days

BEGIN = 1_000_000.0
BURN = "LocustSLOBudgetBurn"
KEPT, BROKEN, UNDECIDED = ExpectationOutcome
SLO = parse(
    b"service: shop\nperiod: 100s\nscrape_interval: 1s\nmin_requests: 1\n"
    b"objectives: {availability: {sli: success, target: 90%}}\n"
    b"windows: [{severity: critical, long: 10s, short: 4s, budget: 20%}]\n",
    "slo.yaml",
)
MUST = ExpectShape.model_validate({"alert": BURN, "severity": "critical", "within": "15s", "clears_within": "20s"})
MUST_NOT = ExpectShape.model_validate({"no_alert": BURN})


def step(at: int, *expect: ExpectShape, name: str = "db") -> StepShape:
    """Return a step whose fault lasts 10 s."""
    return days.step(f"{at}s", days.fault(name=name), *expect)


def day(*steps: StepShape) -> GameDay:
    """Return a game day."""
    return days.day(*steps, slo=SLO)


def burn(firing: float | None, resolved: float | None, pending: float | None = None, **labels: str) -> Episode:
    """Return an alert, by seconds since the start of the run."""
    at = None if firing is None else BEGIN + firing
    begun = BEGIN + (pending if pending is not None else firing or 0.0)
    known = {"alertname": BURN, "severity": "critical", "slo": "availability", "run_id": "r", **labels}
    return Episode(known, begun, at, None if resolved is None else BEGIN + resolved)


def history(
    *alerts: Episode, end: int = 100, bad: range = range(21, 31), rules: frozenset[str] | None = None
) -> History:
    """Return a run with ten requests a second, of which five are bad in some seconds."""
    counts, good, wrong = {}, 0, 0
    for second in range(1, end + 1):
        good, wrong = (good + 5, wrong + 5) if second in bad else (good + 10, wrong)
        counts[BEGIN + second] = {"availability": Counts(good, wrong)}
    scrapes = [*counts, BEGIN + end + 9]  # the last ones come when the run is over
    return History(BEGIN, BEGIN + end, 1.0, counts, elapsed_s=end, scrapes=scrapes, episodes=alerts, rules=rules)


def played(*done: Done, **more: Any) -> Played:
    """Return what was done; by default the fault of second 20 to 30."""
    return Played("r", done or (Done("db", BEGIN + 20, BEGIN + 30),), **more)


def judged(past: History, *expect: ExpectShape, notices: Sequence[Notice] = (), has_told: bool = False) -> Scorecard:
    """Return the scorecard of one fault."""
    return scorecard(day(step(20, *expect)), played(), past, notices, has_told=has_told)


def test_times_are_those_of_the_series() -> None:
    """Each column is the time at which its series showed it, from the start or from the end of the fault."""
    notice = Notice({**burn(24, 39).labels, "job": "x"}, BEGIN + 24, BEGIN + 24.5, None, BEGIN + 25, BEGIN + 40)
    card = judged(history(burn(24, 39, pending=22)), MUST, notices=[notice], has_told=True)
    assert card.faults[0].times == {
        "first_bad_s": 1.0, "breach_s": 5.0, "pending_s": 2.0, "firing_s": 4.0, "alertmanager_s": 4.5,
        "notified_s": 5.0, "recovered_s": 0.0, "resolved_s": 9.0,
    }  # fmt: skip
    assert card.faults[0].bad == 50
    # 50 bad of 1,000 is half of what 90 % allow for in 100 s.
    assert card.budget_spent == pytest.approx({"availability": 0.5})
    assert card.code == 0


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
    ("was there", MUST, [burn(5, None)], UNDECIDED, "it was firing before the fault began"),
    ("quiet", MUST_NOT, [], KEPT, "it stayed quiet"),
    ("quiet before", MUST_NOT, [burn(5, 15)], KEPT, "it stayed quiet"),
    ("not quiet", MUST_NOT, [burn(60, 70)], BROKEN, "it fired after 40.0 s"),
    ("not quiet before", MUST_NOT, [burn(5, 25)], UNDECIDED, "it was firing before the fault began"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("expectation", "alerts", "outcome", "why"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_expectations(expectation: ExpectShape, alerts: list[Episode], outcome: ExpectationOutcome, why: str) -> None:
    """Each way in which an alert can come and go has its outcome and its reason."""
    (result,) = judged(history(*alerts), expectation).results
    assert (result.outcome, result.why) == (outcome, why)


def _notice(arrived: float | None, notified: float | None, *inhibited: dict[str, str]) -> Notice:
    def at(second: float | None) -> float | None:
        return None if second is None else BEGIN + second

    return Notice(burn(24, 39).labels, BEGIN + 24, at(arrived), None, at(notified), None, inhibited)


@pytest.mark.parametrize(
    ("notices", "outcome", "why"),
    [
        ([], BROKEN, "it fired after 4.0 s, and nobody was told"),
        ([_notice(24.5, None)], KEPT, "after 4.0 s; gone 9.0 s after the fault"),
        ([_notice(24.5, 26)], KEPT, "after 4.0 s, told after 6.0 s; gone 9.0 s after the fault"),
        ([_notice(24.5, 50)], BROKEN, "somebody was told after 30.0 s, not within 15 s"),
        ([_notice(24.5, None, {"alertname": "LocustGeneratorSaturated"})], BROKEN,
         "it fired after 4.0 s, and nobody was told: LocustGeneratorSaturated kept it quiet"),
        ([_notice(24.5, None, {"alertname": BURN, "slo": "availability"})], KEPT,
         "after 4.0 s; gone 9.0 s after the fault"),
    ],
)  # fmt: skip
def test_an_alert_counts_from_when_somebody_is_told(
    notices: list[Notice], outcome: ExpectationOutcome, why: str
) -> None:
    """Where somebody looked at Alertmanager, an alert nobody is told of breaks its promise."""
    (result,) = judged(history(burn(24, 39)), MUST, notices=notices, has_told=True).results
    assert (result.outcome, result.why) == (outcome, why)


def test_without_data_nothing_is_decided() -> None:
    """A hole in the data, a rule that is not there, a fault that failed or never came: exit code 4."""
    whole = history()
    holes = History(BEGIN, BEGIN + 100, scrapes=[at for at in whole.scrapes if at < BEGIN + 22])
    for past in (holes, History(BEGIN, BEGIN + 100), history(rules=frozenset({"Other"}))):
        for expectation in (MUST, MUST_NOT):
            card = judged(past, expectation)
            assert (card.results[0].outcome, card.code) == (UNDECIDED, 4)
    for done in (Done("db", BEGIN + 20, BEGIN + 21, "it failed"), Done("other")):
        card = scorecard(day(step(20, MUST)), played(done), whole, [], has_told=False)
        assert (card.results[0].outcome, card.code) == (UNDECIDED, 4)


def _hole(begin: float, end: float, *alerts: Episode) -> History:
    """Return a run of which Prometheus has no sample between two seconds."""
    past = history(*alerts)
    return replace(past, scrapes=[at for at in past.scrapes if not BEGIN + begin < at < BEGIN + end])


NO_DATA = "Prometheus has no data of the run for part of that time"


@pytest.mark.parametrize(
    ("past", "outcome", "why"),
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
    past: History, outcome: ExpectationOutcome, why: str
) -> None:
    """Where it has no data for part of the time that an expectation needs, that is undecided, with the reason."""
    (result,) = judged(past, MUST).results
    assert (result.outcome, result.why) == (outcome, why)


UNTOLD = "it fired after 4.0 s, and nobody was told"


@pytest.mark.parametrize(
    ("silence", "arrived", "outcome", "why"),
    [
        ((26, 29), None, UNDECIDED, f"{UNTOLD}; there is no answer of Alertmanager for part of that time"),
        ((20, 99), None, UNDECIDED, f"{UNTOLD}; there is no answer of Alertmanager for part of that time"),
        ((26, 40), 41, UNDECIDED,
         "somebody was told after 21.0 s, not within 15 s; there is no answer of Alertmanager for part of that time"),
        ((10, 23), None, BROKEN, UNTOLD),
        ((36, 40), None, BROKEN, UNTOLD),
        ((26, 29), 30, KEPT, "after 4.0 s; gone 9.0 s after the fault"),
    ],
)  # fmt: skip
def test_without_an_answer_of_alertmanager_nothing_is_broken(
    silence: tuple[float, float], arrived: float | None, outcome: ExpectationOutcome, why: str
) -> None:
    """A time without its answers counts if the alert should have arrived then, and an alert that arrived is kept."""
    notices = [] if arrived is None else [_notice(arrived, None)]
    silences = ((BEGIN + silence[0], BEGIN + silence[1]),)
    card = scorecard(day(step(20, MUST)), played(silences=silences), history(burn(24, 39)), notices, has_told=True)
    assert (card.results[0].outcome, card.results[0].why) == (outcome, why)


def test_exit_codes() -> None:
    """Broken goes before undecided, an early end is undecided, and what stays broken goes before all."""
    broken, kept = history(), history(burn(24, 39))
    two = day(step(20, MUST), step(60, MUST, name="late"))
    assert scorecard(two, played(), broken, [], has_told=False).code == 3
    assert scorecard(two, played(), kept, [], has_told=False).code == 4
    assert scorecard(day(step(20, MUST)), played(aborted="SIGINT"), kept, [], has_told=False).code == 4
    assert scorecard(day(step(20, MUST)), played(left=("db",)), kept, [], has_told=False).code == 1
    assert scorecard(day(step(20)), played(), kept, [], has_told=False).code == 4  # nothing was expected


def test_an_alert_belongs_to_the_fault_before_it() -> None:
    """What fires after the next fault has begun is the next one's; what fires without any is told of."""
    two = day(step(20, MUST), step(60, MUST_NOT, name="second"))
    done = played(Done("db", BEGIN + 20, BEGIN + 30), Done("second", BEGIN + 60, BEGIN + 70))
    card = scorecard(two, done, history(burn(10, 15), burn(24, 35), burn(62, 70)), [], has_told=False)
    assert [result.outcome for result in card.results] == [KEPT, BROKEN]
    assert [episode.firing_at for episode in card.unprovoked] == [BEGIN + 10]


def test_a_fault_that_was_not_injected_leaves_the_others_their_alerts() -> None:
    """An alert after the third fault is not one of the second, also if the first was never injected."""
    three = day(step(5, name="first"), step(20, MUST_NOT, name="second"), step(60, MUST_NOT, name="third"))
    done = played(Done("second", BEGIN + 20, BEGIN + 30), Done("third", BEGIN + 60, BEGIN + 70))
    card = scorecard(three, done, history(burn(62, 70)), [], has_told=False)
    assert [result.outcome for result in card.results] == [KEPT, BROKEN]


def test_recovery_is_the_last_bad_request_before_a_quiet_time() -> None:
    """A single bad request long after the fault is no part of it."""
    past = history(bad=range(21, 34))
    later = {at: {"availability": Counts(c["availability"].good, c["availability"].bad + (at > BEGIN + 80))}
             for at, c in past.counts.items()}  # fmt: skip
    times = judged(History(BEGIN, BEGIN + 100, 1.0, later, scrapes=past.scrapes)).faults[0].times
    assert times["recovered_s"] == 3.0


def test_episodes_end_where_a_sample_is_missing() -> None:
    """Two stretches of one alert are two; pending comes before firing; one with a recent sample goes on."""
    labels = {"alertname": "A", "slo": "x"}
    series = [
        SampleSeries({**labels, "alertstate": "pending"}, [(10.0, 1.0), (11.0, 1.0)]),
        SampleSeries({**labels, "alertstate": "firing"}, [(12.0, 1.0), (13.0, 1.0), (30.0, 1.0), (31.0, 1.0)]),
    ]
    first, second = episodes(series, 32.0, 1.0)
    assert first == Episode(labels, 10.0, 12.0, 14.0)
    assert second == Episode(labels, 30.0, 30.0, None)


def test_formats_say_the_same() -> None:
    """Text, JSON and Markdown name fault, outcome and reason; what the user wrote makes no markup."""
    card = scorecard(day(step(20, MUST, name="a|b <i>*")), played(Done("a|b <i>*", BEGIN + 20, BEGIN + 30)), history(),
                     [], has_told=False)  # fmt: skip
    assert "a|b <i>*" in scoreboard.text(card)
    assert "it did not fire within 15 s" in scoreboard.text(card)
    assert "The monitoring broke a promise." in scoreboard.text(card)
    assert "| a\\|b &lt;i>\\* | LocustSLOBudgetBurn" in scoreboard.markdown(card)
    values = json.loads(scoreboard.document(card))
    assert (values["code"], values["faults"][0]["expectations"][0]["outcome"]) == (3, "broken")


def test_the_command_offers_every_format() -> None:
    """The flag's choices, which are read before anything is loaded, are the formats there are."""
    assert set(GAMEDAY_FORMATS) == set(scoreboard.FORMATS)


def test_notices_are_put_together_from_both_sources() -> None:
    """The first look and the first notification count, an end is noted, and the two are one alert by its labels."""
    now = [0.0]
    notices = Notices(clock=lambda: now[0])
    alert = {"labels": {"alertname": "A"}, "startsAt": "2026-11-22T07:00:00.123456789Z", "fingerprint": "f"}
    quiet: dict[str, list[str]] = {"inhibitedBy": [], "silencedBy": []}
    acts = ((notices.seen, quiet), (notices.told, "firing"), (notices.seen, quiet), (notices.told, "firing"),
            (notices.told, "resolved"))  # fmt: skip
    for second, (act, status) in enumerate(acts, 1):
        now[0] = float(second)
        act([{**alert, "status": status}])
    (notice,) = notices.all()
    assert (notice.arrived_at, notice.notified_at, notice.ended_at) == (1.0, 2.0, 5.0)
    assert notice.starts_at == unix("2026-11-22T07:00:00.123456Z")


@pytest.mark.parametrize("text", [None, "", "soon", "0001-01-01T00:00:00Z", "2026-11-22T07:00:00", 5])
def test_times_that_are_none(text: object) -> None:
    """Rubbish, Go's zero time and a time without a zone are no time."""
    assert unix(text) is None
