"""What a game day has broken and not yet mended, on disk: for `--undo` after our own end without a word.

The journal is written, and is on the disk, *before* a fault's command runs, and an entry goes *after* its undo has
succeeded. So whatever ends this process, each fault that may be active stands in the journal.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from locust_otel.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Active:
    """A fault that may be active."""

    name: str
    undo: str
    timeout_s: float
    run_id: str


@dataclass(frozen=True, slots=True)
class Process:
    """A process that another with the same number is not taken for."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process of a number; None where there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def running(self) -> psutil.Process | None:
        """Return it if it goes on."""
        try:
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.created) < 0.1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if is_it else None


class Journal:
    """The journal of one game-day file, which stands beside it.

    Args:
        source: The game-day file.
    """

    def __init__(self, source: Path) -> None:
        self.path = source.with_name(source.name + ".journal")
        self.active: dict[str, Active] = {}
        self.runner: Process | None = None
        self.load: Process | None = None

    def read(self) -> bool:
        """Take over what stands there, and return whether there is a journal.

        Raises:
            ConfigurationError: It is there and cannot be read.
        """
        try:
            values = json.loads(self.path.read_bytes())
            self.active = {each["name"]: Active(**each) for each in values["active"]}
            self.runner, self.load = (_process(values[key]) for key in ("runner", "load"))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                str(self.path), f"This is no journal of a game day: {type(error).__name__}.",
                "Mend by hand what is broken, and remove the file.", slug="gameday-journal",
            ) from None  # fmt: skip
        return True

    def refuse_leftovers(self) -> None:
        """Refuse to begin where another game day of the same file goes on, or has left something broken.

        Raises:
            ConfigurationError: So it is.
        """
        if not self.read():
            return
        if self.runner is not None and self.runner.running() is not None:
            raise ConfigurationError(
                str(self.path), f"A game day of this file goes on, as process {self.runner.pid}.",
                "Wait for its end, or end it.", slug="gameday-running",
            )  # fmt: skip
        if self.active or (self.load is not None and self.load.running() is not None):
            left = ", ".join(self.active) or "its load"
            raise ConfigurationError(
                str(self.path), f"An earlier game day has left {left}.",
                "Mend it first: locust-otel gameday FILE --undo.", slug="gameday-left-over",
            )  # fmt: skip
        self.load = None

    def begin(self) -> None:
        """Say that this process plays the game day.

        Raises:
            ConfigurationError: Nothing can be written there.
        """
        self.runner = Process.of(os.getpid())
        try:
            self.write()
        except OSError as error:
            raise ConfigurationError(
                str(self.path), f"The journal of what is broken cannot be written: {error.strerror}.",
                "Put the game-day file into a folder that can be written to.", slug="gameday-journal",
            ) from None  # fmt: skip

    def broken(self, fault: Active) -> None:
        """Note a fault that is about to be active."""
        self.active[fault.name] = fault
        self.write()

    def mended(self, name: str) -> None:
        """Note that a fault is active no more."""
        self.active.pop(name, None)
        self.write()

    def write(self) -> None:
        """Put all of it on the disk.

        Raises:
            OSError: It cannot be.
        """
        values: dict[str, Any] = {
            "active": [asdict(each) for each in self.active.values()],
            "runner": asdict(self.runner) if self.runner else None,
            "load": asdict(self.load) if self.load else None,
        }
        fresh = self.path.with_name(self.path.name + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(values, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    def close(self) -> None:
        """Remove it where nothing is left to be mended."""
        if not self.active:
            self.path.unlink(missing_ok=True)


def _process(values: Any) -> Process | None:
    return None if values is None else Process(int(values["pid"]), float(values["created"]))
