"""Pushing over HTTP, with the official exporters' encoding and transport.

The exporters take some failures for a success: a partial success, a redirect, a web page with status 200. So their
session judges each answer, and reports a success to them, so that they neither retry nor log: the next push has all
metrics, and `Circuit` decides about pauses and log lines.
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from threading import Timer
from time import time
from typing import Any
from weakref import WeakSet

import requests
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from locust_otel.exporter.otlp.outcome import NOT_SENT, Outcome, partial_outcome, printable
from locust_otel.exporter.otlp.settings import Signal, Target

_MAX_ANSWER_BYTES = 64 * 1024
_RETRYABLE = frozenset({429, 502, 503, 504})  # as the OTLP specification lists them


class _Adapter(HTTPAdapter):
    """Keeps its open sockets, so that another thread can `cut` them."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cut = False
        self._sockets: WeakSet[socket.socket] = WeakSet()

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """Return a pool whose connections add their sockets."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if "ConnectionCls" not in vars(pool):
            pool.ConnectionCls = self._tracked(pool.ConnectionCls)
        return pool

    def cut(self) -> None:
        """End the current push."""
        self.is_cut = True
        for open_socket in list(self._sockets):
            with contextlib.suppress(OSError):  # already closed
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)  # that of a TLS socket is not thread-safe

    def _tracked(self, connection_type: Any) -> Any:
        adapter = self

        class Tracked(connection_type):  # type: ignore[misc]  # HTTP or HTTPS
            def connect(self) -> None:
                super().connect()
                adapter._sockets.add(self.sock)
                if adapter.is_cut:  # while it connected
                    raise TimeoutError

        return Tracked


class _Session(requests.Session):
    """Sends the exporter's requests: keeps the outcome, and always reports a success to the exporter."""

    def __init__(self, response_type: type[ExportMetricsServiceResponse] | type[ExportLogsServiceResponse]) -> None:
        super().__init__()
        self.outcome = NOT_SENT
        self.adapter = _Adapter()
        for scheme in ("http://", "https://"):
            self.mount(scheme, self.adapter)
        self._response_type = response_type

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send; send again at once if the receiver has closed the connection of the last push."""
        options |= {"allow_redirects": False, "stream": True}
        if self.verify is not True:  # else requests prefers REQUESTS_CA_BUNDLE
            options["verify"] = self.verify
        adapter = self.adapter
        adapter.is_cut = False
        # The timeout of requests begins anew with each byte.
        timer = Timer(options["timeout"], adapter.cut)
        timer.daemon = True
        timer.start()
        try:
            for _ in range(2):
                try:
                    with super().request(method, url, **options) as response:
                        self.outcome = judged(response, self._response_type)
                except (requests.RequestException, HTTPError, OSError) as error:
                    self.outcome = Outcome(ok=False, reason=_reason(error))
                    if type(error) is requests.ConnectionError and not adapter.is_cut:
                        continue
                break
        finally:
            timer.cancel()
        if adapter.is_cut and not self.outcome.ok:
            self.outcome = Outcome(ok=False, reason="no answer in time")
        answer = requests.Response()
        answer.status_code = 200
        return answer


def judged(response: requests.Response, response_type: Any) -> Outcome:
    """Return the outcome in a response whose body has not been read."""
    status = response.status_code
    if not 200 <= status < 300:
        where = "a redirect, which OTLP does not follow" if 300 <= status < 400 else response.reason or ""
        return Outcome(
            ok=False,
            reason=printable(f"{status} {where}"),
            retry_after_s=_retry_after(response.headers),
            is_permanent=status not in _RETRYABLE,
        )
    if status != 204 and _is_cut_off(response):
        return Outcome(ok=False, reason=f"{status} with an incomplete answer")
    body = response.raw.read(_MAX_ANSWER_BYTES + 1, decode_content=True)
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if len(body) > _MAX_ANSWER_BYTES or (body and media_type in {"text/html", "application/xhtml+xml"}):
        return Outcome(ok=False, reason=f"{status} with {media_type or 'a long answer'}, not an answer of OTLP")
    if media_type not in {"application/x-protobuf", "application/protobuf", ""}:
        return Outcome(ok=True)  # an empty JSON object, or a text such as OK
    try:
        partial = response_type.FromString(body).partial_success
    except DecodeError:
        return Outcome(ok=False, reason=f"{status} with an answer that is not OTLP")
    return partial_outcome(partial)


def _is_cut_off(response: requests.Response) -> bool:
    """Return whether the response may have ended within its headers, which `http.client` does not notice.

    An HTTP 1.1 response has a length, or a header says that it ends with the connection (RFC 9112, 6.3).
    """
    headers = response.headers
    is_framed = bool({"Content-Length", "Transfer-Encoding"} & {name.title() for name in headers})
    return not is_framed and response.raw.version >= 11 and headers.get("Connection", "").lower() != "close"


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "0")
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), 3600.0) if math.isfinite(seconds) else 0.0


def _reason(error: Exception) -> str:
    """Return the kind of failure, without the URL, which may hold a password."""
    reasons = {
        requests.exceptions.SSLError: "the TLS certificate is not trusted, or the server has no TLS",
        requests.ConnectTimeout: "the connection timed out",
        requests.ReadTimeout: "no answer in time",
        requests.ConnectionError: "no connection, or it was closed",
    }
    return next((text for kind, text in reasons.items() if isinstance(error, kind)), type(error).__name__)


class HttpSender:
    """Pushes one signal over HTTP, for one thread at a time."""

    def __init__(self, signal: Signal, target: Target) -> None:
        is_metrics = signal is Signal.METRICS
        self._session = _Session(ExportMetricsServiceResponse if is_metrics else ExportLogsServiceResponse)
        exporter_type: Any = OTLPMetricExporter if is_metrics else OTLPLogExporter
        self._exporter = exporter_type(
            endpoint=target.endpoint,
            certificate_file=target.certificate,
            client_certificate_file=target.client_certificate,
            client_key_file=target.client_key,
            headers=dict(target.headers),
            timeout=target.timeout_s,
            compression=Compression(target.compression),
            session=self._session,
        )

    def send(self, data: Any) -> Outcome:
        """Push metrics (a `MetricsData`) or events (a sequence of log records)."""
        self._session.outcome = NOT_SENT
        self._exporter.export(data)
        return self._session.outcome

    def cut(self) -> None:
        """End the current push, from another thread; the next push connects again."""
        self._session.adapter.cut()
