"""Tests of what `attach` returns."""

from __future__ import annotations

import pytest
from locust import User

from locust_otel.core.marks import MarkError
from locust_otel.plugin.bridge import Bridge
from locust_otel.plugin.life import Life
from locust_otel.plugin.local import LocalNode
from locust_otel.wire import frames
from tests.unit.processes import FakeLink, environment, flags


class Process:
    """A local process and its bridge."""

    def __init__(self) -> None:
        self.link = FakeLink()
        node = LocalNode(environment(), flags(run_id="nightly"), self.link, User)
        self.life = Life(node, freezes=False)
        self.bridge = Bridge(node, self.life)

    def marks(self) -> list[list[str]]:
        """Return the marks that were told: text and kind."""
        return [message[2:4] for message in self.link.said if message[0] == frames.MARK]


def test_the_current_run() -> None:
    """Its id stays known when it is over."""
    process = Process()
    bridge = process.bridge
    assert (bridge.run_id, bridge.is_running, bridge.url) == (None, False, None)
    process.life.on_test_start()
    assert (bridge.run_id, bridge.is_running) == ("nightly", True)
    process.life.on_test_stop()
    assert (bridge.run_id, bridge.is_running) == ("nightly", False)
    process.link.ready["url"] = "http://127.0.0.1:9646/metrics"
    assert bridge.url == "http://127.0.0.1:9646/metrics"


def test_marks() -> None:
    """A mark is cleaned and told while a run goes on; before and after it is not, and that is said."""
    process = Process()
    assert not process.bridge.mark("early", "note")
    process.life.on_test_start()
    assert process.bridge.mark("db  primary\nkilled", "fault")
    assert process.bridge.mark("deploy")
    process.life.on_test_stop()
    assert not process.bridge.mark("late", "note")
    assert process.marks() == [["db primary killed", "fault"], ["deploy", "mark"]]


@pytest.mark.parametrize("is_running", [True, False])
def test_what_is_no_mark(is_running: bool) -> None:
    """It is refused, with a run and without."""
    process = Process()
    if is_running:
        process.life.on_test_start()
    with pytest.raises(MarkError):
        process.bridge.mark("early", "No Kind")
    assert process.marks() == []


def test_questions() -> None:
    """They are asked of the exporter; where it does not answer, that is an error."""
    process = Process()
    process.link.answers["page"] = {"run": None}
    assert process.bridge.ask("page", 1) == {"run": None}
    assert process.link.only(frames.ASK) == ["page", 1]
    with pytest.raises(TimeoutError):
        process.bridge.ask("verdict")


def test_close() -> None:
    """It ends the exporter, once."""
    process = Process()
    process.life.on_test_start()
    process.bridge.close()
    process.bridge.close()
    assert process.link.names().count(frames.STOP) == 1
