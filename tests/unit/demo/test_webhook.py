"""Tests of the messages of Alertmanager's webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from locust_otel.demo.webhook import messages

AT = datetime(2026, 11, 22, 11, 40, 31, tzinfo=UTC)
LABELS = {"alertname": "LocustSLOBudgetBurn", "severity": "critical", "slo": "availability", "run_id": "r1"}
ALERT = {"status": "firing", "labels": LABELS, "annotations": {"summary": "It burns."}}


def test_a_message_is_one_line() -> None:
    """It has time, receiver, status, alert, severity, objective and summary; missing parts are left out."""
    short = {"status": "resolved", "labels": {"alertname": "Up"}, "annotations": {}}
    payload = {"receiver": "pages/load/x", "alerts": [ALERT, short]}
    assert [(message.status, message.line) for message in messages(payload, AT)] == [
        ("firing", "11:40:31Z  pages  firing  LocustSLOBudgetBurn critical availability  It burns."),
        ("resolved", "11:40:31Z  pages  resolved  Up"),
    ]


@pytest.mark.parametrize(
    "payload", [{}, [], None, {"receiver": "pages"}, {"receiver": "pages", "alerts": [{"status": "firing"}]}]
)
def test_other_payloads_are_refused(payload: Any) -> None:
    """They raise an error that the server answers with 400."""
    with pytest.raises((KeyError, TypeError, AttributeError)):
        messages(payload, AT)
