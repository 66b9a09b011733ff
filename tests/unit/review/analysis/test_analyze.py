"""Tests of the order of the detectors, and of the reasons to name no pattern."""

from __future__ import annotations

import numpy as np
import pytest

from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Pattern
from locust_otel.review.analysis.timeline import Floats
from tests.unit.timelines import capped, drifting, flat, made, saturated, stairs


@pytest.mark.parametrize("latency", [saturated, drifting])
def test_a_ramp_does_not_distinguish_growth_from_drift(latency: object) -> None:
    """On a ramp growth and drift look the same, and the finding is not certain."""
    finding = analyze(made(np.linspace(20, 400, 360), {"/a": latency, "/b": latency})).main  # type: ignore[dict-item]
    assert finding.pattern in (Pattern.LINEAR, Pattern.LEAK)
    assert not finding.is_certain
    assert "drift" in " ".join(finding.evidence)


def test_a_weak_pattern() -> None:
    """A finding with low confidence is the second one; the first says that no pattern can be named."""
    weak, cliff = analyze(made(stairs(308), {"/a": capped, "/b": capped})).findings
    assert (weak.pattern, weak.figures["reason"]) == (Pattern.UNKNOWN, "weak")
    assert (cliff.pattern, cliff.confidence_word) == (Pattern.CLIFF, "low")


@pytest.mark.parametrize("seed", range(5))
def test_none(seed: int) -> None:
    """Constant latency has no pattern."""
    analysis = analyze(made(stairs(300), {"/a": flat(), "/b": flat(0.02)}, seed=seed, noise=0.2))
    assert [finding.pattern for finding in analysis.findings] == [Pattern.NONE]
    assert {endpoint.pattern for endpoint in analysis.endpoints} == {Pattern.NONE}


def test_a_soak_without_drift() -> None:
    """A long run at constant load has no pattern, and says nothing about other loads."""
    finding = analyze(made(np.full(1200, 100.0), {"/a": flat(), "/b": flat()})).main
    assert finding.pattern is Pattern.NONE
    assert "other loads" in " ".join(finding.evidence)


@pytest.mark.parametrize(
    ("users", "keeps_up", "failing", "reason"),
    [
        (stairs(100)[:0], True, 0, "too-short"),
        (stairs(300)[:20], True, 0, "too-short"),
        (stairs(300, 35, 8, 4), True, 0, "too-short"),  # for the bins with a settled load
        (np.full(120, 100.0), True, 0, "no-variation"),
        (np.full(120, 1.0), True, 0, "too-few"),
        (stairs(300), np.arange(360) < 250, 0, "generator"),
        (stairs(300), True, 1, "all-failed"),
    ],
)
def test_reasons_to_name_no_pattern(users: Floats, keeps_up: bool | Floats, failing: float, reason: str) -> None:
    """A run that cannot show a pattern is refused with the reason."""
    share = np.full(len(users), float(failing))
    finding = analyze(made(users, {"/a": flat(), "/b": flat()}, keeps_up=keeps_up, failing=share)).main
    assert (finding.pattern, finding.figures["reason"]) == (Pattern.UNKNOWN, reason)
    assert finding.summary.startswith("Cannot tell, because ")
