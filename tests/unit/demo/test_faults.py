"""The demo shop's faults and figures as arithmetic: no clock, no network."""

from __future__ import annotations

import random
import statistics

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.demo.active import ActiveFaults
from locust_otel.demo.faults import FAULTS, RequestContext, ShopFault, available, build, parse
from locust_otel.demo.latency import SERVICES, WEBSHOP_MIX, LatencyModel, capacity_rps


def moment(age_s: float = 0, in_flight: int = 1, service_s: float = 0.03) -> RequestContext:
    """A request as a fault sees it."""
    return RequestContext(age_s, in_flight, service_s)


def test_latency_adds_its_seconds_and_spreads_them_by_the_jitter() -> None:
    """Without jitter the delay is exact; with it, delays stay inside ± jitter, fill it, and centre on it."""
    assert build("latency", {"added_s": 0.2}).delay_s(moment(), random.Random(1)) == 0.2
    fault, rng = build("latency", {"added_s": 0.2, "jitter_s": 0.1}), random.Random(1)
    delays = [fault.delay_s(moment(), rng) for _ in range(2000)]
    assert 0.1 <= min(delays) < 0.101
    assert 0.299 < max(delays) <= 0.3
    assert statistics.mean(delays) == pytest.approx(0.2, abs=0.005)


def test_jitter_never_makes_a_negative_delay() -> None:
    """A jitter above the added seconds is cut off at 0."""
    fault, rng = build("latency", {"added_s": 0.01, "jitter_s": 1}), random.Random(1)
    delays = [fault.delay_s(moment(), rng) for _ in range(200)]
    assert min(delays) == 0.0
    assert max(delays) > 0.9


def test_errors_hit_their_ratio_with_their_status() -> None:
    """5 % of 10,000 requests fail within four standard deviations, all with the status asked for."""
    fault, rng = build("errors", {"ratio": 0.05, "status": 502}), random.Random(7)
    hits = [status for _ in range(10_000) if (status := fault.forced_status(rng)) is not None]
    assert len(hits) == pytest.approx(500, abs=88)
    assert set(hits) == {502}


@pytest.mark.parametrize(("ratio", "expected"), [(0, None), (1, 500)])
def test_errors_at_the_ends_of_the_ratio(ratio: float, expected: int | None) -> None:
    """Ratio 0 never fails a request, ratio 1 always does."""
    rng = random.Random(1)
    assert {build("errors", {"ratio": ratio}).forced_status(rng) for _ in range(500)} == {expected}


@pytest.mark.parametrize(("connections", "expected"), [(1, 1), (3, 3), (99, 8)])
def test_pool_cliff_only_shrinks(connections: int, expected: int) -> None:
    """The pool takes the fault's size while that is smaller than the usual 8."""
    assert build("pool-cliff", {"connections": connections}).pool_size(8) == expected


@pytest.mark.parametrize(
    ("age_s", "left_s"),
    [(0, 0), (1, 0), (9.9, 0), (10, 2), (11.5, 0.5), (12, 0), (19.9, 0), (20, 2), (21, 1), (22, 0)],
)
def test_stall_holds_at_the_start_of_each_period_after_the_first(age_s: float, left_s: float) -> None:
    """With period 10 s and duration 2 s everything waits from 10 to 12 s, from 20 to 22 s and so on."""
    fault = build("stall", {"period_s": 10, "duration_s": 2})
    assert fault.hold_s(age_s) == pytest.approx(left_s)


def test_slow_endpoint_multiplies_and_adds() -> None:
    """A 0.03 s request with factor 4 and 0.1 s added takes 0.19 s more on its worker, and no delay off it."""
    fault = build("slow-endpoint", {"route": "/api/products", "factor": 4, "added_s": 0.1})
    assert fault.work_s(moment(service_s=0.03)) == pytest.approx(0.19)
    assert fault.delay_s(moment(service_s=0.03), random.Random(1)) == 0


@pytest.mark.parametrize(("in_flight", "seconds"), [(1, 0.02), (10, 0.2), (50, 1.0)])
def test_saturation_is_linear_in_the_requests_in_flight(in_flight: int, seconds: float) -> None:
    """Ten times the requests in flight take ten times the added seconds."""
    fault = build("saturation", {"per_request_s": 0.02})
    assert fault.delay_s(moment(in_flight=in_flight), random.Random(1)) == pytest.approx(seconds)


@pytest.mark.parametrize(("age_s", "seconds"), [(0, 0), (60, 0.3), (150, 0.75)])
def test_leak_grows_with_the_minutes_since_activation(age_s: float, seconds: float) -> None:
    """0.3 s a minute is 0.75 s after two and a half."""
    fault = build("leak", {"per_minute_s": 0.3})
    assert fault.delay_s(moment(age_s=age_s), random.Random(1)) == pytest.approx(seconds)


def test_refuse_hits_its_ratio() -> None:
    """By default every request is refused, with ratio 0.25 a quarter."""
    rng = random.Random(3)
    assert all(build("refuse", {}).refuses(rng) for _ in range(500))
    quarter = build("refuse", {"ratio": 0.25})
    assert sum(quarter.refuses(rng) for _ in range(4000)) == pytest.approx(1000, abs=110)


def test_every_fault_but_its_own_effect_changes_nothing() -> None:
    """The base fault adds nothing, answers nothing and refuses nothing."""
    rng = random.Random(1)
    base = ShopFault()
    assert (base.work_s(moment()), base.delay_s(moment(), rng), base.hold_s(5), base.pool_size(8)) == (0, 0, 0, 8)
    assert base.forced_status(rng) is None
    assert not base.refuses(rng)


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
        ("errors:status=500.5", "fault-value", "a whole number from 400 to 599"),
        ("latency:added_s=-1", "fault-value", "from 0 up"),
        ("latency:route=/nowhere", "fault-value", "/api/products/[id]"),
        ("slow-endpoint:route=", "fault-value", "/api/products/[id]"),
        ("pool-cliff:connections=0", "fault-value", "a whole number from 1 up"),
        ("stall:period_s=2,duration_s=2", "fault-value", "duration_s 2 is not below period_s 2"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_would_be_right(text: str, slug: str, listed: str) -> None:
    """Each mistake has a stable slug and a message that lists the right names or the range."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert caught.value.slug == slug
    assert listed in str(caught.value)


@pytest.mark.parametrize("value", [True, None, [0.5], float("inf")])
def test_json_values_that_are_no_finite_numbers_are_refused(value: object) -> None:
    """Booleans, null, lists and infinities are not ratios."""
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        build("errors", {"ratio": value})


def test_available_describes_each_parameter_with_its_unit() -> None:
    """All eight faults are described, and what is described can be built from the stated defaults."""
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


def test_active_faults_add_up_and_respect_their_route() -> None:
    """Two delays add up where both apply; a fault restricted to one route leaves the others alone."""
    active = ActiveFaults(seed=1)
    active.activate(build("latency", {"added_s": 0.5, "route": "/api/orders"}), now_s=100)
    active.activate(build("leak", {"per_minute_s": 0.6}), now_s=100)
    assert active.delay_s("/api/orders", 130, 1, 0.03) == pytest.approx(0.8)
    assert active.delay_s("/api/cart", 130, 1, 0.03) == pytest.approx(0.3)


def test_activating_again_replaces_and_restarts_the_age() -> None:
    """A second leak counts its minutes from its own activation."""
    active = ActiveFaults(seed=1)
    active.activate(build("leak", {}), now_s=0)
    active.activate(build("leak", {"per_minute_s": 6}), now_s=60)
    assert active.delay_s("/api/cart", 61, 1, 0.03) == pytest.approx(0.1)
    assert active.describe(61) == [{"name": "leak", "per_minute_s": 6.0, "route": "", "age_s": 1}]


def test_clearing_ends_one_fault_or_all() -> None:
    """`clear` says whether it ended anything, and what is cleared has no effect."""
    active = ActiveFaults(seed=1)
    active.activate(build("latency", {}), now_s=0)
    active.activate(build("pool-cliff", {}), now_s=0)
    assert (active.clear("stall"), active.clear("latency"), len(active.describe(0))) == (False, True, 1)
    assert (active.pool_size(8), active.clear(), active.pool_size(8), active.clear()) == (1, True, 8, False)


def test_the_same_seed_gives_the_same_fates() -> None:
    """The failing requests are the same for the same seed, others for another one."""

    def fates(seed: int) -> list[int | None]:
        active = ActiveFaults(seed)
        active.activate(build("errors", {"ratio": 0.5}), now_s=0)
        return [active.forced_status("/api/cart") for _ in range(100)]

    assert fates(1) == fates(1)
    assert fates(1) != fates(2)


def test_drawn_times_have_the_documented_means() -> None:
    """The mean of 5,000 draws is within 4 % of the documented one, for every route."""
    model = LatencyModel(seed=5)
    for route, service in SERVICES.items():
        app_s, db_s = zip(*(model.draw(route) for _ in range(5_000)), strict=True)
        assert statistics.mean(app_s) == pytest.approx(service.app_mean_s, rel=0.04)
        assert statistics.mean(db_s) == pytest.approx(service.db_mean_s, rel=0.04)


def test_draws_of_a_route_do_not_depend_on_the_others() -> None:
    """The n-th request of a route takes the same time whatever was asked in between."""
    alone, mixed = LatencyModel(seed=5), LatencyModel(seed=5)
    expected = [alone.draw("/api/orders") for _ in range(3)]
    got = []
    for _ in range(3):
        mixed.draw("/api/cart")
        got.append(mixed.draw("/api/orders"))
    assert got == expected


@pytest.mark.parametrize(
    ("workers", "db_connections", "time_scale", "expected"),
    [
        (16, 8, 1.0, 16 / 0.0332),  # a worker 27.5 + 5.7 ms
        (16, 1, 1.0, 1 / 0.0057),  # 1.9 queries of 3 ms
        (4, 8, 1.0, 4 / 0.0332),
        (16, 8, 0.5, 16 / 0.0166),
        (16, 8, 0.0, float("inf")),
    ],
)
def test_capacity_follows_from_the_figures(
    workers: int, db_connections: int, time_scale: float, expected: float
) -> None:
    """The webshop mix saturates the workers at 482 requests/s, one connection at 175."""
    got = capacity_rps(WEBSHOP_MIX, workers=workers, db_connections=db_connections, time_scale=time_scale)
    assert got == pytest.approx(expected)
