"""From a timeline to what is said of it: every detector in turn, each on what those before it have explained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from locust_otel.review.analysis import bottleneck, drift, growth, notes
from locust_otel.review.analysis.finding import Analysis, EndpointFinding, Finding, Note, Pattern, seconds
from locust_otel.review.analysis.loads import Points, points, steady, variation
from locust_otel.review.analysis.periodic import sawtooth
from locust_otel.review.analysis.timeline import EndpointSeries, Flags, Timeline, merged

LEAST_S = 30.0
LEAST_REQUESTS = 200
_SOAK_S = 600.0
_CONFOUNDED = 0.8
_BEHIND = 0.1  # share of the run in which the generator may have been behind


def analyze(timeline: Timeline) -> Analysis:
    """Return which pattern a run shows, with the evidence; or that none can be told, and why."""
    refusal = _refused(timeline)
    said = notes.generator(timeline) if len(timeline) else None
    noted = [] if said is None else [said]
    if refusal:
        return Analysis(timeline.source, timeline.run_id, (refusal,), _endpoints(timeline, None, ()), tuple(noted))
    settled = steady(timeline) & timeline.keeps_up
    found: list[Finding] = []
    stalls, calm = sawtooth(timeline, settled)
    if stalls is not None:
        found.append(stalls)
    kept = settled & calm if (settled & calm).mean() > 0.3 else settled
    slow = bottleneck.slow_endpoint(timeline, kept)
    if slow is not None:
        found.append(slow)
    of = points(timeline, kept)
    # With one endpoint known to be slow, the question is what the others do.
    rest = of if slow is None else points(timeline, kept, endpoint=_without(timeline, slow.endpoint))
    drifting = drift.leak(timeline, kept) if slow is None else None
    if drifting is not None:
        found.append(drifting)
        flat = drift.without(rest.latency_s, rest.time_s, float(drifting.figures["slope"]))
        rest = rest.with_latency(flat)
    knee: dict[str, float] = {}
    varies = variation(timeline) >= growth.LEAST_VARIATION and len(rest) >= 8
    if varies and growth.growth(rest).is_there:
        shaped, knee = _shaped(timeline, kept, rest, is_confounded=slow is not None, is_drifting=drifting is not None)
        if stalls is None or shaped.confidence >= 0.5:
            found.append(shaped)
        noted += notes.forecasts(timeline, rest, extrapolates=shaped.pattern is Pattern.LINEAR)
    if not found:
        for each in notes.steps(timeline, rest):
            found.append(each) if isinstance(each, Finding) else noted.append(each)
    else:
        noted += [each for each in notes.steps(timeline, rest) if isinstance(each, Note)]
    warm = notes.warmup(of)
    if warm is not None and not found:
        noted.append(warm)
    if not found:
        found.append(_nothing(timeline, of, varies=varies))
    if found[0].confidence_word == "low":
        found.insert(0, _weak(found[0]))
    endpoints = _endpoints(timeline, kept, tuple(found))
    return Analysis(timeline.source, timeline.run_id, tuple(found), endpoints, tuple(noted), knee)


def _shaped(
    timeline: Timeline, kept: Flags, rest: Points, *, is_confounded: bool, is_drifting: bool
) -> tuple[Finding, dict[str, float]]:
    """Return how latency follows the load, no more certain than what else goes on allows."""
    shaped, knee = growth.shape(rest)
    if is_confounded:  # an endpoint grew slow while the load rose: which of both the others suffer from is not so clear
        shaped = replace(shaped, confidence=max(0.2, shaped.confidence - 0.25))
    if shaped.pattern is Pattern.LINEAR and not is_drifting:
        shaped = _told_from_drift(timeline, kept, shaped)
    return shaped, knee


def _told_from_drift(timeline: Timeline, kept: Flags, shaped: Finding) -> Finding:
    """Return the finding, less certain where a drift in time would look the same."""
    time_s = (timeline.start_s + timeline.end_s) / 2
    if np.corrcoef(time_s, timeline.users)[0, 1] < _CONFOUNDED:
        return shaped
    found = drift.held(timeline, kept)
    if found is not None and found.ratio + 2 * found.spread < 0.5:
        return replace(
            shaped,
            evidence=(
                *shaped.evidence,
                f"While the load is held it hardly rises ({found.ratio:.0%} of the whole rise).",
            ),
        )
    why = (
        "The load only ever rose, and was not held for long enough: a slow drift in time would look much the same. "
        "Hold each step for 40 s, or come down again, to tell them apart."
    )
    return replace(shaped, evidence=(*shaped.evidence, why), confidence=min(shaped.confidence, 0.6))


def _refused(timeline: Timeline) -> Finding | None:
    span_s = float(timeline.length_s.sum()) if len(timeline) else 0.0
    requests = float((timeline.totals.good + timeline.totals.failed).sum()) if len(timeline) else 0.0
    if span_s < LEAST_S or len(timeline) < 10:
        return _unknown(f"the run has {span_s:.0f} s of load, and it takes {LEAST_S:.0f} s at the least", "too-short")
    if requests < LEAST_REQUESTS:
        return _unknown(f"{requests:.0f} requests are too few; it takes {LEAST_REQUESTS}", "too-few")
    behind = 1 - float(timeline.keeps_up.mean())
    if behind > _BEHIND:
        return _unknown(
            f"the load generator could not keep up in {behind:.0%} of the run: what looks like the service may be it",
            "generator",
        )
    if not timeline.totals.good.sum():
        return _unknown("no request succeeded", "all-failed")
    return None


def _unknown(why: str, slug: str) -> Finding:
    return Finding(Pattern.UNKNOWN, f"Cannot tell, because {why}.", (), 1.0, figures={"reason": slug})


def _weak(found: Finding) -> Finding:
    sign = found.summary[0].lower() + found.summary[1:].rstrip(".")
    return _unknown(f"the signs of {found.pattern} are too weak: {sign}", "weak")


def _nothing(timeline: Timeline, of: Points, *, varies: bool) -> Finding:
    highest = float(timeline.users.max())
    latency_s = float(np.median(of.latency_s)) if len(of) else float("nan")
    span_s = float(timeline.length_s.sum())
    if varies:
        grown = growth.growth(of)
        confidence = float(np.clip(0.95 - max(grown.times - 1.1, 0), 0.4, 0.95))
        return Finding(
            Pattern.NONE,
            f"No degradation up to {highest:.0f} users.",
            (
                f"Requests take {seconds(grown.low_s)} at little load and {seconds(grown.high_s)} at much "
                f"({grown.times:.2f} times); no stalls, no drift, no endpoint that stands out.",
                "What comes above this load the run cannot tell.",
            ),
            confidence,
            figures={"users": highest, "times": grown.times},
        )
    if span_s >= _SOAK_S:
        return Finding(
            Pattern.NONE,
            f"No degradation in {span_s / 60:.0f} min at {highest:.0f} users.",
            (f"Requests take {seconds(latency_s)} throughout: no stalls, no drift, no endpoint that stands out.",
             "The load did not vary, so nothing is known of other loads."),
            0.85,
            figures={"users": highest},
        )  # fmt: skip
    if variation(timeline) >= growth.LEAST_VARIATION:
        return _unknown(f"the run of {span_s:.0f} s is too short for its {len(of)} settled moments", "too-short")
    return _unknown(
        f"the load hardly varied ({timeline.users.min():.0f} to {highest:.0f} users) and the run is short: requests "
        f"took {seconds(latency_s)} throughout. Ramp the users up, or soak for {_SOAK_S / 60:.0f} min",
        "no-variation",
    )


def _without(timeline: Timeline, label: str) -> EndpointSeries:
    return merged([each for each in timeline.endpoints if each.label != label], len(timeline))


def _endpoints(timeline: Timeline, kept: Flags | None, found: tuple[Finding, ...]) -> tuple[EndpointFinding, ...]:
    whole = float((timeline.totals.good_s + timeline.totals.failed_s).sum()) if len(timeline) else 0.0
    result = []
    for each in timeline.endpoints:
        requests, failures = int(each.good.sum() + each.failed.sum()), int(each.failed.sum())
        share = float((each.good_s + each.failed_s).sum()) / whole if whole else 0.0
        low_s = high_s = float(each.good_s.sum() / each.good.sum()) if each.good.sum() else 0.0
        pattern, confidence = Pattern.UNKNOWN, 0.0
        of = points(timeline, kept, width_s=10.0, endpoint=each) if kept is not None else None
        if of is not None and len(of) >= 6:
            third = max(2, len(of) // 5)
            low_s, high_s = float(np.median(of.latency_s[:third])), float(np.median(of.latency_s[-third:]))
            pattern, confidence = _of_endpoint(each.label, of, found, low_s, high_s)
        result.append(EndpointFinding(each.label, pattern, confidence, requests, failures, low_s, high_s, share))
    return tuple(result)


def _of_endpoint(
    label: str, of: Points, found: tuple[Finding, ...], low_s: float, high_s: float
) -> tuple[Pattern, float]:
    """Return the pattern of the run that an endpoint shares."""
    for finding in found:
        if finding.pattern is Pattern.SLOW_ENDPOINT:
            if finding.endpoint == label:
                return finding.pattern, finding.confidence
        elif finding.pattern in (Pattern.LINEAR, Pattern.CLIFF):
            if np.ptp(of.users) > 0 and growth.growth(of).is_there:
                return finding.pattern, finding.confidence
        elif finding.pattern is Pattern.SAWTOOTH or (
            finding.pattern in (Pattern.LEAK, Pattern.SHIFT) and high_s > 1.2 * low_s
        ):
            return finding.pattern, finding.confidence
    return Pattern.NONE, 0.6
