"""Game days for tests, from the texts that a file would have."""

from __future__ import annotations

from pathlib import Path

from locust_otel.gameday.plan import GameDay
from locust_otel.gameday.schema import ExpectShape, FaultShape, StepShape
from locust_otel.slo.objectives import Slo


def fault(run: str = "x", undo: str = "y", lasts: str = "10s", timeout: str = "5s", *, name: str = "db") -> FaultShape:
    """Return a fault."""
    keys = {"name": name, "run": run, "undo": undo, "for": lasts, "timeout": timeout}
    return FaultShape.model_validate(keys)


def step(at: str, shape: FaultShape, *expect: ExpectShape) -> StepShape:
    """Return a step."""
    return StepShape.model_validate({"at": at, "fault": shape, "expect": list(expect)})


def day(*steps: StepShape, source: Path = Path("day.yaml"), slo: Slo | None = None) -> GameDay:
    """Return a game day."""
    return GameDay("test", source, steps, slo=slo)
