"""Tests of what `locust-otel demo --stack` is made of, without its servers."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console, Group

from locust_otel.core.errors import ConfigurationError
from locust_otel.demo import stack
from locust_otel.demo.live import Alert, Board, alerts
from locust_otel.demo.webhook import parse

AT = datetime(2026, 11, 22, 11, 40, 31, tzinfo=UTC)
BURN = {"alertname": "LocustSLOBudgetBurn", "severity": "critical", "slo": "availability", "run_id": "r1"}


def payload(**changes: object) -> bytes:
    """Return a webhook's body with one alert."""
    alert = {"status": "firing", "labels": BURN, "annotations": {"summary": "It burns."}}
    return json.dumps({"receiver": "pages", "alerts": [alert], **changes}).encode()


def shown(board: Board) -> str:
    """Return what a board shows as plain text."""
    text = StringIO()
    Console(file=text, width=120).print(Group(*board.screen(AT)))
    return text.getvalue()


def test_a_message_is_one_line() -> None:
    """It names time, receiver, status, alert, severity, objective and summary."""
    (message,) = parse(payload(), AT)
    assert message.line == "11:40:31Z  pages  firing  LocustSLOBudgetBurn critical availability  It burns."


@pytest.mark.parametrize("body", [b"no json", b"{}", b"[]", payload(alerts=[{"status": "firing"}])])
def test_what_is_no_webhook_is_refused(body: bytes) -> None:
    """A body that Alertmanager did not send raises ValueError, which the receiver answers with 400."""
    with pytest.raises(ValueError, match=r"."):
        parse(body, AT)


def test_alerts_of_prometheus() -> None:
    """Those that notify nobody are left out, firing ones come first, and nanoseconds are read."""

    def one(state: str, **labels: str) -> dict[str, object]:
        at = "2026-11-22T11:40:01.123456789Z"
        return {"labels": labels, "annotations": {"summary": "s"}, "state": state, "activeAt": at}

    found = alerts(
        {
            "data": {
                "alerts": [
                    one("pending", alertname="LocustWorkerMissing", severity="warning"),
                    one("firing", alertname="LocustRunActive", severity="none"),
                    one("firing", **BURN),
                ]
            }
        }
    )
    assert [(alert.title, alert.state) for alert in found] == [
        ("LocustSLOBudgetBurn critical availability", "firing"),
        ("LocustWorkerMissing warning", "pending"),
    ]
    assert found[0].since == datetime(2026, 11, 22, 11, 40, 1, 123456, tzinfo=UTC)


def test_a_board_tells_each_change_once() -> None:
    """Pending, firing, over and the webhook's message are a line each, and none when nothing changes."""
    board, key = Board(), ("LocustSLOBudgetBurn", "critical", "availability", "r1")
    board.update([Alert(key, "pending", AT, "It burns.")], AT)
    board.update([Alert(key, "pending", AT, "It burns.")], AT)
    board.update([Alert(key, "firing", AT, "It burns.")], AT)
    board.got(*parse(payload(), AT))
    board.update([], AT)
    title = "LocustSLOBudgetBurn critical availability"
    assert list(board.news()) == [
        f"alert    11:40:31Z  pending  {title}  It burns.",
        f"alert    11:40:31Z  firing  {title}  It burns.",
        f"webhook  11:40:31Z  pages  firing  {title}  It burns.",
        f"alert    11:40:31Z  over  {title}",
    ]
    assert list(board.news()) == []


def test_a_board_shows_alerts_and_messages() -> None:
    """Below the live table stand each alert with its age, and the last messages."""
    board = Board()
    assert "none is pending or firing" in shown(board)
    assert "nothing has come" in shown(board)
    since = AT.replace(second=1)
    board.update([Alert(("LocustSLOBudgetBurn", "critical", "availability"), "firing", since, "")], AT)
    for second in range(8):
        board.got(*parse(payload(), AT.replace(second=second)))
    text = shown(board)
    assert "firing" in text
    assert "30 s" in text
    assert text.count("webhook  ") == 6
    assert "11:40:01Z" not in text
    assert "11:40:07Z" in text


def test_the_shipped_configuration_is_used() -> None:
    """Only addresses and intervals differ from the files of `deploy/`."""
    prometheus = stack.prometheus_configuration("127.0.0.1:1", "127.0.0.1:2")
    assert prometheus["global"] == {"scrape_interval": "1s", "evaluation_interval": "1s"}
    assert prometheus["scrape_configs"] == [
        {
            "job_name": "locust",
            "always_scrape_classic_histograms": True,
            "static_configs": [{"targets": ["127.0.0.1:1"]}],
        }
    ]
    alertmanager = stack.alertmanager_configuration("127.0.0.1:3")
    urls = [hook["url"] for one in alertmanager["receivers"] for hook in one.get("webhook_configs", ())]
    assert urls == ["http://127.0.0.1:3/pages", "http://127.0.0.1:3/tickets"]
    assert alertmanager["inhibit_rules"]


@pytest.mark.parametrize("wanted", ["off", "0", "70000", "x"])
def test_a_stack_needs_a_port_to_scrape(wanted: str) -> None:
    """Off, 0 and what is no port are refused before anything starts."""
    with pytest.raises(ConfigurationError, match="stack-port"):
        stack.metrics_port(wanted)


def test_a_port_that_is_taken_is_passed_over() -> None:
    """Without a port the first free one from 9646 up is taken; one by name is kept."""
    first = stack.metrics_port(None)
    with socket.create_server(("127.0.0.1", first)):  # also where connections of an earlier server are winding up
        assert first < stack.metrics_port(None) <= 9655
    assert stack.metrics_port("9700") == 9700
