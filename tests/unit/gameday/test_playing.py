"""Tests of the end of a game day: without an answer nothing is broken, and old files can be read."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from locust_otel.core.errors import ConfigurationError, LocustOtelError
from locust_otel.gameday import playing, preflight
from locust_otel.gameday.judge import Done
from locust_otel.gameday.schema import ExpectShape
from locust_otel.gameday.score import Played
from locust_otel.review.prometheus import Prometheus
from tests.unit.gameday.days import day, fault, step

SOON = ExpectShape.model_validate({"alert": "LocustSLOBudgetBurn", "within": "1s"})
SILENCES = ((1.0, 2.5),)


class Over:
    """A conductor whose game day has been played; afterwards Prometheus gives no answer."""

    begin = 1_000_000.0

    def __init__(self, **_: object) -> None:
        self.asked = 0

    def answer(self, ask: Callable[[], Any], grace_s: float = 1.0) -> Any:
        """Answer the preflight, and nothing more."""
        self.asked += 1
        if self.asked == 1:
            return ask()
        assert grace_s == 10.0
        raise LocustOtelError("no answer")

    def play(self) -> Played:
        """Return what was played."""
        return Played("r", (Done("db", self.begin, self.begin + 1),), silences=SILENCES)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], int]:
    """Play a game day."""
    monkeypatch.setattr(playing, "Conductor", Over)
    monkeypatch.setattr(playing, "_AFTER_S", 0.0)
    monkeypatch.setattr(preflight, "check", lambda *_: ("Mind the gap.",))
    options = Namespace(
        run_id="r", alertmanager=None, stop_after=None, webhook_port=None, output=str(tmp_path), metrics=None,
        format="json", record=None,
    )  # fmt: skip
    return lambda: playing._play(day(step("0", fault(), SOON)), Prometheus("http://127.0.0.1:1"), options)


def test_without_prometheus_at_the_end_nothing_is_broken(
    play: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Even an expectation of a second is undecided; the notes say why, and those of the preflight are shown too."""
    assert play() == 4
    out, err = capsys.readouterr()
    card = json.loads(out)
    assert card["faults"][0]["expectations"][0]["outcome"] == "undecided"
    assert card["notes"] == ["Mind the gap.", "nothing is known: no answer"]
    assert "note: Mind the gap." in err


def test_silences_are_written_and_read(play: Callable[[], int], tmp_path: Path) -> None:
    """The scorecard of later knows when Alertmanager did not answer; a file of before it was noted is read as well."""
    play()
    events = playing._read_events(str(tmp_path), "r")
    assert events is not None
    assert events.silences == SILENCES
    file = tmp_path / "events.json"
    values = json.loads(file.read_text())
    del values["silences"]
    file.write_text(json.dumps(values))
    events = playing._read_events(str(tmp_path), "r")
    assert events is not None
    assert events.silences == ()


def test_a_preflight_that_fails_plays_nothing(play: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither load nor fault begins."""

    def refuse(*_: object) -> tuple[str, ...]:
        raise ConfigurationError("--prometheus", "It is down.", "Start it.", slug="x")

    def fail(_: Over) -> Played:
        raise AssertionError

    monkeypatch.setattr(preflight, "check", refuse)
    monkeypatch.setattr(Over, "play", fail)
    with pytest.raises(ConfigurationError, match="It is down"):
        play()
