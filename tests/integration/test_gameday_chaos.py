"""Chaos Toolkit itself runs an experiment with our control and probes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.backends.servers import Prometheus

MODULE = "locust_otel.gameday.chaostoolkit"


class Marks:
    """Takes marks at `/-/mark`, as a run does."""

    def __init__(self) -> None:
        self.came: list[tuple[str, dict[str, Any], str]] = []
        marks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                marks.came.append((self.path, body, self.headers["Content-Type"]))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/metrics"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def marks() -> Iterator[Marks]:
    """A run that takes marks."""
    marks = Marks()
    yield marks
    marks.server.shutdown()
    marks.server.server_close()


def probe(name: str, function: str, tolerance: object, **arguments: object) -> dict[str, Any]:
    """Return a probe of ours."""
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


def test_each_action_is_marked_and_the_probes_answer(prometheus: Prometheus, marks: Marks, tmp_path: Path) -> None:
    """The action has a mark before and one after, probes have none, and a quiet Prometheus is what it should be."""
    probes = [
        probe("no alert", "alert_is", True, prometheus=prometheus.url, alert="None", state="inactive"),
        probe("no verdict", "verdict", "undecided", prometheus=prometheus.url, run_id="nobody"),
    ]
    journal = run(tmp_path, marks.url, probes, "true")
    assert journal["status"] == "completed", journal
    assert journal["deviated"] is False
    assert marks.came == [
        ("/-/mark", {"mark": "lose the database", "kind": kind}, "application/json")
        for kind in ("fault-start", "fault-end")
    ]


def test_an_alert_that_does_not_fire_deviates(prometheus: Prometheus, tmp_path: Path) -> None:
    """A probe that is not as it should be keeps the experiment from beginning; a run that takes no marks does not."""
    firing = probe("alert", "alert_is", True, prometheus=prometheus.url, alert="None", state="firing")
    journal = run(tmp_path, "http://127.0.0.1:9/metrics", [firing], "true")
    assert journal["steady_states"]["before"]["steady_state_met"] is False
    assert journal["run"] == []  # it did not begin
    (tmp_path / "quiet").mkdir()
    journal = run(tmp_path / "quiet", "http://127.0.0.1:9/metrics", [], "true")
    assert journal["status"] == "completed"
