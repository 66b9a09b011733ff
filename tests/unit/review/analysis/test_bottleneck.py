"""Tests of the slow endpoint."""

from __future__ import annotations

import numpy as np
import pytest

from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Pattern
from tests.unit.timelines import flat, late, made, stairs


def test_an_endpoint_that_gets_slow() -> None:
    """The endpoint is named with the time since when, and its share of the time; the others have no pattern."""
    analysis = analyze(made(stairs(300), {"/a": flat(), "/slow": late, "/b": flat(0.03)}))
    assert (analysis.main.pattern, analysis.main.endpoint) == (Pattern.SLOW_ENDPOINT, "GET /slow")
    assert analysis.main.since_s == pytest.approx(200, abs=10)
    assert analysis.main.figures["share"] == pytest.approx(0.8 / 0.88, rel=0.1)
    assert analysis.main.figures["until_s"] is None
    patterns = {endpoint.endpoint: endpoint.pattern for endpoint in analysis.endpoints}
    assert patterns == {"GET /a": Pattern.NONE, "GET /slow": Pattern.SLOW_ENDPOINT, "GET /b": Pattern.NONE}


def test_an_endpoint_that_is_slow_for_a_while() -> None:
    """The end is in the finding too."""
    latencies = {"/a": flat(), "/slow": lambda time_s, _: np.where((time_s >= 100) & (time_s < 200), 0.8, 0.08)}
    finding = analyze(made(stairs(300), latencies)).main
    assert (finding.pattern, finding.endpoint) == (Pattern.SLOW_ENDPOINT, "GET /slow")
    assert finding.figures["until_s"] == pytest.approx(200, abs=10)


def test_an_endpoint_that_is_slow_from_the_start() -> None:
    """The endpoint is named with less confidence, since it was never faster."""
    finding = analyze(made(stairs(300), {"/a": flat(), "/slow": flat(1.0), "/b": flat(0.03)})).main
    assert (finding.pattern, finding.endpoint, finding.is_certain) == (Pattern.SLOW_ENDPOINT, "GET /slow", False)
