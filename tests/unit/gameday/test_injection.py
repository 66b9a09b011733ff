"""Tests of faults: what is broken is in the journal before, and is mended however it ends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday import injection as module
from locust_otel.gameday.injection import Faults, Log
from locust_otel.gameday.journal import Journal, Process
from locust_otel.gameday.plan import Fault


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
            return Faults(tmp_path, journal, Log(file), "run-1", is_over)

        yield build


def fault(run: str, undo: str = "touch mended", timeout_s: str = "5") -> Fault:
    """Return a fault."""
    return Fault("db", run, undo, Decimal(1), Decimal(timeout_s))


def test_it_is_in_the_journal_before_it_runs(make: Make, journal: Journal, tmp_path: Path) -> None:
    """The command itself finds its fault and its undo on the disk, with the run in its environment."""
    ended = make().make(fault(f"cat {journal.path} > seen; echo $LOCUST_OTEL_RUN_ID $LOCUST_OTEL_FAULT"))
    assert ended.code == 0
    assert json.loads((tmp_path / "seen").read_text())["active"][0]["undo"] == "touch mended"
    assert "run-1 db" in (tmp_path / "log").read_text()


def test_mended_it_leaves_the_journal(make: Make, journal: Journal, tmp_path: Path) -> None:
    """After its undo nothing is left, and the journal goes; a second undo does nothing."""
    faults = make()
    faults.make(fault("true", "echo x >> mended"))
    assert faults.mend("db")
    assert faults.mend("db")
    assert (tmp_path / "mended").read_text() == "x\n"
    journal.close()
    assert not journal.path.exists()


def test_a_fault_that_failed_is_mended_all_the_same(make: Make, tmp_path: Path) -> None:
    """A command that fails may have broken half of it."""
    faults = make()
    assert faults.make(fault("exit 7")).told == "exit code 7"
    assert faults.mend_all() == []
    assert (tmp_path / "mended").exists()


def test_a_command_that_hangs_is_ended_with_its_children(make: Make, tmp_path: Path) -> None:
    """After its time the whole group is killed."""
    ended = make().make(fault("sleep 60 & echo $! > child; wait", timeout_s="0.5"))
    assert (ended.code, ended.told) == (None, "it took too long")
    assert ended.took_s < 5
    pid = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while (known := Process.of(pid)) is not None and known.running() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_signal_ends_the_making_but_not_the_mending(make: Make, tmp_path: Path) -> None:
    """Where the game day is over a fault is not waited for; its undo takes the time it needs."""
    faults = make(lambda: True)
    assert faults.make(fault("sleep 60", "sleep 0.2; touch mended")).code is None
    assert faults.mend_all() == []
    assert (tmp_path / "mended").exists()


def test_an_undo_is_tried_three_times(make: Make, journal: Journal, tmp_path: Path) -> None:
    """One that succeeds at the third try has succeeded; one that never does stays in the journal."""
    faults = make()
    faults.make(fault("true", "echo x >> tries; test $(wc -l < tries) = 3"))
    assert faults.mend_all() == []
    faults.make(fault("true", "exit 1"))
    assert faults.mend_all() == ["db"]
    journal.close()
    again = Journal(tmp_path / "day.yaml")
    assert again.read()
    assert list(again.active) == ["db"]


def test_one_undo_that_fails_keeps_no_other_from_its_turn(make: Make, tmp_path: Path) -> None:
    """All are tried."""
    faults = make()
    faults.make(Fault("first", "true", "exit 1", Decimal(1), Decimal(1)))
    faults.make(fault("true"))
    assert faults.mend_all() == ["first"]
    assert (tmp_path / "mended").exists()


def test_a_journal_of_the_dead_keeps_others_from_beginning(journal: Journal, make: Make, tmp_path: Path) -> None:
    """Who finds something left broken must mend it first; who finds a game day that goes on must wait."""
    make().make(fault("true"))
    with pytest.raises(ConfigurationError, match="gameday-running"):
        Journal(tmp_path / "day.yaml").refuse_leftovers()
    journal.runner = Process(os.getpid(), 1.0)  # another process had this number
    journal.write()
    with pytest.raises(ConfigurationError, match=r"has left db.*--undo.*gameday-left-over"):
        Journal(tmp_path / "day.yaml").refuse_leftovers()


def test_a_broken_journal_is_told_of(tmp_path: Path) -> None:
    """Nobody takes rubbish for "nothing is broken"."""
    (tmp_path / "day.yaml.journal").write_text("{")
    with pytest.raises(ConfigurationError, match="gameday-journal"):
        Journal(tmp_path / "day.yaml").refuse_leftovers()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_breaks(tmp_path: Path) -> None:
    """Without a journal there is no game day."""
    with pytest.raises(ConfigurationError, match="gameday-journal"):
        Journal(tmp_path / "none" / "day.yaml").begin()
