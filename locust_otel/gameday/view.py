"""What a person watches while a game day goes on: a time line that is redrawn in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from locust_otel.gameday.notices import Notices
from locust_otel.gameday.observer import Seen
from locust_otel.gameday.plan import GameDay, Step

PLAIN_INTERVAL_S = 10.0
"""Seconds between two lines where there is no terminal and nothing changes."""

_BAR = 60
_STATES = {"pending": "yellow", "firing": "bold red"}


class GameDayView:
    """Shows how a game day goes.

    Args:
        console: Where to; a table where it is a terminal, else lines.
        day: The game day.
        notices: Who was told.
    """

    def __init__(self, console: Console, day: GameDay, notices: Notices) -> None:
        self._console = console
        self._day = day
        self._notices = notices
        self._live: Live | None = None
        self._last = (-PLAIN_INTERVAL_S, Seen())
        self._now_s = 0.0

    def __enter__(self) -> GameDayView:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Take a line."""
        with contextlib.suppress(OSError, ValueError):  # whoever looked has gone; what is broken must still be mended
            self._console.print(Text(f"{clock(self._now_s)}  {text}"), soft_wrap=True)

    def show(self, now_s: float, seen: Seen) -> None:
        """Take how it stands: seconds since the start of the run."""
        self._now_s = now_s
        with contextlib.suppress(OSError, ValueError):
            if self._live is not None:
                self._live.update(self._picture(now_s, seen), refresh=True)
                return
            told_s, before = self._last
            if seen.alerts != before.alerts or seen.problem != before.problem or now_s - told_s >= PLAIN_INTERVAL_S:
                self._last = (now_s, seen)
                alerts = ", ".join(" ".join(filter(None, alert)) for alert in seen.alerts) or "no alert"
                self.say(f"{self._doing(now_s)} · {alerts}" + (f" · {seen.problem}" if seen.problem else ""))

    def _current(self, now_s: float) -> Step | None:
        return next((step for step in self._day.steps if float(step.at_s) <= now_s < float(step.end_s)), None)

    def _doing(self, now_s: float) -> str:
        step = self._current(now_s)
        if step is not None:
            return f"fault {step.fault.name}, {float(step.end_s) - now_s:.0f} s left"
        following = next((step for step in self._day.steps if float(step.at_s) > now_s), None)
        if following is not None:
            return f"fault {following.fault.name} in {float(following.at_s) - now_s:.0f} s"
        return f"ends in {max(float(self._day.end_s) - now_s, 0):.0f} s"

    def _picture(self, now_s: float, seen: Seen) -> Group:
        alerts = Table(box=None, pad_edge=False, show_header=False)
        for name, severity, slo, state in seen.alerts:
            alerts.add_row(Text(state, style=_STATES.get(state, "")), name, severity, slo)
        if not seen.alerts:
            alerts.add_row(Text("no alert is pending or firing", style="green"))
        told = [
            Text(f"told  {notice.labels.get('alertname', '')} {notice.labels.get('slo', '')}", style="cyan")
            for notice in self._notices.all()[-3:]
        ]
        problem = [Text(seen.problem, style="yellow")] if seen.problem else []
        title = Text(f"{self._day.name}  {clock(now_s)} of {clock(float(self._day.end_s))}", style="bold")
        return Group(title, self._bar(now_s), Text(self._doing(now_s)), alerts, *told, *problem)

    def _bar(self, now_s: float) -> Text:
        """Return the time line: what was and what comes, with the faults in red."""
        end_s = float(self._day.end_s)
        bar = Text()
        for cell in range(_BAR):
            at_s = end_s * (cell + 0.5) / _BAR
            is_fault = self._current(at_s) is not None
            bar.append(
                "█" if is_fault else "━", style=("red" if is_fault else "cyan") + ("" if at_s <= now_s else " dim")
            )
        return bar


def clock(seconds: float) -> str:
    """Return a time of the run as people read it: `02:05`."""
    whole = int(seconds)
    return f"{whole // 60:02d}:{whole % 60:02d}"
