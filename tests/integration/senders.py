"""Data to send, certificates, and a push, for the tests of both senders."""

from __future__ import annotations

from typing import Any

import trustme
from opentelemetry.sdk.resources import Resource

from locust_otel.core.events import Event
from locust_otel.core.families import families
from locust_otel.core.snapshot import SeriesKey
from locust_otel.exporter.otlp.encoding import Encoder
from locust_otel.exporter.otlp.grpc import GrpcSender
from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.sender import HttpSender
from locust_otel.exporter.otlp.settings import Signal, Target
from tests.unit.factories import Load, record
from tests.unit.otlp_sinks import snapshot

ENCODER = Encoder(Resource({"service.name": "shop"}), "1.2.3", is_exponential=False, is_delta=False)
CA = trustme.CA()
SERVER = CA.issue_cert("127.0.0.1")
OK = Outcome(ok=True)


def metrics() -> Any:
    """Return metrics to send."""
    requests = Load(slow_s=2.0, max_names=5)
    record(requests, SeriesKey("GET", "/", "Shopper", "success"), range(100))
    return next(iter(ENCODER.batches(families(snapshot(requests)), 1_764_000_061_000_000_000))).data


def events(count: int = 3) -> Any:
    """Return events to send."""
    return [ENCODER.log_record(Event("e", f"text {i}")) for i in range(count)]


def make(signal: Signal, where: Target) -> GrpcSender | HttpSender:
    """Return the sender of a signal."""
    return GrpcSender(signal, where) if where.protocol == "grpc" else HttpSender(signal, where)


def send(where: Target, signal: Signal = Signal.METRICS, times: int = 1) -> Outcome:
    """Send, and return the last outcome."""
    sender = make(signal, where)
    for _ in range(times):
        outcome = sender.send(metrics() if signal is Signal.METRICS else events())
    sender.cut()
    return outcome
