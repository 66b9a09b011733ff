"""Tests of the faults of the demo shop: their effects, and the errors of wrong ones."""

from __future__ import annotations

import random
import statistics

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.demo.faults import FAULTS, RequestContext, available, build, parse


def context(age_s: float = 0, in_flight: int = 1, service_s: float = 0.03) -> RequestContext:
    """Return a request as a fault sees it."""
    return RequestContext(age_s, in_flight, service_s)


@pytest.mark.parametrize(
    ("text", "request_", "work_s", "delay_s"),
    [
        ("latency:added_s=0.2", context(), 0, 0.2),
        ("slow-endpoint:factor=4,added_s=0.1", context(service_s=0.03), 0.19, 0),
        ("saturation:per_request_s=0.02", context(in_flight=1), 0, 0.02),
        ("saturation:per_request_s=0.02", context(in_flight=50), 0, 1.0),
        ("leak:per_minute_s=0.3", context(age_s=0), 0, 0),
        ("leak:per_minute_s=0.3", context(age_s=150), 0, 0.75),
        ("errors", context(), 0, 0),
    ],
)
def test_added_times(text: str, request_: RequestContext, work_s: float, delay_s: float) -> None:
    """Each fault adds its time on the worker or after it, and nothing else."""
    fault = parse(text)
    assert fault.work_s(request_) == pytest.approx(work_s)
    assert fault.delay_s(request_, random.Random(1)) == pytest.approx(delay_s)


@pytest.mark.parametrize(("added_s", "jitter_s", "low", "high"), [(0.2, 0.1, 0.1, 0.3), (0.01, 1, 0, 1.01)])
def test_jitter(added_s: float, jitter_s: float, low: float, high: float) -> None:
    """Delays fill the range of the jitter, and are never negative."""
    fault, rng = build("latency", {"added_s": added_s, "jitter_s": jitter_s}), random.Random(1)
    delays = [fault.delay_s(context(), rng) for _ in range(2000)]
    assert (min(delays), max(delays)) == pytest.approx((low, high), abs=0.001 + 0.01 * jitter_s)
    assert min(delays) >= low
    assert statistics.mean(delays) == pytest.approx(0.2 if low else 0.255, abs=0.02)


@pytest.mark.parametrize("ratio", [0, 0.05, 1])
def test_ratios(ratio: float) -> None:
    """Of 10,000 requests the ratio is hit within four standard deviations, at the ends exactly."""
    expected = pytest.approx(10_000 * ratio, abs=88 if 0 < ratio < 1 else 0)
    rng = random.Random(7)
    errors, refuse = build("errors", {"ratio": ratio, "status": 502}), build("refuse", {"ratio": ratio})
    statuses = [errors.forced_status(rng) for _ in range(10_000)]
    assert statuses.count(502) == expected
    assert set(statuses) <= {502, None}
    assert sum(refuse.refuses(rng) for _ in range(10_000)) == expected


def test_effects_that_a_fault_does_not_have() -> None:
    """Without its own effect, a fault neither holds, nor shrinks the pool, nor forces a status, nor refuses."""
    fault, rng = parse("leak"), random.Random(1)
    assert (fault.hold_s(30), fault.pool_size(8), fault.forced_status(rng), fault.refuses(rng)) == (0, 8, None, False)


@pytest.mark.parametrize(("connections", "expected"), [(1, 1), (3, 3), (99, 8)])
def test_the_pool_only_shrinks(connections: int, expected: int) -> None:
    """The pool has the size of the fault if that is smaller than the usual 8."""
    assert build("pool-cliff", {"connections": connections}).pool_size(8) == expected


@pytest.mark.parametrize(
    ("age_s", "left_s"),
    [(0, 0), (1, 0), (9.9, 0), (10, 2), (11.5, 0.5), (12, 0), (19.9, 0), (20, 2), (21, 1), (22, 0)],
)
def test_stall_holds_at_the_start_of_each_period_after_the_first(age_s: float, left_s: float) -> None:
    """With period 10 s and duration 2 s all requests wait from 10 to 12 s, from 20 to 22 s and so on."""
    fault = build("stall", {"period_s": 10, "duration_s": 2})
    assert fault.hold_s(age_s) == pytest.approx(left_s)


def test_parse_reads_the_command_line_form() -> None:
    """`NAME:k=v,k=v` gives the same fault as the name and typed parameters."""
    assert parse("errors:ratio=0.2,status=503,route=/api/orders") == build(
        "errors", {"ratio": 0.2, "status": 503, "route": "/api/orders"}
    )
    assert parse("stall") == build("stall", {"period_s": 20, "duration_s": 3})


@pytest.mark.parametrize(
    ("text", "slug", "listed"),
    [
        ("nope", "fault-name", "latency, errors, pool-cliff, stall, slow-endpoint, saturation, leak, refuse"),
        ("errors:share=1", "fault-parameter", "ratio, status, route"),
        ("errors:ratio", "fault-parameter", "key=value"),
        ("errors:ratio=1.5", "fault-value", "from 0 to 1"),
        ("errors:ratio=nan", "fault-value", "from 0 to 1"),
        ("errors:ratio=much", "fault-value", "from 0 to 1"),
        ("errors:ratio=inf", "fault-value", "from 0 to 1"),
        ("errors:status=500.5", "fault-value", "a whole number from 400 to 599"),
        ("latency:added_s=-1", "fault-value", "from 0 up"),
        ("latency:route=/nowhere", "fault-value", "/api/products/[id]"),
        ("slow-endpoint:route=", "fault-value", "/api/products/[id]"),
        ("pool-cliff:connections=0", "fault-value", "a whole number from 1 up"),
        ("stall:period_s=2,duration_s=2", "fault-value", "duration_s 2 is not below period_s 2"),
    ],
)
def test_a_wrong_fault_is_refused(text: str, slug: str, listed: str) -> None:
    """Each mistake has a slug and a message with the right names or the range."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert caught.value.slug == slug
    assert listed in str(caught.value)


@pytest.mark.parametrize("value", [True, None, [0.5]])
def test_json_values_that_are_not_numbers_are_refused(value: object) -> None:
    """Booleans, null and lists are not ratios."""
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        build("errors", {"ratio": value})


def test_available_describes_each_parameter_with_its_unit() -> None:
    """All faults are described, each with a summary and its parameters."""
    described = {str(entry["name"]): entry for entry in available()}
    assert list(described) == list(FAULTS)
    assert described["leak"]["parameters"] == [
        {
            "name": "per_minute_s",
            "unit": "s/min",
            "default": 0.1,
            "meaning": "seconds added for each minute since activation",
        },
        {"name": "route", "unit": "route", "default": "", "meaning": "only this route; empty: all"},
    ]
