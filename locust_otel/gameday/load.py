"""The load of a game day: `locust-otel run` as a child of its own session, or a run that somebody else has started."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from locust_otel.core.marks import MARK_PATH, TOKEN_VARIABLE
from locust_otel.gameday.api import Api, NoAnswer
from locust_otel.gameday.journal import Process
from locust_otel.gameday.plan import GameDay, Load

STOP_S = 40.0
"""For the load to end after SIGTERM: users finish, scrapers get the final values; then it is killed."""

_METRICS = re.compile(rb"Metrics for Prometheus at (https?://\S+)")


def arguments(load: Load, day: GameDay, run_id: str, folder: Path | None) -> list[str]:
    """Return the command line of the load."""
    result = [sys.executable, "-m", "locust_otel.cli", "run", "--locustfile", str(load.locustfile), "--headless"]
    result += ["--users", str(load.users), "--run-time", f"{math.ceil(load.run_time_s)}s", "--run-id", run_id]
    result += ["--spawn-rate", str(load.spawn_rate)] if load.spawn_rate is not None else []
    result += ["--host", load.host] if load.host else []
    result += ["--slo", str(day.slo_path)] if day.slo_path is not None else []
    result += ["--run-record", str(folder)] if folder is not None else []
    return [*result, *load.args]


class Child:
    """A load that goes on from construction to `stop`.

    Args:
        command: Its command line.
        log: Where it writes to.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            # A session of its own: Ctrl-C is for us, and we end it when what is broken is mended.
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.process = Process.of(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit code; None while it goes on."""
        return self._process.poll()

    def metrics_url(self) -> str:
        """Return where it serves /metrics, as it has said; empty where it has not."""
        found = _METRICS.search(self._log.read_bytes())
        return found[1].decode() if found else ""

    def tail(self, lines: int = 8) -> str:
        """Return the end of what it has written."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> int:
        """End it, with its workers, and return its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # what is left of its session
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


def end_leftover(process: Process) -> bool:
    """End a load that outlived its game day; return whether there was one."""
    running = process.running()
    if running is None:
        return False
    running.terminate()
    deadline = time.monotonic() + STOP_S
    while process.running() is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return True


class MarkSender:
    """Sets marks on a run, at the address where it serves /metrics; what goes wrong is said once.

    Attributes:
        problem: Why marks cannot be set; empty where they can.
    """

    def __init__(self, metrics_url: str) -> None:
        self.problem = "" if metrics_url else "Nobody knows where the run serves /metrics: no marks. Give --metrics."
        self._api = (
            Api(metrics_url.removesuffix("/metrics"), "--metrics", TOKEN_VARIABLE, "Bearer") if metrics_url else None
        )

    def mark(self, name: str, kind: str) -> None:
        """Set a mark."""
        if self._api is None:
            return
        try:
            self._api.ask(MARK_PATH, body={"mark": name, "kind": kind})
        except NoAnswer as error:
            refusal = getattr(error.__cause__, "code", None)
            is_unknown = refusal in {404, 405, 501}
            self.problem = f"The run takes no marks ({refusal})." if is_unknown else f"No mark was set: {error}"
            if is_unknown:
                self._api = None
