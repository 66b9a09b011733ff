"""Tests of the values of the live page, in a session without a process."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import SeriesKey, Snapshot
from locust_otel.exporter.page.content import MAX_ENDPOINTS, MAX_MARKS, content
from locust_otel.exporter.page.curves import Curves
from locust_otel.exporter.run import Phase, Run
from locust_otel.exporter.session import Origin, Session
from locust_otel.exporter.settings import resolve
from locust_otel.slo import validity
from locust_otel.slo.objectives import Slo, Window
from locust_otel.slo.progress import Progress
from locust_otel.slo.validity import WORDS
from locust_otel.wire import frames
from locust_otel.wire.report import Vitals
from tests.unit.factories import Load, objectives, record

GOOD, BAD = SeriesKey("GET", "/", "Shopper", "success"), SeriesKey("GET", "/", "Shopper", "failure")
WINDOW = Window("critical", Decimal(120), Decimal(30), Decimal("0.2"))
START = 1_764_000_000.0


class Shown:
    """A session with a clock that a test sets, and the values of its page."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr("locust_otel.exporter.run.monotonic", lambda: self.now_s)
        self.session = Session(resolve(values_of(None, {})), Origin(name="host-0"), lambda *_: None)
        self.curves = Curves(self.session)
        self.load = Load(slow_s=2.0, max_names=1000, thresholds_s=(0.3,))

    def begin(self, slo: Slo | None = None) -> Run:
        """Begin a run that is running."""
        progress = Progress(slo, START) if slo is not None else None
        run = Run("run-1", {"host": "http://shop"}, START, self.now_s, {}, self.load.merged, progress)
        run.go_on(Phase.RUNNING)
        run.users, run.users_target = {"Shopper": 7, "Admin": 2}, {"Shopper": 10}
        self.session.state.run = run
        return run

    def second(self) -> Snapshot:
        """Let a second pass."""
        self.now_s += 1.0
        snapshot = self.session.snapshot()
        self.curves.add(snapshot)
        return snapshot

    def data(self, snapshot: Snapshot | None = None) -> dict[str, Any]:
        """Return the values, as they arrive in Locust's process."""
        made = content(snapshot or self.session.snapshot(), self.session.run, self.curves)
        (message,) = frames.Frames().feed(frames.packed("answer", 1, made))
        assert json.loads(json.dumps(made)) == message[2]
        data: dict[str, Any] = message[2]
        return data


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Make a session before its first run."""
    return Shown(monkeypatch)


def test_before_the_first_run(shown: Shown) -> None:
    """Before the first run there are no values."""
    data = shown.data()
    assert (data["sentence"], data["run"], data["slo"], data["marks"]) == ("No run has started yet.", None, None, [])


def test_a_run(shown: Shown) -> None:
    """A run has an identity, a state, a clock, users and requests; without an SLO file it has no objectives."""
    run = shown.begin()
    record(shown.load, GOOD, [10] * 30, 100)
    record(shown.load, BAD, [10] * 3)
    data = shown.data(shown.second())
    assert data["run"] == {
        "id": "run-1", "state": "running", "is_active": True, "is_final": False, "start_time": START, "elapsed_s": 1.0,
        "host": "http://shop", "users": 9, "users_target": 10, "workers": None, "body_bytes": 3000, "invalid": [],
    }  # fmt: skip
    assert data["now"] == {"bytes": 3000, "cpu": None, "lag_s": None}
    assert data["sentence"] == "Run run-1 is running."
    assert data["slo"] is None
    run.phase = Phase.SPAWNING
    assert shown.data()["sentence"] == "Run run-1 starts its users."
    run.stop(shown.now_s)
    assert shown.data()["sentence"] == "Run run-1 is over."
    run.lose()
    assert shown.data()["sentence"] == "Run run-1 was lost: Locust ended without stopping it."


def test_endpoints(shown: Shown) -> None:
    """Each endpoint has one row for all users and outcomes: counts since the start, rates of the last ten seconds."""
    shown.begin()
    record(shown.load, GOOD, [900] * 60)
    record(shown.load, SeriesKey("GET", "/", "Admin", "success"), [900] * 20)
    shown.second()
    for _ in range(10):
        record(shown.load, GOOD, [10] * 3)
        record(shown.load, BAD, [10])
        record(shown.load, SeriesKey("POST", "/buy", "Shopper", "success"), [40])
        snapshot = shown.second()
    data = shown.data(snapshot)
    assert (data["recent_s"], data["endpoints_in_all"]) == (10, 2)
    (index, buy), total = data["endpoints"], data["total"]
    assert (index["method"], index["name"], index["requests"], index["failures"]) == ("GET", "/", 120, 10)
    assert (index["rate"], index["failure_rate"]) == (4, 1)
    assert index["p50_s"] == index["p99_s"] == pytest.approx(0.01, rel=0.03)
    assert (buy["requests"], buy["rate"], buy["p95_s"]) == (10, 1, pytest.approx(0.04, rel=0.03))
    assert (total["name"], total["requests"], total["failures"], total["rate"]) == ("all", 130, 10, 5)
    assert total["p99_s"] == buy["p95_s"]


def test_a_run_that_is_over_is_shown_as_a_whole(shown: Shown) -> None:
    """After the end, rates and percentiles are those of the run, and users and current values are gone."""
    run = shown.begin()
    record(shown.load, GOOD, [10] * 60)
    shown.second()
    record(shown.load, GOOD, [400] * 30)
    record(shown.load, BAD, [400] * 10)
    shown.second()
    shown.now_s += 2
    run.stop(shown.now_s)
    run.finish()
    data = shown.data()
    (row,) = data["endpoints"]
    assert (data["recent_s"], row["rate"], row["failure_rate"]) == (None, 25, 2.5)
    assert (row["p50_s"], row["p95_s"]) == (pytest.approx(0.01, rel=0.03), pytest.approx(0.4, rel=0.03))
    assert row | {"method": "", "name": "all"} == data["total"]
    assert (data["run"]["users"], data["run"]["users_target"], data["run"]["is_final"]) == (0, 0, True)
    assert set(data["now"].values()) == {None}


def test_a_run_without_a_request(shown: Shown) -> None:
    """A run without requests has no endpoints, active or not."""
    run = shown.begin()
    for _ in range(2):
        data = shown.data()
        assert (data["endpoints"], data["total"]["requests"], data["total"]["p95_s"]) == ([], 0, None)
        run.stop(shown.now_s)


def test_the_busiest_endpoints(shown: Shown) -> None:
    """The endpoints with the most requests are shown, sorted by name, with the number of all."""
    shown.begin()
    for number in range(MAX_ENDPOINTS + 50):
        record(shown.load, SeriesKey("GET", f"/{number:03}", "Shopper", "success"), [10] * (1 + number % 3))
    data = shown.data(shown.second())
    names = [row["name"] for row in data["endpoints"]]
    assert names == sorted(names)
    assert (len(names), data["endpoints_in_all"]) == (MAX_ENDPOINTS, MAX_ENDPOINTS + 50)
    assert [row["requests"] for row in data["endpoints"]].count(1) == 0
    assert data["total"]["requests"] == 300


def test_the_curves_of_another_run_are_not_shown(shown: Shown) -> None:
    """In its first second a run has no rates, and does not show those of the run before."""
    shown.begin()
    record(shown.load, GOOD, [10] * 60)
    shown.second()
    shown.load = Load(slow_s=2.0, thresholds_s=(0.3,))
    shown.begin().run_id = "run-2"
    record(shown.load, GOOD, [10])
    (row,) = shown.data()["endpoints"]
    assert (row["requests"], row["rate"], row["p50_s"]) == (1, None, None)
    assert set(shown.data()["now"].values()) == {None}


def test_marks(shown: Shown) -> None:
    """The last marks come first, with their times and the number of all."""
    run = shown.begin()
    for number in range(60):
        shown.now_s = float(number)
        shown.session.note_mark(run, f"mark {number}", "note")
    data = shown.data()
    assert [shown_mark["mark"] for shown_mark in data["marks"]] == [
        f"mark {number}" for number in range(59, 59 - MAX_MARKS, -1)
    ]
    assert data["marks"][0] == {"at_s": 59, "time": START + 59, "mark": "mark 59", "kind": "note"}
    assert data["marks_in_all"] == 60


def test_objectives(shown: Shown) -> None:
    """Each objective has its sentence, status, counts and budget, as in the verdict."""
    shown.begin(objectives(windows=(WINDOW,)))
    record(shown.load, GOOD, [10] * 90)
    record(shown.load, BAD, [2000] * 10)
    data = shown.data(shown.second())
    availability, latency, mean = data["slo"]["objectives"]
    assert (availability["name"], availability["asked"]) == ("availability", "99 % of requests succeed")
    assert (availability["status"], availability["actual"]) == ("missed", "90.0 %")
    assert (availability["counts"], availability["worst"]) == ([90, 10, 0], ["GET", "/", [90, 10, 0], 0.1])
    assert availability["budget"] == f"{availability['budget_spent']:.0%}"
    assert (latency["status"], latency["counts"]) == ("met", [90, 10, 0])
    assert (mean["status"], mean["actual"], mean["budget"], mean["burn"]) == ("met", "209 ms", None, [])
    assert mean["counts"] == [100, 0, pytest.approx(20.9)]
    assert (data["slo"]["verdict"], data["slo"]["period"]) == ("missed", "30 min")
    assert data["sentence"] == "Run run-1 is running; objectives: 2 met, 1 missed."


def test_burn_rates(shown: Shown) -> None:
    """Each pair of windows has its last burn rates, the factor of its alert, and whether it burns."""
    run = shown.begin(objectives(windows=(WINDOW,)))
    assert shown.data()["slo"]["objectives"][0]["burn"][0]["long_rate"] == "–"
    record(shown.load, BAD, [10] * 20)
    snapshot = shown.second()
    assert run.progress is not None
    run.progress.observe(shown.load.snapshot(), 1.0)
    slo = shown.data(snapshot)["slo"]
    assert slo["objectives"][0]["burn"] == [
        {
            "severity": "critical", "long": "2m", "short": "30s", "long_rate": "100x", "short_rate": "100x",
            "factor": "3.0x", "is_burning": True,
        }
    ]  # fmt: skip
    assert [(pair["severity"], pair["text"].split()[0]) for pair in slo["burning"]] == [("critical", "availability")]
    assert slo["aborted"] is None
    run.progress.aborted = run.progress.judge(shown.load.snapshot(), 1.0).burning[0]
    assert shown.data()["slo"]["aborted"] == slo["burning"][0]["text"]


def test_warming_up(shown: Shown) -> None:
    """During the warm-up nothing is judged, and the page shows the time left."""
    run = shown.begin(objectives(warmup_s=Decimal(30)))
    record(shown.load, BAD, [10] * 20)
    data = shown.data(shown.second())
    assert (data["slo"]["is_warming_up"], data["slo"]["warmup_left_s"], data["slo"]["warmup"]) == (True, 29, "30 s")
    assert {objective["status"] for objective in data["slo"]["objectives"]} == {"undecided"}
    assert data["sentence"] == "Run run-1 is running and warms up; nothing is judged yet."
    run.stop(shown.now_s)
    assert shown.data()["sentence"] == "Run run-1 is over; it ended within its warm-up."


def test_validity(shown: Shown) -> None:
    """The page has the reasons why numbers are not valid now, and when the generator was late."""
    run = shown.begin(objectives())
    record(shown.load, GOOD, [10] * 20)
    shown.session.state.workers.vitals["host-0"] = Vitals(0.97, 1, ("cpu",), 0.0, {}, 0.0, {})
    data = shown.data(shown.second())
    assert (data["run"]["invalid"], data["now"]["cpu"]) == ([WORDS["cpu"]], 0.97)
    assert data["sentence"].endswith(". Its numbers are not valid now: generator saturated (no CPU left).")
    assert data["slo"]["doubt"] == ""
    assert run.progress is not None
    shown.now_s = 5.0
    run.progress.validity.note(5.0, {"cpu"}, {}, validity.Load())
    assert "generator saturated (no CPU left) from " in shown.data()["slo"]["doubt"]
    run.stop(shown.now_s)
    assert shown.data()["run"]["invalid"] == []
