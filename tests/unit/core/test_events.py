"""Tests of events: what one is, and a bounded rate."""

from __future__ import annotations

from time import time

import pytest

from locust_otel.core.events import Event, RateLimit


def test_defaults() -> None:
    """An event is of now, for information, without attributes and trace, and cannot be changed."""
    before = time()
    event = Event("locust.run.start", "text")
    assert before <= event.timestamp <= time()
    assert (event.severity, dict(event.attributes), event.trace_id, event.span_id) == ("INFO", {}, "", "")
    with pytest.raises(AttributeError):
        event.body = "other"  # type: ignore[misc]
    assert Event("a", "b").attributes is not event.attributes


class Clock:
    """A clock to turn."""

    now = 50.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


def test_rate() -> None:
    """A burst of ten, then one a second, and after a long pause again no more than the burst."""
    clock = Clock()
    rate = RateLimit(clock=clock)
    assert [rate.allows() for _ in range(12)] == [True] * 10 + [False] * 2
    clock.now += 0.5
    assert not rate.allows()
    clock.now += 0.5
    assert [rate.allows(), rate.allows()] == [True, False]
    clock.now += 3600
    assert [rate.allows() for _ in range(12)] == [True] * 10 + [False] * 2


@pytest.mark.parametrize("burst", [1, 10, 50])
def test_rate_in_the_long_run(burst: float) -> None:
    """Over an hour of steady demand the burst and one a second are allowed; refused ones count for nothing."""
    clock = Clock()
    rate = RateLimit(burst, clock)
    allowed = 0
    for _ in range(3600 * 8):
        allowed += rate.allows()
        clock.now += 1 / 8
    assert allowed == pytest.approx(burst + 3600, abs=2)
