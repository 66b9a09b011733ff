"""A game day as the record of its run has it: exact counts a second apart, and marks; no alerts."""

from __future__ import annotations

from dataclasses import replace

from locust_otel.gameday.history import History, StoredMark
from locust_otel.review.record.reader import Record
from locust_otel.slo.counts import Counts


def history_of(record: Record, alerts: History | None = None) -> History:
    """Return what a record knows of a run.

    Args:
        record: The record of the run.
        alerts: What Prometheus has stored of it, whose alerts are taken; None where nobody asks one, and nothing can
            be said of alerts then.
    """
    begin = record.start_time
    counts: dict[float, dict[str, Counts]] = {}
    failed: list[tuple[float, int, int]] = []
    bad = every = 0
    for interval in record.intervals:
        at = begin + interval.end_s
        if interval.slo is not None:
            counts[at] = {name: Counts(each.good, each.bad) for name, each in interval.slo.items()}
        for position, delta in interval.counts.items():
            requests = delta.measured + delta.unmeasured
            every += requests
            bad += requests if record.series[position].outcome == "failure" else 0
        failed.append((at, bad, every))
    known = History(
        run_id=record.run_id,
        begin=begin,
        end=failed[-1][0] if failed else begin,
        interval_s=record.interval_s,
        counts=counts,
        failed=failed,
        scrapes=[at for at, _, _ in failed],
        marks=sorted(StoredMark(begin + mark.time_s, mark.mark, mark.kind) for mark in record.marks),
        is_valid=not any(interval.reasons for interval in record.intervals),
        sees_alerts=False,
    )
    if alerts is None:
        return known
    return replace(
        known, end=alerts.end, scrapes=alerts.scrapes, episodes=alerts.episodes, rules=alerts.rules, sees_alerts=True
    )
