"""Tests of the command `gameday`: its flags, its end, the files it writes, and later scoring."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from locust_otel import cli
from locust_otel.core.errors import ConfigurationError, LocustOtelError
from locust_otel.gameday import playing, preflight
from locust_otel.gameday.alertmanager import Notices
from locust_otel.gameday.history import History, StoredMark
from locust_otel.gameday.judge import InjectedFault
from locust_otel.gameday.score import Played
from tests.unit.gameday.days import BURN, day, expect, fault, step

DAY = f"""\
name: x
steps:
  - at: 1s
    fault: {{name: db, run: x, undo: x, for: 1s}}
    expect: [{{no_alert: {BURN}}}]
"""
SOON = expect(alert=BURN, within="1s")
SILENCES = ((1.0, 2.5),)


class FakeConductor:
    """A conductor whose game day is over; Prometheus answers the preflight only."""

    begin = 1_000_000.0

    def __init__(self, **_: object) -> None:
        self.asked = 0

    def answer(self, ask: Callable[[], Any], grace_s: float = 1.0) -> Any:
        """Answer the first call."""
        self.asked += 1
        if self.asked == 1:
            return ask()
        assert grace_s == 10.0
        raise LocustOtelError("no answer")

    def play(self) -> Played:
        """Return the events."""
        fault = InjectedFault("db", self.begin, self.begin + 1)
        return Played("r", (fault,), silences=SILENCES, load_output=("MemoryError",))


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], int]:
    """Give a function that plays a game day."""
    monkeypatch.setattr(playing, "Conductor", FakeConductor)
    monkeypatch.setattr(playing, "_AFTER_S", 0.0)
    monkeypatch.setattr(preflight, "check", lambda *_: ("Mind the gap.",))
    options = Namespace(
        run_id="r", alertmanager=None, stop_after=None, webhook_port=None, output=str(tmp_path), metrics=None,
        format="json", record=None, prometheus="http://127.0.0.1:1",
    )  # fmt: skip
    return lambda: playing._play(day(step("0", fault(), SOON)), options)


def test_without_prometheus_at_the_end_nothing_is_broken(
    play: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """An expectation of 1 s is undecided too; the notes have the reason, after those of the preflight."""
    assert play() == 4
    out, err = capsys.readouterr()
    card = json.loads(out)
    assert card["faults"][0]["expectations"][0]["outcome"] == "undecided"
    assert card["notes"] == ["Mind the gap.", "there is no data of the run: no answer"]
    assert "note: Mind the gap." in err


def test_events_are_written_and_read(play: Callable[[], int], tmp_path: Path) -> None:
    """Silences and the load's output are in `events.json`; older files without them can be read too."""
    play()
    events = playing._read_events(str(tmp_path), "r")
    assert events is not None
    assert (events.silences, events.load_output) == (SILENCES, ("MemoryError",))
    file = tmp_path / "events.json"
    values = json.loads(file.read_text())
    del values["silences"], values["load_output"]
    file.write_text(json.dumps(values))
    events = playing._read_events(str(tmp_path), "r")
    assert events is not None
    assert (events.silences, events.load_output) == ((), ())


def test_a_preflight_that_fails_plays_nothing(play: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither load nor fault is started."""

    def refuse(*_: object) -> tuple[str, ...]:
        raise ConfigurationError("--prometheus", "It is down.", "Start it.", slug="x")

    def fail(_: FakeConductor) -> Played:
        raise AssertionError

    monkeypatch.setattr(preflight, "check", refuse)
    monkeypatch.setattr(FakeConductor, "play", fail)
    with pytest.raises(ConfigurationError, match="It is down"):
        play()


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Write a game-day file."""
    (tmp_path / "day.yaml").write_text(DAY)
    return str(tmp_path / "day.yaml")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--record", "x"], "--record: A record is of a finished run."),
        ([], "--prometheus: It is required here."),
        (["--prometheus", "http://a"], "--run-id: It is required here. Add load to the file"),
        (["--prometheus", "http://a", "--score-only"], "--run-id: It is required here. Name a run: --run-id ID."),
        (
            ["--prometheus", "http://a", "--run-id", "r", "--webhook-port", "x"],
            "--webhook-port: 'x': this is not a port.",
        ),
    ],
)
def test_flags_that_are_refused(file: str, flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing and wrong flags end with 78, before any server is asked."""
    assert cli.main(["gameday", file, *flags]) == 78
    assert capsys.readouterr().err.startswith(f"locust-otel: {problem}")


def test_a_dry_run_prints_the_plan(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It needs no server."""
    assert cli.main(["gameday", file, "--dry-run"]) == 0
    assert "+1s       fault  db: x" in capsys.readouterr().out


def test_undo_without_a_journal(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to undo, and the exit code is 0."""
    assert cli.main(["gameday", file, "--undo"]) == 0
    assert capsys.readouterr().err == "There is nothing to undo: there is no journal.\n"


@pytest.mark.parametrize(
    ("begin", "marks", "code"),
    [
        (None, (), 4),
        (100.0, (), 4),
        (100.0, (StoredMark(101.0, "db", "fault-start"), StoredMark(102.0, "db", "fault-end")), 0),
    ],
    ids=["no run", "no marks", "marks"],
)
def test_scoring_by_the_marks_of_the_run(
    file: str, monkeypatch: pytest.MonkeyPatch, begin: float | None, marks: tuple[StoredMark, ...], code: int
) -> None:
    """Without events the faults are those of the marks; without marks, or without the run, nothing is decided."""
    scrapes = [100.0 + second for second in range(10)]
    monkeypatch.setattr(playing, "start_of", lambda *_: begin)
    monkeypatch.setattr(playing, "observed", lambda *_: History(100.0, 110.0, scrapes=scrapes, marks=marks))
    flags = ["--prometheus", "http://a", "--run-id", "r", "--score-only"]
    assert cli.main(["gameday", file, *flags]) == code


def test_the_webhook_is_on_loopback_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port alone is one of 127.0.0.1; a taken port is refused with the reason."""
    opened: list[tuple[str, int]] = []

    def webhook(take: object, host: str, port: int) -> None:
        if port == 1:
            raise PermissionError(13, "Permission denied")
        opened.append((host, port))

    monkeypatch.setattr(playing, "Webhook", webhook)
    for address in ("9095", "0.0.0.0:9096"):
        playing._webhook(address, Notices())
    assert opened == [("127.0.0.1", 9095), ("0.0.0.0", 9096)]
    with pytest.raises(ConfigurationError, match=r"'1': Permission denied\. Give a free port"):
        playing._webhook("1", Notices())
