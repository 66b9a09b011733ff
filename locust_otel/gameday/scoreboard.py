"""The scorecard for people (a table), for machines (JSON) and for a page (Markdown); and the plan of a dry run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from locust_otel.gameday.plan import GameDay, moments
from locust_otel.gameday.score import ExpectationOutcome, ExpectationResult, FaultScore, Scorecard, seconds
from locust_otel.slo.objectives import span

_WIDTH = 150
_STYLES = {
    ExpectationOutcome.KEPT: "green",
    ExpectationOutcome.BROKEN: "bold red",
    ExpectationOutcome.UNDECIDED: "yellow",
}
_SUMS = {
    0: "The monitoring kept its promises.",
    1: "SOMETHING STAYS BROKEN: mend it.",
    3: "The monitoring broke a promise.",
    4: "Whether the monitoring kept its promises cannot be decided.",
}

COLUMNS: tuple[tuple[str, Callable[[FaultScore], str]], ...] = (
    ("fault", lambda fault: fault.step.fault.name),
    ("at", lambda fault: span(fault.step.at_s)),
    ("lasted", lambda fault: seconds(fault.lasted_s)),
    ("first bad", lambda fault: seconds(times(fault)["first_bad_s"])),
    ("SLO breach", lambda fault: seconds(times(fault)["breach_s"])),
    ("pending", lambda fault: seconds(times(fault)["pending_s"])),
    ("firing", lambda fault: seconds(times(fault)["firing_s"])),
    ("Alertmanager", lambda fault: seconds(times(fault)["alertmanager_s"])),
    ("notified", lambda fault: seconds(times(fault)["notified_s"])),
    ("last bad*", lambda fault: seconds(times(fault)["recovered_s"])),
    ("resolved*", lambda fault: seconds(times(fault)["resolved_s"])),
    ("bad", lambda fault: "–" if fault.impact is None else f"{fault.impact.bad:,}"),
    ("budget", lambda fault: _worst(() if fault.impact is None else fault.impact.budget_spent)),
)
"""Headings of the table of faults; * counts from the end of the fault."""


def times(fault: FaultScore) -> dict[str, float | None]:
    """Return the times of a fault by name: seconds from its start, of what ends from its end."""
    impact, told, done = fault.impact, fault.told, fault.done

    def since(at: float | None, begin: float | None) -> float | None:
        return None if at is None or begin is None else at - begin

    return {
        "first_bad_s": since(impact.first_bad_at, done.begun_at) if impact else None,
        "breach_s": since(impact.breach_at, done.begun_at) if impact else None,
        "pending_s": told.pending_s if told else None,
        "firing_s": told.firing_s if told else None,
        "alertmanager_s": told.arrived_s if told else None,
        "notified_s": told.notified_s if told else None,
        "recovered_s": since(impact.last_bad_at, done.ended_at) if impact else None,
        "resolved_s": fault.resolved_s,
    }


def _worst(spent: Sequence[tuple[str, float]]) -> str:
    if not spent:
        return "–"
    slo, share = max(spent, key=lambda each: each[1])
    return f"{share:.0%} {slo}"


def _lines(card: Scorecard) -> list[str]:
    """Return what is said below the tables."""
    lines = [f"aborted: {card.played.aborted}"] if card.played.aborted else []
    lines += [f"STILL BROKEN: {name}; mend it, and run --undo" for name in card.played.left]
    for episode in card.unprovoked:
        at = (episode.firing_at or 0.0) - _start(card)
        lines.append(f"fired with no fault: {episode.name} {episode.labels.get('slo', '')} at {at:.0f} s".rstrip())
    if card.budget_spent:
        lines.append("budget spent: " + ", ".join(f"{slo} {share:.0%}" for slo, share in card.budget_spent))
    return [*lines, *(f"note: {note}" for note in card.notes)]


def _start(card: Scorecard) -> float:
    begun = [f.done.begun_at - float(f.step.at_s) for f in card.faults if f.done.begun_at is not None]
    return min(begun, default=0.0)


def text(card: Scorecard, width: int = _WIDTH) -> str:
    """Return the scorecard as tables."""
    console = Console(file=StringIO(), width=width, color_system=None)
    show(card, console)
    file = console.file
    assert isinstance(file, StringIO)  # noqa: S101  # for the type checker
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def show(card: Scorecard, console: Console) -> None:
    """Print the scorecard as tables."""
    console.print(Text(f"Game day: {card.day.name}", style="bold"))
    console.print(Text(f"run {card.played.run_id}", style="dim"))
    faults = Table(box=None, pad_edge=False, header_style="dim")
    for heading, _ in COLUMNS:
        faults.add_column(heading, justify="left" if heading == "fault" else "right")
    for fault in card.faults:
        faults.add_row(*(Text(cell(fault)) for _, cell in COLUMNS))
    console.print(faults)
    console.print(Text("* from the end of the fault; all else from its start", style="dim"))
    expected = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("fault", "expected", "", "what came"):
        expected.add_column(heading)
    for fault in card.faults:
        for result in fault.results:
            style = _STYLES[result.outcome]
            outcome = Text(result.outcome.value, style=style)
            expected.add_row(Text(fault.step.fault.name), Text(result.expectation.sentence), outcome, Text(result.why))
    console.print()
    console.print(expected)
    for line in _lines(card):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(_SUMS[card.code], style="bold"))


def markdown(card: Scorecard) -> str:
    """Return the scorecard as Markdown."""
    lines = [f"# Game day: {_cell(card.day.name)}", "", f"Run `{card.played.run_id}`. **{_SUMS[card.code]}**", ""]
    lines += ["| " + " | ".join(heading for heading, _ in COLUMNS) + " |"]
    lines += ["| --- " + "| ---: " * (len(COLUMNS) - 1) + "|"]
    lines += ["| " + " | ".join(_cell(cell(fault)) for _, cell in COLUMNS) + " |" for fault in card.faults]
    lines += ["", "\\* from the end of the fault; all else from its start", ""]
    lines += ["| fault | expected | outcome | what came |", "| --- | --- | --- | --- |"]
    for fault in card.faults:
        for each in fault.results:
            cells = (fault.step.fault.name, each.expectation.sentence, each.outcome.value, each.why)
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    lines += ["", *(f"- {_cell(line)}" for line in _lines(card))]
    return "\n".join(lines).rstrip() + "\n"


def _cell(value: str) -> str:
    """Return a text that ends no cell and makes no markup."""
    plain = " ".join(value.replace("\\", "\\\\").replace("|", "\\|").split())
    return plain.replace("<", "&lt;").replace("`", "\\`").replace("*", "\\*")


def document(card: Scorecard) -> str:
    """Return the scorecard as JSON."""
    values = {
        "game_day": card.day.name,
        "run_id": card.played.run_id,
        "code": card.code,
        "aborted": card.played.aborted or None,
        "still_broken": list(card.played.left),
        "faults": [_fault(fault) for fault in card.faults],
        "unprovoked": [
            {"labels": dict(each.labels), "firing_at": each.firing_at, "resolved_at": each.resolved_at}
            for each in card.unprovoked
        ],
        "budget_spent": dict(card.budget_spent),
        "notes": list(card.notes),
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _fault(fault: FaultScore) -> dict[str, Any]:
    return {
        "name": fault.step.fault.name,
        "planned_s": float(fault.step.at_s),
        "begun_at": fault.done.begun_at,
        "ended_at": fault.done.ended_at,
        "failed": fault.done.failed or None,
        "lasted_s": fault.lasted_s,
        **times(fault),
        "bad_requests": fault.impact.bad if fault.impact else None,
        "budget_spent": dict(fault.impact.budget_spent) if fault.impact else {},
        "expectations": [_expectation(result) for result in fault.results],
    }


def _expectation(result: ExpectationResult) -> dict[str, Any]:
    told = result.told
    return {
        "alert": result.expectation.alert,
        "severity": result.expectation.severity or None,
        "must_fire": result.expectation.fires,
        "outcome": result.outcome.value,
        "why": result.why,
        "firing_s": told.firing_s if told else None,
        "notified_s": told.notified_s if told else None,
    }


FORMATS: dict[str, Callable[[Scorecard], str]] = {"text": text, "json": document, "markdown": markdown}


def plan(day: GameDay, now: datetime | None = None) -> str:
    """Return the time line of a game day that would begin now, with clock times."""
    begin = now or datetime.now(UTC).astimezone()
    lines = [f"Game day: {day.name}", *(f"note: {note}" for note in day.notes)]
    for moment in moments(day):
        at = (begin + timedelta(seconds=float(moment.at_s))).strftime("%H:%M:%S")
        lines.append(f"{at}  +{span(moment.at_s):<8} {moment.what:<6} {moment.text}")
    return "\n".join(lines) + "\n"
