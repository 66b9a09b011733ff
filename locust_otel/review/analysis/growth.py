"""Linear or cliff: how latency follows the load, where it does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from locust_otel.review.analysis.finding import FIXES, Finding, Pattern, seconds
from locust_otel.review.analysis.loads import Points, low_and_high
from locust_otel.review.analysis.statistics import Bend, bend, line, scalability
from locust_otel.review.analysis.timeline import Floats

LEAST_GROWTH = 1.5
"""Times the latency at little load from which one speaks of a degradation."""

LEAST_VARIATION = 1.5
"""Times the lowest load that the highest must be for a growth to be seen."""

_LEAST_FAILING = 0.02
_LINEAR_BELOW = 1.7  # sharpness of the bend, half way between a straight line and the softest cliff
_LEAST_SHORTFALL = 0.1
_ROUNDS = 24


@dataclass(frozen=True, slots=True)
class Growth:
    """How latency and failures differ between little and much load.

    Attributes:
        times: Latency at much load over that at little.
        rank: Spearman's correlation of latency with users.
        failing: Share of failures at much load minus that at little.
    """

    low_s: float
    high_s: float
    times: float
    rank: float
    failing: float

    @property
    def is_there(self) -> bool:
        """Whether the load makes a difference."""
        by_latency = self.times >= LEAST_GROWTH and self.rank >= 0.4
        return by_latency or self.failing >= _LEAST_FAILING


def growth(of: Points) -> Growth:
    """Return how latency grows with load; there must be several loads."""
    low, high = low_and_high(of)
    low_s, high_s = float(np.median(of.latency_s[low])), float(np.median(of.latency_s[high]))
    rank = float(np.nan_to_num(stats.spearmanr(of.users, of.latency_s)[0])) if np.ptp(of.latency_s) else 0.0
    failing = float(np.mean(of.failing[high]) - np.mean(of.failing[low]))
    return Growth(low_s, high_s, high_s / low_s, rank, failing)


def shape(of: Points) -> tuple[Finding, dict[str, float]]:
    """Return whether the growth is linear or a cliff, and the knee of it: users, requests/s, latency."""
    grown = growth(of)
    fitted, sharp = bend(of.concurrency, of.latency_s), _resampled(of)
    straight = bend(of.concurrency, of.latency_s, sharpness=1.0)
    cliffs = float(np.mean(sharp[:, 2] > _LINEAR_BELOW))
    onset = failure_onset(of)
    is_cliff = cliffs > 0.5 or (grown.times < LEAST_GROWTH and onset is not None)
    think_s = _think(of, fitted)
    share = cliffs if is_cliff else 1 - cliffs
    reach = min(1.0, np.log(max(grown.times, grown.times + 10 * grown.failing)) / np.log(3))
    confidence = float(np.clip(0.2 + 0.45 * share + 0.35 * reach - min(fitted.error, 0.3), 0.2, 0.98))
    if is_cliff and onset is None and grown.times < 3 and _shortfall(of, fitted, think_s) < _LEAST_SHORTFALL:
        confidence = min(confidence, 0.45)  # slower at the top, but nothing collapsed
    capacity = _capacity(of, fitted) if is_cliff else fitted.capacity
    ends = np.quantile(sharp[:, 1], [0.025, 0.975])
    knee = {
        "users": capacity * (fitted.base_s + think_s),
        "rps": capacity,
        "latency_s": fitted.base_s,
        "low_rps": float(min(ends[0], capacity)),
        "high_rps": float(max(ends[1], capacity)),
    }
    if is_cliff:
        return _cliff(of, grown, fitted, knee, confidence, onset), knee
    return _linear(of, grown, straight, confidence, think_s), {}


def _resampled(of: Points) -> Floats:
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(_ROUNDS):
        chosen = rng.integers(0, len(of), len(of))
        rows.append(bend(of.concurrency[chosen], of.latency_s[chosen])[:3])
    return np.array(rows)


def _think(of: Points, fitted: Bend) -> float:
    """Return the seconds a user does not wait for answers, by the interactive response time law: Z = N / X - R."""
    easy = of.rps < 0.7 * fitted.capacity
    chosen = easy if easy.any() else np.ones(len(of), bool)
    return max(0.0, float(np.median(of.users[chosen] / of.all_rps[chosen] - of.all_s[chosen])))


def _shortfall(of: Points, fitted: Bend, think_s: float) -> float:
    """Return the share of the throughput that is missing at the most load, beside users who never wait."""
    _, high = low_and_high(of)
    unhindered = of.users[high] / (fitted.base_s + think_s)
    return 1 - float(np.median(of.rps[high] / unhindered))


def _capacity(of: Points, fitted: Bend) -> float:
    """Return the throughput at which it stays beyond the knee, if it was measured there."""
    beyond = of.concurrency > 1.5 * fitted.capacity * fitted.base_s
    return float(np.median(of.rps[beyond])) if beyond.sum() >= 3 else fitted.capacity


def failure_onset(of: Points) -> float | None:
    """Return the users from which on requests fail, more than 5 % of them; None where they do not."""
    failing = of.failing > 0.05
    if failing.sum() < 2:
        return None
    onset = float(np.quantile(of.users[failing], 0.1))
    below = of.users < onset
    return onset if below.any() and float(np.mean(failing[below])) < 0.2 else None


def _cliff(  # noqa: PLR0913, PLR0917  # what it is told from
    of: Points, grown: Growth, fitted: Bend, knee: dict[str, float], confidence: float, onset: float | None
) -> Finding:
    below = of.users < 0.85 * knee["users"]
    fine_s = float(np.median(of.latency_s[below])) if below.any() else fitted.base_s
    evidence = [
        f"Up to about {knee['users']:.0f} users requests take {seconds(fine_s)}; at {of.users.max():.0f} users they "
        f"take {seconds(grown.high_s)}.",
    ]
    if grown.times >= LEAST_GROWTH:
        evidence.append(
            f"Throughput stays at {knee['rps']:.0f} requests/s (95 % interval {knee['low_rps']:.0f}–"
            f"{knee['high_rps']:.0f}) whatever is added; the bend is sharp (exponent {fitted.sharpness:.1f}, where 1 "
            "is a straight line)."
        )
    if onset is not None:
        evidence.append(f"From {onset:.0f} users on requests fail, {of.failing.max():.0%} of them at the worst.")
    law = scalability(of.concurrency, of.rps)
    return Finding(
        Pattern.CLIFF,
        f"Fine up to about {knee['users']:.0f} users ({knee['rps']:.0f} requests/s), then a collapse.",
        tuple(evidence),
        confidence,
        figures={
            "knee_users": knee["users"], "capacity_rps": knee["rps"], "capacity_low_rps": knee["low_rps"],
            "capacity_high_rps": knee["high_rps"], "sharpness": fitted.sharpness, "base_s": fitted.base_s,
            "failure_onset_users": onset, "usl": law._asdict(), "fixes": FIXES[Pattern.CLIFF],
        },
        since_s=float(of.time_s[over[0]]) if len(over := np.flatnonzero(of.users >= knee["users"])) else None,
    )  # fmt: skip


def _linear(of: Points, grown: Growth, straight: Bend, confidence: float, think_s: float) -> Finding:
    by_users = line(of.users, of.latency_s)
    by_flight = line(of.concurrency, of.latency_s)
    law = scalability(of.concurrency, of.rps)
    evidence = [
        f"Latency is {seconds(grown.low_s)} at {of.users.min():.0f} users and {seconds(grown.high_s)} at "
        f"{of.users.max():.0f}: {seconds(by_users.slope * 100)} for each 100 users (R² {by_users.r2:.2f}).",
        f"Each request in flight adds {seconds(by_flight.slope)} to the others (R² {by_flight.r2:.2f}), from the first "
        "one on.",
    ]
    if np.isfinite(law.peak):
        capped = "" if law.high > 3 * law.peak else f" (95 % interval {law.low:.0f}–{law.high:.0f})"
        evidence.append(f"By the Universal Scalability Law throughput cannot pass {law.peak:.0f} requests/s{capped}.")
    return Finding(
        Pattern.LINEAR,
        f"Latency grows with the load: {seconds(grown.low_s)} at {of.users.min():.0f} users, {seconds(grown.high_s)} "
        f"at {of.users.max():.0f}.",
        tuple(evidence),
        confidence,
        figures={
            "slope_s_per_user": by_users.slope, "r2": by_users.r2, "slope_s_per_request_in_flight": by_flight.slope,
            "r2_in_flight": by_flight.r2, "base_s": straight.base_s, "capacity_rps": law.peak,
            "capacity_low_rps": law.low, "capacity_high_rps": law.high, "think_s": think_s, "usl": law._asdict(),
            "fixes": FIXES[Pattern.LINEAR],
        },
    )  # fmt: skip
