"""Cost of recording a request, compared with an empty listener and with other libraries.

Every contestant is the only listener of a real `EventHook`, fired with the arguments of `HttpUser` in a user's
greenlet, over the same events of 20 names with varying durations, without the cost of firing itself. There are several
races; the figure is the worst of their median ratios.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import islice
from statistics import median
from typing import Any

from greenlet import getcurrent
from locust.event import EventHook
from prometheus_client import CollectorRegistry, Counter, Histogram

from locust_otel.core.histogram import layout
from locust_otel.plugin.recorder import Recorder
from locust_otel.plugin.reporter import Reporter
from locust_otel.plugin.series import Requests
from tests.bench import load
from tests.bench.figures import Figures
from tests.bench.sidebyside import Contestant, Timings, race

EVENTS = 2_000
"""Requests between two tallies of a saturated process."""

QUIET = 500
"""The same of a process with 2,000 requests a second."""

NAMES = 20  # limit of Locust's --otel
ROUNDS, RACES = 30, 5

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
    """Return the listener of a locustfile with prometheus_client, with our labels and buckets."""
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
    """Return the listener of `locust --otel`, a copy from locust/opentelemetry.py of Locust 2.47.

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


class _Ours:
    """Our listener, with the work of four times a second."""

    def __init__(self) -> None:
        self.requests = Requests(slow_s=5.0, max_names=200)
        self.recorder = Recorder(self.requests)
        self.on_request = self.recorder.on_request
        self.reporter = Reporter("run", self.requests)

    def tally(self) -> None:
        """Count the pending requests."""
        self.recorder.look_for_traces()
        self.requests.tally()

    def report(self) -> None:
        """Count the pending requests, and make a report."""
        self.tally()
        for _ in self.reporter.pieces():
            pass
        self.reporter.last(None)


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


def _races(contestants: dict[str, Contestant]) -> list[Timings]:
    return load.in_user(lambda: [race(contestants, ROUNDS) for _ in range(RACES)])


def _ratios(races: list[Timings], name: str, other: str, frame: str = "frame") -> Iterator[float]:
    return (timings.ratio(name, other, frame) for timings in races)


def _microseconds(races: list[Timings], name: str, frame: str = "frame", events: int = EVENTS) -> float:
    """Return the cost of one event, by the median of all rounds."""
    return median(timings.median(name) - timings.median(frame) for timings in races) / events * 1e6


def test_listener_costs_little_more_than_an_empty_one(figures: Figures) -> None:
    """Recording a request is within the budget, and several times cheaper than either client library."""
    events = list(load.rotation(load.endpoints(NAMES), EVENTS))
    ours, tallied, reported, seldom = _Ours(), _Ours(), _Ours(), _Ours()
    contestants = {
        "frame": Contestant(_firing(None, events)),
        "empty": Contestant(_firing(_empty, events)),
        "ours": Contestant(_firing(ours.on_request, events), after=ours.report),
        "with tally": Contestant(_followed_by(_firing(tallied.on_request, events), tallied.tally)),
        "with report": Contestant(_followed_by(_firing(reported.on_request, events), reported.report)),
        "quiet": Contestant(_followed_by(_firing(seldom.on_request, events[:QUIET]), seldom.report)),
        "quiet empty": Contestant(_firing(_empty, events[:QUIET])),
        "quiet frame": Contestant(_firing(None, events[:QUIET])),
        "prometheus_client": Contestant(_firing(_prometheus_listener(), events)),
    }
    try:
        contestants["locust --otel"] = Contestant(_firing(_otel_listener(), events))
    except ImportError as missing:
        figures.skipped("locust --otel against ours", f"{missing} (pip install opentelemetry-sdk)")

    races = _races(contestants)

    done = RACES * (ROUNDS + 1) * EVENTS
    assert [listener.requests.total for listener in (ours, tallied, reported)] == [done] * 3
    assert not ours.recorder.errors
    with figures.judged():
        figures.at_most(
            "listener, against an empty one",
            max(_ratios(races, "ours", "empty")),
            2,
            note=f"{_microseconds(races, 'ours'):.2f} µs a request, empty {_microseconds(races, 'empty'):.2f} µs",
        )
        for name, what in (("with tally", "  with its tally"), ("with report", "  with its tally and its report")):
            figures.info(
                what, max(_ratios(races, name, "empty")), note=f"{_microseconds(races, name):.2f} µs a request"
            )
        figures.info(
            "  with both, after 500 requests",
            max(_ratios(races, "quiet", "quiet empty", "quiet frame")),
            note=f"{_microseconds(races, 'quiet', 'quiet frame', QUIET):.2f} µs a request",
        )
        for name, bar in (("prometheus_client", 8), ("locust --otel", 10)):
            if name in contestants:
                note = f"{_microseconds(races, name):.2f} µs a request"
                figures.at_least(f"{name} against ours", min(_ratios(races, name, "ours")), bar, note=note)
                figures.info("  against ours with tally and report", min(_ratios(races, name, "with report")))


def test_rare_paths_of_the_listener(figures: Figures) -> None:
    """Print the cost of failures, slow requests and first requests of a series; each is counted correctly."""
    rng = random.Random(1)
    endpoints = load.endpoints(NAMES, traceparent=load.SAMPLED)
    among = [endpoints[number % NAMES] for number in range(400)]
    kinds = {
        "success": [endpoint.event(rng) for endpoint in among],
        "failure": [endpoint.failed_event(rng) for endpoint in among],
        "slow": [endpoint.event(rng, response_time=6_000.0) for endpoint in among],
        "first": [endpoint.event(rng) for endpoint in islice(among, NAMES)],
    }
    ours = {kind: _Ours() for kind in kinds}
    contestants = {
        kind: Contestant(_firing(ours[kind].on_request, events), after=ours[kind].tally)
        for kind, events in kinds.items()
    }
    contestants["frame"] = Contestant(_firing(None, kinds["success"]))
    contestants["short frame"] = Contestant(_firing(None, kinds["first"]))

    races = _races(contestants)

    rounds = RACES * (ROUNDS + 1)
    requests = {kind: listener.requests for kind, listener in ours.items()}
    assert {kind: counts.total for kind, counts in requests.items()} == {
        kind: rounds * len(events) for kind, events in kinds.items()
    }
    assert sum(requests["failure"].errors.values()) == rounds * 400
    assert ours["slow"].recorder.slow_requests_dropped == rounds * 400 - len(ours["slow"].recorder.slow_requests)
    assert all(series.exemplars for series in requests["first"].series.values())
    for kind, what in (("failure", "a failed request"), ("slow", "a slow request, traced")):
        figures.info(what, _microseconds(races, kind, events=400), unit=" µs")
    first = _microseconds(races, "first", "short frame", NAMES)
    figures.info("the first request of a series, traced", first, unit=" µs")
