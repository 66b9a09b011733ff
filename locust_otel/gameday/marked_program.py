"""Runs a command between two marks, and is to its caller what the command would be."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import FrameType

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""As a shell has it."""

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def problem_of(command: Sequence[str]) -> tuple[int, str] | None:
    """Return exit code and reason where a command cannot be run; None where it seems it can."""
    program = command[0]
    if shutil.which(program) is not None:
        return None
    if os.path.exists(program):  # a name, which is searched for in PATH otherwise
        return NOT_EXECUTABLE, f"{program} cannot be executed."
    return NOT_FOUND, f"{program} is not there."


def run(command: Sequence[str], end: Callable[[], None]) -> int:
    """Run a command, and call `end` when it has ended, however it has; return its exit code, 128 + N for signal N.

    Signals that would end this process go to the command, which decides what becomes of them.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if child is None:
            early.append(number)
        elif not (number in {signal.SIGINT, signal.SIGQUIT} and _has_terminal()):  # which tells the child itself
            child.send_signal(number)

    # What is ignored here is ignored by the command too, as under nohup.
    passed_on = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in passed_on}
    try:
        try:
            child = subprocess.Popen(list(command))  # noqa: S603  # what the user asks for
        except OSError as error:
            print(f"locust-otel: {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
            return NOT_EXECUTABLE
        for number in early:
            child.send_signal(number)
        code = child.wait()
        return code if code >= 0 else 128 - code
    finally:
        try:
            end()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _has_terminal() -> bool:
    """Return whether a terminal sends its Ctrl-C to this process, and so to its child as well."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
