"""Tests of the progress of a game day: a time line in a terminal, lines elsewhere."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from locust_otel.gameday.alertmanager import Notices
from locust_otel.gameday.observer import Observation
from locust_otel.gameday.view import GameDayView
from tests.unit.gameday.days import day, fault, step

DAY = day(step("20s", fault()))
QUIET = Observation()
FIRING = Observation((("LocustSLOBudgetBurn", "critical", "availability", "firing"),))


def shown(*observations: tuple[float, Observation], is_terminal: bool) -> str:
    """Return what a view has written for some observations."""
    file = StringIO()
    notices = Notices()
    alert = {"labels": {"alertname": "Paged"}, "startsAt": "2026-11-22T07:00:00Z", "status": "firing"}
    notices.add_notified({"alerts": [alert]})
    listed = {"labels": {"alertname": "Listed"}, "startsAt": "2026-11-22T07:00:01Z", "status": {}}
    quiet = {"labels": {"alertname": "Quiet"}, "startsAt": "2026-11-22T07:00:02Z", "status": {"silencedBy": ["s"]}}
    notices.add_listed([listed, quiet])
    with GameDayView(Console(file=file, force_terminal=is_terminal, width=100), DAY, notices) as view:
        for now_s, observation in observations:
            view.show(now_s, observation)
        view.say("undone db")
    return file.getvalue()


def test_a_file_gets_lines() -> None:
    """A line is printed when an alert fires or ends, or after ten seconds."""
    text = shown(
        (1, Observation()),
        (5, Observation()),
        (12, Observation()),
        (21, FIRING),
        (22, FIRING),
        (31, FIRING),
        is_terminal=False,
    )
    assert text.splitlines() == [
        "0:01  fault db in 19 s · no alert",
        "0:12  fault db in 8 s · no alert",
        "0:21  fault db, 9 s left · LocustSLOBudgetBurn critical availability firing",
        "0:31  ends in 0 s · LocustSLOBudgetBurn critical availability firing",
        "0:31  undone db",
    ]


def test_a_terminal_gets_the_time_line() -> None:
    """The picture has the time line with the fault, the step, the alerts, what came of each, and the problem."""
    text = shown((25, Observation(FIRING.alerts, None, "Prometheus does not answer.")), is_terminal=True)
    for part in (
        "test  0:25 of 0:30",
        "█",
        "━",
        "5 s left",
        "firing",
        "notified  Paged",
        "at Alertmanager  Listed",
        "suppressed  Quiet",
        "does not answer",
        "undone db",
    ):
        assert part in text


def test_a_closed_terminal_stops_nothing() -> None:
    """Without the terminal, showing and saying do nothing, and raise nothing."""
    file = StringIO()
    view = GameDayView(Console(file=file), DAY, Notices())
    file.close()
    view.show(1, FIRING)
    view.say("undone db")
