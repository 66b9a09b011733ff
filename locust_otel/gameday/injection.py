"""Break something and mend it: the commands of a fault, run by a shell with a time limit, and noted in the journal.

`mend` is what must happen whatever else does: it is tried several times, and no signal ends it before its time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from locust_otel.gameday.journal import Active, Journal
from locust_otel.gameday.plan import Fault

UNDO_TRIES = 3
_POLL_S = 0.05
_BETWEEN_TRIES_S = 1.0
_SHELL = "/bin/sh"


class Ended(NamedTuple):
    """How a command ended; `code` is None where it took too long or was no longer wanted."""

    code: int | None
    took_s: float

    @property
    def told(self) -> str:
        """In words: `exit code 7`."""
        return "it took too long" if self.code is None else f"exit code {self.code}"


class Log:
    """Where commands write to, and what is said of them; a file that can be followed."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def say(self, text: str) -> None:
        """Write a line with the time before it."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.file.write(f"{now} {text}\n".encode())
        self.file.flush()


class Faults:
    """Runs the commands of faults.

    Args:
        folder: Where they run.
        journal: Where they are noted.
        log: Where their output goes.
        run_id: Given to them as LOCUST_OTEL_RUN_ID.
        is_over: Whether a fault that is just being made is not wanted any more.
    """

    def __init__(
        self, folder: Path, journal: Journal, log: Log, run_id: str, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._log = log
        self._run_id = run_id
        self._is_over = is_over
        self._between_tries_s = _BETWEEN_TRIES_S

    def make(self, fault: Fault) -> Ended:
        """Break it; it counts as broken from before the first try, and also where that fails."""
        self._journal.broken(Active(fault.name, fault.undo, float(fault.timeout_s), self._run_id))
        return self._run(f"run {fault.name}", fault.name, fault.run, float(fault.timeout_s), self._is_over)

    def mend(self, name: str) -> bool:
        """Mend it, and return whether that succeeded; what is not broken is mended already."""
        active = self._journal.active.get(name)
        if active is None:
            return True
        for number in range(UNDO_TRIES):
            if number:
                time.sleep(self._between_tries_s)
            if self._run(f"undo {name}", name, active.undo, active.timeout_s).code == 0:
                self._journal.mended(name)
                return True
        self._log.say(f"undo {name}: FAILED {UNDO_TRIES} times; it stays broken, and in the journal")
        return False

    def mend_all(self) -> list[str]:
        """Mend what is broken, and return the names of what could not be; no failure keeps the next from its turn."""
        left = []
        for name in list(self._journal.active):
            try:
                is_mended = self.mend(name)
            except OSError as error:  # no shell, a full disk
                self._log.say(f"undo {name}: {error}")
                is_mended = False
            left += [] if is_mended else [name]
        return left

    def _run(
        self, what: str, fault: str, command: str, timeout_s: float, is_over: Callable[[], bool] = lambda: False
    ) -> Ended:
        self._log.say(f"{what}: {command}")
        environment = os.environ | {"LOCUST_OTEL_RUN_ID": self._run_id, "LOCUST_OTEL_FAULT": fault}
        began = time.monotonic()
        process = subprocess.Popen(  # noqa: S603  # the command stands in the user's own file
            [_SHELL, "-c", command], cwd=self._folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=self._log.file, stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for us, and is no reason not to mend
        )  # fmt: skip
        try:
            while process.poll() is None and time.monotonic() - began < timeout_s and not is_over():
                time.sleep(_POLL_S)
        finally:
            code = process.poll()
            if code is None:
                _kill(process)
        ended = Ended(code, time.monotonic() - began)
        self._log.say(f"{what}: {ended.told} after {ended.took_s:.1f} s")
        return ended


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a command with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
