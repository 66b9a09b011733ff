"""Tests of pushes over a real connection, and of their state in a real process."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import threading
from time import perf_counter
from typing import Any

import pytest

from locust_otel.exporter.otlp.push import Kept, MetricsPush, Push
from locust_otel.exporter.otlp.settings import OtlpSettings
from tests.unit.otlp_sinks import HttpSink, reply, target
from tests.unit.processes import Exporter


def push_to(url: str, exporter: Exporter, kept: Kept | None = None) -> Push:
    """Return a push of metrics to a server."""
    where = target(url, timeout_s=10.0)
    settings = OtlpSettings(where, None, 3600, is_exponential=True, is_delta=True)
    return MetricsPush(exporter.session, settings, where, kept or Kept())


def counts(exporter: Exporter) -> dict[str, int]:
    """Return the number of exports by outcome."""
    return {count.outcome: count.count for count in exporter.session.exports.counts()}


def test_a_server(caplog: pytest.LogCaptureFixture) -> None:
    """A push arrives, and the refusal of the next one is counted and logged."""
    caplog.set_level(logging.INFO)
    exporter = Exporter()
    with HttpSink(reply(), reply("503 Busy")) as sink:
        push = push_to(sink.url, exporter)
        push.push()
        push.push()
    assert (len(sink.received), counts(exporter)) == (2, {"success": 1, "failure": 1})
    assert caplog.messages == [f"OTLP: otlp_metrics to {sink.url} are failing: 503 Busy"]


def test_a_server_without_an_answer() -> None:
    """`abandon` ends a push at once, long before its timeout; the next push arrives."""
    requested = threading.Event()

    def silent(connection: Any) -> None:
        requested.set()
        connection.settimeout(5)
        connection.recv(1)

    exporter = Exporter()
    with HttpSink(silent, reply()) as sink:
        push = push_to(sink.url, exporter)
        hanging = threading.Thread(target=push.push)
        hanging.start()
        assert requested.wait(5)
        started = perf_counter()
        push.abandon()
        hanging.join(5)
        push.push()
        assert perf_counter() - started < 1
    assert counts(exporter) == {"success": 1, "failure": 0}


def test_the_state_is_plain() -> None:
    """A successor reads the state without importing OpenTelemetry, which takes half a second."""
    exporter, kept = Exporter(), Kept()
    run = exporter.begin()
    with HttpSink() as sink:
        push_to(sink.url, exporter, kept).push()
    assert kept.run_id == run.run_id
    assert len(kept.sent) > 5
    code = (
        "import pickle, sys; pickle.load(sys.stdin.buffer); print(sorted({'opentelemetry', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(kept), capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
