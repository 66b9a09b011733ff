"""The alerts of a demo as a person watches them: what Prometheus says of them, and what the webhook got."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from locust_otel.demo.webhook import Message

SHOWN = 6
"""Messages of the webhook that are shown below the alerts; all are kept."""

_STYLES = {"firing": "bold red", "pending": "yellow", "resolved": "green"}
_IDENTITY = ("alertname", "severity", "slo", "run_id", "window", "instance", "exporter")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that Prometheus holds.

    Attributes:
        key: The labels that tell it from others.
        state: `pending` or `firing`.
        since: Since when it is active.
        summary: Its first annotation.
    """

    key: tuple[str, ...]
    state: str
    since: datetime
    summary: str

    @property
    def title(self) -> str:
        """Name, severity and objective."""
        return " ".join(filter(None, self.key[:3]))


def alerts(document: Mapping[str, Any]) -> list[Alert]:
    """Return the alerts of Prometheus' `/api/v1/alerts`, firing ones first; those that notify nobody are left out."""
    found = [
        Alert(
            tuple(one["labels"].get(label, "") for label in _IDENTITY),
            one["state"],
            _time(one["activeAt"]),
            one["annotations"].get("summary", ""),
        )
        for one in document["data"]["alerts"]
        if one["labels"].get("severity") != "none"
    ]
    return sorted(found, key=lambda alert: (alert.state != "firing", alert.key))


def _time(text: str) -> datetime:
    # Nanoseconds, which Python does not read: 2026-11-22T11:40:31.123456789Z
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)


class Board:
    """Keeps what is known, and what of it is new."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._alerts: list[Alert] = []
        self._news: deque[str] = deque()

    def got(self, message: Message) -> None:
        """Take what the webhook got."""
        self.messages.append(message)
        self._news.append(f"webhook  {message.line}")

    def update(self, now: Iterable[Alert], at: datetime) -> None:
        """Take the alerts that Prometheus holds now."""
        before = {alert.key: alert for alert in self._alerts}
        self._alerts = list(now)
        for alert in self._alerts:
            known = before.pop(alert.key, None)
            if known is None or known.state != alert.state:
                self._news.append(f"alert    {at:%H:%M:%S}Z  {alert.state}  {alert.title}  {alert.summary}")
        for gone in before.values():
            self._news.append(f"alert    {at:%H:%M:%S}Z  over  {gone.title}")

    def news(self) -> Iterator[str]:
        """Yield what has changed since the last call, a line each."""
        while self._news:
            yield self._news.popleft()

    def screen(self, at: datetime) -> Iterator[RenderableType]:
        """Yield what stands below the live table."""
        yield Text()
        if not self._alerts:
            yield Text("alerts: none is pending or firing", style="dim")
        else:
            table = Table(box=None, pad_edge=False, header_style="dim")
            for column in ("alert", "severity", "objective", "state", "for"):
                table.add_column(column, no_wrap=True)
            for alert in self._alerts:
                state = Text(alert.state, style=_STYLES.get(alert.state, ""))
                table.add_row(*alert.key[:3], state, f"{max(0, (at - alert.since).total_seconds()):.0f} s")
            yield table
        yield from self.notifications(SHOWN)

    def notifications(self, last: int = 0) -> Iterator[RenderableType]:
        """Yield what the webhook got, all of it or the last so many."""
        shown = self.messages[-last:]
        if not shown:
            yield Text("webhook: nothing has come", style="dim")
        for message in shown:
            yield Text(
                f"webhook  {message.line}", style=_STYLES.get(message.status, ""), no_wrap=True, overflow="ellipsis"
            )
