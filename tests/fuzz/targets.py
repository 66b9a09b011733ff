"""What is fuzzed: the two places that read bytes of strangers, each as a function of bytes that must not raise.

A worker's report reaches the master as what msgpack makes of some bytes; a sink's answer is some bytes on a connection.
"""

from __future__ import annotations

import io
from http.client import HTTPException, HTTPResponse
from types import SimpleNamespace
from typing import Any

import locust  # noqa: F401  # first: it patches sockets
import msgpack  # type: ignore[import-untyped]
import requests
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse as UrllibResponse

from locust_otel.core import settings
from locust_otel.core.exposition import TextExposition
from locust_otel.core.families import ALL_SCOPES, families
from locust_otel.exporter.endpoint.protobuf import ProtobufExposition
from locust_otel.exporter.otlp import logs
from locust_otel.exporter.otlp.metrics import Encoder
from locust_otel.exporter.otlp.sender import Outcome, judged
from locust_otel.plugin.master import MasterNode
from tests.unit.factories import snapshot

CLIENT = "host_0123"
RUN = "run-1"
SCOPE = InstrumentationScope("test", "1")


class Runner:
    """Locust's master, as far as ours looks at it."""

    def __init__(self) -> None:
        self.clients: Any = _Clients()
        self.sent: list[object] = []
        self.target_user_classes_count: dict[str, int] = {}
        self.target_user_count = 0
        self.user_classes: list[type] = []
        self.reported_user_classes_count: dict[str, int] = {}
        self.state = "running"

    def get_worker_index(self, _: str) -> int:
        """Return the index of every worker."""
        return 0

    def send_message(self, name: str, data: object, client_id: str) -> None:
        """Note what is sent."""
        self.sent.append((name, data, client_id))


class _Clients(dict[str, Any]):
    def __init__(self) -> None:
        super().__init__({CLIENT: SimpleNamespace(id=CLIENT, state="running", user_count=1)})

    @property
    def all(self) -> list[Any]:
        return list(self.values())


class Master:
    """A master that has begun a run, and all that is made of what it knows."""

    def __init__(self) -> None:
        environment = SimpleNamespace(
            runner=Runner(), parsed_options=SimpleNamespace(expect_workers=1, headless=True), host="http://x",
            user_classes=[], locustfile="x.py", stats=None,
        )  # fmt: skip
        self.node = MasterNode(environment, settings.resolve(None, {"run_id": RUN, "prometheus_port": "off"}), 3.0)
        self.run = self.node.start_run()

    def tell(self, part: object, counted: int = 1) -> None:
        """Have a worker report."""
        self.node.on_worker_report(CLIENT, {"stats_total": {"num_requests": counted}, "locust_otel": part})

    def counters(self) -> dict[str, int]:
        """Return what must never fall."""
        requests_ = self.run.aggregate.snapshot()
        return {
            "requests": requests_.total,
            "errors": sum(requests_.errors.values()),
            "user_errors": sum(requests_.user_errors.values()),
            "bytes": sum(series.body_bytes for series in requests_.series),
            "listener_errors": self.node.errors,
        }

    def exported(self) -> bytes:
        """Return everything as it is scraped and pushed; whatever was reported must not break that."""
        taken = snapshot(self.run.aggregate, workers=self.node.workers())
        pages = [
            b"".join(exposition.render(families(taken, ALL_SCOPES)))
            for exposition in (TextExposition(is_openmetrics=True), ProtobufExposition())
        ]
        for is_exponential in (False, True):
            encoder = Encoder(Resource({}), "1", is_exponential=is_exponential, is_delta=False)
            for piece in encoder.pieces(families(taken, ALL_SCOPES), 1):
                encode_metrics(piece.data).SerializeToString()
        records = [logs.record(event, Resource({}), SCOPE) for event in self.node.events.peek(1000)]
        encode_logs(records).SerializeToString()
        return b"".join(pages)


def report(data: bytes) -> None:
    """Have a worker report what some bytes say, and then a good one something more."""
    try:
        part = msgpack.unpackb(data, strict_map_key=False)
    except Exception:  # no report at all; msgpack raises many things
        return
    hostile(part)


def hostile(part: object) -> Master:
    """Have a worker report this; return the master, on which nothing has fallen or is broken."""
    master = Master()
    before = master.counters()
    master.tell(part)
    after = master.counters()
    assert all(after[name] >= before[name] for name in before), (before, after)
    master.exported()
    return master


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def answer(data: bytes) -> Outcome | None:
    """Judge the answer of a sink that consists of these bytes; None where `http.client` makes nothing of them."""
    try:
        plain = HTTPResponse(_Socket(data), method="POST")  # type: ignore[arg-type]
        plain.begin()
        raw = UrllibResponse(
            body=plain, headers=HTTPHeaderDict(plain.headers.items()), status=plain.status, version=plain.version,
            reason=plain.reason, preload_content=False, original_response=plain, request_method="POST",
        )  # fmt: skip
        request = requests.Request("POST", "http://127.0.0.1/").prepare()
        response = requests.adapters.HTTPAdapter().build_response(request, raw)
        outcome = judged(response, ExportMetricsServiceResponse)
    except (requests.RequestException, HTTPException, HTTPError, OSError):
        return None  # what the session takes for a failure
    assert outcome.ok or outcome.reason, outcome
    assert outcome.rejected >= 0
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 300
    assert 0 <= outcome.retry_after_s <= 3600
    return outcome
