"""Tests of what a late generator, and missing workers, mean for a verdict."""

from __future__ import annotations

from decimal import Decimal

import pytest

from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo
from locust_otel.slo.validity import Doubt, Load, Validity
from locust_otel.slo.verdict import Result, Status, judge, overall
from tests.unit.factories import objectives

START = 1_764_000_000.0  # 2025-11-24 16:00:00 UTC
LATENCY = Objective("latency", Sli.LATENCY, Decimal("0.9"), Decimal("0.3"))
MEAN = Objective("mean", Sli.MEAN, within_s=Decimal("0.5"))
FULL = Load(10, 10)


def slo(warmup_s: int = 0) -> Slo:
    """Return the two objectives, which judge ten requests and more."""
    return objectives(objectives=(LATENCY, MEAN), warmup_s=Decimal(warmup_s), min_requests=10)


def noted(*looks: tuple[float, str], warmup_s: int = 0) -> Validity:
    """Return what these looks at a run have found: seconds, and reasons separated by blanks."""
    validity = Validity(slo(warmup_s), START)
    for elapsed_s, reasons in looks:
        validity.note(elapsed_s, reasons.split(), {}, FULL)
    return validity


def judged(*seconds: tuple[str, int, int], load: Load = FULL) -> Result:
    """Judge the latency in a run of these seconds: reasons, and the good and bad requests of each."""
    validity, good, bad = Validity(slo(), START), 0, 0
    for elapsed_s, (reasons, more_good, more_bad) in enumerate(seconds, 1):
        good, bad = good + more_good, bad + more_bad
        validity.note(float(elapsed_s), reasons.split(), {"latency": Counts(good, bad)}, load)
    counts = Counts(good, bad)
    return judge(slo(), LATENCY, counts, len(seconds), validity.doubt(len(seconds), {"latency": counts}))


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([(6, ""), (7, "cpu"), (8, "")], "generator saturated (no CPU left) from 16:00:06 to 16:00:07 UTC: 1 of 9 s"),
        (
            [(1, "lag"), (2, "lag cpu"), (9, "")],
            "generator saturated (no CPU left) and generator saturated (its event loop late) from 16:00:00 to 16:00:02 "
            "UTC: 2 of 9 s",
        ),
        (
            [(1, "cpu"), (8, ""), (9, "cpu"), (16, ""), (18, "lag")],
            "generator saturated (its event loop late) from 16:00:16 to 16:00:18 UTC, and 2 more times: 4 of 9 s",
        ),
    ],
)
def test_what_is_said(looks: list[tuple[float, str]], said: str) -> None:
    """The longest stretch is named with its clock times and reasons, and how many others there were."""
    assert noted(*looks).doubt(9, {}).late == said


def test_it_was_late_before_it_was_noticed() -> None:
    """The generator looks back over some seconds, so the last five before it was late are doubtful too."""
    validity = noted(*((float(second), "") for second in range(1, 21)), (21, "lag"))
    assert "from 16:00:15 to 16:00:21" in validity.doubt(30, {}).late


@pytest.mark.parametrize(("judged_s", "is_told"), [(20, False), (19.9, True)])
def test_missing_workers_are_tolerated_for_a_tenth(judged_s: float, is_told: bool) -> None:
    """Two seconds of twenty are a tenth, and no more than that is forgiven."""
    missing = noted((5, ""), (7, "workers"), (8, "")).doubt(judged_s, {}).missing
    assert missing == ("workers missing from 16:00:05 to 16:00:07 UTC: 2 of 20 s" if is_told else "")


def test_the_warm_up_does_not_matter() -> None:
    """A look within the warm-up is none, and the first one after it reaches back to its end only."""
    doubt = noted((5, "cpu"), (10, "cpu"), (12, "cpu"), warmup_s=11).doubt(1, {})
    assert doubt.late == "generator saturated (no CPU left) from 16:00:11 to 16:00:12 UTC: 1 of 1 s"


def test_a_clock_that_stands_still_adds_nothing() -> None:
    """Two looks at the same moment, or one back, are of no length."""
    assert noted((5, ""), (5, "cpu"), (4, "cpu")).doubt(5, {}) == Doubt()


def test_what_is_met_stays_met() -> None:
    """Latencies of a late generator are too long, never too short; the verdict says for how long it was late."""
    result = judged(*[("", 10, 0)] * 20, *[("lag", 9, 1)] * 5)
    assert result.status is Status.MET
    assert result.note == "at 100% of the load; the generator was late in 40% of the run"


def test_what_is_missed_without_the_late_requests_too_is_missed() -> None:
    """Lateness changes nothing about it."""
    result = judged(*[("", 8, 2)] * 20, *[("lag", 0, 10)] * 5)
    assert result.status is Status.MISSED
    assert result.note == "in the 60% of the run in which the generator kept up too"


def test_what_only_the_late_requests_miss_is_not_valid() -> None:
    """Both are told: what was measured, and what it is without the late requests."""
    result = judged(*[("", 10, 0)] * 20, *[("lag", 0, 10)] * 5)
    assert result.status is Status.INVALID
    assert result.note.startswith("missed; met in the 60% of the run in which the generator kept up; generator")


def test_requests_since_the_last_look() -> None:
    """They are those of a late generator, where it was late then."""
    for reasons, late in (("lag", Counts(30, 12)), ("", Counts(0, 0))):
        validity = Validity(slo(), START)
        validity.note(3.0, reasons.split(), {"latency": Counts(30, 5)}, FULL)
        assert validity.doubt(4, {"latency": Counts(30, 12)}).requests == {"latency": late}


def test_a_generator_that_was_always_late() -> None:
    """What is missed then cannot be judged again."""
    result = judged(*[("cpu", 0, 10)] * 5)
    assert result.status is Status.INVALID
    assert result.note.startswith("missed; 0 requests in the 0% of the run in which the generator kept up; ")


@pytest.mark.parametrize(
    ("load", "status", "made"),
    [(Load(10, 10), "met", "100%"), (Load(8, 10), "met", "93%"), (Load(1, 10), "undecided", "70%")],
)
def test_what_is_met_by_a_part_of_the_load(load: Load, status: str, made: str) -> None:
    """Users that are not there while the generator is late ask for nothing: below 90 % nothing is met."""
    result = judged(*[("", 10, 0)] * 10, *[("cpu", 10, 0)] * 5, load=load)
    assert result.status == status
    assert result.note.startswith(f"at {made} of the load; " if status == "met" else f"{made} of the load: ")


def test_tasks_that_begin_late_ask_less_often() -> None:
    """The time by which users with a schedule are late while the generator is, is load that was not made."""
    validity = Validity(slo(), START)
    for second in range(1, 11):
        validity.note(float(second), ("lag",) if second > 5 else (), {}, Load(10, 10, 4.0 * max(second - 5, 0)))
    assert validity.doubt(10, {}).made == pytest.approx(0.8)


def test_missing_workers() -> None:
    """What is missed stays missed, and nothing is met: a part of the requests is missing."""
    assert judged(*[("workers", 10, 0)] * 5).status is Status.INVALID
    assert judged(*[("workers", 0, 10)] * 5).status is Status.MISSED


def test_a_mean_is_judged_again_too() -> None:
    """Its sum is that of the requests which are left."""
    validity = Validity(slo(), START)
    for second in range(1, 11):
        late = second > 7
        validity.note(float(second), ("cpu",) if late else (), {"mean": Counts(10 * second, 0, 2.0 * second)}, FULL)
    doubt = validity.doubt(10, {"mean": Counts(100, 0, 20.0)})
    assert judge(slo(), MEAN, Counts(100, 0, 80.0), 10, doubt).status is Status.MISSED
    assert doubt.requests["mean"] == Counts(80, 0, 16.0)
    assert judge(slo(), MEAN, Counts(100, 0, 52.0), 10, doubt).status is Status.MISSED
    assert judge(slo(), MEAN, Counts(100, 0, 20.0), 10, doubt).status is Status.MET


@pytest.mark.parametrize(
    ("statuses", "aborted", "expected"),
    [
        ("", False, "undecided"), ("met met", False, "met"), ("met missed", False, "missed"),
        ("met undecided", False, "undecided"), ("missed undecided", False, "missed"),
        ("invalid missed", False, "missed"), ("invalid met", False, "invalid"), ("invalid undecided", False, "invalid"),
        ("invalid", True, "invalid"), ("met", True, "missed"), ("", True, "missed"), ("undecided", True, "missed"),
    ],
)  # fmt: skip
def test_the_verdict_on_a_run(statuses: str, aborted: bool, expected: str) -> None:
    """What is missed for certain goes before what is not valid, and that before what is undecided."""
    results = [Result(LATENCY, Counts(), Status(status)) for status in statuses.split()]
    assert overall(iter(results), is_aborted=aborted) == expected
