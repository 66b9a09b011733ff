"""`locust-otel init` and `stack` with real servers: the servers accept the files, start with them, and end together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from locust_otel import cli
from tests.backends.servers import find, free_port, http, promtool
from tests.e2e.harness import BIN, commands_with
from tests.e2e.pages import wait_until

pytestmark = pytest.mark.slow

GRAFANA = """\
#!{python}
import http.server, json, os, pathlib, sys
pathlib.Path({note!r}).write_text(json.dumps([sys.argv[1:], dict(os.environ)]))
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
address = os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])
http.server.HTTPServer(address, Health).serve_forever()
"""
"""A substitute for Grafana: it answers the health check, and writes its arguments and environment into a file."""


@pytest.fixture(autouse=True)
def _servers(backend: Callable[[str], None]) -> None:
    """Skip, or in CI fail, without the servers."""
    for name in ("prometheus", "promtool", "alertmanager", "amtool"):
        backend(name)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a new project."""
    folder = tmp_path / "shop"
    assert cli.main(["init", str(folder), "--yes"]) == 0
    return folder


class Stack:
    """A `locust-otel stack` on free ports, and its output."""

    def __init__(self, folder: Path, path: Path | None = None) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("prometheus", "alertmanager", "grafana")}
        flags = [part for name, port in self.ports.items() for part in (f"--{name}-port", str(port))]
        paths = [str(path or ""), str(find("prometheus").parent), str(find("alertmanager").parent), os.environ["PATH"]]
        environment = {**os.environ, "PATH": os.pathsep.join(filter(None, paths))}
        self.process = subprocess.Popen(
            [str(BIN / "locust-otel"), "stack", str(folder), *flags],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True,
        )  # fmt: skip

    def ask(self, name: str, path: str) -> Any:
        """Return the JSON that a server answers."""
        return json.loads(http(f"http://127.0.0.1:{self.ports[name]}{path}"))

    def discovered(self, path: str, key: str) -> list[dict[str, Any]]:
        """Wait until Prometheus has discovered targets or Alertmanagers, and return them; it takes some seconds."""
        wait_until(lambda: self.ask("prometheus", f"/api/v1/{path}")["data"][key], key)
        return list(self.ask("prometheus", f"/api/v1/{path}")["data"][key])

    def started(self) -> str:
        """Wait until all servers run, and return the output so far."""
        assert self.process.stdout is not None
        lines = [""]
        while not lines[-1].startswith("Ctrl-C"):
            lines.append(self.process.stdout.readline())
            assert lines[-1], "".join(lines)
        return "".join(lines)

    def servers(self) -> dict[str, psutil.Process]:
        """Return the running servers by their names."""
        return {
            child.exe().rpartition("-")[2].rpartition("/")[2]: child
            for child in psutil.Process(self.process.pid).children()
        }

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal to the foreground group, as a terminal does; return the exit code and the further output."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        return self.concluded()

    def concluded(self) -> tuple[int, str]:
        """Wait for the end, check that no server is left, and return the exit code and the further output."""
        output, _ = self.process.communicate(timeout=60)
        assert commands_with(self.folder.parent) == []
        return self.process.returncode, output


@pytest.fixture
def start() -> Iterator[Callable[..., Stack]]:
    """Give a function that starts a stack, and end the stacks after the test."""
    stacks: list[Stack] = []

    def run(*arguments: Path) -> Stack:
        stacks.append(Stack(*arguments))
        return stacks[-1]

    yield run
    for stack in stacks:
        stack.process.terminate()
        stack.process.wait(60)


def test_the_servers_accept_the_files(project: Path) -> None:
    """`promtool` accepts configuration and rules, `amtool` the configuration of Alertmanager."""
    config = promtool("check", "config", project / "prometheus.yml")
    assert config.returncode == 0, config.stderr
    assert "2 rule files found" in config.stdout
    rules = promtool("check", "rules", *sorted((project / "rules").iterdir()))
    assert rules.returncode == 0, rules.stderr
    checked = subprocess.run(
        [find("amtool"), "check-config", project / "alertmanager.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "3 receivers" in checked.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_stack_runs_with_the_files_until_a_signal(
    project: Path, start: Callable[..., Stack], number: signal.Signals
) -> None:
    """Prometheus loads the rules and finds Alertmanager, servers listen on loopback only, and a signal ends them."""
    stack = start(project)
    output = stack.started()
    for name in ("prometheus", "alertmanager"):
        assert f"{name:13} http://127.0.0.1:{stack.ports[name]}\n" in output
    groups = stack.ask("prometheus", "/api/v1/rules")["data"]["groups"]
    assert {group["name"] for group in groups} == {"locust-slo-shop", "locust-run"}
    alertmanager = f"http://127.0.0.1:{stack.ports['alertmanager']}/api/v2/alerts"
    assert [found["url"] for found in stack.discovered("alertmanagers", "activeAlertmanagers")] == [alertmanager]
    (target,) = stack.discovered("targets", "activeTargets")
    assert target["scrapeUrl"] == "http://127.0.0.1:9646/metrics"
    receivers = stack.ask("alertmanager", "/api/v2/receivers")
    assert {receiver["name"] for receiver in receivers} == {"pages", "planned-load", "tickets"}
    listening = {
        tuple(connection.laddr)
        for server in stack.servers().values()
        for connection in server.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", stack.ports[name]) for name in ("prometheus", "alertmanager")}
    assert (project / ".locust-otel" / ".gitignore").read_text() == "*\n"
    assert (project / ".locust-otel" / "prometheus" / "wal").is_dir()
    code, rest = stack.end(number)
    assert (code, rest) == (0, "ends          prometheus, alertmanager\n")


def test_a_signal_during_the_start_ends_all(project: Path, start: Callable[..., Stack]) -> None:
    """A Ctrl-C before the servers are ready leaves none of them."""
    stack = start(project)
    wait_until(psutil.Process(stack.process.pid).children, "a server")
    code, _ = stack.end()
    assert code == 0


def test_a_server_that_dies_ends_all(project: Path, start: Callable[..., Stack]) -> None:
    """The error names the server that has ended and shows its last output; the exit code is 1."""
    stack = start(project)
    stack.started()
    stack.servers()["alertmanager"].kill()
    code, output = stack.concluded()
    assert code == 1
    assert output.startswith("locust-otel: alertmanager ended with exit code -9; its last output:\n")
    assert "Listening on" in output


def test_a_mistake_in_a_file_is_shown(project: Path, start: Callable[..., Stack]) -> None:
    """The output of a server that refuses its configuration is shown, and the other server is ended."""
    with (project / "alertmanager.yml").open("a") as file:
        file.write("no_such_key: 1\n")
    code, output = start(project).concluded()
    assert code == 1
    assert "alertmanager ended with exit code 1; its last output:" in output
    assert "no_such_key" in output


def test_grafana_is_started_when_installed(project: Path, start: Callable[..., Stack], tmp_path: Path) -> None:
    """It gets files and addresses of the project, serves loopback only, and ends with the others."""
    home, note = tmp_path / "grafana", tmp_path / "note.json"
    (home / "bin").mkdir(parents=True)
    (home / "conf").mkdir()
    (home / "conf" / "defaults.ini").touch()
    (home / "bin" / "grafana").write_text(GRAFANA.format(python=sys.executable, note=str(note)))
    (home / "bin" / "grafana").chmod(0o755)
    stack = start(project, home / "bin")
    assert f"grafana       http://127.0.0.1:{stack.ports['grafana']}/d/locust-otel-live\n" in stack.started()
    arguments, environment = json.loads(note.read_text())
    assert arguments == ["server", f"--homepath={home}"]
    assert environment["GF_PATHS_PROVISIONING"] == str(project / "provisioning")
    assert environment["DASHBOARDS"] == str(project / "dashboards")
    assert environment["GF_PATHS_DATA"].startswith(str(project / ".locust-otel"))
    assert environment["PROMETHEUS_URL"] == f"http://127.0.0.1:{stack.ports['prometheus']}"
    assert environment["ALERTMANAGER_URL"] == f"http://127.0.0.1:{stack.ports['alertmanager']}"
    code, _ = stack.end()
    assert code == 0
