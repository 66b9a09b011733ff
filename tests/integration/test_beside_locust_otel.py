"""Locust's own `--otel` and we push to the same collector without disturbing each other.

Spans of requests need the extra `locust[otel]`; without it their test is skipped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.backends.servers import Collector, free_port
from tests.e2e.harness import CALM, Outcome, Stage, Stages, forking, load, played
from tests.e2e.pages import total

TRACES = """
    exporters: {file/traces: {path: traces.jsonl, flush_interval: 50ms}}
    service: {pipelines: {traces: {receivers: [otlp], exporters: [file/traces]}}}
"""
_URLS: dict[str, str] = {}


@pytest.fixture(scope="module")
def collector(backend: Callable[[str], None]) -> Iterator[Collector]:
    """Give a collector that accepts traces too."""
    backend("otelcol")
    with Collector(config=TRACES) as server:
        yield server


@dataclass(frozen=True)
class Beside:
    """A run with both, configured by the same standard variables.

    Attributes:
        protocol: Of OTLP.
        forks: Number of forked workers; 0 for a local run.
    """

    protocol: str
    forks: int = 0

    @property
    def __name__(self) -> str:
        return f"beside-{self.protocol.partition('/')[0]}-{self.forks}"

    def __call__(self, stage: Stage) -> Outcome:
        """Play it."""
        shop, name = stage.shop(), self.__name__
        process = stage.run(
            *(*load(shop.url, file=CALM, users=5, run_time="7s"), "--run-id", name, "--otel"),
            *("--prometheus-port", str(free_port()), *(forking(self.forks) if self.forks else [])),
            env={
                "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
                "OTEL_EXPORTER_OTLP_ENDPOINT": _URLS[self.protocol],
                "OTEL_EXPORTER_OTLP_INSECURE": "true",
                "OTEL_METRIC_EXPORT_INTERVAL": "1000",
                "OTEL_BSP_SCHEDULE_DELAY": "500",
                "OTEL_SERVICE_NAME": name,
                "TEST_BUSY_S": "2",  # users are idle at the end
            },
        )
        return stage.finished(process, shop=shop, service=name, host=urlsplit(shop.url).netloc)


BOTH = (Beside("http/protobuf"), Beside("grpc"))
FORKED = (Beside("http/protobuf", 2), Beside("grpc", 2))


@pytest.fixture(scope="module")
def stages(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Play all runs, two at a time."""
    _URLS.update({"http/protobuf": collector.http_url, "grpc": collector.grpc_url})
    yield from Stages(tmp_path_factory.mktemp, at_once=2).play((*BOTH, *FORKED))


def _metrics(collector: Collector, outcome: Outcome) -> dict[str, list[dict[str, Any]]]:
    """Return the metrics of a run by their scope."""
    metrics: dict[str, list[dict[str, Any]]] = {}
    for metric in collector.received("metrics"):
        if metric["resource"].get("service.name") == outcome.more["service"]:
            metrics.setdefault(metric["scope"], []).append(metric)
    return metrics


def _pushed_requests(collector: Collector, outcome: Outcome) -> int:
    """Return the requests in the last push of our counter."""
    (*_, counter) = (m for m in _metrics(collector, outcome)["locust_otel"] if m["name"] == "locust.requests")
    return sum(int(point["asInt"]) for point in counter["sum"]["dataPoints"])


def _spans(collector: Collector, outcome: Outcome) -> list[dict[str, Any]]:
    """Return the spans of a run, with plain attributes."""
    spans: list[dict[str, Any]] = []
    for line in (collector.folder / "traces.jsonl").read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            about = {a["key"]: a["value"].get("stringValue") for a in resource["resource"]["attributes"]}
            if about["service.name"] == outcome.more["service"]:
                spans += [
                    span
                    | {"attributes": {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])}}
                    for scope in resource["scopeSpans"]
                    for span in scope["spans"]
                ]
    return spans


@played(*BOTH)
def test_both_push_all_of_their_metrics(outcome: Outcome, collector: Collector) -> None:
    """Locust's histogram and our counter have every request, and no metric has the same name."""
    everything = total(outcome.locust)
    assert everything > 50
    assert outcome.code == 0, outcome.log
    metrics = _metrics(collector, outcome)
    names = {scope: {metric["name"] for metric in of_scope} for scope, of_scope in metrics.items()}
    ours = names.pop("locust_otel")
    assert not ours & set().union(*names.values())
    assert {"locust.client.duration", "locust.users.count"} <= names["locust"]
    assert _pushed_requests(collector, outcome) == everything
    (*_, durations) = (metric for metric in metrics["locust"] if metric["name"] == "locust.client.duration")
    assert sum(int(point["count"]) for point in durations["histogram"]["dataPoints"]) == everything
    assert f"OTLP {everything:,}" in outcome.log


@played(*FORKED)
def test_forked_workers_do_not_disturb_either(outcome: Outcome, collector: Collector) -> None:
    """With `--processes 2`, for which Locust sets up its exporters before it forks, we push every request."""
    everything = total(outcome.locust)
    assert everything > 50
    assert outcome.code == 0, outcome.log
    assert f"OTLP {everything:,}" in outcome.log
    assert "OTLP: " not in outcome.log
    assert "locust_otel/" not in outcome.log  # a traceback of ours; Locust's exporters have some after the fork anyway
    assert _pushed_requests(collector, outcome) == everything


@played(*BOTH)
def test_both_push_their_logs(outcome: Outcome, collector: Collector) -> None:
    """Our events have names, and Locust's log lines arrive too."""
    mine = [r for r in collector.received("logs") if r["resource"].get("service.name") == outcome.more["service"]]
    events = [record for record in mine if record["scope"] == "locust_otel"]
    assert {"locust.run.start", "locust.run.stop"} <= {record["eventName"] for record in events}
    lines = [record for record in mine if record["scope"] != "locust_otel"]
    assert any("users spawned" in str(record["body"]) for record in lines)


@played(*BOTH)
def test_users_are_not_held_up(outcome: Outcome) -> None:
    """The log has no failed push and no traceback, and the shop has every request."""
    assert "OTLP: " not in outcome.log
    assert "Traceback" not in outcome.log
    assert outcome.shop == total(outcome.locust)


# Locust's extra `otel` is not among our pins: no release of it is compatible with the SDK here.
@pytest.mark.skipif(
    find_spec("opentelemetry.instrumentation") is None or find_spec("opentelemetry.instrumentation.requests") is None,
    reason="opentelemetry-instrumentation-requests is missing: pip install 'locust[otel]'",
)
@played(*BOTH)
def test_spans_are_those_of_the_test_alone(outcome: Outcome, collector: Collector) -> None:
    """Every request of a simulated user has a span, and none of our pushes has one."""
    spans = _spans(collector, outcome)
    urls = Counter(str(span["attributes"].get("http.url") or span["attributes"].get("url.full")) for span in spans)
    assert {urlsplit(url).path for url in urls} == {"/api/v1/data", "/api/login", "/api/mobile/feed"}, urls
    assert {urlsplit(url).netloc for url in urls} == {outcome.more["host"]}, urls
    assert len({span["traceId"] for span in spans}) == total(outcome.locust)
