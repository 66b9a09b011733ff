"""Tests of `locust-otel run`: Locust with the bridge, and the live page in a browser."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import locust.main
import pytest
from locust.event import Events
from locust.runners import WorkerRunner

from locust_otel.plugin import command, wiring
from locust_otel.plugin.command import open_page

URL = "http://127.0.0.1:9646/metrics"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Collect the commands that would be started, on a Linux without a desktop."""
    commands: list[list[str]] = []

    def popen(command: list[str], **_: Any) -> None:
        commands.append(command)

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return commands


@pytest.mark.parametrize(("platform", "variable"), [("linux", "DISPLAY"), ("linux", "WAYLAND_DISPLAY"), ("darwin", "")])
def test_on_a_desktop(started: list[list[str]], monkeypatch: pytest.MonkeyPatch, platform: str, variable: str) -> None:
    """The page beside `/metrics` is opened, by a separate process."""
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, ":0")
    open_page(URL)
    assert started == [[sys.executable, "-m", "webbrowser", "http://127.0.0.1:9646/"]]


def test_without_a_desktop(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """No process is started, and a line has the URL of the page."""
    open_page(URL)
    assert started == []
    assert capsys.readouterr().err == (
        "locust-otel: no desktop to open a browser on; the live page is at http://127.0.0.1:9646/\n"
    )


@pytest.mark.parametrize("runner", [None, WorkerRunner.__new__(WorkerRunner)], ids=["local", "worker"])
@pytest.mark.parametrize("url", [URL, None])
@pytest.mark.parametrize("opens", [True, False])
def test_run(monkeypatch: pytest.MonkeyPatch, runner: Any, url: str | None, opens: bool) -> None:
    """Locust gets all arguments but `--open`, which opens the page of a bridge, except on workers."""
    calls: list[Any] = []
    events = Events()
    monkeypatch.setattr(locust, "events", events)
    monkeypatch.setattr(wiring, "register", lambda: calls.append("register"))
    monkeypatch.setattr(wiring, "attach", lambda _: SimpleNamespace(url=url))
    monkeypatch.setattr(command, "open_page", lambda url: calls.append(("open", url)))

    def main() -> None:
        calls.append(sys.argv[1:])
        events.init.fire(environment=SimpleNamespace(runner=runner))

    monkeypatch.setattr(locust.main, "main", main)
    monkeypatch.setattr(sys, "argv", ["locust-otel", "run"])
    assert command.run(["-f", "a.py", *(["--open"] if opens else []), "-u", "2"]) == 0
    page = [("open", URL)] if opens and url is not None and runner is None else []
    assert calls == ["register", ["-f", "a.py", "-u", "2"], *page]
