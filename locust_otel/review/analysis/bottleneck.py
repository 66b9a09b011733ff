"""One endpoint that takes much longer while the others do not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from locust_otel.review.analysis.finding import FIXES, Finding, Pattern, seconds
from locust_otel.review.analysis.statistics import change_points, filled
from locust_otel.review.analysis.timeline import EndpointSeries, Flags, Floats, Timeline, binned, even_bins

_LEAST_REQUESTS = 3  # in a bin
_LEAST_S = 20.0
_APART = 1.5  # times what the others rise by
_SLOWER = 6.0  # times the others, where it has been so from the start


def slow_endpoint(timeline: Timeline, kept: Flags) -> Finding | None:
    """Return the endpoint that has most of the time, if something about it changed, or it always was so."""
    busy = [each for each in timeline.endpoints if each.good.sum() >= 30]
    if len(busy) < 2:
        return None
    width_s = _width(timeline, busy)
    at, bins = even_bins(timeline, width_s)
    at = np.where(kept, at, -1)
    length = binned(timeline.length_s, at, bins)
    time_s: Floats = float(timeline.start_s[0]) + (np.arange(bins, dtype=np.float64) + 0.5) * width_s
    means: dict[str, Floats] = {}
    for each in busy:
        count, sums = binned(each.good, at, bins), binned(each.good_s, at, bins)
        with np.errstate(divide="ignore", invalid="ignore"):
            means[each.label] = np.where((count >= _LEAST_REQUESTS) & (length > 0), sums / count, np.nan)
    found = [
        finding
        for each in busy
        if np.isfinite(means[each.label]).sum() >= 6
        and (finding := _judged(timeline, each, means, time_s, width_s)) is not None
    ]
    return max(found, key=lambda each: float(each.figures["share"]), default=None)


def _width(timeline: Timeline, busy: list[EndpointSeries]) -> float:
    span = float(timeline.end_s[-1] - timeline.start_s[0])
    rarest = sorted(float(each.good.sum()) / span for each in busy)[len(busy) // 2]
    return float(np.clip(2 * _LEAST_REQUESTS / max(rarest, 1e-6), max(5.0, span / 400), max(5.0, span / 12)))


def _judged(
    timeline: Timeline, endpoint: EndpointSeries, means: dict[str, Floats], time_s: Floats, width_s: float
) -> Finding | None:
    own = filled(means[endpoint.label])
    others = np.array([filled(values) for label, values in means.items() if label != endpoint.label])
    # The unweighted mean of the others: it does not move when their mix does.
    rest = np.median(others, axis=0)
    apart = own - rest
    changes = change_points(apart, min_length=3, strength=8.0)
    edges = [0, *changes, len(apart)]
    medians = [float(np.median(apart[a:b])) for a, b in pairwise(edges)]
    noise = 1.4826 * float(np.median(np.abs(np.diff(apart)))) / np.sqrt(2)
    own_low = float(np.median(own[: edges[1]]))
    share = _share(timeline, endpoint, 0.0, np.inf)
    span = _raised([*pairwise(edges)], medians, max(own_low, 6 * noise))
    if span is not None:
        begin, end = span
        jump = float(np.median(apart[begin:end])) - medians[0]
        rest_rise = float(np.median(rest[begin:end]) - np.median(rest[:begin]))
        is_lasting = (end - begin) * width_s >= max(_LEAST_S, 0.08 * len(apart) * width_s)
        if jump >= _APART * max(rest_rise, 0.0) and is_lasting:
            known = np.flatnonzero(np.isfinite(means[endpoint.label][begin:end]))
            seen = begin + int(known[0]) if len(known) else begin  # what was filled in is no evidence of when
            since_s = max(float(time_s[seen]) - width_s / 2, float(timeline.start_s[0]))
            ended = end < len(apart)
            until_s = float(time_s[end - 1]) + width_s / 2
            share = _share(timeline, endpoint, since_s, until_s)
            before = _share(timeline, endpoint, 0.0, since_s)
            after_s = float(np.median(own[begin:end]))
            strength = jump / max(noise, 1e-9)
            confidence = float(np.clip(0.6 + 0.2 * min(strength / 20, 1) + 0.2 * min(jump / own_low / 4, 1), 0, 0.98))
            return _finding(
                endpoint, f"since {since_s:.0f} s", share, confidence, since_s,
                (
                    f"Its mean went from {seconds(own_low)} to {seconds(after_s)} at {since_s:.0f} s"
                    + (f", and back at {until_s:.0f} s" if ended else "")
                    + f"; that of the others changed by {seconds(abs(rest_rise))}.",
                    f"It takes {share:.0%} of the time of all requests since then, {before:.0%} before.",
                ),
                {"before_s": own_low, "after_s": after_s, "others_rise_s": rest_rise,
                 "until_s": until_s if ended else None},
            )  # fmt: skip
    usual, of_others = float(np.median(own[: max(3, len(own) // 4)])), float(np.median(rest[: max(3, len(own) // 4)]))
    if usual >= _SLOWER * of_others and share >= 0.35:
        return _finding(
            endpoint, "from the start", share, 0.6, float(timeline.start_s[0]),
            (
                f"Its mean is {seconds(usual)} from the start, {usual / of_others:.1f} times that of the others "
                f"({seconds(of_others)}).",
                f"It takes {share:.0%} of the time of all requests. Whether it ever was faster this run cannot tell.",
            ),
            {"before_s": None, "after_s": usual, "others_s": of_others},
        )  # fmt: skip
    return None


def _raised(spans: list[tuple[int, int]], medians: list[float], least: float) -> tuple[int, int] | None:
    """Return from where to where the level lies far above the first one; None where it never does."""
    high = [index for index, value in enumerate(medians) if index and value - medians[0] > least]
    if not high:
        return None
    first = last = high[0]
    while last + 1 < len(medians) and medians[last + 1] - medians[0] > 0.5 * least:
        last += 1
    return spans[first][0], spans[last][1]


def _finding(  # noqa: PLR0913, PLR0917  # what a finding is made of
    endpoint: EndpointSeries, since: str, share: float, confidence: float, since_s: float,
    evidence: tuple[str, ...], figures: dict[str, object],
) -> Finding:  # fmt: skip
    return Finding(
        Pattern.SLOW_ENDPOINT,
        f"{endpoint.label} is the bottleneck {since}.",
        evidence,
        confidence,
        endpoint.label,
        {**figures, "share": share, "since_s": since_s, "fixes": FIXES[Pattern.SLOW_ENDPOINT]},
        since_s,
    )


def _share(timeline: Timeline, endpoint: EndpointSeries, start_s: float, end_s: float) -> float:
    inside = (timeline.start_s >= start_s) & (timeline.end_s <= end_s)
    whole = float((timeline.totals.good_s + timeline.totals.failed_s)[inside].sum())
    return float((endpoint.good_s + endpoint.failed_s)[inside].sum()) / whole if whole else 0.0
