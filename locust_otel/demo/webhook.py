"""A receiver of Alertmanager's webhooks, which prints each alert on a line: `python -m locust_otel.demo.webhook`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from locust_otel.gameday.alertmanager import Webhook


class Message(NamedTuple):
    """One alert of a webhook's payload: its status, `firing` or `resolved`, and the message in one line."""

    status: str
    line: str


def messages(payload: Any, at: datetime) -> list[Message]:
    """Return the alerts of a payload, each with the time in UTC at which it came.

    Raises:
        AttributeError, KeyError, TypeError: It is not a payload of Alertmanager.
    """
    receiver = str(payload["receiver"]).partition("/")[0]
    return [_message(at, receiver, alert) for alert in payload["alerts"]]


def _message(at: datetime, receiver: str, alert: Mapping[str, Any]) -> Message:
    labels, status = alert["labels"], str(alert["status"])
    identity = " ".join(filter(None, (labels.get(label) for label in ("alertname", "severity", "slo"))))
    parts = (f"{at:%H:%M:%S}Z", receiver, status, identity, alert["annotations"].get("summary"))
    return Message(status, "  ".join(filter(None, parts)))


def _print(payload: Any) -> None:
    for message in messages(payload, datetime.now(UTC)):
        print(message.line, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the webhooks until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m locust_otel.demo.webhook", description="Print the webhooks of Alertmanager, one line an alert."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=9095, help="0 takes a free one (default %(default)s)")
    options = parser.parse_args(arguments)
    signals = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # in the threads of the server too
    webhook = Webhook(_print, options.host, options.port)
    print(f"webhooks on http://{options.host}:{webhook.server_port}", flush=True)  # noqa: T201
    signal.sigwait(signals)
    webhook.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
