"""The conductor with commands, queries and marks that hang: --stop-after ends the game day, and the fault is undone."""

# ruff: noqa: ARG002  # the fakes have the signatures of the real classes

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from locust_otel.gameday.conductor import Conductor, GameDayFailed
from locust_otel.gameday.injection import Journal
from locust_otel.gameday.mark_client import MarkSender
from locust_otel.gameday.observer import Observation
from tests.unit.gameday.days import day, fault, step

UNDO = "echo undone >> log"


class FakeObserver:
    """An observer that sees nothing."""

    latest = Observation()
    silences: tuple[tuple[float, float], ...] = ()

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def must_stop(self) -> str:
        """Return no reason."""
        return ""


class FakeView:
    """A view that shows nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def show(self, now_s: float, observation: Observation) -> None:
        """Do nothing."""


class FakeServer:
    """A Prometheus that knows the run, which has begun just now."""

    url = "http://prometheus"

    def latest(self, selector: str, lookback: str) -> list[tuple[dict[str, str], float]]:
        """Return the start of the run."""
        return [({}, time.time())]

    def query(self, promql: str) -> list[Any]:
        """Return nothing."""
        return []


def conduct(folder: Path, *commands: str, **more: Any) -> Any:
    """Return the conductor of a game day with a fault for each command, from the start."""
    faults = [fault(command, UNDO, "60s", "60s", name=f"fault {number}") for number, command in enumerate(commands)]
    planned = day(*(step("0", shape) for shape in faults), source=folder / "day.yaml")
    parts: Any = {"server": FakeServer(), "observer": FakeObserver(), "view": FakeView(), **more}
    return Conductor(day=planned, journal=Journal(planned.source), run_id="r", folder=folder, **parts)


def log(folder: Path) -> list[str]:
    """Return what the commands have written."""
    path = folder / "log"
    return path.read_text().split() if path.exists() else []


def hang(*_: object) -> Any:
    """Return after a minute."""
    threading.Event().wait(60)


def test_a_hanging_command_is_ended_at_the_limit(tmp_path: Path) -> None:
    """The timeout of the fault is longer: --stop-after ends its command, and the fault is undone."""
    conductor = conduct(tmp_path, "echo injected >> log; sleep 60", "echo next >> log", stop_after_s=1.0)
    began = time.monotonic()
    played = conductor.play()
    assert time.monotonic() - began < 5
    assert [injected.failed for injected in played.faults] == ["its command failed: the game day ended first"]
    assert played.aborted == "--stop-after 1 s"
    assert log(tmp_path) == ["injected", "undone"]


def test_a_hanging_query_is_abandoned_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts from the start of the game day if no run is seen; the message names the server."""
    monkeypatch.setattr(FakeServer, "latest", hang)
    conductor = conduct(tmp_path, "echo injected >> log", stop_after_s=0.5)
    began = time.monotonic()
    with pytest.raises(GameDayFailed, match=r"before the first fault: --stop-after 0.5 s\. .* http://prometheus .*"):
        conductor.play()
    assert 0.4 < time.monotonic() - began < 5
    assert log(tmp_path) == []


def test_a_hanging_mark_is_abandoned_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that does not answer to a mark delays neither the undo nor the end."""
    monkeypatch.setattr(MarkSender, "mark", hang)
    conductor = conduct(tmp_path, "true", stop_after_s=0.5, metrics_url="http://127.0.0.1:1/metrics")
    began = time.monotonic()
    assert conductor.play().aborted == "--stop-after 0.5 s"
    assert time.monotonic() - began < 8
    assert log(tmp_path) == ["undone"]
