"""Injection and undo of faults, and the journal of the active ones on disk, for `--undo`.

- An entry is written to disk *before* the command of its fault runs, and removed *after* its undo has succeeded. So the
  journal has each fault that may be active, also after this process was killed.
- Each fault is undone: the undo is tried several times, and no signal ends it early.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict

from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday.load import Process, kill_session
from locust_otel.gameday.schema import FaultShape

UNDO_TRIES = 3
_POLL_S = 0.05
_BETWEEN_TRIES_S = 1.0
_SUCCESS = "exit code 0"


class Active(BaseModel):
    """A fault that may be active."""

    model_config = ConfigDict(extra="forbid")

    name: str
    undo: str
    timeout_s: float
    run_id: str


class _Content(BaseModel):
    active: list[Active]
    runner: Process | None
    load: Process | None


class Journal:
    """The journal of a game-day file, in a file beside it: who plays it, its load, and the active faults by name."""

    def __init__(self, source: Path) -> None:
        self.path = source.with_name(source.name + ".journal")
        self.active: dict[str, Active] = {}
        self.runner: Process | None = None
        self.load: Process | None = None

    def read(self) -> bool:
        """Read the file, and return whether there is one.

        Raises:
            ConfigurationError: It cannot be read.
        """
        try:
            content = _Content.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            found = f"This is not the journal of a game day: {type(error).__name__}."
            raise self._refused(found, "Undo the fault by hand, and remove the file.") from None
        self.active = {fault.name: fault for fault in content.active}
        self.runner, self.load = content.runner, content.load
        return True

    def begin(self) -> None:
        """Write that this process plays the game day.

        Raises:
            ConfigurationError: Another game day of the file is running or has left something, or the journal cannot be
                written.
        """
        if self.read():
            self.refuse_running("Wait for its end, or end it.")
            if self.active or (self.load is not None and self.load.running() is not None):
                left = ", ".join(self.active) or "its load"
                remedy = "Undo it first: locust-otel gameday FILE --undo."
                raise self._refused(f"An earlier game day has left {left}.", remedy, "gameday-left-over")
        self.runner, self.load = Process.of(os.getpid()), None
        try:
            self.write()
        except OSError as error:
            found = f"The journal of active faults cannot be written: {error.strerror}."
            raise self._refused(found, "Put the game-day file into a folder that can be written to.") from None

    def refuse_running(self, remedy: str) -> None:
        """Check that no other process plays the game day.

        Raises:
            ConfigurationError: Another process plays it.
        """
        if self.runner is not None and self.runner.running() is not None:
            found = f"A game day of this file is running, as process {self.runner.pid}."
            raise self._refused(found, remedy, "gameday-running")

    def _refused(self, found: str, remedy: str, slug: str = "gameday-journal") -> ConfigurationError:
        return ConfigurationError(str(self.path), found, remedy, slug=slug)

    def write(self) -> None:
        """Write the file, and flush it to disk.

        Raises:
            OSError: It cannot be written.
        """
        content = _Content(active=list(self.active.values()), runner=self.runner, load=self.load)
        complete = self.path.with_name(self.path.name + ".new")
        with complete.open("w", encoding="utf-8") as file:
            file.write(content.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        complete.replace(self.path)

    def close(self) -> None:
        """Remove the file, unless a fault is still active."""
        if not self.active:
            self.path.unlink(missing_ok=True)


@dataclass
class Faults:
    """Runs the commands of faults in a folder, with LOCUST_OTEL_RUN_ID in their environment, and logs their output.

    Attributes:
        is_over: Ends the injection of a fault early, once it returns true; never an undo.
    """

    folder: Path
    journal: Journal
    log: IO[bytes]
    run_id: str
    is_over: Callable[[], bool] = lambda: False

    def inject(self, fault: FaultShape) -> str:
        """Inject a fault, and return why its command failed; empty if it did not.

        The fault counts as active from before the command, even if the command fails.
        """
        timeout_s = float(fault.timeout)
        active = Active(name=fault.name, undo=fault.undo, timeout_s=timeout_s, run_id=self.run_id)
        self.journal.active[fault.name] = active
        self.journal.write()
        ended = self._run("run", fault.name, fault.run, timeout_s)
        return "" if ended == _SUCCESS else ended

    def undo(self, name: str) -> bool:
        """Undo a fault, and return whether it is no longer active."""
        active = self.journal.active.get(name)
        if active is None:
            return True
        for number in range(UNDO_TRIES):
            if number:
                time.sleep(_BETWEEN_TRIES_S)
            if self._run("undo", name, active.undo, active.timeout_s) == _SUCCESS:
                del self.journal.active[name]
                self.journal.write()
                return True
        self._log(f"undo {name}: FAILED {UNDO_TRIES} times; the fault is still active, and stays in the journal")
        return False

    def undo_all(self) -> list[str]:
        """Undo each active fault, even if the undo of another fails; return the names of those that stay active."""
        for name in list(self.journal.active):
            try:
                self.undo(name)
            except OSError as error:  # no shell, a full disk
                self._log(f"undo {name}: {error}")
        return list(self.journal.active)

    def _run(self, verb: str, name: str, command: str, timeout_s: float) -> str:
        """Run a command, and return how it ended: `exit code 7`."""
        self._log(f"{verb} {name}: {command}")
        environment = os.environ | {"LOCUST_OTEL_RUN_ID": self.run_id, "LOCUST_OTEL_FAULT": name}
        began, ended = time.monotonic(), "it timed out"
        process = subprocess.Popen(  # noqa: S603  # the command is from the user's own file
            ["/bin/sh", "-c", command], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C in the terminal does not end an undo
        )  # fmt: skip
        try:
            while process.poll() is None and time.monotonic() - began < timeout_s:
                if verb == "run" and self.is_over():
                    ended = "the game day ended first"
                    break
                time.sleep(_POLL_S)
        finally:
            code = process.poll()
            if code is None:
                kill_session(process.pid)
                process.wait()
        if code is not None:
            ended = f"exit code {code}"
        self._log(f"{verb} {name}: {ended} after {time.monotonic() - began:.1f} s")
        return ended

    def _log(self, text: str) -> None:
        """Log a line, with the time before it."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.log.write(f"{now} {text}\n".encode())
        self.log.flush()
