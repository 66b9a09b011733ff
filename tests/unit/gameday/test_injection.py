"""Tests of faults: what is broken is in the journal before, and is mended however it ends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday import injection as module
from locust_otel.gameday.injection import Faults, Journal
from locust_otel.gameday.load import Process
from locust_otel.gameday.schema import FaultShape
from tests.unit.gameday import days


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The journal of a game day in the test's folder."""
    journal = Journal(tmp_path / "day.yaml")
    journal.begin()
    return journal


Make = Callable[..., Faults]


@pytest.fixture
def make(tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Give what makes faults that write into `log`, without a pause between two tries."""
    monkeypatch.setattr(module, "_BETWEEN_TRIES_S", 0.0)
    with (tmp_path / "log").open("ab") as file:

        def build(is_over: Callable[[], bool] = lambda: False) -> Faults:
            return Faults(tmp_path, journal, file, "run-1", is_over)

        yield build


def fault(run: str, undo: str = "touch mended", timeout: str = "5s", name: str = "db") -> FaultShape:
    """Return a fault."""
    return days.fault(run, undo, timeout=timeout, name=name)


def is_running(pid: int) -> bool:
    """Return whether a process is there, and no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_it_is_in_the_journal_before_it_runs(make: Make, journal: Journal, tmp_path: Path) -> None:
    """The command itself finds its fault and its undo on the disk, with the run in its environment."""
    failed = make().inject(fault(f"cat {journal.path} > seen; echo $LOCUST_OTEL_RUN_ID $LOCUST_OTEL_FAULT"))
    assert not failed
    assert json.loads((tmp_path / "seen").read_text())["active"][0]["undo"] == "touch mended"
    assert "run-1 db" in (tmp_path / "log").read_text()


def test_mended_it_leaves_the_journal(make: Make, journal: Journal, tmp_path: Path) -> None:
    """After its undo nothing is left, and the journal goes; a second undo does nothing."""
    faults = make()
    faults.inject(fault("true", "echo x >> mended"))
    assert faults.undo("db")
    assert faults.undo("db")
    assert (tmp_path / "mended").read_text() == "x\n"
    journal.close()
    assert not journal.path.exists()


def test_a_fault_that_failed_is_mended_all_the_same(make: Make, tmp_path: Path) -> None:
    """A command that fails may have broken half of it."""
    faults = make()
    assert faults.inject(fault("exit 7")) == "exit code 7"
    assert faults.undo_all() == []
    assert (tmp_path / "mended").exists()


def test_a_command_that_hangs_is_ended_with_its_children(make: Make, tmp_path: Path) -> None:
    """After its time the whole group is killed."""
    began = time.monotonic()
    failed = make().inject(fault("sleep 60 & echo $! > child; wait", timeout="500ms"))
    assert failed == "it took too long"
    assert time.monotonic() - began < 5
    pid = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_signal_ends_the_making_but_not_the_mending(make: Make, tmp_path: Path) -> None:
    """Where the game day is over a fault is not waited for; its undo takes the time it needs."""
    faults = make(lambda: True)
    assert faults.inject(fault("sleep 60", "sleep 0.2; touch mended")) == "the game day ended before"
    assert faults.undo_all() == []
    assert (tmp_path / "mended").exists()


def test_an_undo_is_tried_three_times(make: Make, journal: Journal, tmp_path: Path) -> None:
    """One that succeeds at the third try has succeeded; one that never does stays in the journal."""
    faults = make()
    faults.inject(fault("true", "echo x >> tries; test $(wc -l < tries) = 3"))
    assert faults.undo_all() == []
    faults.inject(fault("true", "exit 1"))
    assert faults.undo_all() == ["db"]
    journal.close()
    again = Journal(tmp_path / "day.yaml")
    assert again.read()
    assert list(again.active) == ["db"]


def test_one_undo_that_fails_keeps_no_other_from_its_turn(make: Make, tmp_path: Path) -> None:
    """All are tried."""
    faults = make()
    faults.inject(fault("true", "exit 1", name="first"))
    faults.inject(fault("true"))
    assert faults.undo_all() == ["first"]
    assert (tmp_path / "mended").exists()


def test_a_journal_of_the_dead_keeps_others_from_beginning(journal: Journal, make: Make, tmp_path: Path) -> None:
    """Who finds something left broken must mend it first; who finds a game day that goes on must wait."""
    make().inject(fault("true"))
    with pytest.raises(ConfigurationError, match="gameday-running"):
        Journal(tmp_path / "day.yaml").begin()
    journal.runner = Process(os.getpid(), 1.0)  # another process had this number
    journal.write()
    with pytest.raises(ConfigurationError, match=r"has left db.*--undo.*gameday-left-over"):
        Journal(tmp_path / "day.yaml").begin()


def test_a_broken_journal_is_told_of(tmp_path: Path) -> None:
    """Nobody takes rubbish for "nothing is broken"."""
    (tmp_path / "day.yaml.journal").write_text("{")
    with pytest.raises(ConfigurationError, match="gameday-journal"):
        Journal(tmp_path / "day.yaml").begin()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_breaks(tmp_path: Path) -> None:
    """Without a journal there is no game day."""
    with pytest.raises(ConfigurationError, match="gameday-journal"):
        Journal(tmp_path / "none" / "day.yaml").begin()
