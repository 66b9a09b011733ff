"""The scorecard as tables, JSON and Markdown, and the plan of a dry run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from locust_otel.core.words import clock, elapsed, percent
from locust_otel.gameday.history import Episode
from locust_otel.gameday.judge import BROKEN, KEPT, UNDECIDED, ExpectationOutcome, ExpectationResult
from locust_otel.gameday.plan import GameDay, moments
from locust_otel.gameday.score import FaultScore, Scorecard
from locust_otel.slo.objectives import span

WIDTH = 150
_NARROW = 100  # columns of a terminal below which tables leave less space between theirs
_STYLES = {KEPT: "green", BROKEN: "bold red", UNDECIDED: "yellow"}
_SUMS = {
    0: "The monitoring kept its promises.",
    1: "A FAULT IS STILL ACTIVE: undo it.",
    3: "The monitoring broke a promise.",
    4: "It is undecided whether the monitoring kept its promises.",
}
_CODE_STYLES = {0: "bold green", 1: "bold red", 3: "bold red", 4: "bold yellow"}

_HEADINGS = ("at", "lasted", "first bad", "SLO breach", "last bad*", "bad", "budget", "fault")
"""Headings of the table of faults; * counts from the end of the fault."""

_ALERT_HEADINGS = ("pending", "firing", "Alertmanager", "notified", "resolved*", "alert", "fault")
"""Headings of the table of the alerts that must fire."""

_NAMES = frozenset({"outcome", "fault", "expected", "observed", "alert", "budget"})
"""Headings of columns of text."""

_FOOTNOTE = "* from the end of the fault; all others from its start"


def _cells(fault: FaultScore) -> list[str]:
    """Return the cells of a fault, by `_HEADINGS`."""
    spent, times = fault.budget_spent, fault.times
    worst = max(spent, key=spent.__getitem__, default=None)
    seconds = [fault.injected.lasted_s, times["first_bad_s"], times["breach_s"], times["recovered_s"]]
    bad = "–" if fault.bad is None else f"{fault.bad:,}"
    budget = "–" if worst is None else f"{percent(spent[worst])} {worst}"
    return [clock(float(fault.step.at)), *map(elapsed, seconds), bad, budget, fault.step.fault.name]


def _alerts(card: Scorecard) -> Iterator[list[str]]:
    """Yield the cells of each alert that must fire, by `_ALERT_HEADINGS`."""
    for fault in card.faults:
        for result in fault.results:
            if result.expectation.alert is None:
                continue
            title = result.fired[0].title if result.fired else result.expectation.title
            yield [*map(elapsed, _seconds(result).values()), title, fault.step.fault.name]


def _seconds(result: ExpectationResult) -> dict[str, float | None]:
    """Return the times of the alert of an expectation by their keys in JSON, in the order of `_ALERT_HEADINGS`."""
    times: tuple[float | None, ...] = (None,) * 4
    if result.alert is not None:
        times = (result.alert.pending_s, result.alert.firing_s, result.alert.arrived_s, result.alert.notified_s)
    keys = ("pending_s", "firing_s", "alertmanager_s", "notified_s", "resolved_s")
    return dict(zip(keys, (*times, result.resolved_s), strict=True))


def _results(card: Scorecard) -> Iterator[tuple[str, str, ExpectationOutcome, str]]:
    """Yield fault, expectation, outcome and reason of each expectation."""
    for fault in card.faults:
        for result in fault.results:
            yield fault.step.fault.name, result.expectation.sentence, result.outcome, result.reason


def _urgent(card: Scorecard) -> Iterator[str]:
    """Yield the lines that come before the tables."""
    if card.played.aborted:
        yield f"aborted: {card.played.aborted}"
    for line in card.played.load_output:
        yield f"load: {line}"
    for name in card.played.left:
        yield f"STILL ACTIVE: {name}; remove the cause, and run --undo"


def _lines(card: Scorecard) -> Iterator[str]:
    """Yield the lines below the tables."""
    for alert, fault, after_s in card.others:
        when = f"during {fault}" if after_s is None else f"{elapsed(after_s)} after {fault}"
        yield f"also fired: {alert.title} at {_clock(card, alert)}, {when}"
    for alert in card.unprovoked:
        yield f"fired without a fault: {alert.title} at {_clock(card, alert)}"
    if card.budget_spent:
        yield "budget spent: " + ", ".join(f"{slo} {percent(share)}" for slo, share in card.budget_spent.items())
    for note in card.notes:
        yield f"note: {note}"


def _clock(card: Scorecard, alert: Episode) -> str:
    """Return when an alert fired, from the start of the run."""
    return clock((alert.firing_at or alert.pending_at) - card.begin)


def text(card: Scorecard) -> str:
    """Return the scorecard as tables."""
    console = Console(width=WIDTH, color_system=None)
    with console.capture() as capture:
        show(card, console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def show(card: Scorecard, console: Console) -> None:
    """Print the scorecard as tables."""
    console.print(Text(f"Game day: {card.day.name}", style="bold"))
    console.print(Text(_SUMS[card.code], style=_CODE_STYLES[card.code]))
    console.print(Text(f"run {card.played.run_id}", style="dim"))
    for line in _urgent(card):
        console.print(Text(line), soft_wrap=True)
    outcomes = Column("", no_wrap=True)
    results = Table(outcomes, "fault", "expected", "observed", box=None, pad_edge=False, header_style="dim")
    for name, sentence, outcome, reason in _results(card):
        results.add_row(Text(outcome.value, style=_STYLES[outcome]), Text(name), Text(sentence), Text(reason))
    is_narrow = console.width < _NARROW
    faults = _table(_HEADINGS, map(_cells, card.faults), is_narrow=is_narrow)
    alerts = _table(_ALERT_HEADINGS, _alerts(card), is_narrow=is_narrow)
    for table in (results, faults, alerts):
        if table.row_count:
            console.print()
            console.print(table)
    console.print(Text(_FOOTNOTE, style="dim"))
    for line in _lines(card):
        console.print(Text(line), soft_wrap=True)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, is_narrow: bool) -> Table:
    """Return a table in which nothing is shortened; names are last, and wrap between words."""
    table, rows = Table(box=None, pad_edge=False, collapse_padding=is_narrow, header_style="dim"), list(rows)
    for heading, *cells in zip(headings, *rows, strict=True):
        if heading in _NAMES:
            longest = max(len(word) for cell in (heading, *cells) for word in cell.split())
            table.add_column(heading, min_width=longest, overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def markdown(card: Scorecard) -> str:
    """Return the scorecard as Markdown."""
    lines = [f"# Game day: {_escaped(card.day.name)}", ""]
    lines += [f"Run `{card.played.run_id}`. **{_SUMS[card.code]}**"]
    if urgent := [f"- {_escaped(line)}" for line in _urgent(card)]:
        lines += ["", *urgent]
    results = [(outcome.value, name, sentence, reason) for name, sentence, outcome, reason in _results(card)]
    lines += _markdown_table(("outcome", "fault", "expected", "observed"), results)
    lines += _markdown_table(_HEADINGS, map(_cells, card.faults))
    lines += _markdown_table(_ALERT_HEADINGS, _alerts(card))
    lines += ["", _escaped(_FOOTNOTE), "", *(f"- {_escaped(line)}" for line in _lines(card))]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, after an empty one; nothing if it has no rows."""
    lines = [_row(cells) for cells in rows]
    sides = ["---" if heading in _NAMES else "---:" for heading in headings]
    return ["", _row(headings), "| " + " | ".join(sides) + " |", *lines] if lines else []


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
        "load_output": list(card.played.load_output),
        "still_broken": list(card.played.left),
        "faults": [_fault(fault) for fault in card.faults],
        "other_alerts": [
            {"fault": other.fault, "after_s": other.after_s, **_alert(other.alert)} for other in card.others
        ],
        "unprovoked": [_alert(alert) for alert in card.unprovoked],
        "budget_spent": card.budget_spent,
        "notes": list(card.notes),
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _alert(alert: Episode) -> dict[str, Any]:
    return {"labels": dict(alert.labels), "firing_at": alert.firing_at, "resolved_at": alert.resolved_at}


def _fault(fault: FaultScore) -> dict[str, Any]:
    return {
        "name": fault.step.fault.name,
        "planned_s": float(fault.step.at),
        "begun_at": fault.injected.begun_at,
        "ended_at": fault.injected.ended_at,
        "failed": fault.injected.failed or None,
        "lasted_s": fault.injected.lasted_s,
        "alert": dict(fault.alert.labels) if fault.alert else None,
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
                "labels": dict(result.fired[0].labels) if result.fired else None,
                **_seconds(result),
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
