"""Tests of events and of their rate limit."""

from __future__ import annotations

from time import time

import pytest

from locust_otel.core.events import Event, RateLimit


def test_defaults() -> None:
    """An event has the current time and the severity INFO; attributes are not shared between events."""
    before = time()
    event = Event("locust.run.start", "text")
    assert before <= event.timestamp <= time()
    assert (event.severity, dict(event.attributes), event.trace_id, event.span_id) == ("INFO", {}, "", "")
    assert Event("a", "b").attributes is not event.attributes


class Clock:
    """Clock of a test."""

    now = 50.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_burst() -> None:
    """The limit allows ten events, then one a second, and after a long pause ten again."""
    clock = Clock()
    rate = RateLimit(clock=clock)
    for pause_s, allowed, refused in ((0, 10, 2), (0.5, 0, 1), (0.5, 1, 1), (3600, 10, 2)):
        clock.now += pause_s
        assert [rate.allows() for _ in range(allowed + refused)] == [True] * allowed + [False] * refused


@pytest.mark.parametrize("burst", [1, 10, 50])
def test_long_run(burst: float) -> None:
    """Steady demand over an hour is allowed the burst and one event a second; refused events do not count."""
    clock = Clock()
    rate = RateLimit(burst, clock)
    allowed = 0
    for _ in range(3600 * 8):
        allowed += rate.allows()
        clock.now += 1 / 8
    assert allowed == pytest.approx(burst + 3600, abs=2)
