"""Pushes over OTLP are complete: Locust's own totals, every series of `/metrics`, and every event."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.backends.servers import Collector, Prometheus, QueryServer, VictoriaMetrics, free_port
from tests.e2e.harness import (
    BIN,
    QUICK_USERS,
    SHOP_FAULTS,
    SLOW_ROUTE,
    Distributed,
    Outcome,
    Stage,
    Stages,
    forking,
    load,
    played,
)
from tests.e2e.pages import total, wait_until
from tests.integration.stored import WINDOW, stored_totals

RUN_TIME = "5s"
_ORIGIN = re.compile("job|instance|__name__|(otel_scope|scope|host|service|telemetry)_.*")
"""Labels that a server derives from the resource and the scope."""

_OTLP = re.compile(r"^.*requests: Locust ([\d,]+) · .*OTLP ([\d,]+|never)$", re.MULTILINE)
_URLS: dict[str, str] = {}
"""URLs of the servers of the session, once they listen."""

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by name and labels."""


@dataclass(frozen=True)
class Push:
    """One run: its processes, and the target of its pushes.

    Attributes:
        mode: `local`, `forked` or `distributed`.
        target: `victoria`, or a protocol of the collector.
        compression: `none` or `gzip`.
    """

    mode: str
    target: str
    compression: str = "none"

    @property
    def __name__(self) -> str:
        return f"{self.mode}-{self.target.partition('/')[0]}-{self.compression}"

    @property
    def run_id(self) -> str:
        """Run id: its name."""
        return f"otlp-{self.__name__}"

    def __call__(self, stage: Stage) -> Outcome:
        """Play it; its `/metrics` is scraped too."""
        shop, port = stage.shop(*SHOP_FAULTS), free_port()
        arguments = [
            *(*load(shop.url, run_time=RUN_TIME), "--run-id", self.run_id, "--prometheus-port", str(port)),
            *("--otlp-endpoint", _URLS[self.target], "--otlp-interval", "1s"),
        ]
        if self.target == "grpc":
            arguments += ["--otlp-protocol", "grpc"]
        env = {"OTEL_EXPORTER_OTLP_COMPRESSION": self.compression}
        if self.target == "victoria":
            env["OTEL_LOGS_EXPORTER"] = "none"
        if self.mode == "distributed":
            # `env=` is for the workers alone.
            set_first = ("/usr/bin/env", *(f"{name}={value}" for name, value in env.items()))
            command = (*set_first, str(BIN / "locust-otel"), "run")
            process = Distributed(stage, *arguments, command=command).master
        else:
            forks = forking() if self.mode == "forked" else []
            process = stage.run(*arguments, *forks, env=env)
        return stage.finished(process, stage.scrape(port))


TO_VICTORIA = tuple(Push(mode, "victoria") for mode in ("local", "forked", "distributed"))
TO_COLLECTOR = (
    Push("local", "http/protobuf"),
    Push("local", "grpc", "gzip"),
    Push("forked", "http/protobuf", "gzip"),
    Push("forked", "grpc"),
    Push("distributed", "http/protobuf"),
    Push("distributed", "grpc", "gzip"),
)


@pytest.fixture(scope="module")
def stages_of_victoria(victoria_metrics: VictoriaMetrics, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Play the runs that push to VictoriaMetrics, two at a time."""
    _URLS["victoria"] = f"{victoria_metrics.url}/opentelemetry"
    yield from Stages(tmp_path_factory.mktemp, at_once=2).play(TO_VICTORIA)


@pytest.fixture(scope="module")
def stages_of_collector(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Play the runs that push to the collector, two at a time."""
    _URLS.update({"http/protobuf": collector.http_url, "grpc": collector.grpc_url})
    yield from Stages(tmp_path_factory.mktemp, at_once=2).play(TO_COLLECTOR)


@pytest.fixture
def push(request: pytest.FixtureRequest) -> Push:
    """Give the run of this test."""
    run: Push = request.node.callspec.params["outcome"]
    return run


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Outcome:
    """Give the outcome of the run of this test."""
    target = "victoria" if request.param.target == "victoria" else "collector"
    stages: Stages = request.getfixturevalue(f"stages_of_{target}")
    return stages.of(request.param)


def _series(samples: list[tuple[str, dict[str, str], float]]) -> Series:
    """Return samples without the labels of their origin, with bounds as numbers."""
    series: Series = {}
    for name, labels, value in samples:
        ours = {k: v for k, v in labels.items() if v and not _ORIGIN.fullmatch(k)}
        if "le" in ours:
            ours["le"] = repr(float(ours["le"]))
        key = (name, tuple(sorted(ours.items())))
        assert key not in series, f"twice: {key}"
        series[key] = value
    return series


def check(outcome: Outcome, push: Push, server: QueryServer) -> None:
    """Check that a server has every request of a run, and all of the last page of `/metrics`."""
    everything = total(outcome.locust)
    assert everything > 100, outcome.log[-3000:]
    selector = f'{{run_id="{push.run_id}"}}'
    # The process has ended, but the server may still be writing its last push.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: stored_totals(server, push.run_id) == outcome.locust, "all requests", timeout_s=30)
    assert stored_totals(server, push.run_id) == outcome.locust
    (account,) = _OTLP.findall(outcome.log)
    assert {int(number.replace(",", "")) for number in account} == {everything}
    assert outcome.account.recorded == everything
    assert "OTLP: " not in outcome.log  # the line about a failing push
    assert outcome.code == 1  # Locust's own, for requests that have failed

    server.wait_until(
        f"last_over_time(locust_run_active{selector}[{WINDOW}])", lambda samples: [v for _, v in samples] == [0]
    )
    assert server.value(f"max_over_time(locust_run_active{selector}[{WINDOW}])") == 1
    assert server.value(f"max(max_over_time(locust_users{selector}[{WINDOW}]))") > 0
    assert server.value(f"sum(last_over_time(locust_users{selector}[{WINDOW}]))") == 0

    page = _series([sample for sample in outcome.last.samples if sample[1].get("run_id") == push.run_id])
    names = sorted({name for name, _ in page})
    stored = _series(
        [
            (name, labels, value)
            for name in names
            for labels, value in server.query(f"max_over_time({name}{selector}[{WINDOW}])")
        ]
    )
    assert {name for name, _ in stored} == set(names)
    counted = re.compile("locust_request.*|.*_total")
    of_page, of_server = (
        {key: value for key, value in series.items() if counted.fullmatch(key[0])} for series in (page, stored)
    )
    assert of_server.keys() == of_page.keys()
    differing = {k: (v, of_server[k]) for k, v in of_page.items() if of_server[k] != pytest.approx(v, rel=1e-9)}
    assert not differing


@played(*TO_VICTORIA)
def test_victoria_metrics_has_every_request(outcome: Outcome, push: Push, victoria_metrics: VictoriaMetrics) -> None:
    """Locust's totals by method, name and outcome, and all series of `/metrics`, names, labels and values."""
    victoria_metrics.flush()
    check(outcome, push, victoria_metrics)


@played(*TO_COLLECTOR)
def test_prometheus_has_every_request_from_the_collector(
    outcome: Outcome, push: Push, collector: Collector, prometheus: Prometheus
) -> None:
    """The same, over HTTP and gRPC, plain and compressed, through a collector that writes into Prometheus."""
    check(outcome, push, prometheus)


@played(*TO_COLLECTOR)
def test_the_collector_has_every_event(outcome: Outcome, push: Push, collector: Collector) -> None:
    """It has the run's own events once each, with the totals at the end, and the events of users of all workers."""
    events: dict[str, list[dict[str, Any]]] = {}
    mine = collector.wait_received("logs", lambda record: record["attributes"].get("run_id") == push.run_id)
    for record in mine:
        events.setdefault(record["eventName"], []).append(record)
    assert events.keys() == {
        "locust.run.start",
        "locust.run.spawning_complete",
        "locust.run.stop",
        "locust.slow_request",
        "locust.user_error",
    }
    (start,) = events["locust.run.start"]
    (spawned,) = events["locust.run.spawning_complete"]
    (stop,) = events["locust.run.stop"]
    assert int(start["timeUnixNano"]) < int(spawned["timeUnixNano"]) < int(stop["timeUnixNano"])
    assert spawned["attributes"]["users"] == QUICK_USERS
    failures = sum(failed for _, failed in outcome.locust.values())
    assert stop["attributes"] == {
        "run_id": push.run_id,
        "requests": total(outcome.locust),
        "failures": failures,
    }
    workers = 1 if push.mode == "local" else 2
    slow, errors = events["locust.slow_request"], events["locust.user_error"]
    assert {record["attributes"]["name"] for record in slow} == {SLOW_ROUTE}
    assert all(record["attributes"]["duration_s"] > 0.2 for record in slow)
    assert len({record["attributes"].get("worker") for record in slow}) == workers
    assert 0 < len(slow) <= min(outcome.locust["GET", SLOW_ROUTE][0], 20 * workers)
    assert {(r["attributes"]["user_class"], r["attributes"]["error_type"]) for r in errors} == {
        ("Clumsy", "LookupError")
    }
    # All come from one process, the master's exporter.
    assert len({record["resource"]["service.instance.id"] for record in mine}) == 1
    assert {record["resource"]["service.name"] for record in mine} == {"locust"}
