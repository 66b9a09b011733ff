"""The windows of burn-rate alerts that follow from the length of the budget's period.

The SRE workbook pairs a long window with a short one and asks for a burn rate in both. Its windows of hours are for a
budget of 30 days; a load test of half an hour is over before an hour has passed, so here the windows of a short period
are shares of it.
https://sre.google/workbook/alerting-on-slos/
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from locust_otel.slo.objectives import Window, plain

MIN_SCRAPES = 4
"""Scrapes that a window must hold: with fewer, one that fails leaves no rate."""

_DAY_S = 86400
_WORKBOOK = (("critical", 3600, 300, "14.4"), ("critical", 21600, 1800, "6"), ("warning", 259200, 21600, "1"))
_SHARES = (("critical", 15, "0.2"), ("warning", 3, "0.5"))
"""Severity, long window as a part of the period, share of the budget."""


def default_windows(
    period_s: Decimal, scrape_interval_s: Decimal, smallest_target: Decimal | None
) -> tuple[Window, ...]:
    """Return windows for a period; fewer, or none, where it is too short for them.

    Args:
        period_s: Seconds.
        scrape_interval_s: Seconds.
        smallest_target: The lowest target of the objectives, which bounds the burn rate that can be reached; None
            where all are on the mean.
    """
    if period_s >= 7 * _DAY_S:
        drafts = [
            (severity, Decimal(long), Decimal(short), Decimal(factor) * long / period_s)
            for severity, long, short, factor in _WORKBOOK
        ]
    else:
        drafts = [
            (severity, *_pair(period_s / part, scrape_interval_s), Decimal(share)) for severity, part, share in _SHARES
        ]
    # All requests bad burns at 1 / (1 - target); where an alert begins must lie well below.
    highest = (1 + 1 / (1 - smallest_target)) / 2 if smallest_target is not None else Decimal(1000)
    windows: list[Window] = []
    for severity, long_s, short_s, share in drafts:
        if windows and long_s <= windows[-1].long_s:  # a period this short has room for one pair
            continue
        bounded = min(max(share, long_s / period_s), highest * long_s / period_s, Decimal(1))
        if long_s <= period_s and MIN_SCRAPES * scrape_interval_s <= short_s < long_s:
            windows.append(Window(severity, long_s, short_s, plain(bounded)))
    return tuple(windows)


def _pair(long_s: Decimal, scrape_interval_s: Decimal) -> tuple[Decimal, Decimal]:
    """Return a long and a short window of whole seconds, long enough for the scrapes they need."""
    shortest = MIN_SCRAPES * scrape_interval_s
    long_s = max(long_s, 2 * shortest)
    return _whole(long_s), _whole(max(long_s / 4, shortest))


def _whole(seconds: Decimal) -> Decimal:
    return plain(seconds.to_integral_value(ROUND_CEILING))
