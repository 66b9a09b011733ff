"""Tests of imports: none has a side effect, and the package alone loads none of the heavy libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import locust_otel

ROOT = Path(locust_otel.__file__).parent
HEAVY = (
    "locust",
    "gevent",
    "greenlet",
    "prometheus_client",
    "opentelemetry",
    "psutil",
    "bcrypt",
    "yaml",
    "rich",
    "zmq",
    "msgpack",
    "pydantic",
    "uvicorn",
    "requests",
)


def run(code: str) -> Any:
    """Run code in a fresh interpreter and return what it prints as JSON."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST")}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_package_alone_loads_nothing_heavy() -> None:
    """`import locust_otel`, a look at its names and its error classes load neither Locust nor any other library."""
    code = (
        "import json, sys, threading, locust_otel\n"
        "dir(locust_otel); locust_otel.__all__; locust_otel.ConfigurationError\n"
        f"print(json.dumps([[n for n in {HEAVY!r} if n in sys.modules], threading.active_count()]))"
    )
    assert run(code) == [[], 1]


def test_an_exporter_keeps_no_validation() -> None:
    """What reads the SLO file is not loaded in the exporter itself, which lives as long as the load test."""
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
    """Importing every module but `auto` starts nothing, opens nothing, and leaves signals and exit hooks alone."""
    names = [
        ".".join((locust_otel.__name__, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for path in sorted(ROOT.rglob("*.py"))
        if "locustfiles" not in path.parts and path.stem != "auto"
    ]
    assert len(names) > 20
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


def test_unknown_names() -> None:
    """A name that the package does not have is an AttributeError, as anywhere."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        locust_otel.nothing  # noqa: B018


def test_every_public_name_is_there() -> None:
    """Each name of `__all__` can be had, and is the one of its module."""
    for name in locust_otel.__all__:
        assert getattr(locust_otel, name).__module__.startswith("locust_otel.")
        assert name in dir(locust_otel)
