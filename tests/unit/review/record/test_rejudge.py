"""Tests of the verdict on a record: that of its run, or that of other objectives."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_otel.exporter.record.writer import verdict_on
from locust_otel.review.record.reader import load
from locust_otel.review.record.rejudge import results
from locust_otel.slo.file import parse
from locust_otel.slo.verdict import Status
from tests.unit.factories import worker
from tests.unit.tapes import SLO_TEXT, small


def test_its_own_verdict(tmp_path: Path) -> None:
    """A record is judged as its run was, to the last digit, with what was before the end of the warm-up left out."""
    read = load(small(tmp_path, parse(SLO_TEXT.encode(), "slo.yaml")).path)
    assert read.slo == parse(SLO_TEXT.encode(), "slo.yaml")
    assert read.warm_s == 2.25
    found = results(read)
    assert [verdict_on(result) for result in found] == read.verdict
    assert [(r.counts.good, r.counts.bad) for r in found] == [(6, 2), (6, 2), (8, 0)]
    assert [r.status for r in found] == [Status.MISSED, Status.MISSED, Status.MISSED]


def test_other_objectives(tmp_path: Path) -> None:
    """Other objectives are judged where their threshold was counted at, and else undecided, with the reason."""
    read = load(small(tmp_path, parse(SLO_TEXT.encode(), "slo.yaml")).path)
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
    assert between.note == "the run did not count at 333 ms; a run with this SLO file does"


def test_without_objectives(tmp_path: Path) -> None:
    """A run without an SLO file has no verdict of its own."""
    assert results(load(small(tmp_path).path)) == []


def test_a_record_that_was_cut_off(tmp_path: Path) -> None:
    """It is judged as far as it goes."""
    tape = small(tmp_path, parse(SLO_TEXT.encode(), "slo.yaml"))
    tape.path.write_bytes(tape.path.read_bytes()[: tape.sizes[3]])
    read = load(tape.path)
    assert (read.is_complete, read.verdict) == (False, None)
    works, _, _ = results(read)
    assert (works.counts.good, works.counts.bad, works.status) == (3, 1, Status.UNDECIDED)


def test_an_end_within_the_warm_up(tmp_path: Path) -> None:
    """A run that was over before its warm-up has judged nothing."""
    text = SLO_TEXT.replace("warmup: 2s", "warmup: 30s")
    read = load(small(tmp_path, parse(text.encode(), "slo.yaml")).path)
    assert read.warm_s is None
    assert [verdict_on(result) for result in results(read)] == read.verdict
    assert {result.counts.total for result in results(read)} == {0}


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_generator_that_was_too_slow(tmp_path: Path, is_cut: bool) -> None:
    """What a late generator leaves of a run follows from its intervals, to the same words."""
    from tests.unit.factories import Load, record
    from tests.unit.tapes import HOME, Tape

    slo = parse(SLO_TEXT.encode(), "slo.yaml")
    late, users = (worker(reasons=("lag",)),), {"Shopper": 5}
    requests = Load(slow_s=2.0, max_names=9, thresholds_s=(0.3,))
    tape = Tape(tmp_path, requests, slo, workers=late, users=users, users_target=users)
    for second in range(1, 6):
        record(tape.aggregate, HOME, [400] * 5)
        tape.interval(float(second))
    if not is_cut:
        tape.end()
    read = load(tape.path)
    assert read.is_complete is not is_cut
    found = results(read)
    assert [result.status for result in found] == [Status.MET, Status.INVALID, Status.INVALID]
    assert all("generator saturated (its event loop late) from " in result.note for result in found[1:])
    assert is_cut or [verdict_on(result) for result in found] == read.verdict
