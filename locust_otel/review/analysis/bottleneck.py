"""Slow endpoint: one endpoint takes much longer, and the others do not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from locust_otel.core.words import duration
from locust_otel.review.analysis.finding import Finding, Pattern
from locust_otel.review.analysis.statistics import change_points, filled
from locust_otel.review.analysis.timeline import EndpointSeries, Flags, Floats, Timeline, binned, even_bins

_LEAST_REQUESTS = 3  # of a bin
_LEAST_S = 20.0
_APART = 1.5  # times the rise of the others
_SLOWER = 6.0  # times the others, if it is slow from the start


def slow_endpoint(timeline: Timeline, kept: Flags) -> Finding | None:
    """Return the finding on the endpoint that takes most of the time, if it got slower than others or always was."""
    busy = [endpoint for endpoint in timeline.endpoints if endpoint.good.sum() >= 30]
    if len(busy) < 2:
        return None
    span_s = float(timeline.end_s[-1] - timeline.start_s[0])
    usual = sorted(float(endpoint.good.sum()) / span_s for endpoint in busy)[len(busy) // 2]  # requests/s
    width_s = float(np.clip(2 * _LEAST_REQUESTS / max(usual, 1e-6), max(5.0, span_s / 400), max(5.0, span_s / 12)))
    at, bins = even_bins(timeline, width_s, kept)
    means = np.full((len(busy), bins), np.nan)
    for row, endpoint in zip(means, busy, strict=True):
        count = binned(endpoint.good, at, bins)
        np.divide(binned(endpoint.good_s, at, bins), count, out=row, where=count >= _LEAST_REQUESTS)
    levels = np.array([filled(row) for row in means])
    findings = []
    for index, endpoint in enumerate(busy):
        if np.isfinite(means[index]).sum() >= 6:
            # The median over the others does not depend on their mix.
            rest = np.median(np.delete(levels, index, axis=0), axis=0)
            finding = _risen(timeline, endpoint, means[index], rest, width_s)
            findings.append(finding or _always_slow(timeline, endpoint, levels[index], rest))
    return max(
        (finding for finding in findings if finding is not None),
        key=lambda finding: float(finding.figures["share"]),
        default=None,
    )


def _risen(timeline: Timeline, endpoint: EndpointSeries, means: Floats, rest: Floats, width_s: float) -> Finding | None:
    """Return the finding if the endpoint got slower than the others, for a while or up to the end."""
    own = filled(means)
    apart = own - rest
    spans = list(pairwise([0, *change_points(apart, min_length=3, strength=8.0), len(apart)]))
    noise = 1.4826 * float(np.median(np.abs(np.diff(apart)))) / np.sqrt(2)
    before_s, before = (float(np.median(values[: spans[0][1]])) for values in (own, apart))
    rises = [float(np.median(apart[first:end])) - before for first, end in spans]
    span = _raised(spans, rises, max(before_s, 6 * noise))
    if span is None:
        return None
    begin, end = span
    jump = float(np.median(apart[begin:end])) - before
    rest_rise = float(np.median(rest[begin:end]) - np.median(rest[:begin]))
    is_lasting = (end - begin) * width_s >= max(_LEAST_S, 0.08 * len(apart) * width_s)
    if jump < _APART * max(rest_rise, 0.0) or not is_lasting:
        return None
    start_s = float(timeline.start_s[0])
    # A filled bin does not say when it got slower; argmax is 0 if all bins were filled.
    since_s = start_s + (begin + int(np.argmax(np.isfinite(means[begin:end])))) * width_s
    until_s = start_s + end * width_s
    has_ended = end < len(apart)
    after_s = float(np.median(own[begin:end]))
    share = _share(timeline, endpoint, since_s, until_s)
    confidence = 0.6 + 0.2 * min(jump / max(noise, 1e-9) / 20, 1) + 0.2 * min(jump / before_s / 4, 1)
    return Finding(
        Pattern.SLOW_ENDPOINT,
        f"{endpoint.label} is the bottleneck since {since_s:.0f} s.",
        (
            f"Its mean rose from {duration(before_s)} to {duration(after_s)} at {since_s:.0f} s"
            + (f", and fell again at {until_s:.0f} s" if has_ended else "")
            + f". The mean of the others changed by {duration(abs(rest_rise))}.",
            f"Since then it takes {share:.0%} of the time of all requests; before it took "
            f"{_share(timeline, endpoint, 0.0, since_s):.0%}.",
        ),
        float(np.clip(confidence, 0, 0.98)),
        endpoint.label,
        {"before_s": before_s, "after_s": after_s, "others_rise_s": rest_rise,
         "until_s": until_s if has_ended else None, "share": share, "since_s": since_s},
        since_s,
    )  # fmt: skip


def _raised(spans: list[tuple[int, int]], rises: list[float], least: float) -> tuple[int, int] | None:
    """Return the first and the last index of the levels far above the first level; None if there are none."""
    first = next((index for index, rise in enumerate(rises) if rise > least), None)
    if first is None:
        return None
    last = next((index for index in range(first, len(rises)) if rises[index] <= 0.5 * least), len(rises)) - 1
    return spans[first][0], spans[last][1]


def _always_slow(timeline: Timeline, endpoint: EndpointSeries, own: Floats, rest: Floats) -> Finding | None:
    """Return the finding if the endpoint is far slower than the others from the start."""
    quarter = max(3, len(own) // 4)
    own_s, others_s = float(np.median(own[:quarter])), float(np.median(rest[:quarter]))
    share = _share(timeline, endpoint, 0.0, np.inf)
    if own_s < _SLOWER * others_s or share < 0.35:
        return None
    since_s = float(timeline.start_s[0])
    return Finding(
        Pattern.SLOW_ENDPOINT,
        f"{endpoint.label} is the bottleneck from the start.",
        (
            f"Its mean is {duration(own_s)} from the start, {own_s / others_s:.1f} times that of the others "
            f"({duration(others_s)}).",
            f"It takes {share:.0%} of the time of all requests. The run does not show that it ever was faster.",
        ),
        0.6,
        endpoint.label,
        {"before_s": None, "after_s": own_s, "others_s": others_s, "share": share, "since_s": since_s},
        since_s,
    )


def _share(timeline: Timeline, endpoint: EndpointSeries, start_s: float, end_s: float) -> float:
    """Return the endpoint's share of the time of all requests in a span."""
    inside = (timeline.start_s >= start_s) & (timeline.end_s <= end_s)
    whole_s = float(timeline.totals.requests_s[inside].sum())
    return float(endpoint.requests_s[inside].sum()) / whole_s if whole_s else 0.0
