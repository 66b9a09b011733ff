"""Tests of linear growth and of the cliff."""

from __future__ import annotations

import numpy as np
import pytest

from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Pattern
from tests.unit.timelines import capped, flat, made, saturated, stairs


def test_linear() -> None:
    """A shared resource gives linear growth, with the cost of each request in flight and the capacity."""
    finding = analyze(made(stairs(400), {"/a": saturated, "/b": saturated})).main
    assert finding.pattern is Pattern.LINEAR
    assert finding.is_certain
    assert finding.figures["slope_s_per_request_in_flight"] == pytest.approx(0.01, rel=0.15)
    assert finding.figures["capacity_rps"] == pytest.approx(100, rel=0.15)
    low, capacity, high = (finding.figures[f"capacity_{part}rps"] for part in ("low_", "", "high_"))
    assert low <= capacity <= high


def test_cliff() -> None:
    """A limit gives a cliff, with its knee in users and requests/s."""
    analysis = analyze(made(stairs(480), {"/a": capped, "/b": capped}))
    assert analysis.main.pattern is Pattern.CLIFF
    assert analysis.main.is_certain
    assert analysis.knee["rps"] == pytest.approx(100, rel=0.1)
    assert analysis.knee["users"] == pytest.approx(305, rel=0.1)


def test_cliff_of_errors() -> None:
    """Requests that fail above some load are a cliff, even if they are fast."""
    users = stairs(400)
    finding = analyze(made(users, {"/a": flat(), "/b": flat()}, failing=np.where(users > 300, 0.4, 0.0))).main
    assert finding.pattern is Pattern.CLIFF
    assert finding.figures["failure_onset_users"] == pytest.approx(350, rel=0.15)
