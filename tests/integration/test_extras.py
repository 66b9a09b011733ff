"""Tests of imports without the packages of the extras, in fresh interpreters."""

from __future__ import annotations

from tests.integration.test_import import run
from tests.unit.test_layers import MODULES, PACKAGE

IMPORTS = ("numpy", "scipy", "matplotlib", "chaoslib", "grpc", "opentelemetry.exporter.otlp.proto.grpc")
"""Modules of the packages of the extras."""

NEED_AN_EXTRA = {
    "exporter.otlp.grpc",
    "review.report.pictures",
    *(f"review.analysis.{name}" for name in ("analyze", "bottleneck", "drift", "growth", "notes", "periodic")),
    *(f"review.analysis.{name}" for name in ("readers", "statistics", "timeline")),
}
"""Modules of locust-otel that need an extra."""

BLOCK = f"import sys\nsys.modules.update(dict.fromkeys({IMPORTS!r}))\nimport importlib, json\n"
"""Code after which the import of these modules fails, as without the extras."""


def test_no_other_module_needs_an_extra() -> None:
    """Without the packages of the extras all modules can be imported except those of `NEED_AN_EXTRA`."""
    modules = sorted(set(MODULES) - NEED_AN_EXTRA - {"auto", "__init__"})
    code = f"""{BLOCK}
import locust
for name in {modules!r}:
    importlib.import_module(f"{PACKAGE}.{{name}}")
print(json.dumps(len({modules!r})))
"""
    assert run(code) == len(modules)


def test_what_needs_an_extra() -> None:
    """Without those packages the import of each module of `NEED_AN_EXTRA` fails because of one of them."""
    code = f"""{BLOCK}
missing = {{}}
for name in {sorted(NEED_AN_EXTRA)!r}:
    try:
        importlib.import_module(f"{PACKAGE}.{{name}}")
    except ModuleNotFoundError as error:
        missing[name] = error.name
print(json.dumps(missing))
"""
    missing = run(code)
    assert set(missing) == NEED_AN_EXTRA
    assert set(missing.values()) <= set(IMPORTS)


def test_http_needs_no_grpc() -> None:
    """Pushes over HTTP have targets, an encoder and senders without the extra."""
    code = f"""{BLOCK}
import locust_otel.exporter.otlp.encoding
from locust_otel.exporter.otlp.push import sender_of
from locust_otel.exporter.otlp.settings import Signal, resolve
otlp = resolve("http://127.0.0.1:4318", "http/protobuf", None, {{}})
senders = [sender_of(Signal.METRICS, otlp.metrics), sender_of(Signal.LOGS, otlp.logs)]
print(json.dumps([type(sender).__name__ for sender in senders]))
"""
    assert run(code) == ["HttpSender", "HttpSender"]


def test_http_loads_no_grpc() -> None:
    """A push over HTTP does not load an installed extra."""
    code = """
import json, sys
import locust_otel.exporter.otlp.encoding
from locust_otel.exporter.otlp.push import sender_of
from locust_otel.exporter.otlp.settings import Signal, resolve
sender_of(Signal.METRICS, resolve("http://127.0.0.1:4318", "http/protobuf", None, {}).metrics)
print(json.dumps([name for name in sys.modules if name == "grpc" or name.endswith("proto.grpc")]))
"""
    assert run(code) == []
