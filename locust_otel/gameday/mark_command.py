"""`locust-otel mark`: mark an event in a running load test, or the start and end of a command."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell."""

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def add_to(commands: Any) -> None:
    """Add the command."""
    mark = commands.add_parser(
        "mark",
        help="mark a fault or a deployment in a running load test",
        usage="locust-otel mark TEXT [--kind KIND] [--url URL] [-- COMMAND ARGUMENT...]",
        description="Mark an event in the run of a load test: the mark is then in its metrics, its log and its record. "
        "With a command, mark its start with KIND-start and its end with KIND-end, and end with its exit code.",
        epilog="Exit codes: 1 no load test can be reached or no run is in progress, 78 bad configuration or refused.",
    )
    add = mark.add_argument
    add("text", metavar="TEXT", help='the event, in a few words: "db primary killed"')
    add("--kind", default="mark", metavar="KIND", help="fault, deployment, note … (default %(default)s)")
    add(
        "--url",
        metavar="URL",
        help="the URL of the load test's metrics (default: the load test that answers on ports 9646 to 9655 of this "
        "machine); the environment variable LOCUST_OTEL_MARK_TOKEN holds the token, if it requires one",
    )
    mark.set_defaults(command=run, program=())


def run(options: argparse.Namespace) -> int:
    """Mark an event once, or a command twice."""
    from locust_otel.core.marks import END, START, TOKEN_VARIABLE, MarkError, cleaned  # noqa: PLC0415  # likewise
    from locust_otel.gameday import mark_client  # noqa: PLC0415  # no other command needs them

    kinds = [options.kind + START, options.kind + END] if options.program else [options.kind]
    try:
        for kind in kinds:
            text, _ = cleaned(options.text, kind)
    except MarkError as error:
        raise ConfigurationError("mark", str(error), "See --help.", slug="mark") from None
    if options.program and (problem := _problem_of(options.program)):
        print(f"locust-otel: {problem[1]}", file=sys.stderr)  # noqa: T201
        return problem[0]
    base = mark_client.base_of(options.url) if options.url else mark_client.find()
    # Sent only to the URL that the user has named: any program of this machine may listen on a port.
    token = os.environ.get(TOKEN_VARIABLE, "") if options.url else ""

    def mark(kind: str) -> None:
        run_id, time = mark_client.post(base, text, kind, token=token)
        at = datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S")
        print(f"Marked in run {run_id} at {at} UTC ({kind}): {text}", file=sys.stderr)  # noqa: T201

    def end() -> None:
        try:
            mark(kinds[1])
        except LocustOtelError as error:  # the command has ended, and its exit code is ours
            print(f"locust-otel: the end was not marked: {error}", file=sys.stderr)  # noqa: T201

    mark(kinds[0])
    return _run(options.program, end) if options.program else int(ExitCode.OK)


def _problem_of(command: Sequence[str]) -> tuple[int, str] | None:
    """Return exit code and reason if a command cannot be run, else None."""
    program = command[0]
    if shutil.which(program) is not None:
        return None
    if os.path.exists(program):
        return _NOT_EXECUTABLE, f"{program} cannot be executed."
    return _NOT_FOUND, f"{program} was not found."


def _run(command: Sequence[str], end: Callable[[], None]) -> int:
    """Run a command, call `end` when it has ended, and return its exit code, 128 + N for signal N.

    Signals that would end this process are passed on to the command.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if child is None:
            early.append(number)
        elif not (number in {signal.SIGINT, signal.SIGQUIT} and _has_terminal()):  # a terminal signals the child itself
            child.send_signal(number)

    # The command inherits the signals that this process ignores, as under nohup.
    passed_on = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in passed_on}
    try:
        try:
            child = subprocess.Popen(list(command))  # noqa: S603  # the command of the user
        except OSError as error:
            print(f"locust-otel: {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
            return _NOT_EXECUTABLE
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
    """Return whether a terminal sends Ctrl-C to this process, and so to its child too."""
    try:
        with Path(os.ctermid()).open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
