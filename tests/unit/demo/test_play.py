"""Tests of `locust-otel demo` without a run: Locust's arguments, the exit code, and the comparison of the counts."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from locust_otel.core.errors import ConfigurationError
from locust_otel.demo import play

OPTIONS = Namespace(
    users=20, spawn_rate=10, slo=None, processes=None, prometheus_port=None, run_record=None, web_ui=False, fault=[],
    run_time="60s", stack=False,
)  # fmt: skip


@pytest.fixture
def console() -> Console:
    """Make a console that writes into a text."""
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    """Return the text."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        ({}, ["--headless", "--run-time 60s", "--host http://a"], ["--processes", "--logfile", "--prometheus-port"]),
        ({"web_ui": True, "processes": 2, "slo": "my.yaml"}, ["--autostart", "--processes 2", "--slo my.yaml"],
         ["--headless"]),
    ],
)  # fmt: skip
def test_the_arguments_of_locust(changes: dict[str, Any], present: list[str], absent: list[str]) -> None:
    """Flags of the demo become arguments; those without a value are left out."""
    options = Namespace(**{**vars(OPTIONS), **changes})
    arguments = " ".join(play._locust_arguments(options, "http://a", 60.0, Path("out/locust.json"), None))
    assert all(text in arguments for text in [*present, "--json-file out/locust "])
    assert not any(text in arguments for text in absent)


@pytest.mark.parametrize(("code", "hints"), [(0, []), (3, ["would be 3"]), (4, ["would be 4", "-t 60s"])])
def test_the_objectives_of_the_demo_decide_nothing(console: Console, code: int, hints: list[str]) -> None:
    """The exit code is 0; a text has the one of --slo, and how a run can be decided."""
    assert play._forgiven(console, code) == 0
    assert all(hint in printed(console) for hint in hints)
    assert bool(printed(console)) == bool(hints)


@pytest.mark.parametrize(("failures", "verdict"), [(1, "All three agree."), (0, "They differ.")])
def test_the_counts_are_compared(console: Console, tmp_path: Path, failures: int, verdict: str) -> None:
    """Requests and failures of Locust, the bridge and the shop are printed side by side."""
    report = tmp_path / "locust.json"
    report.write_text(json.dumps([{"num_requests": 2, "num_failures": 0}, {"num_requests": 3, "num_failures": 1}]))
    served = [{"count": 4, "status": 200}, {"count": 1, "status": 503}]
    row = {"method": "", "name": "all", "requests": 5, "failures": failures, "rate": 1.0}
    row |= {"p50_s": 0.1, "p95_s": 0.1, "p99_s": 0.1}
    page = {"run": {"id": "r"}, "total": row, "endpoints": [], "recent_s": None}
    bridge: Any = SimpleNamespace(ask=lambda _: page, url="http://127.0.0.1:9650/metrics")
    shop: Any = SimpleNamespace(stats=lambda: {"requests": served})
    play._conclude(console, bridge, report, shop)
    text = printed(console)
    assert verdict in text
    assert "targets: ['127.0.0.1:9650']" in text
    counts = [line.split() for line in text.splitlines() if line.startswith(("Locust", "bridge", "shop"))]
    assert counts == [["Locust", "5", "1"], ["bridge", "5", str(failures)], ["shop", "5", "1"]]


@pytest.mark.parametrize(("changes", "slug"), [({"run_time": "0.5s"}, "run-time"), ({"fault": ["nope"]}, "fault-name")])
def test_flags_that_are_refused(changes: dict[str, Any], slug: str) -> None:
    """A wrong flag ends the demo before anything has started."""
    with pytest.raises(ConfigurationError) as raised:
        play.run(Namespace(**{**vars(OPTIONS), **changes}))
    assert raised.value.slug == slug
