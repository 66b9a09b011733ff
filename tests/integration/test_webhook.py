"""The receiver of Alertmanager's webhooks as a program: what it prints and answers, and its end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from locust_otel.core import web

LABELS = {"alertname": "LocustSLOBudgetBurn", "severity": "critical", "slo": "availability"}
ALERT = {"status": "firing", "labels": LABELS, "annotations": {"summary": "It burns."}}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program(number: signal.Signals) -> None:
    """It prints a line for each alert, answers health checks, refuses other payloads, and ends with 0."""
    command = [sys.executable, "-m", "locust_otel.demo.webhook", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        start = re.fullmatch(r"webhooks on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
        assert start is not None
        payload = json.dumps({"receiver": "pages", "alerts": [ALERT]}).encode()
        answers = [
            web.send(f"{start[1]}/pages", body, timeout_s=5, uses_proxy=False)
            for body in (None, payload, b"{}", b"nope")
        ]
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert [answer.status for answer in answers] == [200, 200, 400, 400]
    assert re.fullmatch(r"[\d:]{8}Z  pages  firing  LocustSLOBudgetBurn critical availability  It burns\.\n", out)
    assert (process.returncode, err) == (0, "")
