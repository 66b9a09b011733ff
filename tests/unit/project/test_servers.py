"""Tests of finding servers, and of the commands that run them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError
from locust_otel.project import servers


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the one folder of PATH, with nothing in it; no other place has a server."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(servers, "__file__", str(tmp_path / "a" / "b" / "servers.py"))
    return tmp_path


def program(file: Path) -> Path:
    """Make an executable file and return it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_missing_servers_are_named(path: Path) -> None:
    """The error says which server is missing and how to get it; Grafana is not needed."""
    program(path / "prometheus")
    with pytest.raises(ConfigurationError, match=r"--stack: alertmanager not found .* `make backends`") as caught:
        servers.find("--stack")
    assert caught.value.slug == "stack-missing"


def test_fetched_servers_are_found(path: Path) -> None:
    """Servers in `.backends/bin` come after those on PATH, and Debian's name of Alertmanager is known."""
    fetched = path / ".backends" / "bin"
    for name in ("prometheus", "prometheus-alertmanager"):
        program(fetched / name)
    program(path / "prometheus")
    assert servers.find("stack") == {
        "prometheus": path / "prometheus",
        "alertmanager": fetched / "prometheus-alertmanager",
    }
    program(path / "grafana-server")
    assert servers.find("stack")["grafana"] == path / "grafana-server"


@pytest.mark.parametrize(
    ("binary", "home", "command"),
    [
        ("opt/bin/grafana", "opt", ["opt/bin/grafana", "server", "--homepath=opt"]),
        ("opt/bin/grafana-server", "opt", ["opt/bin/grafana-server", "--homepath=opt"]),
        ("brew/bin/grafana", "brew/share/grafana", ["brew/bin/grafana", "server", "--homepath=brew/share/grafana"]),
    ],
)
def test_grafana_gets_its_home(tmp_path: Path, binary: str, home: str, command: list[str]) -> None:
    """The folder of its defaults follows from that of the binary; an old release has no `server` command."""
    path = program(tmp_path / binary)
    (tmp_path / home / "conf").mkdir(parents=True)
    (tmp_path / home / "conf" / "defaults.ini").touch()
    relative = [
        part.replace(f"{tmp_path.resolve()}/", "").replace(f"{tmp_path}/", "") for part in servers.grafana(path)
    ]
    assert relative == command


def test_the_script_of_a_package_is_not_used(tmp_path: Path) -> None:
    """The binary beside Grafana's defaults is run instead of the package's script."""
    script, real = program(tmp_path / "bin" / "grafana-server"), program(tmp_path / "share/grafana/bin/grafana")
    (tmp_path / "share/grafana/conf").mkdir()
    (tmp_path / "share/grafana/conf/defaults.ini").touch()
    assert servers.grafana(script)[:2] == [str(real), "server"]


class FakeProcess:
    """A process that is running for so many polls, and does not end within a timeout if it is stuck."""

    def __init__(self, polls: int, *, is_stuck: bool = False) -> None:
        self.polls, self.is_stuck = polls, is_stuck
        self.calls: list[str] = []

    def poll(self) -> int | None:
        """Return 3 once it has ended."""
        self.polls -= 1
        return 3 if self.polls < 0 else None

    def terminate(self) -> None:
        """Note the call."""
        self.calls.append("terminate")

    def kill(self) -> None:
        """Note the call."""
        self.calls.append("kill")
        self.is_stuck = False

    def wait(self, timeout_s: float | None = None) -> int:
        """Return 3, or time out."""
        if self.is_stuck:
            raise subprocess.TimeoutExpired("x", timeout_s or 0)
        return 3


@pytest.mark.parametrize(
    ("process", "calls"),
    [(FakeProcess(0), []), (FakeProcess(1), ["terminate"]), (FakeProcess(1, is_stuck=True), ["terminate", "kill"])],
    ids=["ended", "ends", "stuck"],
)
def test_the_end_of_a_process(process: Any, calls: list[str]) -> None:
    """A running process is terminated, and killed after the timeout; the result is its exit code."""
    assert servers.end(process, 5.0) == 3
    assert process.calls == calls


def test_waiting_for_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked until it answers with success; one that ends or times out is an error with its last output."""
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {number}\n" for number in range(9)))
    answers: list[web.Reply | Exception] = [web.UnreachableError(OSError()), web.Reply(503, b""), web.Reply(200, b"")]
    now = [0.0]

    def send(url: str, **_: object) -> web.Reply:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pause(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(web, "send", send)
    monkeypatch.setattr(servers, "time", SimpleNamespace(monotonic=lambda: now[0]))
    process: Any = FakeProcess(9999)
    servers.ServerProcess("x", process, log).wait_ready("http://a", pause)
    assert now == [0.1]
    answers[:] = [web.Reply(503, b"")]
    with pytest.raises(
        servers.ServerError, match=r"(?s)^x was not ready within 60 s; its last output:\nline 4\n.*\nline 8$"
    ):
        servers.ServerProcess("x", process, log).wait_ready("http://a", pause)
    process.polls = 0
    with pytest.raises(servers.ServerError, match=r"^x ended with exit code 3; its last output:"):
        servers.ServerProcess("x", process, log).wait_ready("http://a", pause)
