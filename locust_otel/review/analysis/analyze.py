"""Analysis of a timeline: each detector searches what the detectors before it have not explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from locust_otel.core.words import duration
from locust_otel.review.analysis import bottleneck, drift, growth, notes
from locust_otel.review.analysis.finding import Analysis, EndpointFinding, Finding, Note, Pattern
from locust_otel.review.analysis.periodic import sawtooth
from locust_otel.review.analysis.timeline import Flags, Points, Timeline, merged, points, steady, variation

LEAST_S = 30.0
LEAST_REQUESTS = 200
_SOAK_S = 600.0
_NOTHING_ELSE = "There are no stalls, no drift, and no endpoint much slower than the others."
_CONFOUNDED = 0.8
_BEHIND = 0.1  # share of the run in which the generator may be behind


def analyze(timeline: Timeline) -> Analysis:
    """Return the pattern of a run with the evidence, or the reason why no pattern can be named."""
    remarks = list(notes.generator(timeline))
    unknown = _refused(timeline)
    if unknown is not None:
        return Analysis(timeline.source, timeline.run_id, (unknown,), _endpoints(timeline, None, ()), tuple(remarks))
    settled = steady(timeline) & timeline.keeps_up
    stalls, calm = sawtooth(timeline, settled)
    kept = settled & calm if (settled & calm).mean() > 0.3 else settled
    slow = bottleneck.slow_endpoint(timeline, kept)
    drifting = drift.leak(timeline, kept) if slow is None else None
    findings = [finding for finding in (stalls, slow, drifting) if finding is not None]
    load = points(timeline, kept)
    rest = _unexplained(timeline, kept, load, slow, drifting)
    varies = variation(timeline) >= growth.LEAST_VARIATION and len(rest) >= 8
    if varies and growth.growth(rest).is_there:
        shaped = growth.shape(rest)
        if slow is not None:  # the slow endpoint may also be what slows down the others
            shaped = replace(shaped, confidence=max(0.2, shaped.confidence - 0.25))
        if shaped.pattern is Pattern.LINEAR and drifting is None:
            shaped = _compared_with_drift(timeline, kept, shaped)
        if stalls is None or shaped.confidence >= 0.5:
            findings.append(shaped)
        remarks += notes.forecasts(timeline, rest, extrapolates=shaped.pattern is Pattern.LINEAR)
    steps = list(notes.steps(timeline, rest))
    remarks += [step for step in steps if isinstance(step, Note)]
    if not findings:
        findings += [step for step in steps if isinstance(step, Finding)]
    if not findings:
        remarks += notes.warmup(load)
        findings.append(_nothing(timeline, load, varies=varies))
    if findings[0].confidence_word == "low":
        findings.insert(0, _weak(findings[0]))
    endpoints = _endpoints(timeline, kept, findings)
    return Analysis(timeline.source, timeline.run_id, tuple(findings), endpoints, tuple(remarks))


def _unexplained(
    timeline: Timeline, kept: Flags, load: Points, slow: Finding | None, drifting: Finding | None
) -> Points:
    """Return the points without the slow endpoint, or without the drift."""
    if slow is not None:
        others = [endpoint for endpoint in timeline.endpoints if endpoint.label != slow.endpoint]
        return points(timeline, kept, endpoint=merged(others, len(timeline)))
    return load if drifting is None else drift.without(load, drifting.figures["slope"])


def _compared_with_drift(timeline: Timeline, kept: Flags, shaped: Finding) -> Finding:
    """Return the finding, with less confidence if a drift in time could be the cause."""
    if np.corrcoef(timeline.middle_s, timeline.users)[0, 1] < _CONFOUNDED:
        return shaped
    held = drift.held(timeline, kept)
    if held is not None and held.ratio + 2 * held.spread < 0.5:
        why = f"At constant load latency hardly rises ({held.ratio:.0%} of the whole rise)."
        return replace(shaped, evidence=(*shaped.evidence, why))
    why = (
        "The load only rose, and was not constant for long enough: a slow drift in time would look much the same. "
        "To distinguish the two, hold each step for 40 s, or reduce the load again."
    )
    return replace(shaped, evidence=(*shaped.evidence, why), confidence=min(shaped.confidence, 0.6))


def _refused(timeline: Timeline) -> Finding | None:
    span_s = float(timeline.length_s.sum())
    if span_s < LEAST_S or len(timeline) < 10:
        return _unknown(f"the run has {span_s:.0f} s of load, and at least {LEAST_S:.0f} s are needed", "too-short")
    requests = float(timeline.totals.requests.sum())
    if requests < LEAST_REQUESTS:
        return _unknown(f"the run has {requests:.0f} requests, and at least {LEAST_REQUESTS} are needed", "too-few")
    behind = 1 - float(timeline.keeps_up.mean())
    if behind > _BEHIND:
        why = f"the load generator was behind in {behind:.0%} of the run, and may itself be the cause of the latency"
        return _unknown(why, "generator")
    if not timeline.totals.good.sum():
        return _unknown("no request succeeded", "all-failed")
    return None


def _unknown(why: str, slug: str) -> Finding:
    return Finding(Pattern.UNKNOWN, f"Cannot tell, because {why}.", (), 1.0, figures={"reason": slug})


def _weak(finding: Finding) -> Finding:
    sign = finding.summary[0].lower() + finding.summary[1:].rstrip(".")
    return _unknown(f"the signs of {finding.pattern} are too weak: {sign}", "weak")


def _nothing(timeline: Timeline, load: Points, *, varies: bool) -> Finding:
    """Return that nothing degrades, or that the run cannot show it."""
    highest = float(timeline.users.max())
    latency = duration(float(np.median(load.latency_s)) if len(load) else float("nan"))
    span_s = float(timeline.length_s.sum())
    if varies:
        grown = growth.growth(load)
        evidence = (
            f"Requests take {duration(grown.low_s)} at low load and {duration(grown.high_s)} at high load "
            f"({grown.times:.2f} times). {_NOTHING_ELSE}",
            "The run says nothing about higher loads.",
        )
        confidence = float(np.clip(0.95 - max(grown.times - 1.1, 0), 0.4, 0.95))
        figures = {"users": highest, "times": grown.times}
        return Finding(
            Pattern.NONE, f"No degradation up to {highest:.0f} users.", evidence, confidence, figures=figures
        )
    if span_s >= _SOAK_S:
        evidence = (
            f"Requests take {latency} in the whole run. {_NOTHING_ELSE}",
            "The load did not vary, so the run says nothing about other loads.",
        )
        summary = f"No degradation in {span_s / 60:.0f} min at {highest:.0f} users."
        return Finding(Pattern.NONE, summary, evidence, 0.85, figures={"users": highest})
    if variation(timeline) >= growth.LEAST_VARIATION:
        return _unknown(f"only {len(load)} bins of the run of {span_s:.0f} s have a settled load", "too-short")
    why = (
        f"the load hardly varied ({timeline.users.min():.0f} to {highest:.0f} users) and the run is short; requests "
        f"took {latency} in the whole run. Ramp the users up, or soak for {_SOAK_S / 60:.0f} min"
    )
    return _unknown(why, "no-variation")


def _endpoints(timeline: Timeline, kept: Flags | None, findings: Sequence[Finding]) -> tuple[EndpointFinding, ...]:
    whole_s = float(timeline.totals.requests_s.sum())
    result = []
    for endpoint in timeline.endpoints:
        good, failed = endpoint.good.sum(), endpoint.failed.sum()
        low_s = high_s = float(endpoint.good_s.sum() / good) if good else 0.0
        pattern, confidence = Pattern.UNKNOWN, 0.0
        load = None if kept is None else points(timeline, kept, width_s=10.0, endpoint=endpoint)
        if load is not None and len(load) >= 6:
            part = max(2, len(load) // 5)
            low_s, high_s = float(np.median(load.latency_s[:part])), float(np.median(load.latency_s[-part:]))
            pattern, confidence = _shared(endpoint.label, load, findings, has_risen=high_s > 1.2 * low_s)
        share = float(endpoint.requests_s.sum()) / whole_s if whole_s else 0.0
        result.append(
            EndpointFinding(endpoint.label, pattern, confidence, int(good + failed), int(failed), low_s, high_s, share)
        )
    return tuple(result)


def _shared(label: str, load: Points, findings: Sequence[Finding], *, has_risen: bool) -> tuple[Pattern, float]:
    """Return the first pattern of the run that an endpoint has too, and its confidence."""
    for finding in findings:
        match finding.pattern:
            case Pattern.SLOW_ENDPOINT:
                is_shared = finding.endpoint == label
            case Pattern.LINEAR | Pattern.CLIFF:
                is_shared = bool(np.ptp(load.users) > 0) and growth.growth(load).is_there
            case Pattern.LEAK | Pattern.SHIFT:
                is_shared = has_risen
            case pattern:
                is_shared = pattern is Pattern.SAWTOOTH
        if is_shared:
            return finding.pattern, finding.confidence
    return Pattern.NONE, 0.6
