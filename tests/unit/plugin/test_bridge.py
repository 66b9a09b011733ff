"""Tests of what `attach` returns."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from locust_otel.core.marks import MarkError
from locust_otel.wire import frames
from tests.unit.factories import judged, rich_load
from tests.unit.processes import LocalProcess


@pytest.fixture
def process() -> LocalProcess:
    """Make a headless process."""
    return LocalProcess()


def test_the_current_run(process: LocalProcess) -> None:
    """Its id stays known when it is over."""
    bridge = process.bridge
    assert (bridge.run_id, bridge.is_running, bridge.url) == (None, False, None)
    process.life.on_test_start()
    assert (bridge.run_id, bridge.is_running) == ("run", True)
    process.life.on_test_stop()
    assert (bridge.run_id, bridge.is_running) == ("run", False)
    process.link.ready["url"] = "http://127.0.0.1:9646/metrics"
    assert bridge.url == "http://127.0.0.1:9646/metrics"


def test_marks(process: LocalProcess) -> None:
    """A mark is cleaned and told while a run goes on; before and after it is not, and that is said."""
    assert not process.bridge.mark("early", "note")
    process.life.on_test_start()
    assert process.bridge.mark("db  primary\nkilled", "fault")
    assert process.bridge.mark("deploy")
    process.life.on_test_stop()
    assert not process.bridge.mark("late", "note")
    assert process.marks() == [["db primary killed", "fault"], ["deploy", "mark"]]


@pytest.mark.parametrize("is_running", [True, False])
def test_what_is_no_mark(process: LocalProcess, is_running: bool) -> None:
    """It is refused, with a run and without."""
    if is_running:
        process.life.on_test_start()
    with pytest.raises(MarkError):
        process.bridge.mark("early", "No Kind")
    assert process.marks() == []


def test_questions(process: LocalProcess) -> None:
    """They are asked of the exporter; where it does not answer, that is an error."""
    process.link.answers["page"] = {"run": None}
    assert process.bridge.ask("page", 1) == {"run": None}
    assert process.link.only(frames.ASK) == ["page", 1]
    with pytest.raises(TimeoutError):
        process.bridge.ask("verdict")


def test_close(process: LocalProcess) -> None:
    """It ends the exporter, once."""
    process.life.on_test_start()
    process.bridge.close()
    process.bridge.close()
    assert process.link.names().count(frames.STOP) == 1


def test_objectives() -> None:
    """How they stand can be asked for, once all is told; at the end it is known for good."""
    process = LocalProcess(has_slo=True)
    points = judged(rich_load()).points()
    process.life.on_test_start()
    process.said()
    process.link.answers["objectives"] = [list(astuple(point)) for point in points]
    assert process.bridge.standing() == points
    assert process.said() == ["status run", "ask objectives"]
    process.bridge.remember("page")
    process.link.answers["page"] = {"run": "run"}
    process.bridge.close()
    process.link.answers.clear()
    assert process.bridge.standing() == points
    assert process.bridge.ask("page") == {"run": "run"}
    with pytest.raises(TimeoutError):
        process.bridge.ask("html")


def test_an_exporter_that_does_not_answer_at_the_end() -> None:
    """The end comes all the same, and nothing is known of objectives."""
    process = LocalProcess(has_slo=True)
    process.link.answers.clear()
    process.life.start()
    process.life.on_test_start()
    process.bridge.close()
    assert process.said()[-2:] == ["ask objectives", "stop"]
    assert process.bridge.standing() is None


def test_without_objectives_none_is_asked_for(process: LocalProcess) -> None:
    """While the process runs, and at its end."""
    process.life.start()
    process.life.on_test_start()
    assert process.bridge.standing() is None
    process.bridge.close()
    assert "ask objectives" not in process.said()
