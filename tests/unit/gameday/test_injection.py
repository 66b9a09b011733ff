"""Tests of faults and their journal, without commands: a fault is in the journal while it may be active."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday.injection import Faults, Journal
from locust_otel.gameday.load import Process
from tests.unit.gameday.days import fault

OK = "exit code 0"


class FakeFaults(Faults):
    """Faults whose commands are not run: `ends` has their results by the command, in order."""

    def __init__(self, journal: Journal, **ends: list[str]) -> None:
        super().__init__(journal.path.parent, journal, io.BytesIO(), "run-1")
        self.ends = ends
        self.ran: list[tuple[str, list[str]]] = []

    def _run(self, verb: str, name: str, command: str, timeout_s: float) -> str:
        on_disk = [active["name"] for active in json.loads(self.journal.path.read_text())["active"]]
        self.ran.append((f"{verb} {name} within {timeout_s:g} s", on_disk))
        return self.ends[command].pop(0)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try an undo again without a pause."""
    monkeypatch.setattr("locust_otel.gameday.injection.time.sleep", lambda _: None)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Begin the journal of a game day."""
    journal = Journal(tmp_path / "day.yaml")
    journal.begin()
    return journal


def test_the_journal_has_a_fault_from_before_its_command_until_after_its_undo(journal: Journal) -> None:
    """Both commands find the fault on disk; afterwards a second undo does nothing, and the journal is removed."""
    faults = FakeFaults(journal, x=[OK], y=[OK])
    assert faults.inject(fault()) == ""
    assert faults.undo("db")
    assert faults.undo("db")
    assert faults.ran == [("run db within 5 s", ["db"]), ("undo db within 5 s", ["db"])]
    assert json.loads(journal.path.read_text())["active"] == []
    journal.close()
    assert not journal.path.exists()


def test_a_fault_that_failed_is_active(journal: Journal) -> None:
    """A command that fails may have had half of its effect: the fault is undone too."""
    faults = FakeFaults(journal, x=["exit code 7"], y=[OK])
    assert faults.inject(fault()) == "exit code 7"
    assert list(journal.active) == ["db"]
    assert faults.undo_all() == []


@pytest.mark.parametrize(
    ("ends", "left"), [(["exit code 1", "it timed out", OK], []), (["exit code 1"] * 3, ["db"])], ids=["third", "never"]
)
def test_an_undo_is_tried_three_times(journal: Journal, ends: list[str], left: list[str]) -> None:
    """A fault whose third undo fails too stays in the journal, on disk as well."""
    faults = FakeFaults(journal, x=[OK], y=list(ends))
    faults.inject(fault())
    assert faults.undo_all() == left
    journal.close()
    again = Journal(journal.path.with_suffix(""))
    assert again.read() == bool(left)
    assert list(again.active) == left


def test_each_fault_is_undone(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed undo, or one that cannot be run, does not keep the other faults from their undo."""
    faults = FakeFaults(journal, x=[OK] * 3, fails=["exit code 1"] * 3, y=[OK])
    for name, command in (("first", "fails"), ("second", "fails"), ("third", "y")):
        faults.inject(fault("x", command, name=name))
    undo = faults.undo

    def raise_for_second(name: str) -> bool:
        if name == "second":
            raise OSError("no shell")
        return undo(name)

    monkeypatch.setattr(faults, "undo", raise_for_second)
    assert faults.undo_all() == ["first", "second"]


def test_a_journal_refuses_another_game_day(journal: Journal) -> None:
    """While the first one runs, the second must wait; after its death, its faults must be undone first."""
    FakeFaults(journal, x=[OK]).inject(fault())
    source = journal.path.with_suffix("")
    with pytest.raises(ConfigurationError, match="gameday-running"):
        Journal(source).begin()
    journal.runner = Process(os.getpid(), 1.0)  # an earlier process had this number
    journal.write()
    with pytest.raises(ConfigurationError, match=r"has left db.*--undo.*gameday-left-over"):
        Journal(source).begin()


def test_a_journal_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """A game day does not begin with a broken journal, nor in a folder that cannot be written to."""
    (tmp_path / "day.yaml.journal").write_text("{")
    for source in (tmp_path / "day.yaml", tmp_path / "none" / "day.yaml"):
        with pytest.raises(ConfigurationError, match="gameday-journal"):
            Journal(source).begin()
