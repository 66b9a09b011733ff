"""The scorecard: how long each fault took to be seen, told of and over, and whether that is what was expected.

All of it is a function of values: the game day, what was done (`Played`), what Prometheus has stored (`History`), and
who was told (`Notice`). Seconds in a score count from the start of the fault; those of an end, from the fault's end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from locust_otel.core.errors import ExitCode
from locust_otel.gameday.history import GAP, Episode, History
from locust_otel.gameday.impact import Impact, impacts
from locust_otel.gameday.judge import Told, judged, matching, notice_of
from locust_otel.gameday.notices import Notice
from locust_otel.gameday.plan import Expectation, GameDay, Step
from locust_otel.slo.objectives import span


class ExpectationOutcome(Enum):
    """Whether the monitoring did what was expected."""

    KEPT = "kept"
    BROKEN = "broken"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Done:
    """What was done of a step.

    Attributes:
        name: Of the fault.
        begun_at: Unix time at which it was made; None where it never was.
        ended_at: Unix time at which it was mended.
        failed: Why it did not come about, or did not go; empty where it did.
    """

    name: str
    begun_at: float | None = None
    ended_at: float | None = None
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Played:
    """What was done on a game day.

    Attributes:
        aborted: Why it ended before its time; empty where it did not.
        left: Faults that could not be mended.
        notes: What else there is to be said.
    """

    run_id: str
    done: tuple[Done, ...]
    aborted: str = ""
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """One expectation and what came of it."""

    expectation: Expectation
    outcome: ExpectationOutcome
    why: str
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class FaultScore:
    """One fault; seconds from its start, and for what ends from its end; None for what was not seen.

    Attributes:
        lasted_s: From its start to its end.
        impact: What users had of it; None where it was never made.
        told: Of the first alert that fired: of those expected if any is, else of all.
        resolved_s: From its end until none of these fired any more.
    """

    step: Step
    done: Done
    lasted_s: float | None
    impact: Impact | None
    told: Told | None
    resolved_s: float | None
    results: tuple[ExpectationResult, ...]


@dataclass(frozen=True, slots=True)
class Scorecard:
    """A game day, judged.

    Attributes:
        unprovoked: Alerts that fired with no fault around.
        budget_spent: By objective, the share of the period's error budget that the run has spent.
    """

    day: GameDay
    played: Played
    faults: tuple[FaultScore, ...]
    unprovoked: tuple[Episode, ...]
    budget_spent: tuple[tuple[str, float], ...]
    notes: tuple[str, ...]

    @property
    def results(self) -> list[ExpectationResult]:
        """All expectations."""
        return [result for fault in self.faults for result in fault.results]

    @property
    def code(self) -> int:
        """The exit code: broken goes before undecided, and what stays broken before all."""
        outcomes = {result.outcome for result in self.results}
        if self.played.left:
            return 1
        if ExpectationOutcome.BROKEN in outcomes:
            return ExitCode.MISSED
        is_decided = not self.played.aborted and outcomes == {ExpectationOutcome.KEPT}
        return ExitCode.OK if is_decided else ExitCode.UNDECIDED


def scorecard(
    day: GameDay, played: Played, history: History, notices: Sequence[Notice], *, has_told: bool
) -> Scorecard:
    """Judge a game day.

    Args:
        day: What was planned.
        played: What was done.
        history: What Prometheus has stored.
        notices: Who was told of what.
        has_told: Whether anybody looked who was told; else an alert counts from when it fires.
    """
    done = {each.name: each for each in played.done}
    begins = [done[step.fault.name].begun_at for step in day.steps if step.fault.name in done]
    felt = impacts(day.slo, history)
    faults = []
    for position, step in enumerate(day.steps):
        each = done.get(step.fault.name, Done(step.fault.name))
        until = next((at for at in begins[position + 1 :] if at is not None), history.end)
        faults.append(_fault(step, each, until, felt.of(each.begun_at, until), history, notices, has_told=has_told))
    missing = {e.alert for step in day.steps for e in step.expect} - (history.rules or frozenset())
    notes = [*day.notes, *played.notes]
    if history.rules is not None and missing:
        notes.append(f"Prometheus has no rule for {', '.join(sorted(missing))}: were the rules loaded?")
    if not history.is_valid:
        notes.append("the load generator was too slow at times: what it measured then is its own slowness.")
    return Scorecard(
        day=day, played=played, faults=tuple(faults), unprovoked=tuple(_unprovoked(day, faults, history)),
        budget_spent=felt.budget_spent, notes=tuple(notes),
    )  # fmt: skip


def _fault(  # noqa: PLR0913, PLR0917  # what is known of a fault
    step: Step,
    done: Done,
    until: float,
    impact: Impact | None,
    history: History,
    notices: Sequence[Notice],
    *,
    has_told: bool,
) -> FaultScore:
    results = tuple(_result(each, done, until, history, notices, has_told=has_told) for each in step.expect)
    if done.begun_at is None:
        return FaultScore(step, done, None, None, None, None, results)
    own = [e for e in history.episodes if e.firing_at is not None and done.begun_at <= e.firing_at < until]
    # The times are those of what was expected; where nothing was, of whatever fired.
    expected = [e for each in step.expect if each.fires for e in matching(each, own)]
    own = expected or own
    first = min(own, key=lambda episode: episode.firing_at or until, default=None)
    told = None if first is None else Told.of(first, notice_of(first, notices, history.interval_s), done.begun_at)
    ends = [episode.resolved_at for episode in own]
    resolved_s = None
    if ends and done.ended_at is not None and all(end is not None for end in ends):
        resolved_s = max(end for end in ends if end is not None) - done.ended_at
    lasted_s = None if done.ended_at is None else done.ended_at - done.begun_at
    return FaultScore(step, done, lasted_s, impact, told, resolved_s, results)


def _result(  # noqa: PLR0913  # likewise
    each: Expectation, done: Done, until: float, history: History, notices: Sequence[Notice], *, has_told: bool
) -> ExpectationResult:
    if done.begun_at is None or done.failed:
        return ExpectationResult(each, ExpectationOutcome.UNDECIDED, done.failed or "the fault was never made")
    if history.rules is not None and each.alert not in history.rules and not matching(each, history.episodes):
        return ExpectationResult(each, ExpectationOutcome.UNDECIDED, "Prometheus has no such rule")
    is_kept, why, told = judged(each, done.begun_at, done.ended_at, until, history, notices, has_told=has_told)
    outcome = (
        ExpectationOutcome.UNDECIDED
        if is_kept is None
        else ExpectationOutcome.KEPT
        if is_kept
        else ExpectationOutcome.BROKEN
    )
    return ExpectationResult(each, outcome, why, told)


def _unprovoked(day: GameDay, faults: Sequence[FaultScore], history: History) -> Iterator[Episode]:
    """Yield alerts that began to fire where no fault was, nor what one leaves behind in the windows of the rules."""
    spans = () if day.slo is None else day.slo.spans_s
    after_s = max([30.0, *(float(length) for length in spans)]) + GAP * history.interval_s
    for episode in history.episodes:
        at = episode.firing_at
        if at is not None and not any(
            fault.done.begun_at is not None
            and fault.done.begun_at <= at <= (fault.done.ended_at or history.end) + after_s
            for fault in faults
        ):
            yield episode


def seconds(value: float | None) -> str:
    """Return a time for people: `12.3 s`; a dash for none."""
    return "–" if value is None else f"{value:.1f} s"


def planned(step: Step) -> str:
    """Return when a step is, as the file has it: `2m`."""
    return span(step.at_s)
