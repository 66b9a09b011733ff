"""Observations beside the patterns: generator, warm-up, steps and recovery, loads at which objectives are missed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from locust_otel.core.words import duration
from locust_otel.review.analysis.finding import Finding, Note, Pattern
from locust_otel.review.analysis.statistics import change_points, line
from locust_otel.review.analysis.timeline import Floats, Ints, Points, Timeline, binned, even_bins, merged, quantiles
from locust_otel.slo.objectives import Objective, Sli

_BUSY = 0.9
_MOST_LEVELS = 12
_BAND = 1.3  # times the usual latency, up to which the service has recovered


def generator(timeline: Timeline) -> Iterator[Note]:
    """Yield the share of the run in which the load generator was behind."""
    behind = ~timeline.keeps_up
    if not behind.any():
        return
    since_s = float(timeline.start_s[int(np.argmax(behind))])
    cpu = float(np.fmax.reduce(timeline.cpu))
    busy = f"; its busiest process used {cpu:.0%} of a core" if cpu >= _BUSY else ""
    yield Note(
        "generator",
        f"The load generator was behind in {behind.mean():.0%} of the run, first at {since_s:.0f} s{busy}. Its own "
        "delays are in those latencies. Use more workers, or fewer users on each.",
        {"share": float(behind.mean()), "since_s": since_s},
    )


def warmup(load: Points) -> Iterator[Note]:
    """Yield the end of the warm-up if the start of the run is slower: MSER-5 (White 1997) on bins of 5 s."""
    values = load.latency_s
    if len(values) < 12:
        return
    half = len(values) // 2
    cut = int(np.argmin([np.var(values[start:]) / (len(values) - start) for start in range(half)]))
    if not 0 < cut <= len(values) // 3:
        return
    before_s, after_s = float(np.mean(values[:cut])), float(np.median(values[cut : cut + half]))
    if before_s < 1.3 * after_s:
        return
    until_s = float(load.time_s[cut])
    yield Note(
        "warm-up",
        f"The first {until_s:.0f} s are a warm-up: {duration(before_s)} on average, {duration(after_s)} afterwards.",
        {"until_s": until_s, "before_s": before_s, "after_s": after_s},
    )


def steps(timeline: Timeline, load: Points) -> Iterator[Finding | Note]:
    """Yield the steps of latency at constant load, and the time of recovery from each."""
    if len(load) < 8:
        return
    edges = [0, *change_points(np.log(load.latency_s), min_length=2, strength=8.0), len(load)]
    if len(edges) - 1 > _MOST_LEVELS:
        return  # too many changes to be steps
    levels = [(first, float(np.median(load.latency_s[first:end]))) for first, end in pairwise(edges)]
    usual_s = levels[0][1]
    resumed = 1  # the level after the last step and its recovery
    for index, ((_, level_before_s), (first, level_s)) in enumerate(pairwise(levels), 1):
        before, users = float(load.users[first - 1]), float(np.median(load.users[first : first + 3]))
        if index < resumed or level_s < 1.5 * level_before_s or abs(users - before) > 0.1 * max(before, 1):
            continue
        recovered = (later for later in range(index + 1, len(levels)) if levels[later][1] <= _BAND * usual_s)
        last = next(recovered, len(levels))
        since_s = float(load.time_s[first - 1] + load.time_s[first]) / 2
        until_s = float(load.time_s[levels[last][0]]) if last < len(levels) else None
        yield _shift(timeline, since_s, until_s, usual_s, max(level for _, level in levels[index:last]), users)
        if until_s is not None:
            yield _recovery(timeline, since_s, until_s)
        resumed = last + 1


def _shift(  # noqa: PLR0913, PLR0917  # the figures of a step
    timeline: Timeline, since_s: float, until_s: float | None, usual_s: float, worst_s: float, users: float
) -> Finding:
    evidence = [
        f"At {since_s:.0f} s latency rises from {duration(usual_s)} to {duration(worst_s)} at {users:.0f} users."
    ]
    if until_s is not None:
        evidence.append(f"It falls again at {until_s:.0f} s.")
    nearest = min(timeline.marks, key=lambda mark: abs(mark.time_s - since_s), default=None)
    if nearest is not None and abs(nearest.time_s - since_s) <= 10:
        evidence.append(f"The run has the mark {nearest.mark!r} at that time.")
    return Finding(
        Pattern.SHIFT,
        f"At {since_s:.0f} s latency steps up to {duration(worst_s)} at constant load.",
        tuple(evidence),
        float(np.clip(0.5 + 0.15 * np.log(worst_s / usual_s), 0.4, 0.9)),
        figures={"since_s": since_s, "until_s": until_s, "before_s": usual_s, "after_s": worst_s},
        since_s=since_s,
    )


def _recovery(timeline: Timeline, since_s: float, until_s: float) -> Note:
    ends = [mark for mark in timeline.marks if since_s + 5 < mark.time_s <= until_s + 5]
    took_s, text = until_s - since_s, f"Latency was higher for {until_s - since_s:.0f} s, from {since_s:.0f} s"
    if ends:
        since_s = ends[-1].time_s
        took_s = max(0.0, until_s - since_s)
        text = f"Recovery took {took_s:.0f} s after {ends[-1].mark!r} at {since_s:.0f} s"
    return Note("recovery", f"{text}.", {"seconds": took_s, "since_s": since_s})


def forecasts(timeline: Timeline, load: Points, *, extrapolates: bool) -> Iterator[Note]:
    """Yield for each latency objective the number of users at which it is missed, measured or extrapolated."""
    if timeline.slo is None or len(load) < 6:
        return
    at, bins = even_bins(timeline, 5.0)
    users = binned(timeline.users * timeline.length_s, at, bins) / np.maximum(binned(timeline.length_s, at, bins), 1e-9)
    at = np.where(timeline.end_s > float(timeline.slo.warmup_s), at, -1)
    for objective in timeline.slo.objectives:
        if objective.sli is Sli.LATENCY:
            yield from _forecast(timeline, objective, users, at, extrapolates=extrapolates)


def _forecast(
    timeline: Timeline, objective: Objective, users: Floats, at: Ints, *, extrapolates: bool
) -> Iterator[Note]:
    within_s, target, name = float(objective.within_s or 0), float(objective.target or 0), objective.name
    match = objective.match.of_any_user()  # a timeline has no user classes
    covered = [endpoint for endpoint in timeline.endpoints if match.covers(endpoint.method, endpoint.name, "")]
    requests = merged(covered, len(timeline))
    bins = len(users)
    where, bucket = at[requests.cells[:, 0]], requests.cells[:, 1]
    is_fast = np.append(timeline.bounds <= within_s * (1 + 1e-9), False)
    total = binned(requests.weights, where, bins)
    good = binned(requests.weights * is_fast[bucket], where, bins)
    measured = total >= 20
    if measured.sum() < 6:
        return
    order = np.argsort(users[measured], kind="stable")
    load, missed = users[measured][order], (good[measured] / total[measured])[order] < target
    if missed.mean() > 0.02 and missed[-max(3, len(missed) // 10) :].mean() > 0.5:
        # The load with the largest difference between the shares of bins above and below it that miss the objective.
        rate = [missed[index:].mean() - missed[:index].mean() for index in range(1, len(missed))]
        at_users = float(load[int(np.argmax(rate)) + 1])
        if at_users <= load[0] * 1.05:
            text = f"{name} is missed at every load of this run, from {load[0]:.0f} users on."
        else:
            text = f"{name} ({objective.sentence}) is missed from about {at_users:.0f} users on, as measured."
        yield Note("objective", text, {"slo": name, "users": at_users, "is_measured": True})
    elif extrapolates:
        quantile_s = quantiles(timeline, requests, at, bins, [target])[0]
        upper = measured & (users >= np.median(users[measured]))
        fitted = line(users[upper], quantile_s[upper])
        if fitted.slope <= 0 or fitted.r2 < 0.5:
            return
        at_users = (within_s - fitted.intercept) / fitted.slope
        figures = {"slo": name, "users": at_users, "is_measured": False}
        if load[-1] < at_users <= 2 * load[-1]:
            text = f"{name} ({objective.sentence}) would be missed at about {at_users:.0f} users by a linear growth."
            yield Note("objective", text, figures)
        elif at_users > 0:
            text = f"{name} would only be missed above twice the {load[-1]:.0f} users of this run, if at all."
            yield Note("objective", text, {**figures, "users": None})
