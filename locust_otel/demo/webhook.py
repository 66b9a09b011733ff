"""What receives Alertmanager's webhooks in the demo, and says what came.

`python -m locust_otel.demo.webhook --port 9095` prints each message on a line of its own; `Receiver` keeps them for a
program. The payload: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer

MAX_BODY = 1 << 20
"""Bytes of a payload that are read; Alertmanager's are of some kilobytes."""


@dataclass(frozen=True, slots=True)
class Message:
    """One alert of a webhook payload.

    Attributes:
        at: When it came.
        receiver: Who Alertmanager means it for: `pages`, `tickets`.
        status: `firing` or `resolved`.
        labels: Of the alert.
        annotations: Of the alert.
    """

    at: datetime
    receiver: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def line(self) -> str:
        """The message in one line, with the time in UTC."""
        what = " ".join(filter(None, (self.labels.get(label, "") for label in ("alertname", "severity", "slo"))))
        parts = (f"{self.at:%H:%M:%S}Z", self.receiver, self.status, what)
        return "  ".join(part for part in (*parts, self.annotations.get("summary", "")) if part)


def parse(body: bytes, at: datetime) -> list[Message]:
    """Return the alerts of a payload.

    Raises:
        ValueError: It is no payload of Alertmanager's.
    """
    payload = json.loads(body)
    try:
        return [
            Message(
                at,
                str(payload["receiver"]).partition("/")[0],
                str(alert["status"]),
                dict(alert["labels"]),
                dict(alert["annotations"]),
            )
            for alert in payload["alerts"]
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a webhook of Alertmanager: {error}") from None


class Receiver:
    """Takes webhooks on any path.

    Args:
        told: Called with each message, at once.
    """

    def __init__(self, told: Callable[[Message], None]) -> None:
        self._told = told
        self._server: Any = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        port: int = self._server.server_port
        return port

    def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; 0 takes a free port.

        Raises:
            OSError: The port is taken, or the address is not of this machine.
        """
        server = WSGIServer((host, port), self._answer, log=None, error_log=None)
        server.start()
        self._server = server

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.stop(timeout=0)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        status, text = "200 OK", "ok\n"
        if environ["REQUEST_METHOD"] == "POST":
            try:
                for message in parse(environ["wsgi.input"].read(MAX_BODY), datetime.now(UTC)):
                    self._told(message)
            except ValueError as error:
                status, text = "400 Bad Request", f"{error}\n"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [text.encode()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what comes until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m locust_otel.demo.webhook", description="Print the webhooks of Alertmanager, one line an alert."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=9095, help="0 takes a free one (default %(default)s)")
    options = parser.parse_args(arguments)
    receiver = Receiver(lambda message: print(message.line, flush=True))  # noqa: T201
    receiver.start(options.host, options.port)
    done = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, done.set)
    print(f"webhooks on http://{options.host}:{receiver.port}", flush=True)  # noqa: T201
    done.wait()
    receiver.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
