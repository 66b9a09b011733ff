"""`locust-otel demo --stack`: a real Prometheus and Alertmanager beside the demo, with the shipped configuration.

They listen on free ports of 127.0.0.1, keep their data in a temporary folder, scrape and evaluate once a second, and
end with the demo. The rules are made from the SLO file of the demo.
"""

from __future__ import annotations

import dataclasses
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent
import yaml

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import DEFAULT_PORT, LAST_PORT
from locust_otel.demo.live import Board
from locust_otel.gameday.alertmanager import Webhook
from locust_otel.project.files import shipped
from locust_otel.project.servers import alertmanager, prometheus, started
from locust_otel.slo.file import load
from locust_otel.slo.rules.printer import rule_files

INTERVAL_S = 1
"""Seconds between two scrapes and between two evaluations; the 5 s of the shipped files are too long for a demo."""


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def metrics_port(wanted: str | None) -> int:
    """Return the port for `/metrics`, which Prometheus must know before the demo starts.

    Raises:
        ConfigurationError: It is off or not a port, or no port is free (`stack-port`).
    """
    if wanted is not None:
        if not wanted.isdecimal() or not 0 < int(wanted) < 65_536:
            found, remedy = f"{wanted!r} is not a port that --stack can scrape.", "Give a port, or omit the flag."
            raise ConfigurationError("--prometheus-port", found, remedy, slug="stack-port")
        return int(wanted)
    for port in range(DEFAULT_PORT, LAST_PORT + 1):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    found = f"{DEFAULT_PORT} to {LAST_PORT} are taken."
    raise ConfigurationError("--prometheus-port", found, "Give a free port.", slug="stack-port")


def prometheus_configuration(target: str, alertmanager: str) -> dict[str, Any]:
    """Return the shipped configuration with these addresses, and the intervals of a demo."""
    config: dict[str, Any] = yaml.safe_load(shipped("deploy/prometheus/prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"}
    config["rule_files"] = ["rules/*.yaml"]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    return config


def alertmanager_configuration(webhook: str) -> dict[str, Any]:
    """Return the shipped configuration with its webhooks at `webhook`, an address and port."""
    config: dict[str, Any] = yaml.safe_load(shipped("deploy/alertmanager/alertmanager.yml").read_text())
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", ()):
            hook["url"] = urlsplit(hook["url"])._replace(netloc=webhook).geturl()
    return config


class Stack(NamedTuple):
    """The running servers: the board with their alerts, and the URL of each server by its name."""

    board: Board
    urls: Mapping[str, str]


@contextmanager
def running(servers: Mapping[str, Path], slo: str, port: int) -> Iterator[Stack]:
    """Run Prometheus, Alertmanager and a receiver of webhooks for as long as the context lasts.

    `servers` has the programs by name, `slo` is the path of the SLO file, and `port` the port of `/metrics`.

    Raises:
        ServerError: A server did not start.
    """
    addresses = {server: f"127.0.0.1:{free_port()}" for server in ("alertmanager", "prometheus")}
    stack = Stack(Board(), {server: f"http://{address}" for server, address in addresses.items()})
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="locust-otel-stack-")))
        webhook = Webhook(stack.board.take)
        ends.callback(webhook.close)
        (folder / "rules").mkdir()
        for name, text in rule_files(dataclasses.replace(load(slo), scrape_interval_s=Decimal(INTERVAL_S))).items():
            (folder / "rules" / name).write_text(text)
        for name, configuration in {
            "prometheus": prometheus_configuration(f"127.0.0.1:{port}", addresses["alertmanager"]),
            "alertmanager": alertmanager_configuration(f"127.0.0.1:{webhook.server_port}"),
        }.items():
            (folder / f"{name}.yml").write_text(yaml.safe_dump(configuration, sort_keys=False))
        for name, command in {"alertmanager": alertmanager, "prometheus": prometheus}.items():
            config = folder / f"{name}.yml"
            server = ends.enter_context(started(name, command(servers[name], config, folder, addresses[name]), folder))
            server.wait_ready(f"{stack.urls[name]}/-/ready")
        watching = gevent.spawn(_watch, stack)
        ends.callback(watching.kill)
        yield stack


def _watch(stack: Stack) -> None:
    """Ask Prometheus for its alerts every `INTERVAL_S`; while it does not answer, the board keeps its alerts."""
    while True:
        with suppress(web.UnreachableError, ValueError):
            reply = web.send(f"{stack.urls['prometheus']}/api/v1/alerts", timeout_s=5, uses_proxy=False)
            if reply.is_success:
                stack.board.update(web.decoded(reply.body)["data"]["alerts"], datetime.now(UTC))
        gevent.sleep(INTERVAL_S)
