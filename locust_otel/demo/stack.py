"""`locust-otel demo --stack`: a real Prometheus and Alertmanager beside the demo, with the shipped configuration.

They listen on free ports of 127.0.0.1, keep their data in a folder that goes with them, look once a second, and are
ended by their own process ids. The rules are made from the SLO file of the demo.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import gevent
import yaml

from locust_otel.core.errors import ConfigurationError, LocustOtelError
from locust_otel.core.options import DEFAULT_PORT, LAST_PORT
from locust_otel.demo.board import Board, alerts
from locust_otel.demo.webhook import Receiver
from locust_otel.slo.file import load
from locust_otel.slo.rules.printer import rule_files

INTERVAL_S = 1
"""Seconds between two scrapes and between two evaluations; a demo has no time for the five of the shipped files."""

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_NAMES = {"prometheus": ("prometheus",), "alertmanager": ("alertmanager", "prometheus-alertmanager")}
_TEMPLATE = "prometheus/alertmanager/default.tmpl"
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StackError(LocustOtelError):
    """A server of the stack did not start."""


def find() -> dict[str, Path]:
    """Return the servers, from PATH or from what `make backends` has fetched.

    Raises:
        ConfigurationError: One is in neither place (`stack-missing`).
    """
    fetched = [folder / ".backends" / "bin" for folder in (Path.cwd(), Path(__file__).parents[2])]
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, fetched)])
    found = {
        server: next((path for name in names if (path := shutil.which(name, path=search))), None)
        for server, names in _NAMES.items()
    }
    missing = [server for server, path in found.items() if path is None]
    if missing:
        raise ConfigurationError(
            "--stack",
            f"{' and '.join(missing)} not found on PATH or in .backends/bin.",
            "In a checkout run `make backends`; else install them: https://prometheus.io/download/.",
            slug="stack-missing",
        )
    return {server: Path(path) for server, path in found.items() if path is not None}


def shipped(name: str) -> Path:
    """Return a file of `deploy/`: in an installed package beside this module, in a checkout in its own folder."""
    installed = Path(__file__).with_name("deploy") / name
    return installed if installed.exists() else Path(__file__).parents[2] / "deploy" / name


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def metrics_port(wanted: str | None) -> int:
    """Return the port for `/metrics`, which Prometheus is told before the demo begins.

    Raises:
        ConfigurationError: It is off, no number, or none is free (`stack-port`).
    """
    if wanted is not None:
        if not wanted.isdecimal() or not 0 < int(wanted) < 65_536:
            raise ConfigurationError(
                "--prometheus-port",
                f"{wanted!r} leaves --stack nothing to scrape.",
                "Give a port, or leave it out.",
                slug="stack-port",
            )
        return int(wanted)
    for port in range(DEFAULT_PORT, LAST_PORT + 1):
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigurationError(
        "--prometheus-port", f"{DEFAULT_PORT} to {LAST_PORT} are taken.", "Give a free port.", slug="stack-port"
    )


def prometheus_configuration(target: str, alertmanager: str) -> dict[str, Any]:
    """Return the shipped configuration with these addresses, and the pace of a demo."""
    config: dict[str, Any] = yaml.safe_load(shipped("prometheus/prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"}
    config["rule_files"] = ["rules/*.yaml"]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    return config


def alertmanager_configuration(webhook: str) -> dict[str, Any]:
    """Return the shipped configuration with its webhooks at `webhook`, an address and port."""
    config: dict[str, Any] = yaml.safe_load(shipped("alertmanager/alertmanager.yml").read_text())
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", ()):
            hook["url"] = urlsplit(hook["url"])._replace(netloc=webhook).geturl()
    return config


class Stack:
    """Prometheus, Alertmanager and a webhook receiver; a context manager that ends them.

    Args:
        servers: Of `find`.
        slo: The SLO file that the rules are made from.
        port: Of `/metrics` on 127.0.0.1.

    Attributes:
        board: What is known of alerts.
        urls: Where the servers are, once entered.
    """

    def __init__(self, servers: Mapping[str, Path], slo: str, port: int) -> None:
        self.board = Board()
        self.urls: dict[str, str] = {}
        self._servers = servers
        self._slo = slo
        self._target = f"127.0.0.1:{port}"
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="locust-otel-stack-")))
            receiver = Receiver(self.board.got)
            receiver.start()
            ends.callback(receiver.stop)
            addresses = {server: f"127.0.0.1:{free_port()}" for server in self._servers}
            self._write(folder, addresses["alertmanager"], f"127.0.0.1:{receiver.port}")
            for server, command in self._commands(folder, addresses).items():
                self.urls[server] = f"http://{addresses[server]}"
                ends.enter_context(_Process(server, command, folder, f"{self.urls[server]}/-/ready"))
            watching = gevent.spawn(self._watch)
            ends.callback(watching.kill)
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def _write(self, folder: Path, alertmanager: str, webhook: str) -> None:
        slo = load(self._slo)
        rules = folder / "rules"
        rules.mkdir()
        for name, text in rule_files(dataclasses.replace(slo, scrape_interval_s=Decimal(INTERVAL_S))).items():
            (rules / name).write_text(text)
        prometheus = prometheus_configuration(self._target, alertmanager)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus, sort_keys=False))
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager_configuration(webhook), sort_keys=False))

    def _commands(self, folder: Path, addresses: Mapping[str, str]) -> dict[str, list[str]]:
        alertmanager, prometheus = self._servers["alertmanager"], self._servers["prometheus"]
        return {
            "alertmanager": [
                *_templates_in_place(alertmanager),
                str(alertmanager),
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address={addresses['alertmanager']}",
                "--cluster.listen-address=",  # else it opens 0.0.0.0:9094
            ],
            "prometheus": [
                str(prometheus),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address={addresses['prometheus']}",
                "--enable-feature=native-histograms,exemplar-storage",
            ],
        }

    def _watch(self) -> None:
        while True:
            self.look()
            gevent.sleep(INTERVAL_S)

    def look(self) -> None:
        """Ask Prometheus for its alerts; where it does not answer, what is known stays."""
        try:
            with _opener.open(f"{self.urls['prometheus']}/api/v1/alerts", timeout=5) as answer:
                document = json.load(answer)
        except (OSError, ValueError):
            return
        self.board.update(alerts(document), datetime.now(UTC))


class _Process:
    """One server, from entering to leaving."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, ready: str) -> None:
        self._name = name
        self._command = command
        self._log = folder / f"{name}.log"
        self._ready = ready

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            # A Ctrl-C in the terminal does not reach it: the last scrape is still to come.
            self._process = subprocess.Popen(  # noqa: S603
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        try:
            while not self._is_ready():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    last = "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
                    raise StackError(f"{self._name} did not start; it printed last:\n{last}")
                time.sleep(0.05)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _is_ready(self) -> bool:
        try:
            with _opener.open(self._ready, timeout=2):
                return True
        except OSError:
            return False

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


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
