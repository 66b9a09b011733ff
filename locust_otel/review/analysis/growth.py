"""Linear growth or cliff: the shape in which latency follows the load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from locust_otel.core.words import duration
from locust_otel.review.analysis.finding import Finding, Pattern
from locust_otel.review.analysis.statistics import Bend, bend, line, resampled, scalability
from locust_otel.review.analysis.timeline import Points, low_and_high

LEAST_GROWTH = 1.5
"""Times the latency at low load from which it is a degradation."""

LEAST_VARIATION = 1.5
"""Times the lowest load that the highest load must be to show a growth."""

_LEAST_FAILING = 0.02
_LINEAR_BELOW = 1.7  # sharpness of the bend, half way between a straight line and the softest cliff
_LEAST_SHORTFALL = 0.1


@dataclass(frozen=True, slots=True)
class Growth:
    """Difference of latency and failures between low and high load."""

    low_s: float
    high_s: float
    rank: float  # Spearman's correlation of latency with users
    failing: float  # share of failures at high load minus that at low load

    @property
    def times(self) -> float:
        """Latency at high load over that at low load."""
        return self.high_s / self.low_s

    @property
    def is_there(self) -> bool:
        """True if the load makes a difference."""
        return (self.times >= LEAST_GROWTH and self.rank >= 0.4) or self.failing >= _LEAST_FAILING


def growth(load: Points) -> Growth:
    """Return how latency grows with load; the points must have several loads."""
    low, high = low_and_high(load)
    low_s, high_s = float(np.median(load.latency_s[low])), float(np.median(load.latency_s[high]))
    rank = float(np.nan_to_num(stats.spearmanr(load.users, load.latency_s)[0])) if np.ptp(load.latency_s) else 0.0
    failing = float(np.mean(load.failing[high]) - np.mean(load.failing[low]))
    return Growth(low_s, high_s, rank, failing)


def shape(load: Points) -> Finding:
    """Return the finding: linear growth, or a cliff with its knee."""
    grown = growth(load)
    fitted = bend(load.concurrency, load.latency_s)
    bends = [bend(load.concurrency[chosen], load.latency_s[chosen]) for chosen in resampled(len(load))]
    cliffs = float(np.mean([fit.sharpness > _LINEAR_BELOW for fit in bends]))
    onset = failure_onset(load)
    is_cliff = cliffs > 0.5 or (grown.times < LEAST_GROWTH and onset is not None)
    easy = load.rps < 0.7 * fitted.capacity
    think_s = max(0.0, float(np.median(load.think_s[easy] if easy.any() else load.think_s)))
    share = cliffs if is_cliff else 1 - cliffs
    reach = min(1.0, np.log(max(grown.times, grown.times + 10 * grown.failing)) / np.log(3))
    confidence = float(np.clip(0.2 + 0.45 * share + 0.35 * reach - min(fitted.error, 0.3), 0.2, 0.98))
    if not is_cliff:
        return _linear(load, grown, confidence, think_s)
    if onset is None and grown.times < 3 and _shortfall(load, fitted, think_s) < _LEAST_SHORTFALL:
        confidence = min(confidence, 0.45)  # slower at the highest load, but no collapse
    beyond = load.concurrency > 1.5 * fitted.capacity * fitted.base_s
    capacity = float(np.median(load.rps[beyond])) if beyond.sum() >= 3 else fitted.capacity  # measured, if possible
    low_rps, high_rps = np.quantile([fit.capacity for fit in bends], [0.025, 0.975])
    figures = {
        "knee_users": capacity * (fitted.base_s + think_s), "capacity_rps": capacity,
        "capacity_low_rps": float(min(low_rps, capacity)), "capacity_high_rps": float(max(high_rps, capacity)),
        "sharpness": fitted.sharpness, "base_s": fitted.base_s, "failure_onset_users": onset,
    }  # fmt: skip
    return _cliff(load, grown, confidence, figures)


def _shortfall(load: Points, fitted: Bend, think_s: float) -> float:
    """Return the share of the throughput at high load that is missing, compared with users who never wait."""
    _, high = low_and_high(load)
    unhindered = load.users[high] / (fitted.base_s + think_s)
    return 1 - float(np.median(load.rps[high] / unhindered))


def failure_onset(load: Points) -> float | None:
    """Return the number of users from which more than 5 % of the requests fail; None without such failures."""
    failing = load.failing > 0.05
    if failing.sum() < 2:
        return None
    onset = float(np.quantile(load.users[failing], 0.1))
    below = load.users < onset
    return onset if below.any() and float(np.mean(failing[below])) < 0.2 else None


def _cliff(load: Points, grown: Growth, confidence: float, figures: dict[str, Any]) -> Finding:
    users, rps, onset = figures["knee_users"], figures["capacity_rps"], figures["failure_onset_users"]
    below = load.users < 0.85 * users
    fine_s = float(np.median(load.latency_s[below])) if below.any() else figures["base_s"]
    evidence = [
        f"Up to about {users:.0f} users requests take {duration(fine_s)}; at {load.users.max():.0f} users they take "
        f"{duration(grown.high_s)}."
    ]
    if grown.times >= LEAST_GROWTH:
        evidence.append(
            f"With more users throughput stays at {rps:.0f} requests/s (95 % interval "
            f"{figures['capacity_low_rps']:.0f}–{figures['capacity_high_rps']:.0f}). The bend is sharp (exponent "
            f"{figures['sharpness']:.1f}; 1 is a straight line)."
        )
    if onset is not None:
        evidence.append(f"From {onset:.0f} users on requests fail, up to {load.failing.max():.0%} of them.")
    beyond = load.time_s[load.users >= users]
    return Finding(
        Pattern.CLIFF,
        f"The service collapses above about {users:.0f} users ({rps:.0f} requests/s).",
        tuple(evidence),
        confidence,
        figures={**figures, "usl": scalability(load.concurrency, load.rps)._asdict()},
        since_s=float(beyond[0]) if len(beyond) else None,
    )


def _linear(load: Points, grown: Growth, confidence: float, think_s: float) -> Finding:
    by_users = line(load.users, load.latency_s)
    by_flight = line(load.concurrency, load.latency_s)
    law = scalability(load.concurrency, load.rps)
    few = f"{duration(grown.low_s)} at {load.users.min():.0f} users"
    many = f"{duration(grown.high_s)} at {load.users.max():.0f}"
    evidence = [
        f"Latency is {few} and {many}: {duration(by_users.slope * 100)} for each 100 users (R² {by_users.r2:.2f}).",
        f"Each request in flight adds {duration(by_flight.slope)} to each other request (R² {by_flight.r2:.2f}).",
    ]
    if np.isfinite(law.peak):
        capped = "" if law.high > 3 * law.peak else f" (95 % interval {law.low:.0f}–{law.high:.0f})"
        evidence.append(f"By the Universal Scalability Law throughput is at most {law.peak:.0f} requests/s{capped}.")
    return Finding(
        Pattern.LINEAR,
        f"Latency grows with the load: {few}, {many}.",
        tuple(evidence),
        confidence,
        figures={
            "slope_s_per_user": by_users.slope, "r2": by_users.r2, "slope_s_per_request_in_flight": by_flight.slope,
            "r2_in_flight": by_flight.r2, "base_s": bend(load.concurrency, load.latency_s, sharpness=1.0).base_s,
            "capacity_rps": law.peak, "capacity_low_rps": law.low, "capacity_high_rps": law.high, "think_s": think_s,
            "usl": law._asdict(),
        },
    )  # fmt: skip
