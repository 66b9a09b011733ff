"""Tests of what snapshots compute: totals, slow requests, and the reasons why numbers are not valid."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.factories import rich_load, snapshot, worker


def test_totals_and_slow_requests() -> None:
    """Unmeasured requests are in the totals; slow requests are those above the threshold of 2 s."""
    requests = rich_load().snapshot()
    assert [series.total for series in requests.series] == [6, 2, 2, 3]
    assert requests.total == 13
    assert [requests.slow(series) for series in requests.series] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("reasons", "missing", "expected"),
    [
        ([(), ()], 0, set()),
        ([("cpu",), ("lag", "cpu")], 0, {"cpu", "lag"}),
        ([(), ("lag",)], 2, {"lag", "workers"}),
        ([], 1, {"workers"}),
    ],
)
def test_reasons(reasons: list[tuple[str, ...]], missing: int, expected: set[str]) -> None:
    """The reasons are those of all workers, and `workers` if a worker is missing."""
    workers = tuple(worker(f"host-{number}", reasons=own) for number, own in enumerate(reasons))
    states = {"running": len(workers), "missing": missing}
    assert replace(snapshot(None, workers=workers), worker_states=states).invalid_reasons == expected
