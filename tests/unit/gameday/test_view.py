"""Tests of what a person watches while a game day goes on."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from locust_otel.gameday.observer import Notices, Seen
from locust_otel.gameday.view import GameDayView, clock
from tests.unit.gameday.days import day, fault, step

DAY = day(step("20s", fault()))
FIRING = Seen((("LocustSLOBudgetBurn", "critical", "availability", "firing"),))


def shown(*looks: tuple[float, Seen], is_terminal: bool) -> str:
    """Return what a view has written after some looks."""
    file = StringIO()
    notices = Notices()
    notices.told([{"labels": {"alertname": "Told"}, "startsAt": "2026-11-22T07:00:00Z", "status": "firing"}])
    with GameDayView(Console(file=file, force_terminal=is_terminal, width=100), DAY, notices) as view:
        for look in looks:
            view.show(*look)
        view.say("undone db")
    return file.getvalue()


def test_a_file_gets_lines() -> None:
    """A line where an alert comes or goes, or ten seconds have passed; none in between."""
    text = shown((1, Seen()), (5, Seen()), (12, Seen()), (21, FIRING), (22, FIRING), (31, FIRING), is_terminal=False)
    assert text.splitlines() == [
        "00:01  fault db in 19 s · no alert",
        "00:12  fault db in 8 s · no alert",
        "00:21  fault db, 9 s left · LocustSLOBudgetBurn critical availability firing",
        "00:31  ends in 0 s · LocustSLOBudgetBurn critical availability firing",
        "00:31  undone db",
    ]


def test_a_terminal_gets_the_time_line() -> None:
    """The picture has the time line with the fault, the step, the alerts, who was told, and what went wrong."""
    text = shown((25, Seen(FIRING.alerts, None, "Prometheus gives no answer.")), is_terminal=True)
    for part in ("test  00:25", "█", "━", "5 s left", "firing", "Told", "gives no answer", "undone db"):
        assert part in text


def test_nobody_looking_is_no_reason_to_stop() -> None:
    """Where the terminal has gone, showing and saying do nothing."""
    file = StringIO()
    view = GameDayView(Console(file=file), DAY, Notices())
    file.close()
    view.show(1, FIRING)
    view.say("undone db")


def test_clock() -> None:
    """Minutes and seconds, of which hours have many."""
    assert [clock(seconds) for seconds in (0, 65, 3661.9)] == ["00:00", "01:05", "61:01"]
