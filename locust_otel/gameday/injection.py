"""Injects faults and undoes them, and keeps a journal of the active ones on disk for `--undo`.

- An entry is on disk *before* the command of its fault runs, and goes *after* its undo has succeeded. So the journal
  has each fault that may be active, also after this process was killed.
- An undo happens whatever else does: it is tried several times, and no signal ends it early.
"""

from __future__ import annotations

import json
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
        """Take over the content of the file, and return whether there is one.

        Raises:
            ConfigurationError: It cannot be read.
        """
        try:
            content = _Content.model_validate(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            found = f"This is no journal of a game day: {type(error).__name__}."
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
            self.refuse_running("A game day of this file goes on", "Wait for its end, or end it.")
            if self.active or (self.load is not None and self.load.running() is not None):
                left = ", ".join(self.active) or "its load"
                remedy = "Mend it first: locust-otel gameday FILE --undo."
                raise self._refused(f"An earlier game day has left {left}.", remedy, "gameday-left-over")
        self.runner, self.load = Process.of(os.getpid()), None
        try:
            self.write()
        except OSError as error:
            found = f"The journal of what is broken cannot be written: {error.strerror}."
            raise self._refused(found, "Put the game-day file into a folder that can be written to.") from None

    def refuse_running(self, found: str, remedy: str) -> None:
        """Refuse to continue while another process plays the game day.

        Raises:
            ConfigurationError: Another process plays it.
        """
        if self.runner is not None and self.runner.running() is not None:
            raise self._refused(f"{found}, as process {self.runner.pid}.", remedy, "gameday-running")

    def _refused(self, found: str, remedy: str, slug: str = "gameday-journal") -> ConfigurationError:
        return ConfigurationError(str(self.path), found, remedy, slug=slug)

    def write(self) -> None:
        """Write the file, and wait until it is on disk.

        Raises:
            OSError: It cannot be written.
        """
        content = _Content(active=list(self.active.values()), runner=self.runner, load=self.load)
        fresh = self.path.with_name(self.path.name + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(content.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    def close(self) -> None:
        """Remove the file, unless a fault is left in it."""
        if not self.active:
            self.path.unlink(missing_ok=True)


@dataclass
class Faults:
    """Runs the commands of faults in a folder, with their output in a log, and LOCUST_OTEL_RUN_ID in their environment.

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
        """Undo a fault, and return whether it is over; one that is not active is."""
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
        self._say(f"undo {name}: FAILED {UNDO_TRIES} times; it stays broken, and in the journal")
        return False

    def undo_all(self) -> list[str]:
        """Undo each active fault, also after the failure of another; return the names of those that stay active."""
        left = []
        for name in list(self.journal.active):
            try:
                is_undone = self.undo(name)
            except OSError as error:  # no shell, a full disk
                self._say(f"undo {name}: {error}")
                is_undone = False
            left += [] if is_undone else [name]
        return left

    def _run(self, verb: str, name: str, command: str, timeout_s: float) -> str:
        """Run a command, and return how it ended: `exit code 7`."""
        self._say(f"{verb} {name}: {command}")
        environment = os.environ | {"LOCUST_OTEL_RUN_ID": self.run_id, "LOCUST_OTEL_FAULT": name}
        began, ended = time.monotonic(), "it took too long"
        process = subprocess.Popen(  # noqa: S603  # the command is from the user's own file
            ["/bin/sh", "-c", command], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal ends this process, but no undo
        )  # fmt: skip
        try:
            while process.poll() is None and time.monotonic() - began < timeout_s:
                if verb == "run" and self.is_over():
                    ended = "the game day ended before"
                    break
                time.sleep(_POLL_S)
        finally:
            code = process.poll()
            if code is None:
                kill_session(process.pid)
                process.wait()
        if code is not None:
            ended = f"exit code {code}"
        self._say(f"{verb} {name}: {ended} after {time.monotonic() - began:.1f} s")
        return ended

    def _say(self, text: str) -> None:
        """Write a line with the time before it into the log."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.log.write(f"{now} {text}\n".encode())
        self.log.flush()
