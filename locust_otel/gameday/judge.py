"""The judge of expectations: kept, broken or undecided by the observed alerts, and the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf

from locust_otel.core.words import elapsed, limit
from locust_otel.gameday.alertmanager import Notice
from locust_otel.gameday.history import GAP, Episode, History
from locust_otel.gameday.schema import ExpectShape


class ExpectationOutcome(Enum):
    """The outcome of an expectation; undecided if the data does not suffice."""

    KEPT = "kept"
    BROKEN = "broken"
    UNDECIDED = "undecided"


KEPT, BROKEN, UNDECIDED = ExpectationOutcome
_Verdict = tuple[ExpectationOutcome, str]
_NO_DATA = "Prometheus has no data of the run for part of that time"


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A fault as it was injected; Unix times."""

    name: str
    begun_at: float | None = None  # None if it was not injected
    ended_at: float | None = None  # None if its end is unknown
    failed: str = ""  # reason why its command failed; empty if it did not

    @property
    def lasted_s(self) -> float | None:
        """Seconds from start to end; None if one of them is unknown."""
        return since(self.ended_at, self.begun_at)


@dataclass(frozen=True, slots=True)
class AlertTimes:
    """The times of the first alert that fired; seconds from the start of the fault, None for what was not seen."""

    pending_s: float
    firing_s: float
    arrived_s: float | None  # until Alertmanager listed it
    notified_s: float | None  # until the webhook received it
    inhibited: str  # names of the alerts and silences that suppressed it; empty if none did
    inhibited_s: float | None  # until it was suppressed


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """An expectation, its outcome and the reason.

    Attributes:
        fired: The alerts of the fault that it names, by the time they fired.
        alert: The times of the first of them.
        resolved_s: Seconds from the end of the fault until none of them fired; None if this was not seen.
    """

    expectation: ExpectShape
    outcome: ExpectationOutcome
    reason: str
    fired: tuple[Episode, ...] = ()
    alert: AlertTimes | None = None
    resolved_s: float | None = None


def since(at: float | None, begin: float | None) -> float | None:
    """Return the seconds between two times; None if one of them is unknown."""
    return None if at is None or begin is None else at - begin


def matching(expectation: ExpectShape, episodes: Iterable[Episode]) -> list[Episode]:
    """Return the fired alerts that an expectation names."""
    return [
        episode
        for episode in episodes
        if episode.name == expectation.name
        and episode.firing_at is not None
        and expectation.severity in {None, episode.labels.get("severity")}
    ]


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges expectations by the history of a run and by the notices of Alertmanager.

    An expectation is not broken if one of the servers did not answer for part of the time that it covers.
    """

    history: History
    notices: Sequence[Notice]
    sees_notices: bool  # whether Alertmanager or its notifications were watched; else an alert counts when it fires
    silences: Sequence[tuple[float, float]] = ()  # Unix times from and until when Alertmanager did not answer

    def result(self, expectation: ExpectShape, fault: InjectedFault, until: float) -> ExpectationResult:
        """Judge an expectation by the alerts of a fault; `until` is the Unix time of the next fault or of the end.

        An alert is of the fault if it began, firing or pending, during the fault or before its own deadline. The delay
        of scrapes and evaluations is added.
        """
        begun_at, rules = fault.begun_at, self.history.rules
        if begun_at is None or fault.failed:
            return ExpectationResult(expectation, UNDECIDED, fault.failed or "the fault was not injected")
        alerts = matching(expectation, self.history.episodes)
        if rules is not None and expectation.name not in rules and not alerts:
            return ExpectationResult(expectation, UNDECIDED, "Prometheus has no rule for it")
        end = self._end(expectation, fault, until)
        fired = [alert for alert in alerts if begun_at <= alert.pending_at < end]
        if fired:
            fired = sorted([*fired, *self._again(expectation, fault, fired, end)], key=_firing_at)
            times = self._times(fired[0], begun_at)
            verdict = self._judge_fired(expectation, fired, times, fault)
            ends = [alert.resolved_at for alert in fired if alert.resolved_at is not None]
            resolved_s = since(max(ends), fault.ended_at) if len(ends) == len(fired) else None
            return ExpectationResult(expectation, *verdict, tuple(fired), times, resolved_s)
        before = [alert for alert in alerts if alert.pending_at < begun_at < (alert.resolved_at or inf)]
        if before:
            state = "firing" if any(_firing_at(alert) < begun_at for alert in before) else "pending"
            return ExpectationResult(expectation, UNDECIDED, f"it was {state} before the fault")
        return ExpectationResult(expectation, *self._judge_silent(expectation, begun_at, fault, until))

    def _again(
        self, expectation: ExpectShape, fault: InjectedFault, fired: Sequence[Episode], end: float
    ) -> list[Episode]:
        """Return the alerts that come back before the time by which they must be gone; `end` is that of `_end`."""
        gone_at = (fault.ended_at or 0.0) + float(expectation.clears_within or 0)
        return [
            alert
            for alert in matching(expectation, self.history.episodes)
            if end <= alert.pending_at < gone_at and any(alert.labels == first.labels for first in fired)
        ]

    def _end(self, expectation: ExpectShape, fault: InjectedFault, until: float) -> float:
        """Return the Unix time from which on an alert is not of the fault."""
        if fault.begun_at is None or fault.ended_at is None:
            return until
        deadline = fault.begun_at + float(expectation.within or 0)
        return min(until, max(fault.ended_at, deadline) + self.history.delay_s)

    def _times(self, episode: Episode, begun_at: float) -> AlertTimes:
        """Return the times of an alert that fired, from the start of a fault."""
        notice = self._notice(episode)
        # A page suppresses the ticket about the same objective: that leaves no objective without a notification.
        slo = episode.labels.get("slo")
        others = [labels for labels in notice.inhibited_by if not slo or labels.get("slo") != slo]
        # Alertmanager is asked twice a second: a notification may be seen first.
        arrived_at = min(filter(None, (notice.arrived_at, notice.notified_at)), default=None)
        return AlertTimes(
            pending_s=episode.pending_at - begun_at,
            firing_s=_firing_at(episode) - begun_at,
            arrived_s=since(arrived_at, begun_at),
            notified_s=since(notice.notified_at, begun_at),
            inhibited=", ".join(labels.get("alertname", "a silence") for labels in others),
            inhibited_s=since(notice.inhibited_at or notice.arrived_at, begun_at) if others else None,
        )

    def _notice(self, episode: Episode) -> Notice:
        """Return the notice that has the labels (and perhaps more) and the time of an alert, else an empty one."""
        firing_at, tolerance_s = _firing_at(episode), GAP * self.history.interval_s + 1
        for notice in self.notices:
            if episode.labels.items() <= notice.labels.items() and abs(notice.starts_at - firing_at) <= tolerance_s:
                return notice
        return Notice(episode.labels, firing_at)

    def _judge_silent(self, expectation: ExpectShape, begun_at: float, fault: InjectedFault, until: float) -> _Verdict:
        if expectation.no_alert is not None:
            # No alert begins to fire after the run: only a gap before the end of its samples (or of the fault) matters.
            if self.history.has_gap(begun_at, min(until, max([fault.ended_at or begun_at, *self.history.scrapes]))):
                return UNDECIDED, _NO_DATA
            return KEPT, "it did not fire"
        within_s = float(expectation.within or 0)
        unknown = self._unknown(begun_at, begun_at + within_s)
        return (UNDECIDED, unknown) if unknown else (BROKEN, f"it did not fire within {limit(within_s)}")

    def _judge_fired(
        self, expectation: ExpectShape, alerts: Sequence[Episode], times: AlertTimes, fault: InjectedFault
    ) -> _Verdict:
        if expectation.no_alert is not None:
            return BROKEN, f"it fired after {elapsed(times.firing_s)}"
        within_s, begun_at = float(expectation.within or 0), fault.begun_at or 0.0
        late = self._late(times, within_s)
        if late:
            return self._broken(late, begun_at, begun_at + within_s, begun_at + times.firing_s)
        outcome, reason = self._judge_notice(times, within_s)
        if expectation.clears_within is None:
            return outcome, reason
        if fault.ended_at is None:
            return UNDECIDED, f"{reason}; the end of the fault is unknown"
        ends = [alert.resolved_at for alert in alerts]
        ended, gone = self._judge_end(ends, fault.ended_at, float(expectation.clears_within))
        return outcome if ended == KEPT else ended, f"{reason}; {gone}"

    def _judge_notice(self, times: AlertTimes, within_s: float) -> _Verdict:
        """Judge an alert that reached Alertmanager or its receiver in time: it may have been suppressed right after."""
        reason = f"after {elapsed(times.firing_s)}"
        if times.notified_s is not None:
            return KEPT, f"{reason}, notified after {elapsed(times.notified_s)}"
        if not self.sees_notices:
            return KEPT, reason
        reason += f", at Alertmanager after {elapsed(times.arrived_s)}"
        if times.inhibited_s is None or times.inhibited_s > within_s:
            return KEPT, reason
        reason += f", and suppressed by {times.inhibited} after {elapsed(times.inhibited_s)}"
        return UNDECIDED, f"{reason}: a notification may have been sent before, but none was seen"

    def _late(self, times: AlertTimes, within_s: float) -> str:
        """Return why an alert that fired was late; empty if it was in time."""
        fired = f"it fired after {elapsed(times.firing_s)}"
        if times.firing_s > within_s:
            return f"{fired}, not within {limit(within_s)}"
        reached_s = times.arrived_s if times.notified_s is None else times.notified_s
        if not self.sees_notices:
            return ""
        if times.notified_s is None and times.inhibited_s is not None and times.inhibited_s <= (times.arrived_s or inf):
            return f"{fired}, and no notification was sent: suppressed by {times.inhibited}"
        if reached_s is None:
            return f"{fired}, and no notification was sent"
        is_late = reached_s > within_s
        return f"it was notified after {elapsed(reached_s)}, not within {limit(within_s)}" if is_late else ""

    def _judge_end(self, ends: Sequence[float | None], ended_at: float, limit_s: float) -> _Verdict:
        """Judge whether alerts ended in time after the fault; an end is None if the alert is still active."""
        resolved, limit_at = [end for end in ends if end is not None], ended_at + limit_s
        if len(resolved) < len(ends):
            if self.history.end < limit_at:
                return UNDECIDED, f"it was not watched for {limit(limit_s)} after the fault"
            return self._broken(f"it still fired {limit(limit_s)} after the fault", ended_at, limit_at)
        gone_at = max(resolved)
        gone = f"gone {elapsed(max(gone_at - ended_at, 0.0))} after the fault"
        if gone_at > limit_at:
            return self._broken(f"{gone}, not within {limit(limit_s)}", ended_at, limit_at)
        # An alert also ends where samples end. It is certainly gone at the next sample of the run.
        next_at = next((at for at in self.history.scrapes if at >= gone_at), limit_at)
        if next_at >= limit_at and self.history.has_gap(gone_at, next_at):
            return UNDECIDED, _NO_DATA
        return KEPT, gone

    def _broken(self, reason: str, begin: float, end: float, firing_at: float | None = None) -> _Verdict:
        """Return that an expectation is broken for a reason; undecided if that is not certain."""
        unknown = self._unknown(begin, end, firing_at)
        return (UNDECIDED, f"{reason}; {unknown}") if unknown else (BROKEN, reason)

    def _unknown(self, begin: float, end: float, firing_at: float | None = None) -> str:
        """Return which data is missing between two Unix times; empty if none is.

        From `firing_at` on Alertmanager must have answered too, unless it is None.
        """
        if self.history.end < end:
            return f"it was not watched for {limit(end - begin)}"
        if self.history.has_gap(begin, end):
            return _NO_DATA
        if firing_at is not None and any(first < end and last > firing_at for first, last in self.silences):
            return "Alertmanager did not answer for part of that time"
        return ""


def _firing_at(alert: Episode) -> float:
    return alert.firing_at or 0.0
