"""What is no pattern and yet worth a sentence: warm-up, the generator, steps and recovery, objectives to be missed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from locust_otel.review.analysis.finding import FIXES, Finding, Note, Pattern, seconds
from locust_otel.review.analysis.loads import Points
from locust_otel.review.analysis.statistics import change_points, line
from locust_otel.review.analysis.timeline import Floats, Ints, Timeline, binned, even_bins, merged, quantiles
from locust_otel.slo.objectives import Objective, Sli

_BUSY = 0.9
_MOST_LEVELS = 12
_BAND = 1.3  # times the usual latency within which one has recovered


def generator(timeline: Timeline) -> Note | None:
    """Return what the load generator itself did not manage."""
    behind = ~timeline.keeps_up
    cpu = float(np.nanmax(timeline.cpu)) if np.isfinite(timeline.cpu).any() else np.nan
    if not behind.any():
        return None
    since_s = float(timeline.start_s[int(np.argmax(behind))])
    busy = f"; its busiest process used {cpu:.0%} of a core" if np.isfinite(cpu) and cpu >= _BUSY else ""
    return Note(
        "generator",
        f"The load generator fell behind in {behind.mean():.0%} of the run, first at {since_s:.0f} s{busy}: its "
        "latencies are partly its own then. More workers, or fewer users on each.",
        {"share": float(behind.mean()), "since_s": since_s},
    )


def warmup(of: Points) -> Note | None:
    """Return how long the start of the run differs from what follows: MSER-5 (White 1997) on bins of 5 s."""
    if len(of) < 12:
        return None
    values = of.latency_s
    half = len(values) // 2
    errors = [float(np.var(values[cut:]) / (len(values) - cut)) for cut in range(half)]
    cut = int(np.argmin(errors))
    if not 0 < cut <= len(values) // 3:
        return None
    before_s, after_s = float(np.mean(values[:cut])), float(np.median(values[cut : cut + half]))
    if before_s < 1.3 * after_s:
        return None
    until_s = float(of.time_s[cut])
    return Note(
        "warm-up",
        f"The first {until_s:.0f} s are a warm-up: {seconds(before_s)} on average, {seconds(after_s)} afterwards.",
        {"until_s": until_s, "before_s": before_s, "after_s": after_s},
    )


def steps(timeline: Timeline, of: Points) -> Iterator[Finding | Note]:
    """Yield steps of latency at the same load, and how long it took to recover from them."""
    if len(of) < 8:
        return
    logs = np.log(of.latency_s)
    edges = [0, *change_points(logs, min_length=2, strength=8.0), len(logs)]
    levels = [(a, b, float(np.median(of.latency_s[a:b]))) for a, b in pairwise(edges)]
    if len(levels) > _MOST_LEVELS:
        return  # that is no step any more
    usual_s = levels[0][2]
    index = 1
    while index < len(levels):
        first, _, level_s = levels[index]
        before, after = float(of.users[first - 1]), float(np.median(of.users[first : first + 3]))
        if level_s < 1.5 * levels[index - 1][2] or abs(after - before) > 0.1 * max(before, 1):
            index += 1
            continue
        since_s = (float(of.time_s[first - 1]) + float(of.time_s[first])) / 2
        last = index
        while last + 1 < len(levels) and levels[last + 1][2] > _BAND * usual_s:
            last += 1
        worst_s = max(level for _, _, level in levels[index : last + 1])
        ended = last + 1 < len(levels)
        until_s = float(of.time_s[levels[last + 1][0]]) if ended else None
        mark = _mark(timeline, since_s)
        evidence = [
            f"At {since_s:.0f} s latency goes from {seconds(usual_s)} to {seconds(worst_s)} at {after:.0f} users."
        ]
        if until_s is not None:
            evidence.append(f"It is back at {until_s:.0f} s.")
        if mark:
            evidence.append(f"{mark} was marked then.")
        yield Finding(
            Pattern.SHIFT,
            f"At {since_s:.0f} s latency steps up to {seconds(worst_s)} at the same load.",
            tuple(evidence),
            float(np.clip(0.5 + 0.15 * np.log(worst_s / usual_s), 0.4, 0.9)),
            figures={"since_s": since_s, "until_s": until_s, "before_s": usual_s, "after_s": worst_s,
                     "fixes": FIXES[Pattern.SHIFT]},
            since_s=since_s,
        )  # fmt: skip
        if until_s is not None:
            yield _recovery(timeline, since_s, until_s)
        index = last + 2


def _mark(timeline: Timeline, at_s: float) -> str:
    near = [mark for mark in timeline.marks if abs(mark.time_s - at_s) <= 10]
    return repr(min(near, key=lambda mark: abs(mark.time_s - at_s)).mark) if near else ""


def _recovery(timeline: Timeline, since_s: float, until_s: float) -> Note:
    ends = [m for m in timeline.marks if since_s + 5 < m.time_s <= until_s + 5]
    if ends:
        took = max(0.0, until_s - ends[-1].time_s)
        text = f"Recovery took {took:.0f} s after {ends[-1].mark!r} at {ends[-1].time_s:.0f} s."
        return Note("recovery", text, {"seconds": took, "since_s": ends[-1].time_s})
    text = f"Latency was raised for {until_s - since_s:.0f} s, from {since_s:.0f} s to {until_s:.0f} s."
    return Note("recovery", text, {"seconds": until_s - since_s, "since_s": since_s})


def forecasts(timeline: Timeline, of: Points, *, extrapolates: bool) -> Iterator[Note]:
    """Yield for each latency objective the users at which it is missed, measured or foreseen."""
    slo = timeline.slo
    if slo is None or len(of) < 6:
        return
    at, bins = even_bins(timeline, 5.0)
    users = binned(timeline.users * timeline.length_s, at, bins) / np.maximum(binned(timeline.length_s, at, bins), 1e-9)
    kept = timeline.end_s > timeline.warmup_s
    at = np.where(kept, at, -1)
    for objective in slo.objectives:
        if objective.sli is Sli.LATENCY and objective.target is not None:
            note = _forecast(timeline, objective, users, at, extrapolates=extrapolates)
            if note is not None:
                yield note


def _forecast(
    timeline: Timeline, objective: Objective, users: Floats,
    at: Ints, *, extrapolates: bool,
) -> Note | None:  # fmt: skip
    within_s, target = float(objective.within_s or 0), float(objective.target or 0)
    bins = len(users)
    good, total = np.zeros(bins), np.zeros(bins)
    for each in timeline.endpoints:
        if not all(objective.match.covers(each.method, each.name, c) for c in objective.match.user_classes or ("",)):
            continue
        where = at[each.cells[:, 0]]
        inside = where >= 0
        fast = each.cells[:, 1] < len(timeline.bounds)
        fast &= timeline.bounds[np.minimum(each.cells[:, 1], len(timeline.bounds) - 1)] <= within_s * (1 + 1e-9)
        total += np.bincount(where[inside], each.weights[inside], minlength=bins)
        good += np.bincount(where[inside & fast], each.weights[inside & fast], minlength=bins)
    measured = total >= 20
    if measured.sum() < 6:
        return None
    order = np.argsort(users[measured], kind="stable")
    load, share = users[measured][order], (good[measured] / total[measured])[order]
    missed = share < target
    name = objective.name
    if missed.mean() > 0.02 and missed[-max(3, len(missed) // 10) :].mean() > 0.5:
        # The load above which most of the bins miss it.
        rate = np.array([missed[i:].mean() - missed[:i].mean() for i in range(1, len(missed))])
        at_users = float(load[int(np.argmax(rate)) + 1])
        if at_users <= load[0] * 1.05:
            text = f"{name} is missed at every load of this run, from {load[0]:.0f} users on."
        else:
            text = f"{name} ({objective.sentence}) is missed from about {at_users:.0f} users on, as measured."
        return Note("objective", text, {"slo": name, "users": at_users, "is_measured": True})
    if not extrapolates:
        return None
    quantile_s = _quantile(timeline, objective, at, bins, target)
    usable = measured & np.isfinite(quantile_s)
    upper = usable & (users >= np.median(users[usable]))
    fitted = line(users[upper], quantile_s[upper])
    if fitted.slope <= 0 or fitted.r2 < 0.5:
        return None
    foreseen = (within_s - fitted.intercept) / fitted.slope
    if not load[-1] < foreseen <= 2 * load[-1]:
        text = f"{name} would be missed beyond twice the {load[-1]:.0f} users measured, if at all."
        return Note("objective", text, {"slo": name, "users": None, "is_measured": False}) if foreseen > 0 else None
    text = f"{name} ({objective.sentence}) would be missed at about {foreseen:.0f} users if the growth goes on."
    return Note("objective", text, {"slo": name, "users": foreseen, "is_measured": False})


def _quantile(timeline: Timeline, objective: Objective, at: Ints, bins: int, q: float) -> Floats:
    chosen = [e for e in timeline.endpoints if not objective.match.names or e.name in objective.match.names]
    result: Floats = quantiles(timeline, merged(chosen, len(timeline)), at, bins, [q])[0]
    return result
