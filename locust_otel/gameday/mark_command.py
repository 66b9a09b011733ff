"""`locust-otel mark`: say in a running load test that something happens, or around a command that makes it happen."""

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
        help="mark a fault or a deployment in a run that goes on",
        usage="locust-otel mark TEXT [--kind KIND] [--url URL] [-- COMMAND ARGUMENT...]",
        description="Mark something in the run of a load test: it is then in its metrics, its log and its record. "
        "With a command, its start is marked with KIND-start and its end with KIND-end, and its exit code is ours.",
        epilog="Ends with 1 where no load test can be reached or no run goes on, 78 bad configuration or refused.",
    )
    add = mark.add_argument
    add("text", metavar="TEXT", help='what happens, in a few words: "db primary killed"')
    add("--kind", default="mark", metavar="KIND", help="fault, deployment, note … (default %(default)s)")
    add(
        "--url",
        metavar="URL",
        help="where the load test serves its metrics (default: the one that answers at the ports 9646 to 9655 of this "
        "machine); the environment variable LOCUST_OTEL_MARK_TOKEN holds the token where it asks for one",
    )
    mark.set_defaults(command=run, program=())


def run(options: argparse.Namespace) -> int:
    """Mark it, once or twice."""
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
    # Sent only to the URL that the user has named: any program on this machine may listen on a port.
    token = os.environ.get(TOKEN_VARIABLE, "") if options.url else ""

    def mark(kind: str) -> None:
        run_id, time = mark_client.post(base, text, kind, token=token)
        at = datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S")
        print(f"Marked in run {run_id} at {at} UTC ({kind}): {text}", file=sys.stderr)  # noqa: T201

    def end() -> None:
        try:
            mark(kinds[1])
        except LocustOtelError as error:  # the command has ended; its exit code stands
            print(f"locust-otel: the end is not marked: {error}", file=sys.stderr)  # noqa: T201

    mark(kinds[0])
    return _run(options.program, end) if options.program else int(ExitCode.OK)


def _problem_of(command: Sequence[str]) -> tuple[int, str] | None:
    """Return exit code and reason if a command cannot be run; None if it seems that it can."""
    program = command[0]
    if shutil.which(program) is not None:
        return None
    if os.path.exists(program):  # a name, which is searched for in PATH otherwise
        return _NOT_EXECUTABLE, f"{program} cannot be executed."
    return _NOT_FOUND, f"{program} is not there."


def _run(command: Sequence[str], end: Callable[[], None]) -> int:
    """Run a command, call `end` when it has ended for any reason, and return its exit code, 128 + N for signal N.

    Signals that would end this process go to the command, which decides what it does with them.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if child is None:
            early.append(number)
        elif not (number in {signal.SIGINT, signal.SIGQUIT} and _has_terminal()):  # which tells the child itself
            child.send_signal(number)

    # A signal that this process ignores, as under nohup, the command ignores too.
    passed_on = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in passed_on}
    try:
        try:
            child = subprocess.Popen(list(command))  # noqa: S603  # what the user asks for
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
    """Return whether a terminal sends its Ctrl-C to this process, and so to its child as well."""
    try:
        with Path(os.ctermid()).open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
