"""Tests of the observer: the alerts of the run, the stop condition, and the times without an answer of Alertmanager."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from locust_otel.core.errors import LocustOtelError
from locust_otel.gameday import observer as module
from locust_otel.gameday.alertmanager import Notices
from locust_otel.gameday.observer import Observation, Observer
from locust_otel.gameday.schema import ExpectShape, StopShape
from locust_otel.review.prometheus import Sample
from tests.unit.gameday.days import day, fault, step

OWN = ExpectShape.model_validate({"alert": "CartDown", "within": "5s"})
DAY = replace(day(step("0", fault(), OWN)), stop_when=StopShape.model_validate({"failure_ratio": "50%"}))


class FakeAlertmanager:
    """An Alertmanager that calls `act` for its alerts."""

    def __init__(self) -> None:
        self.act: Any = list

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts."""
        alerts: list[dict[str, Any]] = self.act()
        return alerts


class FakePrometheus:
    """A Prometheus with alerts, and with a failure ratio."""

    def __init__(self) -> None:
        self.alerts: list[Sample] = []
        self.failure_ratio = 0.0

    def query(self, promql: str) -> list[Sample]:
        """Return the alerts, or the ratio."""
        return self.alerts if promql == "ALERTS" else [Sample({}, self.failure_ratio)]


def fail() -> None:
    """Raise the error of a server that does not answer."""
    raise LocustOtelError("no answer")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock of the observer."""
    clock = [0.0]
    monkeypatch.setattr(module, "time", lambda: clock[0])
    return clock


@pytest.fixture
def observer(now: list[float]) -> Any:
    """Make an observer whose servers answer."""
    parts: Any = {"server": FakePrometheus(), "alertmanager": FakeAlertmanager()}
    notices = Notices(is_counted=lambda labels: DAY.counts(labels, "r"))
    return Observer(notices=notices, run_id="r", day=DAY, **parts)


def test_a_silence_lasts_from_answer_to_answer(observer: Any, now: list[float]) -> None:
    """It begins with the last answer before a failure, or before 3 s without a question, and ends with the next one."""
    for at, act in ((1, list), (2, fail), (3, fail), (4, list), (5, list), (8.5, list), (9, fail)):
        now[0], observer.alertmanager.act = float(at), act
        observer._look()
    assert observer.silences == [(1.0, 4.0), (5.0, 8.5)]
    now[0] = 10.0
    observer.stop()
    assert observer.silences[2:] == [(8.5, 10.0)]


def test_the_end_does_not_wait_for_an_answer(observer: Any, now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop` returns while a question hangs, and the time without an answer is a silence."""
    monkeypatch.setattr(module, "POLL_S", 0.001)
    asked, released = threading.Event(), threading.Event()

    def hang() -> list[Any]:
        asked.set()
        released.wait(60)
        return []

    observer.alertmanager.act = hang
    observer.start()
    assert asked.wait(10)
    now[0] = 10.0
    observer.stop()
    assert not released.is_set()
    assert observer.silences == [(0.0, 10.0)]
    released.set()
    observer._thread.join(10)


def test_without_an_alertmanager_there_is_no_silence(observer: Any, now: list[float]) -> None:
    """No server is asked for notices."""
    observer.alertmanager = None
    now[0] = 10.0
    observer.stop()
    assert observer.silences == []


def test_alerts_are_those_of_the_run(observer: Any) -> None:
    """Alerts of other runs and of severity `none` are left out; the user's own alerts may lack the run."""
    names = {
        "LocustSLOBudgetBurn": "r",
        "LocustRunActive": "r",
        "LocustSlowRequests": "other",
        "CartDown": "",
        "Up": "",
    }
    for name, run_id in names.items():
        labels = {"alertname": name, "alertstate": "firing"} | ({"run_id": run_id} if run_id else {})
        observer.server.alerts.append(Sample(labels, 1.0))
    silent = {"alertname": "Planned", "alertstate": "firing", "run_id": "r", "severity": "none"}
    observer.server.alerts.append(Sample(silent, 1.0))
    listed = [{"labels": labels} for labels, _ in observer.server.alerts]
    observer.alertmanager.act = lambda: listed
    observer._look()
    assert [alert[0] for alert in observer.latest.alerts] == ["CartDown", "LocustSLOBudgetBurn"]
    assert {notice.labels["alertname"] for notice in observer.notices.all()} == {"CartDown", "LocustSLOBudgetBurn"}


def test_the_stop_condition(observer: Any) -> None:
    """The game day must stop at the limit, not below it, and not without data."""
    for ratio, reason in ((0.4, ""), (0.5, "stop condition: 50.0% of the requests failed (limit 50.0%)")):
        observer.server.failure_ratio = ratio
        observer._look()
        assert observer.must_stop() == reason
    observer.latest = Observation()
    assert observer.must_stop() == ""


def test_a_failure_keeps_the_last_alerts(observer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer the alerts stay, and the problems of both servers are there."""
    observer.latest = Observation((("LocustSLOBudgetBurn", "critical", "availability", "firing"),), 0.1)
    observer.alertmanager.act = fail
    monkeypatch.setattr(observer.server, "query", lambda _: fail())
    alerts = observer.latest.alerts
    observer._look()
    assert observer.latest == Observation(alerts, None, "no answer no answer")
