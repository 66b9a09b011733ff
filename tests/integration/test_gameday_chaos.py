"""Chaos Toolkit runs an experiment with our control and probes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.servers import Prometheus
from tests.integration.webhook import Webhook

MODULE = "locust_otel.gameday.chaostoolkit"


@pytest.fixture
def marks() -> Iterator[Webhook]:
    """Give an endpoint that accepts marks at `/-/mark`, as a run does."""
    with Webhook() as webhook:
        yield webhook


def probe(name: str, function: str, tolerance: object, **arguments: object) -> dict[str, Any]:
    """Return a probe that calls a function of ours."""
    provider = {"type": "python", "module": MODULE, "func": function, "arguments": arguments}
    return {"type": "probe", "name": name, "tolerance": tolerance, "provider": provider}


def run(folder: Path, metrics: str, probes: list[dict[str, Any]], action: str) -> dict[str, Any]:
    """Run an experiment, and return the journal of Chaos Toolkit."""
    control = {"type": "python", "module": MODULE, "arguments": {"metrics": metrics}}
    provider = {"type": "process", "path": "/bin/sh", "arguments": ["-c", action]}
    experiment = {
        "title": "test", "description": "test", "version": "1.0.0",
        "controls": [{"name": "marks", "provider": control}],
        "steady-state-hypothesis": {"title": "quiet", "probes": probes},
        "method": [{"type": "action", "name": "lose the database", "provider": provider}],
        "rollbacks": [],
    }  # fmt: skip
    (folder / "experiment.json").write_text(json.dumps(experiment))
    chaos = Path(sys.executable).with_name("chaos")
    command = [str(chaos), "--no-version-check", "run", "--journal-path", "journal.json", "experiment.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert (folder / "journal.json").exists(), done.stderr
    journal: dict[str, Any] = json.loads((folder / "journal.json").read_text())
    return journal


def test_each_action_is_marked_and_the_probes_answer(prometheus: Prometheus, marks: Webhook, tmp_path: Path) -> None:
    """The action has a mark before it and one after it, probes have none, and both probes succeed."""
    probes = [
        probe("no alert", "alert_is", True, prometheus=prometheus.url, alert="None", state="inactive"),
        probe("no verdict", "verdict", "undecided", prometheus=prometheus.url, run_id="nobody"),
    ]
    journal = run(tmp_path, f"{marks.url}/metrics", probes, "true")
    assert journal["status"] == "completed", journal
    assert journal["deviated"] is False
    assert [(message.path, message.content, message.content_type) for message in marks.messages] == [
        ("/-/mark", {"mark": "lose the database", "kind": kind}, "application/json")
        for kind in ("fault-start", "fault-end")
    ]


def test_an_alert_that_does_not_fire_deviates(prometheus: Prometheus, tmp_path: Path) -> None:
    """A failing probe prevents the experiment; a run that accepts no marks does not."""
    firing = probe("alert", "alert_is", True, prometheus=prometheus.url, alert="None", state="firing")
    journal = run(tmp_path, "http://127.0.0.1:9/metrics", [firing], "true")
    assert journal["steady_states"]["before"]["steady_state_met"] is False
    assert journal["run"] == []  # it has not begun
    (tmp_path / "quiet").mkdir()
    journal = run(tmp_path / "quiet", "http://127.0.0.1:9/metrics", [], "true")
    assert journal["status"] == "completed"
