"""The scorecard as tables, JSON and Markdown, and the plan of a dry run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from locust_otel.gameday.judge import BROKEN, KEPT, UNDECIDED, ExpectationOutcome
from locust_otel.gameday.plan import GameDay, moments
from locust_otel.gameday.score import FaultScore, Scorecard
from locust_otel.slo.objectives import span

WIDTH = 150
_STYLES = {KEPT: "green", BROKEN: "bold red", UNDECIDED: "yellow"}
_SUMS = {
    0: "The monitoring kept its promises.",
    1: "A FAULT IS STILL ACTIVE: undo it.",
    3: "The monitoring broke a promise.",
    4: "It is undecided whether the monitoring kept its promises.",
}
_HEADINGS = (
    "fault", "at", "lasted", "first bad", "SLO breach", "pending", "firing", "Alertmanager", "notified", "last bad*",
    "resolved*", "bad", "budget",
)  # fmt: skip
"""Headings of the table of faults; * counts from the end of the fault."""


def _cells(fault: FaultScore) -> list[str]:
    """Return the cells of a fault, by `_HEADINGS`."""
    spent = fault.budget_spent
    worst = max(spent, key=spent.__getitem__, default=None)
    seconds = ["–" if time is None else f"{time:.1f} s" for time in (fault.injected.lasted_s, *fault.times.values())]
    bad = "–" if fault.bad is None else f"{fault.bad:,}"
    budget = "–" if worst is None else f"{spent[worst]:.0%} {worst}"
    return [fault.step.fault.name, span(fault.step.at), *seconds, bad, budget]


def _results(card: Scorecard) -> Iterator[tuple[str, str, ExpectationOutcome, str]]:
    """Yield fault, expectation, outcome and reason of each expectation."""
    for fault in card.faults:
        for result in fault.results:
            yield fault.step.fault.name, result.expectation.sentence, result.outcome, result.reason


def _lines(card: Scorecard) -> Iterator[str]:
    """Yield the lines below the tables."""
    if card.played.aborted:
        yield f"aborted: {card.played.aborted}"
    for name in card.played.left:
        yield f"STILL ACTIVE: {name}; remove the cause, and run --undo"
    starts = [
        fault.injected.begun_at - float(fault.step.at) for fault in card.faults if fault.injected.begun_at is not None
    ]
    for alert in card.unprovoked:
        at_s = (alert.firing_at or 0.0) - min(starts, default=0.0)
        yield f"fired without a fault: {alert.name} {alert.labels.get('slo', '')} at {at_s:.0f} s".rstrip()
    if card.budget_spent:
        yield "budget spent: " + ", ".join(f"{slo} {share:.0%}" for slo, share in card.budget_spent.items())
    for note in card.notes:
        yield f"note: {note}"


def text(card: Scorecard) -> str:
    """Return the scorecard as tables."""
    console = Console(width=WIDTH, color_system=None)
    with console.capture() as capture:
        show(card, console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def show(card: Scorecard, console: Console) -> None:
    """Print the scorecard as tables."""
    console.print(Text(f"Game day: {card.day.name}", style="bold"))
    console.print(Text(f"run {card.played.run_id}", style="dim"))
    faults = Table(box=None, pad_edge=False, header_style="dim")
    for heading in _HEADINGS:
        faults.add_column(heading, justify="left" if heading == "fault" else "right")
    for fault in card.faults:
        faults.add_row(*map(Text, _cells(fault)))
    console.print(faults)
    console.print(Text("* from the end of the fault; all others from its start", style="dim"))
    results = Table("fault", "expected", "", "observed", box=None, pad_edge=False, header_style="dim")
    for name, sentence, outcome, reason in _results(card):
        results.add_row(Text(name), Text(sentence), Text(outcome.value, style=_STYLES[outcome]), Text(reason))
    console.print()
    console.print(results)
    for line in _lines(card):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(_SUMS[card.code], style="bold"))


def markdown(card: Scorecard) -> str:
    """Return the scorecard as Markdown."""
    lines = [f"# Game day: {_escaped(card.day.name)}", ""]
    lines += [f"Run `{card.played.run_id}`. **{_SUMS[card.code]}**", ""]
    lines += ["| " + " | ".join(_HEADINGS) + " |", "| --- " + "| ---: " * (len(_HEADINGS) - 1) + "|"]
    lines += [_row(_cells(fault)) for fault in card.faults]
    lines += ["", "\\* from the end of the fault; all others from its start", ""]
    lines += ["| fault | expected | outcome | observed |", "| --- | --- | --- | --- |"]
    lines += [_row((name, sentence, outcome.value, reason)) for name, sentence, outcome, reason in _results(card)]
    lines += ["", *(f"- {_escaped(line)}" for line in _lines(card))]
    return "\n".join(lines).rstrip() + "\n"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(value: str) -> str:
    """Return a text for a cell of a Markdown table, without effect as markup."""
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
            {"labels": dict(alert.labels), "firing_at": alert.firing_at, "resolved_at": alert.resolved_at}
            for alert in card.unprovoked
        ],
        "budget_spent": card.budget_spent,
        "notes": list(card.notes),
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _fault(fault: FaultScore) -> dict[str, Any]:
    return {
        "name": fault.step.fault.name,
        "planned_s": float(fault.step.at),
        "begun_at": fault.injected.begun_at,
        "ended_at": fault.injected.ended_at,
        "failed": fault.injected.failed or None,
        "lasted_s": fault.injected.lasted_s,
        **fault.times,
        "bad_requests": fault.bad,
        "budget_spent": fault.budget_spent,
        "expectations": [
            {
                "alert": result.expectation.name,
                "severity": result.expectation.severity,
                "must_fire": result.expectation.alert is not None,
                "outcome": result.outcome.value,
                "why": result.reason,
                "firing_s": result.alert.firing_s if result.alert else None,
                "notified_s": result.alert.notified_s if result.alert else None,
            }
            for result in fault.results
        ],
    }


FORMATS: dict[str, Callable[[Scorecard], str]] = {"text": text, "json": document, "markdown": markdown}


def plan(day: GameDay) -> str:
    """Return the time line of a game day that begins now, with clock times."""
    begin = datetime.now(UTC).astimezone()
    lines = [f"Game day: {day.name}", *(f"note: {note}" for note in day.notes)]
    for moment in moments(day):
        at = (begin + timedelta(seconds=float(moment.at_s))).strftime("%H:%M:%S")
        lines.append(f"{at}  +{span(moment.at_s):<8} {moment.kind:<6} {moment.text}")
    return "\n".join(lines) + "\n"
