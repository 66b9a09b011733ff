"""Tests of the sawtooth."""

from __future__ import annotations

import numpy as np
import pytest

from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Pattern
from locust_otel.review.analysis.timeline import Floats
from tests.unit.timelines import made, saturated, stairs, stalled


@pytest.mark.parametrize("users", [stairs(300), np.full(360, 200.0), np.linspace(20, 300, 360)])
def test_stalls(users: Floats) -> None:
    """Stalls at regular intervals are named at any load, with their period and length."""
    finding = analyze(made(users, {"/a": stalled, "/b": stalled})).main
    assert finding.pattern is Pattern.SAWTOOTH
    assert finding.figures["period_s"] == pytest.approx(17, rel=0.05)
    assert finding.figures["stall_s"] == pytest.approx(3, rel=0.1)
    assert abs(finding.figures["correlation_with_users"]) < 0.3


def test_periodic_load() -> None:
    """Latency that follows periodic load is not a sawtooth."""
    users = np.where(np.arange(400) % 40 < 20, 100.0, 400.0)
    analysis = analyze(made(users, {"/a": saturated, "/b": saturated}))
    assert Pattern.SAWTOOTH not in {finding.pattern for finding in analysis.findings}
