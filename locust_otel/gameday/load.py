"""The load of a game day: the process of `locust-otel run`, in a session of its own."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from locust_otel.gameday.plan import GameDay
from locust_otel.gameday.schema import LoadShape

STOP_S = 40.0
"""Seconds from SIGTERM until the load is killed: users finish, and scrapers fetch the final values."""

_LAST_LINES = 8
_STATISTICS = re.compile(r"^Type +Name|^-+\||\) \| +\d|( +\d+){12}$|^Response time percentiles")
"""Lines of the tables that Locust prints at its end; those of its report of errors are not among them."""

_METRICS = re.compile(rb"Metrics for Prometheus at (https?://\S+)")


@dataclass(frozen=True, slots=True)
class Process:
    """A process; its time of creation tells it from a later one with the same number."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process with a number, which must exist."""
        return cls(pid, psutil.Process(pid).create_time())

    def running(self) -> psutil.Process | None:
        """Return the process if it is running, else None."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.created) < 0.1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if is_same else None


def kill_session(pid: int) -> None:
    """Kill a process that leads a session, with the processes that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end(process: Process) -> bool:
    """End a load with its workers; return whether it was running."""
    running = process.running()
    if running is None:
        return False
    running.terminate()
    deadline = time.monotonic() + STOP_S
    while process.running() is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    kill_session(process.pid)
    return True


def arguments(day: GameDay, load: LoadShape, run_id: str, record_folder: Path | None) -> list[str]:
    """Return the command line of the load of a game day; it writes a run record if there is a folder for it."""
    flags = {
        "--users": load.users,
        "--run-time": f"{math.ceil(load.run_time)}s",
        "--run-id": run_id,
        "--spawn-rate": load.spawn_rate,
        "--host": load.host,
        "--slo": day.slo_path,
        "--run-record": record_folder,
    }
    result = [sys.executable, "-m", "locust_otel.cli", "run"]
    result += ["--locustfile", str(day.source.parent / load.locustfile), "--headless"]
    for flag, value in flags.items():
        result += [] if value is None else [flag, str(value)]
    return [*result, *load.args]


def exit_code(code: int | None) -> str:
    """Return the exit code of a load as text: `exit code 1`, `exit code -9 (SIGKILL)`."""
    with contextlib.suppress(ValueError):
        return f"exit code {code} ({signal.Signals(-(code or 0)).name})"
    return f"exit code {code}"


def last_lines(log: Path) -> tuple[str, ...]:
    """Return the last lines of the output of a load, without Locust's tables of statistics."""
    lines = log.read_text(errors="replace").splitlines()
    return tuple([line for line in lines if line.strip() and not _STATISTICS.search(line)][-_LAST_LINES:])


class Child:
    """The process of a load, from construction to `stop`; its output goes into a log."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            # In a session of its own, Ctrl-C does not end the load: it runs until each fault is undone.
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.process = Process.of(self._process.pid)

    @property
    def code(self) -> int | None:
        """Exit code; None while it runs."""
        return self._process.poll()

    def metrics_url(self) -> str:
        """Return the URL of its /metrics, as logged; empty if it is not in the log."""
        line = _METRICS.search(self._log.read_bytes())
        return line[1].decode() if line else ""

    def last_lines(self) -> tuple[str, ...]:
        """Return the last lines of its log."""
        return last_lines(self._log)

    def stop(self) -> None:
        """End it with its workers."""
        end(self.process)
        kill_session(self.process.pid)  # the workers of a load that has ended before
        self._process.wait()
