"""Game days for tests: files from the texts of their keys, and histories with known times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locust_otel.gameday.alertmanager import Notice
from locust_otel.gameday.history import Episode, History
from locust_otel.gameday.judge import InjectedFault
from locust_otel.gameday.plan import GameDay
from locust_otel.gameday.schema import ExpectShape, FaultShape, StepShape
from locust_otel.gameday.score import Played, Scorecard, scorecard
from locust_otel.slo.counts import Counts
from locust_otel.slo.file import parse
from locust_otel.slo.objectives import Slo

BEGIN = 1_000_000.0
BURN = "LocustSLOBudgetBurn"
SLO = parse(
    b"service: shop\nperiod: 100s\nscrape_interval: 1s\nmin_requests: 1\n"
    b"objectives: {availability: {sli: success, target: 90%}}\n"
    b"windows: [{severity: critical, long: 10s, short: 4s, budget: 20%}]\n",
    "slo.yaml",
)


def fault(run: str = "x", undo: str = "y", lasts: str = "10s", timeout: str = "5s", *, name: str = "db") -> FaultShape:
    """Return a fault."""
    keys = {"name": name, "run": run, "undo": undo, "for": lasts, "timeout": timeout}
    return FaultShape.model_validate(keys)


def expect(**keys: str) -> ExpectShape:
    """Return an expectation."""
    return ExpectShape.model_validate(keys)


MUST = expect(alert=BURN, severity="critical", within="15s", clears_within="20s")
MUST_NOT = expect(no_alert=BURN)


def step(at: str, shape: FaultShape, *expected: ExpectShape) -> StepShape:
    """Return a step."""
    return StepShape.model_validate({"at": at, "fault": shape, "expect": list(expected)})


def step_at(second: int, *expected: ExpectShape, name: str = "db") -> StepShape:
    """Return a step whose fault lasts 10 s."""
    return step(f"{second}s", fault(name=name), *expected)


def day(*steps: StepShape, source: Path = Path("day.yaml"), slo: Slo | None = None) -> GameDay:
    """Return a game day."""
    return GameDay("test", source, steps, slo=slo)


def slo_day(*steps: StepShape) -> GameDay:
    """Return a game day with the objectives of `SLO`."""
    return day(*steps, slo=SLO)


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
    scrapes = [*counts, BEGIN + end + 9]  # the last scrapes come after the run
    return History(BEGIN, BEGIN + end, 1.0, counts, elapsed_s=end, scrapes=scrapes, episodes=alerts, rules=rules)


def injected(name: str = "db", begin: float = 20, end: float = 30) -> InjectedFault:
    """Return a fault as it was injected, by seconds since the start of the run."""
    return InjectedFault(name, BEGIN + begin, BEGIN + end)


def played(*faults: InjectedFault, **more: Any) -> Played:
    """Return a played game day; by default with the fault of second 20 to 30."""
    return Played("r", faults or (injected(),), **more)


def judged(
    past: History, *expected: ExpectShape, notices: Sequence[Notice] = (), sees_notices: bool = False
) -> Scorecard:
    """Return the scorecard of a game day with one fault."""
    return scorecard(slo_day(step_at(20, *expected)), played(), past, notices, sees_notices=sees_notices)
