"""Tests of the command line: the table of commands, and exit codes of errors."""

from __future__ import annotations

import argparse
import os
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from locust_otel import cli
from locust_otel.cli import COMMANDS
from locust_otel.core.errors import ConfigurationError, LocustOtelError
from tests.unit.test_layers import MODULES, PACKAGE


def problem(slug: str) -> ConfigurationError:
    """Return a problem."""
    return ConfigurationError(f"--{slug}", "7 is wrong.", "Write 8.", slug=slug)


def test_commands() -> None:
    """The table has each module with a command, under the name in its parser."""
    assert {f"{PACKAGE}.{name}" for name in MODULES if name.endswith("command")} == set(COMMANDS.values())
    for name, module in COMMANDS.items():
        commands = argparse.ArgumentParser().add_subparsers()
        import_module(module).add_to(commands)
        assert list(commands.choices) == [name]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the commands; return the list of calls, whose first item `mark` returns or raises."""
    calls: list[Any] = []

    def command(options: argparse.Namespace) -> int:
        calls.append(options)
        if isinstance(calls[0], Exception):
            raise calls[0]
        return int(calls[0])

    def add_to(commands: Any) -> None:
        parser = commands.add_parser("mark")
        parser.add_argument("text", nargs="?")
        parser.set_defaults(command=command, program=[])

    def run(arguments: list[str]) -> int:
        calls.append(arguments)
        return 3

    modules = {"run": SimpleNamespace(add_to=lambda _: None, run=run), "mark": SimpleNamespace(add_to=add_to)}
    monkeypatch.setattr(cli, "COMMANDS", {name: name for name in modules})
    monkeypatch.setattr(cli, "import_module", modules.__getitem__)
    return calls


@pytest.mark.parametrize(
    ("outcome", "code", "lines"),
    [
        (0, 0, []),
        (7, 7, []),
        (LocustOtelError("No run is active."), 1, ["locust-otel: No run is active."]),
        (
            ConfigurationError.of([problem("a"), problem("b")]),
            78,
            [f"locust-otel: --{slug}: 7 is wrong. Write 8. ({slug})" for slug in "ab"],
        ),
    ],
)
def test_exit_codes(
    fake: list[Any], capsys: pytest.CaptureFixture[str], outcome: object, code: int, lines: list[str]
) -> None:
    """The exit code is that of the command; errors are printed, and exit with 1, or with 78 for the configuration."""
    fake.append(outcome)
    assert cli.main(["mark", "text"]) == code
    assert capsys.readouterr().err.splitlines() == lines
    assert fake[1].text == "text"


def test_closed_pipe(fake: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that closes the pipe early is not an error; the rest of the output is discarded."""
    fake.append(BrokenPipeError())
    replaced: list[str] = []
    monkeypatch.setattr("sys.stdout", SimpleNamespace(fileno=lambda: 1))
    monkeypatch.setattr(os, "open", lambda path, _: path)
    monkeypatch.setattr(os, "dup2", lambda path, fd: replaced.append(f"{path} {fd}"))
    assert cli.main(["mark"]) == 0
    assert replaced == ["/dev/null 1"]


def test_program_of_a_mark(fake: list[Any]) -> None:
    """The arguments after `--` are a program, even if they look like flags."""
    fake.append(0)
    assert cli.main(["mark", "restart", "--", "sh", "--help", "--"]) == 0
    assert (fake[1].text, fake[1].program) == ("restart", ["sh", "--help", "--"])


def test_run(fake: list[Any]) -> None:
    """All arguments after `run` are Locust's, including `--help`."""
    assert cli.main(["run", "-f", "x.py", "--help"]) == 3
    assert fake == [["-f", "x.py", "--help"]]


def test_help(fake: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments the help is shown."""
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: locust-otel")
