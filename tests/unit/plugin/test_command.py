"""Tests of `locust-otel run`: opening the live page in a browser."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from locust_otel.plugin.command import open_page

URL = "http://127.0.0.1:9646/metrics"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Take note of what would be started, on a Linux without a desktop."""
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
    """The page beside `/metrics` is opened, by a process of its own."""
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, ":0")
    open_page(URL)
    assert started == [[sys.executable, "-m", "webbrowser", "http://127.0.0.1:9646/"]]


def test_without_a_desktop(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started, and a line says where the page is."""
    open_page(URL)
    assert started == []
    assert capsys.readouterr().err == (
        "locust-otel: no desktop to open a browser on; the live page is at http://127.0.0.1:9646/\n"
    )
