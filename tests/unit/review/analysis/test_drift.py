"""Tests of the leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from locust_otel.review.analysis import drift
from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Pattern
from locust_otel.review.analysis.timeline import Floats, points
from tests.unit.timelines import drifting, flat, made, stairs


@pytest.mark.parametrize("users", [stairs(300), np.full(900, 100.0), stairs(160, 135, 8, 15)])
def test_a_drift_at_constant_load(users: Floats) -> None:
    """A drift at constant load is a leak, and not growth with a load that rose as well."""
    finding = analyze(made(users, {"/a": drifting, "/b": drifting}, noise=0.03)).main
    assert finding.pattern is Pattern.LEAK
    assert finding.figures["slope_s_per_min"] == pytest.approx(0.06, rel=0.2)


def test_latency_without_the_drift() -> None:
    """The removal of a drift gives the latency at the start, and never half of it or less."""
    timeline = made(np.full(300, 100.0), {"/a": flat(0.1)}, noise=0.0)
    load = points(timeline, np.ones(300, bool))
    drifted = replace(load, latency_s=load.latency_s + 0.001 * (load.time_s - load.time_s[0]))
    assert drift.without(drifted, 0.001).latency_s == pytest.approx(load.latency_s)
    assert drift.without(load, 1.0).latency_s[1:] == pytest.approx(0.05, rel=0.01)
