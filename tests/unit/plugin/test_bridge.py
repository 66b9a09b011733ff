"""Tests of the bridge, which `attach` returns."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from locust_otel.core.marks import MarkError
from locust_otel.wire import frames
from tests.unit.factories import judged, rich_load
from tests.unit.processes import LocalProcess


@pytest.fixture
def process() -> LocalProcess:
    """Return a headless process."""
    return LocalProcess()


def test_the_current_run(process: LocalProcess) -> None:
    """Its id is known also after its end."""
    bridge = process.bridge
    assert (bridge.run_id, bridge.is_running, bridge.url) == (None, False, None)
    process.life.on_test_start()
    assert (bridge.run_id, bridge.is_running) == ("run", True)
    process.life.on_test_stop()
    assert (bridge.run_id, bridge.is_running) == ("run", False)
    process.link.ready["url"] = "http://127.0.0.1:9646/metrics"
    assert bridge.url == "http://127.0.0.1:9646/metrics"


def test_marks(process: LocalProcess) -> None:
    """A mark is cleaned and sent while a run is active; before and after it the result is false."""
    assert not process.bridge.mark("early", "note")
    process.life.on_test_start()
    assert process.bridge.mark("db  primary\nkilled", "fault")
    assert process.bridge.mark("deploy")
    process.life.on_test_stop()
    assert not process.bridge.mark("late", "note")
    assert process.marks() == [["db primary killed", "fault"], ["deploy", "mark"]]


@pytest.mark.parametrize("is_running", [True, False])
def test_invalid_marks(process: LocalProcess, is_running: bool) -> None:
    """They are refused, with a run and without."""
    if is_running:
        process.life.on_test_start()
    with pytest.raises(MarkError):
        process.bridge.mark("early", "No Kind")
    assert process.marks() == []


def test_close(process: LocalProcess) -> None:
    """It ends the exporter once."""
    process.life.on_test_start()
    process.bridge.close()
    process.bridge.close()
    assert process.link.names().count(frames.STOP) == 1


def test_questions(process: LocalProcess) -> None:
    """The exporter answers them, or an error is raised; after the end only the kept answers are known."""
    process.link.answers["page"] = {"run": None}
    assert process.bridge.ask("page", 1) == {"run": None}
    assert process.link.only(frames.ASK) == ["page", 1]
    with pytest.raises(TimeoutError):
        process.bridge.ask("html")
    process.bridge.remember("page")
    process.bridge.close()
    process.link.answers.clear()
    assert process.bridge.ask("page") == {"run": None}
    with pytest.raises(TimeoutError, match="the exporter has ended"):
        process.bridge.ask("html")


@pytest.mark.parametrize(("code", "verdict"), [(0, "met"), (3, "missed"), (4, "undecided"), (5, "invalid")])
def test_objectives(code: int, verdict: str) -> None:
    """Status and verdict come after all reports; the final ones are known after the end."""
    process = LocalProcess(has_slo=True)
    points = judged(rich_load()).points()
    process.life.on_test_start()
    process.said()
    process.link.answers |= {"objectives": [list(astuple(point)) for point in points], "verdict": code}
    assert process.bridge.standing() == points
    assert process.bridge.verdict() == verdict
    assert process.said() == ["status run", "ask objectives", "status run", "ask verdict"]
    process.bridge.close()
    process.link.answers.clear()
    assert (process.bridge.standing(), process.bridge.verdict()) == (points, verdict)


def test_an_exporter_that_does_not_answer_at_the_end() -> None:
    """The end comes all the same, and the objectives are unknown."""
    process = LocalProcess(has_slo=True)
    process.life.on_test_start()
    process.bridge.close()
    assert process.said()[-2:] == ["ask objectives", "stop"]
    assert (process.bridge.standing(), process.bridge.verdict()) == (None, None)


def test_without_objectives(process: LocalProcess) -> None:
    """The exporter is not asked about them, neither during the run nor at its end."""
    process.life.on_test_start()
    assert (process.bridge.standing(), process.bridge.verdict()) == (None, None)
    process.bridge.close()
    assert frames.ASK not in process.link.names()
