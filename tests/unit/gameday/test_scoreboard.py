"""Tests of the formats of the scorecard, and of the plan."""

from __future__ import annotations

import json
import re

from locust_otel.gameday import scoreboard
from locust_otel.gameday.score import scorecard
from tests.unit.gameday.days import MUST, MUST_NOT, burn, history, injected, judged, played, slo_day, step_at


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
    """An early end, active faults, alerts without a fault, the budget and the notes have a line each."""
    end = played(aborted="SIGINT", left=("db",), notes=("a note",))
    card = scorecard(slo_day(step_at(20, MUST_NOT)), end, history(burn(80, 90)), [], sees_notices=False)
    lines = scoreboard.text(card).splitlines()
    assert lines[-6:] == [
        "aborted: SIGINT", "STILL ACTIVE: db; remove the cause, and run --undo",
        "fired without a fault: LocustSLOBudgetBurn availability at 80 s", "budget spent: availability 50%",
        "note: a note", "A FAULT IS STILL ACTIVE: undo it.",
    ]  # fmt: skip


def test_values_of_the_json() -> None:
    """Times of the alert are seconds from the fault; None becomes null."""
    (fault,) = json.loads(scoreboard.document(judged(history(burn(24, 39)), MUST)))["faults"]
    assert (fault["planned_s"], fault["lasted_s"], fault["firing_s"], fault["notified_s"]) == (20, 10, 4, None)
    (result,) = fault["expectations"]
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
