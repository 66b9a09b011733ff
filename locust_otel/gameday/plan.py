"""What a game-day file asks for, as values, and its time line. Times are seconds since the start of the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from locust_otel.slo.objectives import Slo, plain, span

FAULT_START, FAULT_END = "fault-start", "fault-end"
"""Kinds of the marks that a game day sets on its run; the mark is the name of the fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is broken on purpose.

    Attributes:
        run: Shell command that breaks it.
        undo: Shell command that mends it; it runs whatever happens.
        for_s: How long it stays broken.
        timeout_s: After so long a command is ended.
    """

    name: str
    run: str
    undo: str
    for_s: Decimal
    timeout_s: Decimal


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of the monitoring while something is broken.

    Attributes:
        alert: Name of the alert.
        fires: Whether it must fire, or must not.
        severity: Of the alert; empty takes any.
        within_s: From the start of the fault to the alert; None where it must not fire.
        clears_within_s: From the end of the fault to the end of the alert; None where nothing is promised.
    """

    alert: str
    fires: bool
    severity: str = ""
    within_s: Decimal | None = None
    clears_within_s: Decimal | None = None

    @property
    def sentence(self) -> str:
        """The expectation in words: `LocustSLOBudgetBurn (critical) within 1m, gone within 3m`."""
        name = f"{self.alert} ({self.severity})" if self.severity else self.alert
        if not self.fires:
            return f"no {name}"
        ended = "" if self.clears_within_s is None else f", gone within {span(self.clears_within_s)}"
        return f"{name} within {span(self.within_s or Decimal(0))}{ended}"


@dataclass(frozen=True, slots=True)
class Step:
    """A fault, when it begins, and what is expected of it."""

    at_s: Decimal
    fault: Fault
    expect: tuple[Expectation, ...] = ()

    @property
    def end_s(self) -> Decimal:
        """When the fault ends."""
        return self.at_s + self.fault.for_s

    @property
    def settled_s(self) -> Decimal:
        """When all that is expected must have come true."""
        times = [self.end_s]
        for each in self.expect:
            times += [] if each.within_s is None else [self.at_s + each.within_s]
            times += [] if each.clears_within_s is None else [self.end_s + each.clears_within_s]
        return max(times)


@dataclass(frozen=True, slots=True)
class Load:
    """The load that a game day starts.

    Attributes:
        spawn_rate: Users a second; None for Locust's default.
        args: Further arguments of Locust.
    """

    locustfile: Path
    users: int
    run_time_s: Decimal
    spawn_rate: Decimal | None = None
    host: str = ""
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopWhen:
    """What ends a game day before its time.

    Attributes:
        failure_ratio: Share of failed requests, in (0, 1].
        over_s: So far back requests are looked at.
    """

    failure_ratio: Decimal
    over_s: Decimal


class Moment(NamedTuple):
    """Something on the time line: `start`, `fault`, `undo`, `alert` and `clear` (deadlines), `end`."""

    at_s: Decimal
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class GameDay:
    """A game-day file.

    Attributes:
        source: Path of the file; commands run in its folder.
        slo_path: Of the SLO file, for the load.
        load: None where a run is attached to.
        steps: By time; no two faults overlap.
        notes: What is no mistake, and may be one.
    """

    name: str
    source: Path
    steps: tuple[Step, ...]
    slo: Slo | None = None
    slo_path: Path | None = None
    load: Load | None = None
    stop_when: StopWhen | None = None
    notes: tuple[str, ...] = ()

    @property
    def end_s(self) -> Decimal:
        """When it is over."""
        settled = max(step.settled_s for step in self.steps)
        return settled if self.load is None else max(settled, self.load.run_time_s)

    @property
    def own_alerts(self) -> frozenset[str]:
        """Alerts it expects that are not of this package, and so need not tell which run they are of."""
        return frozenset(
            each.alert for step in self.steps for each in step.expect if not each.alert.startswith("Locust")
        )

    def attached(self) -> GameDay:
        """Return the same for a run that somebody else has started."""
        return replace(self, load=None)


def moments(day: GameDay) -> Iterator[Moment]:
    """Yield the time line, by time."""
    found = [Moment(Decimal(0), "start", _load_text(day)), Moment(day.end_s, "end", "the game day ends")]
    for step in day.steps:
        found.append(Moment(step.at_s, "fault", f"{step.fault.name}: {step.fault.run}"))
        found.append(Moment(step.end_s, "undo", f"{step.fault.name}: {step.fault.undo}"))
        for each in step.expect:
            if each.within_s is not None:
                found.append(Moment(step.at_s + each.within_s, "alert", f"{each.alert} must have come"))
            if each.clears_within_s is not None:
                found.append(Moment(step.end_s + each.clears_within_s, "clear", f"{each.alert} must be gone"))
            if not each.fires:
                found.append(Moment(step.at_s, "quiet", f"{each.alert} must not begin to fire from here on"))
    order = ("start", "clear", "undo", "alert", "fault", "quiet", "end")
    yield from sorted(found, key=lambda moment: (moment.at_s, order.index(moment.what)))


def _load_text(day: GameDay) -> str:
    if day.load is None:
        return "a run that goes on already"
    return f"{day.load.locustfile.name}, {day.load.users} users, {span(plain(day.load.run_time_s))}"
