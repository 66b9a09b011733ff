"""Tests of the formats of the scorecard, and of the plan."""

from __future__ import annotations

import json
import re
from io import StringIO

import pytest
from rich.console import Console

from locust_otel.gameday import scoreboard
from locust_otel.gameday.score import Played, scorecard
from tests.unit.gameday.days import MUST, MUST_NOT, burn, expect, history, injected, judged, played, slo_day, step_at


def test_formats() -> None:
    """Text, JSON and Markdown have fault, outcome and reason; names are not markup."""
    card = scorecard(slo_day(step_at(20, MUST, name="a|b <i>*")), played(injected("a|b <i>*")), history(),
                     [], sees_notices=False)  # fmt: skip
    assert "a|b <i>*" in scoreboard.text(card)
    assert "it did not fire within 15 s" in scoreboard.text(card)
    assert "The monitoring broke a promise." in scoreboard.text(card)
    assert "| a\\|b &lt;i>\\* | LocustSLOBudgetBurn" in scoreboard.markdown(card)
    values = json.loads(scoreboard.document(card))
    assert (values["code"], values["faults"][0]["expectations"][0]["outcome"]) == (3, "broken")


def test_lines_below_the_tables() -> None:
    """The verdict and what ended the game day come first; other alerts, the budget and the notes come last."""
    end = played(aborted="SIGINT", left=("db",), notes=("a note",), load_output=("MemoryError",))
    past = history(burn(80, 90), burn(40, 45))
    card = scorecard(slo_day(step_at(20, MUST_NOT)), end, past, [], sees_notices=False)
    lines = scoreboard.text(card).splitlines()
    assert lines[:6] == [
        "Game day: test", "A FAULT IS STILL ACTIVE: undo it.", "run r", "aborted: SIGINT", "load: MemoryError",
        "STILL ACTIVE: db; remove the cause, and run --undo",
    ]  # fmt: skip
    assert lines[-4:] == [
        "also fired: LocustSLOBudgetBurn (critical, availability) at 0:40, 10.0 s after db",
        "fired without a fault: LocustSLOBudgetBurn (critical, availability) at 1:20",
        "budget spent: availability 50.0%", "note: a note",
    ]  # fmt: skip


def test_without_a_fault_times_are_of_the_run() -> None:
    """If no fault was injected, alerts have their time of the run too."""
    card = scorecard(slo_day(step_at(20)), Played("r", ()), history(burn(80, 90)), [], sees_notices=False)
    assert "fired without a fault: LocustSLOBudgetBurn (critical, availability) at 1:20" in scoreboard.text(card)


def test_times_name_their_alert() -> None:
    """Each alert that must fire has a row with its times and its name, also if it did not fire."""
    own = expect(alert="CartDown", within="10s")
    lines = scoreboard.text(judged(history(burn(24, 91.2, pending=22)), MUST, own)).splitlines()
    rows = [line.split(maxsplit=9) for line in lines if line.endswith("  db") and "  –  " in line]
    assert rows == [
        ["2.0", "s", "4.0", "s", "–", "–", "1:01", "LocustSLOBudgetBurn", "(critical,", "availability)  db"],
        ["–", "–", "–", "–", "–", "CartDown", "db"],
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_numbers_are_never_shortened(width: int) -> None:
    """In a narrow terminal only names wrap, between words."""
    file = StringIO()
    name = "lose the database of the cart"
    card = scorecard(
        slo_day(step_at(20, MUST, name=name)), played(injected(name)), history(burn(24, 39)), [], sees_notices=False
    )
    scoreboard.show(card, Console(file=file, width=width))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    rows = [" ".join(line.split()) for line in lines]
    assert any(row.startswith("0:20 10.0 s 1.0 s 5.0 s 0.0 s 50 50.0%") for row in rows)
    assert any(row.startswith("4.0 s 4.0 s – – 9.0 s LocustSLOBudgetBurn") for row in rows)
    assert all(any(word in line for line in lines[8:]) for word in name.split())
    assert "…" not in file.getvalue()
    assert sum(line.count("LocustSLOBudgetBurn") for line in lines) == 2


def test_tables_of_markdown() -> None:
    """The verdict comes first, then the outcomes; the status is first in a row, names are last."""
    text = scoreboard.markdown(judged(history(burn(24, 39)), MUST))
    assert text.splitlines()[2] == "Run `r`. **The monitoring kept its promises.**"
    assert "\n\n\n" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[2].startswith(
        "| kept | db | LocustSLOBudgetBurn (critical) within 15 s, gone within 20 s | after 4.0 s"
    )
    assert rows[5] == "| 0:20 | 10.0 s | 1.0 s | 5.0 s | 0.0 s | 50 | 50.0% availability | db |"
    assert rows[8] == "| 4.0 s | 4.0 s | – | – | 9.0 s | LocustSLOBudgetBurn (critical, availability) | db |"


def test_values_of_the_json() -> None:
    """Times of the alert are seconds from the fault; None becomes null."""
    (fault,) = json.loads(scoreboard.document(judged(history(burn(24, 39)), MUST)))["faults"]
    assert (fault["planned_s"], fault["lasted_s"], fault["firing_s"], fault["notified_s"]) == (20, 10, 4, None)
    assert fault["alert"]["severity"] == "critical"
    (result,) = fault["expectations"]
    assert result["labels"] == fault["alert"]
    assert (result["pending_s"], result["alertmanager_s"], result["resolved_s"]) == (4, None, 9)
    assert (result["must_fire"], result["firing_s"], result["why"]) == (
        True,
        4,
        "after 4.0 s; gone 9.0 s after the fault",
    )


def test_the_plan_has_clock_times() -> None:
    """Each moment has its time of day, its time of the run, its kind and its text."""
    lines = scoreboard.plan(slo_day(step_at(20, MUST_NOT))).splitlines()
    assert lines[0] == "Game day: test"
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line).split()[:2] for line in lines[1:]] == [
        ["+0s", "start"], ["+20s", "fault"], ["+20s", "quiet"], ["+30s", "undo"], ["+30s", "end"],
    ]  # fmt: skip
