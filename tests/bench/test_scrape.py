"""How long a scrape of 1,000 request series keeps simulated users from running, against prometheus_client's rendering.

A ticker asks the loop to wake it every millisecond, as the loop wakes a user whose answer has come: through libev, and
not through gevent's list of callbacks, which `gevent.sleep(0)` goes on from without a look at any socket. How late it
wakes is the stall, by a clock that stands still while another process has our CPU. What else the machine does makes
stalls longer, never shorter, so each figure is the best of several scrapes; the median is told beside it.
"""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import gevent
import pytest
from gevent.pywsgi import WSGIServer
from locust.env import Environment
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

import locust_otel
from locust_otel import Bridge
from locust_otel.core.events import EventQueue
from locust_otel.core.families import ALL_SCOPES
from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import RequestsSnapshot
from locust_otel.exporter.exports import Ledger
from locust_otel.exporter.otlp.pusher import Pusher
from locust_otel.exporter.otlp.settings import OtlpSettings, Target
from tests.bench import load
from tests.bench.figures import Figures
from tests.bench.scraper import OPENMETRICS, PROTOBUF, TEXT
from tests.bench.sidebyside import Contestant, Stopwatch, race

NAMES, SERIES = 500, 1_000
"""Each name succeeds and fails."""

FAILING = 7
"""One request in so many fails."""

ROUNDS_BEFORE = 10
"""Tallies before the first scrape: the first request of a series after each is looked at for its trace."""

PENDING = 1_000
"""Requests since the last tally: one second of a busy process."""

SCRAPES, MORE_SCRAPES = 10, 10
"""Rounds of scrapes, and further ones of ours alone where the machine was too busy in all of the first ones."""

BAR_MS = 10
TICK_S = 0.001


class Ticker:
    """Tells how late the loop wakes who waits for it.

    Attributes:
        longest_s: The longest delay since it was last set to 0, seconds.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Stop."""
        self._greenlet.kill()

    def _run(self) -> None:
        while True:
            watch = Stopwatch()
            gevent.sleep(TICK_S)
            self.longest_s = max(self.longest_s, watch.seconds() - TICK_S)


class Scraper:
    """Scrapes from a process of its own."""

    def __init__(self) -> None:
        # Locust has patched subprocess: reading waits in the loop and does not hold it.
        self._process = subprocess.Popen(
            [sys.executable, "-u", Path(__file__).with_name("scraper.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def scrape(self, url: str, accept: str) -> int:
        """Scrape once; return the bytes of the exposition."""
        return self.sizes(url, accept)[0]

    def sizes(self, url: str, accept: str) -> tuple[int, int]:
        """Scrape once; return the bytes of the exposition, and of it compressed."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{url}\t{accept}\n")
        process.stdin.flush()
        expanded, sent = map(int, process.stdout.readline().split())
        return expanded, sent

    def stop(self) -> None:
        """Let it end."""
        self._process.communicate()


@dataclass(slots=True)
class Stalls:
    """What the scrapes of one endpoint in one format were like: seconds each."""

    longest: list[float] = field(default_factory=list)
    duration: list[float] = field(default_factory=list)
    size: int = 0


class Bridged:
    """An environment with the bridge and 1,000 request series."""

    def __init__(self) -> None:
        self.environment: Environment = load.environment()
        self.runner: Any = self.environment.create_local_runner()
        self.bridge: Bridge = locust_otel.attach(self.environment, prometheus_port=0, max_request_names=NAMES)
        self.environment.events.test_start.fire(environment=self.environment)
        self._endpoints = load.endpoints(NAMES, traceparent=load.SAMPLED)

    def request(self, count: int) -> None:
        """Make requests of all names in turn."""
        fire: Any = self.environment.events.request.fire

        def task() -> None:
            for event in load.rotation(self._endpoints, count, seed=self.recorded.total, failing=FAILING):
                fire(**event)

        load.in_user(task)

    @property
    def recorded(self) -> RequestsSnapshot:
        """What is recorded."""
        run = self.bridge.snapshot().run
        assert run is not None
        return run.requests

    def stop(self) -> None:
        """End the run and the endpoint."""
        self.bridge.close()
        self.runner.quit()


@pytest.fixture(scope="module")
def bridged() -> Iterator[Bridged]:
    """Give an environment with 1,000 series, 70,000 requests, exemplars among them."""
    bridged = Bridged()
    for _ in range(ROUNDS_BEFORE):
        bridged.request(2 * FAILING * NAMES)
    yield bridged
    bridged.stop()


def _prometheus_app() -> Callable[..., Iterable[bytes]]:
    """Return a WSGI app that has prometheus_client render as many histograms, compressed as quickly as ours is."""
    registry = CollectorRegistry()
    labels = ("run_id", "method", "name", "user_class", "outcome")
    histogram = Histogram(
        "locust_request_duration_seconds", "Duration.", labels, buckets=layout().classic_bounds, registry=registry
    )
    count = ROUNDS_BEFORE * 2 * FAILING * NAMES
    for event in load.rotation(load.endpoints(NAMES), count, failing=FAILING):
        outcome = "failure" if event["exception"] else "success"
        values = ("2026-11-22T07-17-03Z-3f9a", event["request_type"], event["name"], "Shopper", outcome)
        histogram.labels(*values).observe(event["response_time"] / 1000)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        render: Any = openmetrics.generate_latest if "openmetrics" in environ["HTTP_ACCEPT"] else generate_latest
        text = render(registry)
        compressor = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")])
        return [compressor.compress(text) + compressor.flush()]

    return app


@contextmanager
def _prometheus_server() -> Iterator[str]:
    server = WSGIServer(("127.0.0.1", 0), _prometheus_app(), log=None)
    server.start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.stop()


def test_snapshot_of_a_thousand_series_is_short(bridged: Bridged, figures: Figures) -> None:
    """A snapshot is taken in one piece, which leaves room below the bar for whatever shares that turn of the loop."""
    contestants = {"snapshot": Contestant(bridged.bridge.snapshot, after=lambda: bridged.request(PENDING))}

    timings = race(contestants, rounds=20)

    assert len(bridged.recorded.series) == SERIES
    with figures.judged():
        figures.at_most(
            "snapshot of 1,000 series, in one piece",
            timings.best("snapshot") * 1e3,
            BAR_MS,
            unit=" ms",
            note=f"median {timings.median('snapshot') * 1e3:.1f} ms",
        )


def test_scrape_does_not_stall_the_loop(bridged: Bridged, figures: Figures) -> None:
    """No user waits longer than 10 ms for a scrape, and several times shorter than for prometheus_client's."""
    assert bridged.bridge.url is not None
    scraper, ticker, idle = Scraper(), Ticker(), []
    with _prometheus_server() as neighbour:
        urls = {"ours": bridged.bridge.url, "prometheus_client": neighbour}
        stalls = {(name, accept): Stalls() for name in urls for accept in (TEXT, OPENMETRICS)}
        stalls["ours", PROTOBUF] = Stalls()
        for number in range(SCRAPES + MORE_SCRAPES):
            for (name, accept), of in stalls.items():
                if number >= SCRAPES and (name != "ours" or min(of.longest) * 1e3 <= BAR_MS):
                    continue
                bridged.request(PENDING)
                gevent.sleep(0.02)  # the ticker wakes late from those requests
                ticker.longest_s = 0.0
                gevent.sleep(0.05)
                idle.append(ticker.longest_s)
                ticker.longest_s, watch = 0.0, Stopwatch()
                of.size = scraper.scrape(urls[name], accept)
                of.duration.append(watch.seconds())
                of.longest.append(ticker.longest_s)
    ticker.stop()
    scraper.stop()

    assert len(stalls) == 5
    with figures.judged():
        for accept, what in ((TEXT, "text"), (OPENMETRICS, "OpenMetrics"), (PROTOBUF, "protobuf")):
            ours, theirs = stalls["ours", accept], stalls.get(("prometheus_client", accept))
            assert ours.size > SERIES * len(layout().classic_bounds) * (10 if accept == PROTOBUF else 50)
            figures.at_most(
                f"stall by a scrape of 1,000 series, {what}",
                min(ours.longest) * 1e3,
                BAR_MS,
                unit=" ms",
                note=f"median {median(ours.longest) * 1e3:.1f} ms, of {min(ours.duration) * 1e3:.0f} ms a scrape of "
                f"{ours.size / 1e6:.1f} MB; idle loop {median(idle) * 1e3:.1f} ms",
            )
            if theirs is None:  # it has no protobuf
                continue
            figures.at_least(
                f"  prometheus_client's against ours, {what}",
                min(theirs.longest) / min(ours.longest),
                5,
                note=f"{min(theirs.longest) * 1e3:.0f} ms, of histograms alone",
            )


@contextmanager
def _sink() -> Iterator[str]:
    """Give the URL of an OTLP endpoint in a process of its own."""
    command = [sys.executable, "-u", str(Path(__file__).with_name("sink.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_push_does_not_stall_the_loop(bridged: Bridged, figures: Figures, compression: str) -> None:
    """No user waits longer than 10 ms for a push of 1,000 exponential histograms and what goes with them."""
    ticker = Ticker()
    longest: list[float] = []
    duration: list[float] = []
    with _sink() as url:
        target = Target(f"{url}/v1/metrics", "http/protobuf", {}, 10.0, compression, None, None, None)
        settings = OtlpSettings(metrics=target, logs=None, interval_s=3600.0, is_exponential=True, is_delta=False)
        ledger = Ledger()
        pusher = Pusher(settings, bridged.bridge.snapshot, ALL_SCOPES, events=EventQueue(), ledger=ledger, version="0")
        pusher.start()
        for number in range(SCRAPES + MORE_SCRAPES):
            if number >= SCRAPES and min(longest) * 1e3 <= BAR_MS:
                break
            bridged.request(PENDING)
            gevent.sleep(0.02)  # the ticker wakes late from those requests
            ticker.longest_s, watch = 0.0, Stopwatch()
            gevent.joinall(pusher._begin())
            duration.append(watch.seconds())
            longest.append(ticker.longest_s)
        pusher.stop()
    ticker.stop()

    assert pusher.last_total == bridged.recorded.total
    assert {count.outcome for count in ledger.counts() if count.count} == {"success"}
    with figures.judged():
        figures.at_most(
            f"stall by a push of 1,000 series, {compression}",
            min(longest) * 1e3,
            BAR_MS,
            unit=" ms",
            note=f"median {median(longest) * 1e3:.1f} ms, of {min(duration) * 1e3:.0f} ms a push",
        )
