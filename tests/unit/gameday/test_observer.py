"""Tests of what is asked while a game day goes on: when Alertmanager did not answer is noted."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from locust_otel.core.errors import LocustOtelError
from locust_otel.gameday import observer as module
from locust_otel.gameday.observer import Alertmanager, Notices, Observer
from tests.unit.gameday.days import day, fault, step


class FakeAlertmanager:
    """Answers without an alert, fails, or does something else."""

    def __init__(self) -> None:
        self.act: Any = list

    def alerts(self) -> list[dict[str, Any]]:
        """Answer."""
        alerts: list[dict[str, Any]] = self.act()
        return alerts


class Silent:
    """A Prometheus without an alert."""

    def query(self, promql: str) -> list[Any]:  # noqa: ARG002  # the name is given
        """Answer."""
        return []


def fail() -> None:
    """Give no answer."""
    raise LocustOtelError("no answer")


@pytest.fixture
def observer() -> Any:
    """An observer whose servers answer."""
    parts: Any = {"server": Silent(), "alertmanager": FakeAlertmanager()}
    return Observer(notices=Notices(), run_id="r", day=day(step("0", fault())), **parts)


def test_a_failure_is_a_silence_from_answer_to_answer(observer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert may have come unseen from the last answer before until the first one after."""
    now = [0.0]
    monkeypatch.setattr(module, "time", lambda: now[0])
    observer._answered_at = 0.0
    for at, act in ((1, list), (2, fail), (3, fail), (4, list), (5, list), (8.5, list), (9, fail)):
        now[0], observer.alertmanager.act = float(at), act
        observer._look()
    # For 3.5 s it was not asked: Prometheus may have hung.
    assert observer.silences == [(1.0, 4.0), (5.0, 8.5)]
    now[0] = 10.0
    observer.stop()
    assert observer.silences[2:] == [(8.5, 10.0)]


def test_an_answer_that_never_comes_is_not_waited_for(observer: Any) -> None:
    """The end of a game day comes in time, and the time without an answer is noted."""
    observer.alertmanager.act = lambda: threading.Event().wait(60)
    observer.start()
    observer._answered_at -= 10.0
    began = time.monotonic()
    observer.stop()
    assert time.monotonic() - began < 3
    ((first, last),) = observer.silences
    assert 9 < last - first < 15


def test_without_an_alertmanager_there_is_no_silence(observer: Any) -> None:
    """No server is asked for alerts."""
    observer.alertmanager = None
    observer._answered_at -= 10.0
    observer.stop()
    assert observer.silences == []


def test_errors_name_the_url() -> None:
    """The address that was tried is in the error."""
    with pytest.raises(
        LocustOtelError, match=r"^http://127.0.0.1:1/api/v2/alerts gives no answer: Connection refused.$"
    ):
        Alertmanager("http://127.0.0.1:1").alerts()
    assert Alertmanager("http://127.0.0.1:1").configuration() == ""
