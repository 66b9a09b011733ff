"""`locust-otel demo --stack`: a real Prometheus and Alertmanager beside the demo, with the shipped configuration.

They listen on free ports of 127.0.0.1, keep their data in a folder that goes with them, look once a second, and are
ended by their own process ids. The rules are made from the SLO file of the demo.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent
import yaml

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError, LocustOtelError
from locust_otel.core.options import DEFAULT_PORT, LAST_PORT
from locust_otel.demo import shop, webhook
from locust_otel.demo.live import Board, alerts
from locust_otel.slo.file import load
from locust_otel.slo.rules.printer import rule_files

INTERVAL_S = 1
"""Seconds between two scrapes and between two evaluations; a demo has no time for the five of the shipped files."""

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_NAMES = {"prometheus": ("prometheus",), "alertmanager": ("alertmanager", "prometheus-alertmanager")}
_TEMPLATE = "prometheus/alertmanager/default.tmpl"


class StackError(LocustOtelError):
    """A server of the stack did not start."""


def find() -> dict[str, Path]:
    """Return the servers, from PATH or from what `make backends` has fetched.

    Raises:
        ConfigurationError: One is in neither place (`stack-missing`).
    """
    fetched = [folder / ".backends" / "bin" for folder in (Path.cwd(), Path(__file__).parents[2])]
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, fetched)])
    servers = {
        server: Path(path)
        for server, names in _NAMES.items()
        if (path := next(filter(None, (shutil.which(name, path=search) for name in names)), None))
    }
    if missing := [server for server in _NAMES if server not in servers]:
        raise ConfigurationError(
            "--stack",
            f"{' and '.join(missing)} not found on PATH or in .backends/bin.",
            "In a checkout run `make backends`; else install them: https://prometheus.io/download/.",
            slug="stack-missing",
        )
    return servers


def shipped(name: str) -> Path:
    """Return a file of `deploy/` or `locustfiles/`: beside this module in a package, at the top in a checkout."""
    installed = Path(__file__).parent / name
    return installed if installed.exists() else Path(__file__).parents[2] / name


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def metrics_port(wanted: str | None) -> int:
    """Return the port for `/metrics`, which Prometheus is told before the demo begins.

    Raises:
        ConfigurationError: It is off, no number, or none is free (`stack-port`).
    """
    if wanted is not None:
        if not wanted.isdecimal() or not 0 < int(wanted) < 65_536:
            found, remedy = f"{wanted!r} leaves --stack nothing to scrape.", "Give a port, or leave it out."
            raise ConfigurationError("--prometheus-port", found, remedy, slug="stack-port")
        return int(wanted)
    for port in range(DEFAULT_PORT, LAST_PORT + 1):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    found = f"{DEFAULT_PORT} to {LAST_PORT} are taken."
    raise ConfigurationError("--prometheus-port", found, "Give a free port.", slug="stack-port")


def prometheus_configuration(target: str, alertmanager: str) -> dict[str, Any]:
    """Return the shipped configuration with these addresses, and the pace of a demo."""
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
    """The running servers: the alerts that are known, and the URL of each server by its name."""

    board: Board
    urls: Mapping[str, str]


@contextmanager
def running(servers: Mapping[str, Path], slo: str, port: int) -> Iterator[Stack]:
    """Run Prometheus, Alertmanager and a receiver of webhooks for as long as the context lasts.

    The servers are those of `find`, the rules are made from the SLO file, and the port is that of `/metrics`.

    Raises:
        StackError: A server did not start.
    """
    addresses = {server: f"127.0.0.1:{free_port()}" for server in ("alertmanager", "prometheus")}
    stack = Stack(Board(), {server: f"http://{address}" for server, address in addresses.items()})
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="locust-otel-stack-")))
        receiver = webhook.serve(stack.board.got)
        ends.callback(receiver.stop, timeout=0)
        (folder / "rules").mkdir()
        for name, text in rule_files(dataclasses.replace(load(slo), scrape_interval_s=Decimal(INTERVAL_S))).items():
            (folder / "rules" / name).write_text(text)
        for name, configuration in {
            "prometheus": prometheus_configuration(f"127.0.0.1:{port}", addresses["alertmanager"]),
            "alertmanager": alertmanager_configuration(f"127.0.0.1:{receiver.server_port}"),
        }.items():
            (folder / f"{name}.yml").write_text(yaml.safe_dump(configuration, sort_keys=False))
        for server, command in _commands(servers, folder, addresses).items():
            ends.enter_context(_started(server, command, folder, f"{stack.urls[server]}/-/ready"))
        watching = gevent.spawn(_watch, stack)
        ends.callback(watching.kill)
        yield stack


def _commands(servers: Mapping[str, Path], folder: Path, addresses: Mapping[str, str]) -> dict[str, list[str]]:
    return {
        "alertmanager": [
            *_templates_in_place(servers["alertmanager"]),
            str(servers["alertmanager"]),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address={addresses['alertmanager']}",
            "--cluster.listen-address=",  # else it opens 0.0.0.0:9094
        ],
        "prometheus": [
            str(servers["prometheus"]),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={addresses['prometheus']}",
            "--enable-feature=native-histograms,exemplar-storage",
        ],
    }


@contextmanager
def _started(name: str, command: Sequence[str], folder: Path, ready: str) -> Iterator[None]:
    """Run one server for as long as the context lasts, which begins once the URL `ready` is answered."""
    path = folder / f"{name}.log"
    with path.open("wb") as log:
        # A Ctrl-C in the terminal does not reach it: the last scrape is still to come.
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    try:
        while not _is_ready(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                last = "\n".join(path.read_text(errors="replace").splitlines()[-5:])
                raise StackError(f"{name} did not start; it printed last:\n{last}")
            time.sleep(0.05)
        yield
    finally:
        shop.end(process, _STOP_TIMEOUT_S)


def _is_ready(url: str) -> bool:
    try:
        return web.send(url, timeout_s=2, uses_proxy=False).is_success
    except web.UnreachableError:
        return False


def _watch(stack: Stack) -> None:
    """Ask Prometheus for its alerts, again and again; while it does not answer, the board keeps what it has."""
    while True:
        with suppress(web.UnreachableError, ValueError):
            reply = web.send(f"{stack.urls['prometheus']}/api/v1/alerts", timeout_s=5, uses_proxy=False)
            if reply.is_success:
                stack.board.update(alerts(web.decoded(reply.body)), datetime.now(UTC))
        gevent.sleep(INTERVAL_S)


def _templates_in_place(binary: Path) -> list[str]:
    """Return the command under which Debian's unpacked build finds its templates, empty where none is needed.

    It reads them from a fixed place under /usr/share; they are laid there in a mount namespace nobody else sees, and
    `exec` keeps the process id.

    Raises:
        ConfigurationError: This machine allows no mount namespace (`stack-templates`).
    """
    share = binary.resolve().parents[1] / "share"
    if not (share / _TEMPLATE).is_file() or (Path("/usr/share") / _TEMPLATE).is_file():
        return []
    unshare = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "--"]
    lay = 'mount -t overlay overlay -o "lowerdir=$1:/usr/share" /usr/share && shift && exec "$@"'
    under = [*unshare, "sh", "-c", lay, "sh", str(share)]
    if not shutil.which("unshare") or subprocess.run([*under, "true"], capture_output=True, check=False).returncode:  # noqa: S603
        raise ConfigurationError(
            "--stack",
            f"{binary} needs its templates in /usr/share, and this machine allows no mount namespace.",
            "Install the Debian package prometheus-alertmanager, or the release of https://prometheus.io/download/.",
            slug="stack-templates",
        )
    return under
