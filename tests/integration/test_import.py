"""Tests of imports in fresh interpreters: no side effects, and no library that is not needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import locust_otel
from tests.unit.test_layers import MODULES, PACKAGE, room

ROOT = Path(locust_otel.__file__).parent
HEAVY = (
    "locust", "gevent", "greenlet", "prometheus_client", "opentelemetry", "psutil", "bcrypt", "yaml", "rich", "zmq",
    "msgpack", "pydantic", "uvicorn", "requests",
)  # fmt: skip


def run(code: str) -> Any:
    """Run code in a fresh interpreter and return what it prints as JSON."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST")}
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_package_alone_loads_nothing_heavy() -> None:
    """`import locust_otel`, its names and its error classes load neither Locust nor another library."""
    code = (
        "import json, sys, threading, locust_otel\n"
        "dir(locust_otel); locust_otel.__all__; locust_otel.ConfigurationError\n"
        f"print(json.dumps([[n for n in {HEAVY!r} if n in sys.modules], threading.active_count()]))"
    )
    assert run(code) == [[], 1]


def test_an_exporter_keeps_no_validation() -> None:
    """The exporter does not keep the libraries that read the SLO file in memory."""
    code = f"""
import json, sys
import locust_otel.exporter.process
from locust_otel.core.settings import values_of
from locust_otel.exporter.settings import resolve
slo = resolve(values_of(None, {{"slo": {str(ROOT.parent / "locustfiles/slo.yaml")!r}}})).slo
print(json.dumps([slo.service, [n for n in ("pydantic", "yaml", "uvicorn", "opentelemetry") if n in sys.modules]]))
"""
    assert run(code) == ["webshop", []]


def test_no_listener_before_register() -> None:
    """Importing the plugin adds no listener to Locust; `register` adds three, and a second call none."""
    code = """
import json, locust
def listeners():
    return {n: len(h._handlers) for n, h in vars(locust.events).items() if getattr(h, "_handlers", None)}
counts = [listeners()]
import locust_otel.plugin.wiring
counts.append(listeners())
locust_otel.register()
counts.append(listeners())
locust_otel.register()
counts.append(listeners())
print(json.dumps(counts))
"""
    before, imported, registered, again = run(code)
    assert imported == before
    added = {n: registered.get(n, 0) - before.get(n, 0) for n in {*registered, *before}}
    assert {n: count for n, count in added.items() if count} == {
        "init_command_line_parser": 1,
        "init": 1,
        "test_start": 1,
    }
    assert again == registered


def test_no_module_has_a_side_effect() -> None:
    """The import of any module but `auto` starts no thread, opens no file, and sets no signal handler or exit hook."""
    names = [f"{PACKAGE}.{name}" for name in MODULES if name not in {"auto", "__init__"}]
    code = f"""
import json, sys, locust, prometheus_client, psutil, bcrypt, yaml, rich, uvicorn, gevent.pywsgi, gevent.pool
import numpy, scipy.optimize, scipy.stats, matplotlib.figure, matplotlib.backends.backend_svg
import opentelemetry.exporter.otlp.proto.grpc.metric_exporter  # gRPC starts a thread when it is imported
import chaoslib.types, matplotlib.figure, matplotlib.pyplot, numpy, scipy.optimize, scipy.signal, scipy.stats
import atexit, gc, importlib, os, signal, threading
from greenlet import greenlet
import gevent
signals = [n for n in range(1, 32) if n not in (signal.SIGKILL, signal.SIGSTOP)]
def state():
    gc.collect()
    return [
        atexit._ncallbacks(), threading.active_count(), len(os.listdir("/proc/self/fd")),
        sum(isinstance(o, gevent.Greenlet) for o in gc.get_objects()), [str(signal.getsignal(n)) for n in signals],
        {{n: len(h._handlers) for n, h in vars(locust.events).items() if getattr(h, "_handlers", None)}},
        sorted(str(c) for c in prometheus_client.REGISTRY._collector_to_names),
    ]
before = state()
for name in {names!r}:
    importlib.import_module(name)
after = state()
print(json.dumps([[b, a] for b, a in zip(before, after) if b != a]))
"""
    assert run(code) == []


@pytest.mark.parametrize("name", ["core", "wire", "slo", "exporter", "review", "gameday", "project"])
def test_rooms_without_locust(name: str) -> None:
    """Rooms that run in the exporter's process or in a command load neither Locust nor gevent."""
    names = [f"{PACKAGE}.{module}" for module in MODULES if room(module) == name and not module.endswith("__main__")]
    code = (
        f"import importlib, json, sys\nfor name in {names!r}:\n    importlib.import_module(name)\n"
        "print(json.dumps(sorted({'locust', 'gevent', 'greenlet', 'zope'} & set(sys.modules))))"
    )
    assert run(code) == []
