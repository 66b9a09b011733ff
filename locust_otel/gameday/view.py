"""The progress of a game day: a time line that is redrawn in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from locust_otel.core.words import clock
from locust_otel.gameday.alertmanager import Notice, Notices
from locust_otel.gameday.observer import Observation
from locust_otel.gameday.plan import GameDay
from locust_otel.gameday.schema import StepShape

PLAIN_INTERVAL_S = 10.0
"""Seconds between two lines without a terminal, if nothing changes."""

_BAR = 60
_STATES = {"pending": "yellow", "firing": "bold red"}


def _stage(notice: Notice) -> str:
    """Return how far an alert has come: to its receiver, or to Alertmanager only."""
    if notice.notified_at is not None:
        return "notified"
    return "suppressed" if notice.inhibited_by else "at Alertmanager"


class GameDayView:
    """Shows the progress of a game day, and the latest alerts at Alertmanager."""

    def __init__(self, console: Console, day: GameDay, notices: Notices) -> None:
        self._console = console
        self._day = day
        self._notices = notices
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._last = (-PLAIN_INTERVAL_S, Observation())
        self._now_s = 0.0

    def __enter__(self) -> GameDayView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        with contextlib.suppress(OSError, ValueError):  # a closed terminal must not keep faults from being undone
            self._console.print(Text(f"{clock(self._now_s)}  {text}"), soft_wrap=True)

    def show(self, now_s: float, observation: Observation) -> None:
        """Show the state at a time, in seconds since the start of the run."""
        self._now_s = now_s
        if self._live.is_started:
            with contextlib.suppress(OSError, ValueError):
                self._live.update(self._picture(now_s, observation), refresh=True)
            return
        last_s, last = self._last
        is_new = (observation.alerts, observation.problem) != (last.alerts, last.problem)
        if is_new or now_s - last_s >= PLAIN_INTERVAL_S:
            self._last = (now_s, observation)
            alerts = ", ".join(" ".join(filter(None, alert)) for alert in observation.alerts) or "no alert"
            self.say(" · ".join(filter(None, (self._phase(now_s), alerts, observation.problem))))

    def _current(self, now_s: float) -> StepShape | None:
        return next((step for step in self._day.steps if float(step.at) <= now_s < float(step.end_s)), None)

    def _phase(self, now_s: float) -> str:
        step = self._current(now_s)
        if step is not None:
            return f"fault {step.fault.name}, {float(step.end_s) - now_s:.0f} s left"
        following = next((step for step in self._day.steps if float(step.at) > now_s), None)
        if following is not None:
            return f"fault {following.fault.name} in {float(following.at) - now_s:.0f} s"
        return f"ends in {max(float(self._day.end_s) - now_s, 0):.0f} s"

    def _picture(self, now_s: float, observation: Observation) -> Group:
        title = Text(f"{self._day.name}  {clock(now_s)} of {clock(float(self._day.end_s))}", style="bold")
        alerts = Table(box=None, pad_edge=False, show_header=False)
        for name, severity, slo, state in observation.alerts:
            alerts.add_row(Text(state, style=_STATES.get(state, "")), name, severity, slo)
        if not observation.alerts:
            alerts.add_row(Text("no alert is pending or firing", style="green"))
        lines = [
            Text(f"{_stage(notice)}  {notice.labels.get('alertname', '')} {notice.labels.get('slo', '')}", style="cyan")
            for notice in self._notices.all()[-3:]
        ]
        if observation.problem:
            lines.append(Text(observation.problem, style="yellow"))
        return Group(title, self._bar(now_s), Text(self._phase(now_s)), alerts, *lines)

    def _bar(self, now_s: float) -> Text:
        """Return the time line with the faults in red; the future is dim."""
        bar = Text()
        for cell in range(_BAR):
            at_s = float(self._day.end_s) * (cell + 0.5) / _BAR
            future = " dim" if at_s > now_s else ""
            symbol, color = ("━", "cyan") if self._current(at_s) is None else ("█", "red")
            bar.append(symbol, style=color + future)
        return bar
