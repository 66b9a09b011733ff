"""One expectation against what was observed: kept, broken, or nobody can tell, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from locust_otel.gameday.history import GAP, Episode, History
from locust_otel.gameday.notices import Notice
from locust_otel.gameday.plan import Expectation


@dataclass(frozen=True, slots=True)
class Told:
    """How an alert went; seconds from the start of the fault, None for what was not seen.

    Attributes:
        pending_s: Until its condition first held.
        firing_s: Until it fired.
        arrived_s: Until Alertmanager had it, as seen there.
        notified_s: Until the webhook told of it.
        inhibited: By what it was kept quiet; empty where it was not.
    """

    alert: str
    severity: str
    pending_s: float
    firing_s: float
    arrived_s: float | None = None
    notified_s: float | None = None
    inhibited: str = ""

    @classmethod
    def of(cls, episode: Episode, notice: Notice | None, begun_at: float) -> Told:
        """Return how an alert went that has fired."""

        def since(at: float | None) -> float | None:
            return None if at is None else at - begun_at

        # Who is told of the same objective by its page needs no ticket: that keeps nobody in the dark.
        about = episode.labels.get("slo") or None
        others = (
            [] if notice is None else [each for each in notice.inhibited_by if each.get("slo") != about or not about]
        )
        quiet = ", ".join(each.get("alertname", "a silence") for each in others)
        return cls(
            alert=episode.name,
            severity=episode.labels.get("severity", ""),
            pending_s=episode.pending_at - begun_at,
            firing_s=(episode.firing_at or episode.pending_at) - begun_at,
            arrived_s=since(notice.arrived_at) if notice else None,
            notified_s=since(notice.notified_at) if notice else None,
            inhibited=quiet,
        )


def matching(expectation: Expectation, episodes: Iterable[Episode]) -> list[Episode]:
    """Return the alerts that an expectation is about, which have fired."""
    return [
        episode
        for episode in episodes
        if episode.name == expectation.alert
        and episode.firing_at is not None
        and expectation.severity in {"", episode.labels.get("severity")}
    ]


def notice_of(episode: Episode, notices: Iterable[Notice], interval_s: float) -> Notice | None:
    """Return what Alertmanager had of an alert: the same labels (and perhaps more), from the same time on."""
    return next(
        (
            notice
            for notice in notices
            if episode.labels.items() <= notice.labels.items()
            and abs(notice.starts_at - (episode.firing_at or 0.0)) <= GAP * interval_s + 1
        ),
        None,
    )


_Judged = tuple[bool | None, str, Told | None]


def judged(  # noqa: PLR0911, PLR0913, PLR0917  # all that is known of it; one way out for each reason
    each: Expectation,
    begun_at: float,
    ended_at: float | None,
    until: float,
    history: History,
    notices: Sequence[Notice],
    *,
    has_told: bool,
) -> _Judged:
    """Return whether an expectation was kept (None: nobody can tell), why, and how its alert went.

    Args:
        each: The expectation.
        begun_at: Unix time of the start of the fault.
        ended_at: Of its end; None where it was not seen.
        until: Unix time from which on the next fault, or the end, would be to blame.
        history: What Prometheus has stored.
        notices: Who was told of what.
        has_told: Whether anybody looked who was told.
    """
    known = matching(each, history.episodes)
    own = sorted((e for e in known if begun_at <= _fired(e) < until), key=_fired)
    before = [e for e in known if _fired(e) < begun_at and (e.resolved_at is None or e.resolved_at > begun_at)]
    if not each.fires:
        if own:
            return False, f"it fired after {_fired(own[0]) - begun_at:.1f} s", _told(own[0], notices, history, begun_at)
        return _quiet(before, begun_at, (ended_at or begun_at, until), history)
    within_s = float(each.within_s or 0)
    if not own:
        if before:
            return None, "it was firing before the fault began", None
        if history.gap(begun_at, min(begun_at + within_s, until)):
            return None, "Prometheus has no data of the run for that time", None
        return False, f"it did not fire within {within_s:g} s", None
    told = _told(own[0], notices, history, begun_at)
    late = _late(told, within_s, has_told=has_told)
    if late:
        return False, late, told
    return _cleared(each, own, ended_at, history, told)


def _fired(episode: Episode) -> float:
    return episode.firing_at or 0.0


def _told(episode: Episode, notices: Sequence[Notice], history: History, begun_at: float) -> Told:
    return Told.of(episode, notice_of(episode, notices, history.interval_s), begun_at)


def _quiet(before: Sequence[Episode], begun_at: float, until: tuple[float, float], history: History) -> _Judged:
    if before:
        return None, "it was firing before the fault began", None
    ended_at, next_at = until
    # The alerts of a run that is over do not begin to fire: its end after the fault leaves no hole.
    if history.gap(begun_at, min(next_at, max([ended_at, *history.scrapes]))):
        return None, "Prometheus has no data of the run for part of that time", None
    return True, "it stayed quiet", None


def _late(told: Told, within_s: float, *, has_told: bool) -> str:
    """Return why an alert that has fired did not do so in time; empty where it did."""
    if told.firing_s > within_s:
        return f"it fired after {told.firing_s:.1f} s, not within {within_s:g} s"
    if not has_told:
        return ""
    if told.inhibited:
        return f"it fired after {told.firing_s:.1f} s, and nobody was told: {told.inhibited} kept it quiet"
    reached_s = told.notified_s if told.notified_s is not None else told.arrived_s
    if reached_s is None:
        return f"it fired after {told.firing_s:.1f} s, and nobody was told"
    if reached_s > within_s:
        return f"somebody was told after {reached_s:.1f} s, not within {within_s:g} s"
    return ""


def _cleared(
    each: Expectation, own: Sequence[Episode], ended_at: float | None, history: History, told: Told
) -> _Judged:
    came = f"after {told.firing_s:.1f} s"
    if told.notified_s is not None:
        came += f", told after {told.notified_s:.1f} s"
    if each.clears_within_s is None:
        return True, came, told
    limit_s = float(each.clears_within_s)
    if ended_at is None:
        return None, f"{came}; the end of the fault is not known", told
    ends = [episode.resolved_at for episode in own]
    if any(end is None for end in ends):
        if history.end < ended_at + limit_s:
            return None, f"{came}; nobody looked for {limit_s:g} s after the fault", told
        return False, f"{came}; it still fired {limit_s:g} s after the fault", told
    gone_s = max(end for end in ends if end is not None) - ended_at
    if gone_s > limit_s:
        return False, f"{came}; gone {gone_s:.1f} s after the fault, not within {limit_s:g} s", told
    return True, f"{came}; gone {max(gone_s, 0.0):.1f} s after the fault", told
