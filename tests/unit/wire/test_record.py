"""Tests of the format of a run record: its lines as JSON, and the values that it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import ValidationError, json

from locust_otel.core.catalogue import RUN_STATES, SLO_STATUSES
from locust_otel.core.snapshot import SeriesKey
from locust_otel.wire.record import EndLine, IntervalLine, Judgement, Line, Mark, RecordError, SeriesLine, WorkerLine
from tests.unit.spoiling import changed

INTERVAL: dict[str, Any] = {
    "type": "interval", "from": 1.0, "to": 2.0, "state": "running", "elapsed_s": 2.0, "users": {"Shopper": 3},
    "users_target": {"Shopper": 4}, "worker_states": None, "workers_expected": None,
    "slo": {"works": {"good": 9, "bad": 1, "sum_s": 0.5, "status": "met"}}, "locust_total": 10,
    "series": [[0, 1, 0.5, 100, [3, 4]]], "errors": [[0, 1]], "user_errors": [["Shopper", "KeyError", 1]],
    "workers": [{"worker": "host-0", "cpu": 0.5, "memory": 1000, "users": 3, "reasons": ["cpu"], "is_new": False,
                 "lag_sum_s": 0.1, "lag": [2, 4], "schedule_sum_s": 0.0}],
}  # fmt: skip


def decode(line: object) -> Any:
    """Return the line of a record with these JSON values."""
    return json.decode(json.encode(line), type=Line)


def test_interval() -> None:
    """The JSON of an interval has the documented keys, and a reader ignores others."""
    interval = IntervalLine(
        start_s=1.0, end_s=2.0, state="running", elapsed_s=2.0, users={"Shopper": 3}, users_target={"Shopper": 4},
        worker_states=None, workers_expected=None, slo={"works": Judgement(9, 1, 0.5, "met")}, locust_total=10,
        series=[(0, 1, 0.5, 100, [3, 4])], errors=[(0, 1)], user_errors=[("Shopper", "KeyError", 1)],
        workers=[WorkerLine("host-0", 0.5, 1000, 3, ("cpu",), False, 0.1, [2, 4])],
    )  # fmt: skip
    assert json.decode(json.encode(interval)) == INTERVAL
    assert decode(INTERVAL | {"new": 1}) == interval


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (SeriesLine([SeriesKey("GET", "/", "Shopper", "success")]),
         {"type": "series", "keys": [["GET", "/", "Shopper", "success"]]}),
        (Mark(1.5, "db killed", "fault"), {"type": "mark", "at": 1.5, "mark": "db killed", "kind": "fault"}),
        (EndLine(9.0, "stopped", 10, None, is_aborted=False, verdict=None),
         {"type": "end", "at": 9.0, "state": "stopped", "recorded": 10, "locust_total": None, "is_aborted": False,
          "verdict": None}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_other_lines(line: Any, text: dict[str, Any]) -> None:
    """The JSON of a line has its type and the documented keys."""
    assert json.decode(json.encode(line)) == text
    assert decode(text) == line


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("type",), "other"), (("from",), -1.0), (("to",), "2"), (("state",), "paused"), (("state",), "running\n"),
        (("users", "Shopper"), -1), (("slo", "works", "status"), "ok"), (("slo", "works", "good"), 2**63),
        (("series", 0), [0, 1, 0.5, 100]), (("workers", 0, "reasons"), ["other"]), (("workers", 0, "lag"), [0, 1]),
    ],
)  # fmt: skip
def test_refused_values(path: tuple[Any, ...], value: object) -> None:
    """Negative numbers, numbers beyond 64 bits, and unknown types, states and reasons are refused."""
    with pytest.raises(ValidationError):
        decode(changed(INTERVAL, path, value))


def test_states() -> None:
    """A record may have every state of a run, and every status of an objective."""
    assert [decode(changed(INTERVAL, ("state",), state)).state for state in RUN_STATES] == list(RUN_STATES)
    path = ("slo", "works", "status")
    assert [decode(changed(INTERVAL, path, s)).slo["works"].status for s in SLO_STATUSES] == list(SLO_STATUSES)


def test_error() -> None:
    """The text of an error ends with its slug."""
    error = RecordError("a.jsonl.gz:1", "This is of version 3.", "version")
    assert (str(error), error.slug) == ("a.jsonl.gz:1: This is of version 3. (record-version)", "record-version")
