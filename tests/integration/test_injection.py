"""The commands of faults, in a shell: their environment, their timeout, and the end of a game day."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from locust_otel.gameday.injection import Faults, Journal
from tests.unit.gameday.days import fault

Make = Callable[..., Faults]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Give a function that makes faults, which write into `log`."""
    journal = Journal(tmp_path / "day.yaml")
    journal.begin()
    with (tmp_path / "log").open("ab") as file:
        yield lambda is_over=lambda: False: Faults(tmp_path, journal, file, "run-1", is_over)


def test_a_command_finds_its_fault_in_the_journal(make: Make, tmp_path: Path) -> None:
    """The command itself reads its undo from the disk, and has run and fault in its environment."""
    run = "cat day.yaml.journal > seen; echo $LOCUST_OTEL_RUN_ID $LOCUST_OTEL_FAULT; exit 7"
    assert make().inject(fault(run, "touch undone")) == "exit code 7"
    assert json.loads((tmp_path / "seen").read_text())["active"][0]["undo"] == "touch undone"
    log = (tmp_path / "log").read_text().splitlines()
    assert log[1] == "run-1 db"
    assert "run db: exit code 7 after " in log[2]


def test_a_command_that_hangs_is_killed_with_its_children(make: Make, tmp_path: Path) -> None:
    """After the timeout the whole session is killed."""
    began = time.monotonic()
    assert make().inject(fault("sleep 60 & echo $! > child; wait", timeout="500ms")) == "it timed out"
    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_end_of_the_game_day_ends_an_injection_and_no_undo(make: Make, tmp_path: Path) -> None:
    """A command is not waited for when the game day is over; its undo takes its time."""
    faults = make(lambda: True)
    assert faults.inject(fault("sleep 60", "sleep 0.2; touch undone")) == "the game day ended first"
    assert faults.undo_all() == []
    assert (tmp_path / "undone").exists()
