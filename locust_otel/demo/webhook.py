"""A receiver of Alertmanager's webhooks.

`python -m locust_otel.demo.webhook --port 9095` prints each message on a line of its own; `serve` passes them to a
function. The payload: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer

MAX_BODY = 1 << 20
"""Bytes of a payload that are read; Alertmanager's are of some kilobytes."""


class Message(NamedTuple):
    """One alert of a webhook payload: its status, `firing` or `resolved`, and the message in one line."""

    status: str
    line: str


def parse(body: bytes, at: datetime) -> list[Message]:
    """Return the alerts of a payload, each with the time in UTC at which it came.

    Raises:
        ValueError: It is no payload of Alertmanager's.
    """
    payload = json.loads(body)
    try:
        receiver = str(payload["receiver"]).partition("/")[0]
        return [_message(at, receiver, alert) for alert in payload["alerts"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a webhook of Alertmanager: {error}") from None


def _message(at: datetime, receiver: str, alert: Mapping[str, Any]) -> Message:
    labels, status = alert["labels"], str(alert["status"])
    identity = " ".join(filter(None, (labels.get(label) for label in ("alertname", "severity", "slo"))))
    parts = (f"{at:%H:%M:%S}Z", receiver, status, identity, alert["annotations"].get("summary"))
    return Message(status, "  ".join(filter(None, parts)))


def serve(take: Callable[[Message], None], host: str = "127.0.0.1", port: int = 0) -> Any:
    """Return a started gevent server that takes webhooks on any path; its `server_port` is the port, also for 0.

    Raises:
        OSError: The port is taken, or the address is not of this machine.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        status, text = "200 OK", "ok\n"
        if environ["REQUEST_METHOD"] == "POST":
            try:
                for message in parse(environ["wsgi.input"].read(MAX_BODY), datetime.now(UTC)):
                    take(message)
            except ValueError as error:
                status, text = "400 Bad Request", f"{error}\n"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [text.encode()]

    server = WSGIServer((host, port), answer, log=None, error_log=None)
    server.start()
    return server


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what comes until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m locust_otel.demo.webhook", description="Print the webhooks of Alertmanager, one line an alert."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=9095, help="0 takes a free one (default %(default)s)")
    options = parser.parse_args(arguments)
    server = serve(lambda message: print(message.line, flush=True), options.host, options.port)  # noqa: T201
    done = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, done.set)
    print(f"webhooks on http://{options.host}:{server.server_port}", flush=True)  # noqa: T201
    done.wait()
    server.stop(timeout=0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
