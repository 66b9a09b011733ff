"""Tests of the control and the probes for Chaos Toolkit, with a fake Prometheus."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from locust_otel.gameday import chaostoolkit
from locust_otel.gameday.chaostoolkit import after_activity_control, alert_is, before_activity_control, verdict
from locust_otel.review.prometheus import Prometheus, Sample

URL = "http://prometheus:9090"


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Sample]]:
    """Give the results of a Prometheus by query."""
    results: dict[str, list[Sample]] = {}
    monkeypatch.setattr(Prometheus, "query", lambda _, promql: results.get(promql, []))
    return results


def test_actions_are_marked(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Start and end of an action are marked, and a problem is a warning; probes are not marked."""
    marks: list[tuple[str, str, str]] = []

    def sender(metrics: str) -> Any:
        return SimpleNamespace(mark=lambda text, kind: marks.append((metrics, text, kind)), problem="No mark was set.")

    monkeypatch.setattr(chaostoolkit, "MarkSender", sender)
    for context in ({"type": "action", "name": "kill"}, {"type": "probe", "name": "up"}):
        before_activity_control(context)
        after_activity_control(context, "http://a/metrics", state=None)
    assert marks == [
        ("http://127.0.0.1:9646/metrics", "kill", "fault-start"), ("http://a/metrics", "kill", "fault-end"),
    ]  # fmt: skip
    assert [record.message for record in caplog.records] == ["No mark was set."] * 2


@pytest.mark.parametrize(
    ("states", "state", "expected"),
    [
        (["firing"], "firing", True),
        (["pending"], "firing", False),
        (["pending", "firing"], "pending", True),
        (["firing"], "inactive", False),
        ([], "inactive", True),
        ([], "firing", False),
    ],
)
def test_the_state_of_an_alert(samples: dict[str, list[Sample]], states: list[str], state: str, expected: bool) -> None:
    """An alert without a sample is inactive."""
    selector = 'ALERTS{alertname="A", run_id="r", severity="critical"}'
    samples[selector] = [Sample({"alertstate": present}, 1.0) for present in states]
    assert alert_is(URL, "A", state, "r", "critical") is expected


def test_a_probe_waits(samples: dict[str, list[Sample]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again until the alert has the state, or until the time is over."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] >= 2:
            samples['ALERTS{alertname="A"}'] = [Sample({"alertstate": "firing"}, 1.0)]

    monkeypatch.setattr(chaostoolkit, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    assert not alert_is(URL, "A", wait_s=1.0)
    assert alert_is(URL, "A", wait_s=5.0)
    assert now == [2.0]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({}, "undecided"),
        ({"met": 1.0}, "met"),
        ({"met": 1.0, "missed": 0.0}, "met"),
        ({"met": 1.0, "missed": 1.0}, "missed"),
    ],
)
def test_the_verdict(samples: dict[str, list[Sample]], statuses: dict[str, float], expected: str) -> None:
    """It is the worst status whose sample is 1."""
    samples['locust_slo_status{run_id="r"}'] = [Sample({"status": name}, value) for name, value in statuses.items()]
    assert verdict(URL, "r") == expected
