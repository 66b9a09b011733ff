"""Tests of the flags of `locust-otel demo`."""

from __future__ import annotations

import argparse
import sys
from types import SimpleNamespace

import pytest

from locust_otel.demo import command
from locust_otel.demo.faults import FAULTS


def parser() -> argparse.ArgumentParser:
    """Return a parser with the command."""
    result = argparse.ArgumentParser()
    command.add_to(result.add_subparsers())
    return result


def test_defaults_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command has the values of its flags, and runs the demo with them."""
    options = parser().parse_args(["demo", "-u", "3", "--fault", "errors", "--fault", "stall"])
    assert (options.users, options.spawn_rate, options.run_time, options.seed) == (3, 10, "60s", 1)
    assert options.fault == ["errors", "stall"]
    monkeypatch.setitem(sys.modules, "locust_otel.demo.play", SimpleNamespace(run=lambda given: given.users))
    monkeypatch.setattr(sys.modules["locust_otel.demo"], "play", sys.modules["locust_otel.demo.play"], raising=False)
    assert options.command(options) == 3


@pytest.mark.parametrize("flags", [["-u", "0"], ["-r", "x"], ["--processes", "-1"]])
def test_numbers_that_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are whole, from 1 up."""
    with pytest.raises(SystemExit):
        parser().parse_args(["demo", *flags])
    assert flags[0] in capsys.readouterr().err


def test_the_help_lists_all_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """Each fault is in the help of --fault."""
    with pytest.raises(SystemExit):
        parser().parse_args(["demo", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"repeatable: {', '.join(FAULTS)}" in text.replace("- ", "-")
