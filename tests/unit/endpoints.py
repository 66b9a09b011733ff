"""What the tests of `/metrics` share: an endpoint on a free port of this machine, with a session of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import requests

from locust_otel.core.cardinality import Names
from locust_otel.core.histogram import layout
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.output import Endpoint
from locust_otel.exporter.merged import Merged
from locust_otel.exporter.page.page import Page
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Origin, Session, State
from locust_otel.exporter.settings import Settings, resolve

PLAIN = {"Accept-Encoding": "identity"}


def settings(*, web_config: WebConfig | None = None, **given: object) -> Settings:
    """Return settings; `/metrics` is on any free port."""
    return replace(resolve(values_of(None, {"prometheus_port": "0", **given})), web_config=web_config)


def a_run(run_id: str = "run-1") -> Run:
    """Return a run that goes on."""
    merged = Merged(layout([5.0]), 5.0, Names(200))
    return Run(run_id, {}, 1_764_000_000.25, time.monotonic(), {}, merged, None)


class Fixed(Session):
    """A session whose snapshots are given to it.

    Attributes:
        taken: What every snapshot is; None for those of a session without a run.
    """

    taken: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """Return the snapshot."""
        return self.taken or super().snapshot()


class Live:
    """A live page."""

    html = "<!doctype html><title>run</title>"
    policy = "default-src 'none'"

    def data(self) -> dict[str, Any]:
        """Return what it shows."""
        return {"sentence": "It goes well."}


class Served:
    """An endpoint, and requests to it.

    Attributes:
        told: What was sent to Locust's process.
    """

    def __init__(self, asked: Settings, origin: Origin | None = None, state: State | None = None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.session = Fixed(asked, origin or Origin(name="host-0"), lambda *message: self.told.append(message), state)
        self.endpoint = Endpoint(self.session, cast(Page, Live()))
        self.endpoint.start(asked)

    @property
    def url(self) -> str:
        """The URL without a path."""
        assert self.session.url is not None
        return self.session.url.removesuffix("/metrics")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def ask(self, path: str = "/metrics", method: str = "GET", **headers: str) -> requests.Response:
        """Send a request and return the answer, once the endpoint has noted it."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = requests.request(method, self.url + path, headers={**PLAIN, **names}, timeout=5)
        time.sleep(0.005)
        return answer

    def connect(self, *sent: bytes) -> socket.socket:
        """Open a connection and send something."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        for content in sent:
            connection.sendall(content)
        return connection

    def send(self, *sent: bytes, pause_s: float = 0.0) -> bytes:
        """Send bytes, and return all that comes back until the other side closes."""
        with self.connect() as connection:
            for content in sent:
                connection.sendall(content)
                time.sleep(pause_s)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def outcomes(self) -> dict[str, int]:
        """Return how many scrapes were delivered, and how many were not."""
        return {export.outcome: export.count for export in self.session.exports.counts()}

    def stop(self) -> None:
        """Stop."""
        self.endpoint.stop(time.monotonic() + 1)


@contextmanager
def serving(taken: Snapshot | None = None, **given: Any) -> Iterator[Served]:
    """Serve a snapshot until the end of the block."""
    served = Served(settings(**given))
    served.session.taken = taken
    try:
        yield served
    finally:
        served.stop()


def wait_until(claim: Callable[[], object], timeout_s: float = 3.0) -> None:
    """Return as soon as the claim holds.

    Raises:
        AssertionError: It does not within the time.
    """
    until = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.005)
