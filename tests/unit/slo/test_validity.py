"""Tests of the effect of a late generator, and of missing workers, on a verdict."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal

import pytest

from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo
from locust_otel.slo.validity import Doubt, Load, Validity
from locust_otel.slo.verdict import Result, Status, judge, overall
from tests.unit.factories import objectives, rich_snapshot

START = 1_764_000_000.0  # 2025-11-24 16:00:00 UTC
LATENCY = Objective("latency", Sli.LATENCY, Decimal("0.9"), Decimal("0.3"))
MEAN = Objective("mean", Sli.MEAN, within_s=Decimal("0.5"))
FULL = Load(10, 10)


def slo(warmup_s: int = 0) -> Slo:
    """Return two objectives that require ten requests."""
    return objectives(objectives=(LATENCY, MEAN), warmup_s=Decimal(warmup_s), min_requests=10)


def noted(*looks: tuple[float, str], warmup_s: int = 0) -> Validity:
    """Return the validity after these looks at a run: seconds, and reasons separated by blanks."""
    validity = Validity(slo(warmup_s), START)
    for elapsed_s, reasons in looks:
        validity.note(elapsed_s, reasons.split(), {}, FULL)
    return validity


def judged(*seconds: tuple[str, int, int], load: Load = FULL) -> Result:
    """Judge the latency in a run of these seconds: reasons, good and bad requests of each."""
    validity, good, bad = Validity(slo(), START), 0, 0
    for elapsed_s, (reasons, more_good, more_bad) in enumerate(seconds, 1):
        good, bad = good + more_good, bad + more_bad
        validity.note(float(elapsed_s), reasons.split(), {"latency": Counts(good, bad)}, load)
    counts = Counts(good, bad)
    return judge(slo(), LATENCY, counts, len(seconds), validity.doubt(len(seconds), {"latency": counts}))


@pytest.mark.parametrize(
    ("looks", "text"),
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
        (
            [(1, "cpu"), (8, ""), (12, "lag"), (20, ""), (21, "cpu")],
            "generator saturated (its event loop late) from 16:00:08 to 16:00:12 UTC, and 2 more times: 6 of 9 s",
        ),
    ],
)
def test_late(looks: list[tuple[float, str]], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text has the times in UTC and the reasons of the longest span, and the number of others."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert noted(*looks).doubt(9, {}).late == text
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("judged_s", "share"), [(0, 0.0), (0.5, 1.0), (2, 1.0), (8, 0.5)])
def test_late_share(judged_s: float, share: float) -> None:
    """The share of the judged time is at most 1, and 0 before there is any."""
    doubt = noted((4, "cpu")).doubt(judged_s, {})
    assert (doubt.late_share, doubt.made) == (share, 1.0)
    assert Validity(slo(), START).doubt(judged_s, {}) == Doubt()


def test_looking_back() -> None:
    """The generator judges some past seconds, so the last five before it was late count too."""
    validity = noted(*((float(second), "") for second in range(1, 21)), (21, "lag"))
    assert "from 16:00:15 to 16:00:21" in validity.doubt(30, {}).late


@pytest.mark.parametrize(("judged_s", "is_reported"), [(20, False), (19.9, True)])
def test_missing_workers_are_tolerated_for_a_tenth(judged_s: float, is_reported: bool) -> None:
    """Two seconds of twenty, a tenth, are tolerated; a larger share is not."""
    missing = noted((5, ""), (7, "workers"), (8, "")).doubt(judged_s, {}).missing
    assert missing == ("workers missing from 16:00:05 to 16:00:07 UTC: 2 of 20 s" if is_reported else "")


def test_the_warm_up_does_not_count() -> None:
    """A look in the warm-up is ignored, and the first later one reaches back to the end of the warm-up only."""
    doubt = noted((5, "cpu"), (10, "cpu"), (12, "cpu"), warmup_s=11).doubt(1, {})
    assert doubt.late == "generator saturated (no CPU left) from 16:00:11 to 16:00:12 UTC: 1 of 1 s"


def test_looks_without_progress() -> None:
    """A second look at the same time, or an earlier time, adds nothing."""
    assert noted((5, ""), (5, "cpu"), (4, "cpu")).doubt(5, {}) == Doubt()


@pytest.mark.parametrize(
    ("seconds", "status", "note"),
    [
        # Latencies of a late generator are never too short: met stays met.
        (
            [*[("", 10, 0)] * 20, *[("lag", 9, 1)] * 5], "met",
            "at 100% of the load; the generator was late in 40% of the run",
        ),
        # Missed without the late requests too.
        (
            [*[("", 8, 2)] * 20, *[("lag", 0, 10)] * 5], "missed",
            "in the 60% of the run in which the generator kept up too",
        ),
        # Missed because of the late requests only.
        (
            [*[("", 10, 0)] * 20, *[("lag", 0, 10)] * 5], "invalid",
            "missed; met in the 60% of the run in which the generator kept up; generator saturated",
        ),
        # Missed by a generator that was always late.
        (
            [("cpu", 0, 10)] * 5, "invalid",
            "missed; 0 requests in the 0% of the run in which the generator kept up; generator saturated",
        ),
        # A part of the requests is missing: missed stays missed, and nothing is met.
        ([("workers", 10, 0)] * 5, "invalid", "met by the counted requests; workers missing from 16:00:00"),
        ([("workers", 0, 10)] * 5, "missed", ""),
    ],
)  # fmt: skip
def test_verdicts(seconds: list[tuple[str, int, int]], status: str, note: str) -> None:
    """The verdict takes late requests and missing workers into account, and the note has the reason."""
    result = judged(*seconds)
    assert result.status == status
    assert result.note.startswith(note)
    assert bool(result.note) == bool(note)


def test_requests_since_the_last_look() -> None:
    """Requests since the last look are late if the generator was late at that look."""
    for reasons, late in (("lag", Counts(30, 12)), ("", Counts(0, 0))):
        validity = Validity(slo(), START)
        validity.note(3.0, reasons.split(), {"latency": Counts(30, 5)}, FULL)
        assert validity.doubt(4, {"latency": Counts(30, 12)}).requests == {"latency": late}


@pytest.mark.parametrize(
    ("load", "status", "made"),
    [(Load(10, 10), "met", "100%"), (Load(8, 10), "met", "93%"), (Load(1, 10), "undecided", "70%")],
)
def test_met_by_a_part_of_the_load(load: Load, status: str, made: str) -> None:
    """Missing users make no requests while the generator is late: below 90 % of the load nothing is met."""
    result = judged(*[("", 10, 0)] * 10, *[("cpu", 10, 0)] * 5, load=load)
    assert result.status == status
    assert result.note.startswith(f"at {made} of the load; " if status == "met" else f"{made} of the load: ")


def test_load_by_time() -> None:
    """A user who is missing for six seconds is six times the load of one who is missing for one second."""
    validity = Validity(slo(), START)
    for elapsed_s, reasons, load in ((4.0, (), FULL), (10.0, ("lag",), Load(5, 10)), (12.0, (), Load(20, 20))):
        validity.note(elapsed_s, reasons, {}, load)
    assert validity.doubt(12, {}).made == pytest.approx(1 - 5 * 6 / (10 * 10 + 20 * 2))


def test_bounds() -> None:
    """Exactly the tolerated load is enough, and so is exactly the required number of requests in time."""
    at_tolerance = Doubt(late="late", late_share=0.5, made=0.5)
    assert judge(replace(slo(), tolerance=Decimal("0.5")), LATENCY, Counts(100), 10, at_tolerance).status is Status.MET
    late = Doubt(late="late", late_share=0.5, requests={"latency": Counts(0, 90)})
    assert judge(slo(), LATENCY, Counts(10, 90), 10, late).note.startswith("missed; met in the 50% of the run")


@pytest.mark.parametrize(("state", "target"), [("running", 10), ("spawning", 4), ("stopped", 4)])
def test_load(state: str, target: int) -> None:
    """The target counts only while the run is running: while users are spawned, none of them is missing."""
    snapshot = rich_snapshot()
    assert snapshot.run is not None
    run = replace(snapshot.run, state=state, users={"A": 1, "B": 3}, users_target={"A": 5, "B": 5})
    workers = tuple(replace(worker, schedule_sum_s=0.5) for worker in snapshot.workers)
    assert Load.of(replace(snapshot, run=run, workers=workers)) == Load(4, target, 0.5 * len(workers))
    assert Load.of(replace(snapshot, run=None)) == Load()


def test_delays_of_scheduled_tasks() -> None:
    """The delay of scheduled tasks while the generator is late is missing load."""
    validity = Validity(slo(), START)
    for second in range(1, 11):
        validity.note(float(second), ("lag",) if second > 5 else (), {}, Load(10, 10, 4.0 * max(second - 5, 0)))
    assert validity.doubt(10, {}).made == pytest.approx(0.8)


def test_a_mean_is_judged_again_too() -> None:
    """The sum of a mean is that of the requests that were not late."""
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
    """Missed has priority over not valid, and not valid over undecided."""
    results = [Result(LATENCY, Counts(), Status(status)) for status in statuses.split()]
    assert overall(iter(results), is_aborted=aborted) == expected
    assert aborted or overall(results) == expected
