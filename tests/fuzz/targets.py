"""Targets of the fuzzer: the two decoders of foreign bytes, each as a function of bytes that must not raise.

The exporter of the master decodes a worker's report, and the OTLP output decodes a sink's answer.
"""

from __future__ import annotations

import io
from http.client import HTTPException, HTTPResponse

import locust  # noqa: F401  # first: it patches sockets
import msgpack
import requests
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk.resources import Resource
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse as UrllibResponse

from locust_otel.core.exposition import TextExposition
from locust_otel.core.families import ALL_SCOPES, families
from locust_otel.exporter.endpoint.protobuf import ProtobufExposition
from locust_otel.exporter.otlp.encoding import Encoder
from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.sender import judged
from tests.unit.processes import Exporter

CLIENT = "host_0123"
RUN = "run-1"


class Master:
    """The exporter of a master in a run, and its outputs."""

    def __init__(self) -> None:
        self._exporter = Exporter(is_master=True)
        self.run = self._exporter.begin(RUN)
        self._exporter.take(["status", {"run_id": RUN, "state": "running", "users": {}, "users_target": {},
                                        "worker_names": {CLIENT: "host-0"}, "worker_users": {CLIENT: 1}}])  # fmt: skip

    def tell(self, part: object, counted: int = 1) -> None:
        """Take the report of a worker."""
        self._exporter.take(["worker", CLIENT, counted, part])

    def counters(self) -> dict[str, int]:
        """Return the counters, which must never fall."""
        requests_ = self.run.merged.snapshot()
        return {
            "requests": requests_.total,
            "errors": sum(requests_.errors.values()),
            "user_errors": sum(requests_.user_errors.values()),
            "bytes": sum(series.body_bytes for series in requests_.series),
            "listener_errors": self._exporter.session.state.workers.total_errors,
        }

    def exported(self) -> None:
        """Make pages, pushes and log records; no report may break that."""
        session = self._exporter.session
        for exposition in (TextExposition(is_openmetrics=True), ProtobufExposition()):
            b"".join(exposition.render(families(session.snapshot(), ALL_SCOPES)))
        for is_exponential in (False, True):
            encoder = Encoder(Resource({}), "1", is_exponential=is_exponential, is_delta=False)
            for batch in encoder.batches(families(session.snapshot(), ALL_SCOPES), 1):
                encode_metrics(batch.data).SerializeToString()
        self._exporter.slow_log.emit()
        records = [encoder.log_record(event) for event in session.state.events.peek(1000)]
        encode_logs(records).SerializeToString()
        session.saved()


def report(data: bytes) -> None:
    """Take some bytes as a worker's report, alone and as a piece of it."""
    hostile([data])
    try:
        part = msgpack.unpackb(data, strict_map_key=False)
    except Exception:  # no message for Locust; msgpack raises many types
        return
    hostile(part)


def hostile(part: object) -> Master:
    """Take this as a worker's report, check that no counter has fallen, and return the master."""
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
    """Judge these bytes as the answer of a sink; None if `http.client` cannot parse them."""
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
        return None  # a failure for the session
    assert outcome.ok or outcome.reason, outcome
    assert outcome.rejected >= 0
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 300
    assert 0 <= outcome.retry_after_s <= 3600
    return outcome
