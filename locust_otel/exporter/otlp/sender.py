"""Pushing over HTTP, with the official exporters' encoding and transport.

The exporters take some failures for success: a partial success, a redirect, a web page with status 200. So the answer
is looked at where it comes in, in the session that they are given. Nor do they retry or log on their own: a push that
failed is made up for by the next, which tells everything, and when to log and when to wait is the output's to say.
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
    """Knows its open sockets, so that another thread can `cut` what they wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cut = False
        self._sockets: WeakSet[socket.socket] = WeakSet()

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """Have each connection remembered."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if "ConnectionCls" not in vars(pool):
            pool.ConnectionCls = self._remembered(pool.ConnectionCls)
        return pool

    def cut(self) -> None:
        """End what is under way."""
        self.is_cut = True
        for open_socket in list(self._sockets):
            with contextlib.suppress(OSError):  # it has ended by itself
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)  # that of TLS is for the thread that reads

    def _remembered(self, connection_type: Any) -> Any:
        adapter = self

        class Remembered(connection_type):  # type: ignore[misc]  # it is one of two
            def connect(self) -> None:
                super().connect()
                adapter._sockets.add(self.sock)
                if adapter.is_cut:  # before there was a socket
                    raise TimeoutError

        return Remembered


class _Session(requests.Session):
    """Sends as the exporter asks it to, and keeps the outcome; the exporter always sees a success."""

    def __init__(self, response_type: type[ExportMetricsServiceResponse] | type[ExportLogsServiceResponse]) -> None:
        super().__init__()
        self.outcome = NOT_SENT
        self.adapter = _Adapter()
        for scheme in ("http://", "https://"):
            self.mount(scheme, self.adapter)
        self._response_type = response_type

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send, and once more at once where a connection kept from the last time was closed meanwhile."""
        options |= {"allow_redirects": False, "stream": True}
        if self.verify is not True:  # else requests prefers the bundle of REQUESTS_CA_BUNDLE to it
            options["verify"] = self.verify
        adapter = self.adapter
        adapter.is_cut = False
        # The timeout of requests begins anew with each byte that trickles in.
        timer = Timer(options["timeout"], adapter.cut)
        timer.daemon = True
        timer.start()
        try:
            for _ in range(2):
                try:
                    with super().request(method, url, **options) as response:
                        self.outcome = judged(response, self._response_type)
                except (requests.RequestException, HTTPError, OSError) as error:
                    self.outcome = Outcome(ok=False, reason=_named(error))
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
    """Return what a sink says with an answer, whose body has not been read."""
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
        return Outcome(ok=False, reason=f"{status} with an answer that was cut off")
    body = response.raw.read(_MAX_ANSWER_BYTES + 1, decode_content=True)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if len(body) > _MAX_ANSWER_BYTES or (body and kind in {"text/html", "application/xhtml+xml"}):
        return Outcome(ok=False, reason=f"{status} with {kind or 'a long answer'}, which is no answer of OTLP")
    if kind not in {"application/x-protobuf", "application/protobuf", ""}:
        return Outcome(ok=True)  # an empty JSON object, or the text some back ends say yes with
    try:
        partial = response_type.FromString(body).partial_success
    except DecodeError:
        return Outcome(ok=False, reason=f"{status} with an answer that is not OTLP")
    return partial_outcome(partial)


def _is_cut_off(response: requests.Response) -> bool:
    """Return whether the answer may have ended in the middle of its headers, which `http.client` takes for all of them.

    In HTTP 1.1 an answer says how long it is, or that its end is the end of the connection (RFC 9112, 6.3).
    """
    headers = response.headers
    is_framed = bool({"Content-Length", "Transfer-Encoding"} & {name.title() for name in headers})
    return not is_framed and response.raw.version >= 11 and headers.get("Connection", "").lower() != "close"


def _retry_after(headers: Mapping[str, str]) -> float:
    told = headers.get("Retry-After", "0")
    try:
        seconds = float(told)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(told).timestamp() - time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), 3600.0) if math.isfinite(seconds) else 0.0


def _named(error: Exception) -> str:
    """Return what happened without the URL, in which there may be a password."""
    names = {
        requests.exceptions.SSLError: "the TLS certificate is not trusted, or TLS is not spoken there",
        requests.ConnectTimeout: "no connection in time",
        requests.ReadTimeout: "no answer in time",
        requests.ConnectionError: "no connection, or it was closed",
    }
    return next((text for kind, text in names.items() if isinstance(error, kind)), type(error).__name__)


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
        """End what is under way, from another thread; the next push connects anew."""
        self._session.adapter.cut()
