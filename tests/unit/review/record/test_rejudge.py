"""Tests of the verdict on a record, by the objectives of its run or by others."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_otel.exporter.record.writer import verdict_on
from locust_otel.review.record.reader import load
from locust_otel.review.record.rejudge import results
from locust_otel.slo.file import parse
from locust_otel.slo.verdict import Status
from tests.unit.factories import Load, record, worker
from tests.unit.tapes import HOME, SLO_TEXT, Tape, small

SLO = parse(SLO_TEXT.encode(), "slo.yaml")


def test_its_own_verdict(tmp_path: Path) -> None:
    """A record is judged exactly as its run was, without the requests of the warm-up."""
    read = load(small(tmp_path, SLO).path)
    assert read.slo == SLO
    assert read.warm_s == 2.25
    verdict = results(read)
    assert [verdict_on(result) for result in verdict] == read.verdict
    assert [(r.counts.good, r.counts.bad) for r in verdict] == [(6, 2), (6, 2), (8, 0)]
    assert [r.status for r in verdict] == [Status.MISSED, Status.MISSED, Status.MISSED]


def test_other_objectives(tmp_path: Path) -> None:
    """Other objectives are judged if the record has counts at their threshold, and else undecided with the reason."""
    read = load(small(tmp_path, SLO).path)
    other = parse(
        b"service: x\nperiod: 1m\nscrape_interval: 1s\nwarmup: 3s\nmin_requests: 1\nobjectives:\n"
        b"  edge: {sli: latency, target: 50%, within: 1s}\n  between: {sli: latency, target: 50%, within: 333ms}\n"
        b"  works: {sli: success, target: 50%}\n",
        "other.yaml",
    )
    edge, between, works = results(read, other)
    assert (edge.counts.good, edge.counts.bad, edge.status) == (3, 1, Status.MET)
    assert (works.counts.good, works.counts.bad) == (3, 1)
    assert (between.status, between.counts.total) == (Status.UNDECIDED, 0)
    assert between.note == "the record has no counts at 333 ms: only a run with this SLO file has"


def test_without_objectives(tmp_path: Path) -> None:
    """A run without an SLO file has no verdict of its own."""
    assert results(load(small(tmp_path).path)) == []


def test_a_record_that_was_cut_off(tmp_path: Path) -> None:
    """A record that was cut off is judged up to there."""
    tape = small(tmp_path, SLO)
    tape.path.write_bytes(tape.path.read_bytes()[: tape.sizes[3]])
    read = load(tape.path)
    assert (read.is_complete, read.verdict) == (False, None)
    works, _, _ = results(read)
    assert (works.counts.good, works.counts.bad, works.status) == (3, 1, Status.UNDECIDED)


def test_an_end_within_the_warm_up(tmp_path: Path) -> None:
    """A run that ended within its warm-up has no judged requests."""
    text = SLO_TEXT.replace("warmup: 2s", "warmup: 30s")
    read = load(small(tmp_path, parse(text.encode(), "slo.yaml")).path)
    assert read.warm_s is None
    assert [verdict_on(result) for result in results(read)] == read.verdict
    assert {result.counts.total for result in results(read)} == {0}


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_generator_that_was_too_slow(tmp_path: Path, is_cut: bool) -> None:
    """The verdict after a late generator is that of the run, with the same note."""
    late, users = (worker(reasons=("lag",)),), {"Shopper": 5}
    requests = Load(slow_s=2.0, max_names=9, thresholds_s=(0.3,))
    tape = Tape(tmp_path, requests, SLO, workers=late, users=users, users_target=users)
    for second in range(1, 6):
        record(tape.aggregate, HOME, [400] * 5)
        tape.interval(float(second))
    if not is_cut:
        tape.end()
    read = load(tape.path)
    assert read.is_complete is not is_cut
    verdict = results(read)
    assert [result.status for result in verdict] == [Status.MET, Status.INVALID, Status.INVALID]
    assert all("generator saturated (its event loop late) from " in result.note for result in verdict[1:])
    assert is_cut or [verdict_on(result) for result in verdict] == read.verdict
