"""What a request pays for being recorded, against an empty listener and against the neighbours.

Every contestant is the one listener of a real `EventHook`, fired with what `HttpUser` fires, in a user's greenlet, over
the same 2,000 events of 20 names with durations that vary. Of each the cost of firing without a listener is taken off.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib import import_module
from itertools import islice
from typing import Any

from greenlet import getcurrent
from locust import User
from locust.event import EventHook
from prometheus_client import CollectorRegistry, Counter, Histogram

from locust_otel.core.histogram import layout
from locust_otel.plugin.recorder import Recorder
from locust_otel.plugin.series import Aggregate
from tests.bench import load
from tests.bench.figures import Figures
from tests.bench.sidebyside import Contestant, Timings, race

EVENTS = 2_000
"""Requests between two tallies: a busy process has as many a second."""

QUIET = 400
"""As `EVENTS`, of a process with less to do."""

NAMES = 20  # the most that Locust's --otel tells apart
ROUNDS = 100

Listener = Callable[..., None]


def _empty(  # noqa: PLR0917  # the signature of our listener
    request_type: Any = None,
    name: Any = None,
    response_time: Any = None,
    response_length: Any = 0,
    response: Any = None,
    exception: Any = None,
    context: Any = None,
    start_time: Any = None,
    url: Any = None,
    **_others: Any,
) -> None:
    pass


def _prometheus_listener() -> Listener:
    """Return the listener that a locustfile with prometheus_client has, with our labels and buckets."""
    registry = CollectorRegistry()
    labels = ("method", "name", "user_class", "outcome")
    durations = Histogram("duration_seconds", "Durations.", labels, buckets=layout().classic_bounds, registry=registry)
    requests = Counter("requests", "Requests.", labels, registry=registry)

    def on_request(request_type: str, name: str, response_time: float, exception: Any, **_: Any) -> None:
        values = (
            request_type,
            name,
            getcurrent().args[0].__class__.__name__,
            "failure" if exception else "success",
        )
        durations.labels(*values).observe(response_time / 1000)
        requests.labels(*values).inc()

    return on_request


def _otel_listener() -> Listener:
    """Return the listener of `locust --otel`, as locust/opentelemetry.py of Locust 2.47 has it, line by line.

    Raises:
        ImportError: The OpenTelemetry SDK is not installed.
    """
    metrics: Any = import_module("opentelemetry.sdk.metrics")
    export: Any = import_module("opentelemetry.sdk.metrics.export")
    provider = metrics.MeterProvider(metric_readers=[export.InMemoryMetricReader()], shutdown_on_exit=False)
    ttlb_histogram = provider.get_meter("locust").create_histogram("locust.client.duration", unit="s")
    max_request_names = 20
    request_names: set[str] = set()

    def on_request(name: str, response_time: float | None, exception: Any, **kwargs: Any) -> None:
        if name in request_names:
            attributes = {"name": name}
        elif len(request_names) < max_request_names:
            request_names.add(name)
            attributes = {"name": name}
        else:
            attributes = {"name": "Too many unique request names"}
        if exception:
            attributes["error.type"] = exception.__class__.__name__
        if response_time is not None:
            ttlb_histogram.record(response_time / 1000.0, attributes=attributes)

    return on_request


def _recorder() -> Recorder:
    return Recorder(Aggregate(slow_s=5.0, max_names=200), User)


def _firing(listener: Listener | None, events: list[dict[str, Any]]) -> Callable[[], None]:
    """Return a function that fires all events at one listener, or at none."""
    hook = EventHook()
    if listener is not None:
        hook.add_listener(listener)
    fire: Any = hook.fire

    def run() -> None:
        for event in events:
            fire(**event)

    return run


def _followed_by(run: Callable[[], None], tally: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        run()
        tally()

    return both


def _microseconds(timings: Timings, name: str) -> str:
    return f"{timings.best(name, 'frame') / EVENTS * 1e6:.2f} µs a request"


def test_listener_costs_little_more_than_an_empty_one(figures: Figures) -> None:
    """Recording a request is within the budget, and several times cheaper than either client library."""
    events = list(load.rotation(load.endpoints(NAMES), EVENTS))
    ours, with_tally, seldom = _recorder(), _recorder(), _recorder()
    contestants = {
        "frame": Contestant(_firing(None, events)),
        "empty": Contestant(_firing(_empty, events)),
        "ours": Contestant(_firing(ours.on_request, events), after=ours.aggregate.tally),
        "with tally": Contestant(_followed_by(_firing(with_tally.on_request, events), with_tally.aggregate.tally)),
        "quiet": Contestant(_firing(seldom.on_request, events[:QUIET]), after=seldom.aggregate.tally),
        "quiet empty": Contestant(_firing(_empty, events[:QUIET])),
        "quiet frame": Contestant(_firing(None, events[:QUIET])),
        "prometheus_client": Contestant(_firing(_prometheus_listener(), events)),
    }
    try:
        contestants["locust --otel"] = Contestant(_firing(_otel_listener(), events))
    except ImportError as missing:
        print(f"\nlocust --otel is not measured: {missing} (pip install opentelemetry-sdk)")
        figures.skipped("locust --otel against ours", "opentelemetry-sdk is not installed")

    timings = load.in_user(lambda: race(contestants, ROUNDS))

    done = (ROUNDS + 1) * EVENTS
    assert [recorder.aggregate.total() for recorder in (ours, with_tally)] == [done, done]
    assert not ours.errors
    with figures.judged():
        figures.at_most(
            "listener, against an empty one",
            timings.ratio("ours", "empty", "frame"),
            2.5,
            note=f"{_microseconds(timings, 'ours')}, empty {_microseconds(timings, 'empty')}",
        )
        figures.told(
            "  with its tally", timings.ratio("with tally", "empty", "frame"), note=_microseconds(timings, "with tally")
        )
        figures.told(
            "  tallied after 400 requests",
            timings.ratio("quiet", "quiet empty", "quiet frame"),
            note=f"{QUIET} a second: one in {QUIET // NAMES} is the first of its series",
        )
        for name, bar in (("prometheus_client", 4), ("locust --otel", 6)):
            if name in contestants:
                bare, whole = (timings.ratio(name, ours, "frame") for ours in ("ours", "with tally"))
                figures.at_least(f"{name} against ours", bare, bar, note=_microseconds(timings, name))
                figures.at_least("  against ours with its tally", whole, bar)


def test_rare_paths_of_the_listener(figures: Figures) -> None:
    """What failures, slow requests and the first request of a series cost is told; each is counted as what it is."""
    rng = random.Random(1)
    endpoints = load.endpoints(NAMES, traceparent=load.SAMPLED)
    among = [endpoints[number % NAMES] for number in range(400)]
    kinds = {
        "success": [endpoint.event(rng) for endpoint in among],
        "failure": [endpoint.failed_event(rng) for endpoint in among],
        "slow": [endpoint.event(rng, response_time=6_000.0) for endpoint in among],
        "first": [endpoint.event(rng) for endpoint in islice(among, NAMES)],
    }
    recorders = {kind: _recorder() for kind in kinds}
    contestants = {
        kind: Contestant(_firing(recorders[kind].on_request, events), after=recorders[kind].aggregate.tally)
        for kind, events in kinds.items()
    }
    contestants["frame"] = Contestant(_firing(None, kinds["success"]))
    contestants["short frame"] = Contestant(_firing(None, kinds["first"]))

    timings = load.in_user(lambda: race(contestants, ROUNDS))

    rounds = ROUNDS + 1
    snapshots = {kind: recorder.aggregate.snapshot() for kind, recorder in recorders.items()}
    assert {kind: snapshot.total for kind, snapshot in snapshots.items()} == {
        kind: rounds * len(events) for kind, events in kinds.items()
    }
    assert sum(snapshots["failure"].errors.values()) == rounds * 400
    assert sum(snapshots["slow"].slow(series) for series in snapshots["slow"].series) == rounds * 400
    assert all(series.exemplars for series in snapshots["first"].series)
    for kind, what in (("failure", "a failed request"), ("slow", "a slow request, traced")):
        figures.told(what, timings.best(kind, "frame") / 400 * 1e6, unit=" µs")
    figures.told(
        "the first request of a series, traced", timings.best("first", "short frame") / NAMES * 1e6, unit=" µs"
    )
