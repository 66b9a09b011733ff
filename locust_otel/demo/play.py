"""`locust-otel demo`: the shop, a load test against it with the bridge on, and at the end whose count says what."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from argparse import Namespace
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import locust.main  # first of all: it patches sockets and locks, and what is imported before keeps the unpatched ones

import gevent  # isort: skip
from rich.console import Console
from rich.table import Table

import locust_otel
from locust_otel.core.errors import ConfigurationError, ExitCode
from locust_otel.core.settings import duration
from locust_otel.demo import shop
from locust_otel.demo.faults import parse as parse_fault
from locust_otel.demo.live import LiveView, results
from locust_otel.demo.live import table as page_table
from locust_otel.demo.stack import Stack, find, metrics_port
from locust_otel.plugin.bridge import Bridge
from locust_otel.plugin.command import open_page
from locust_otel.slo.file import load as load_slo
from locust_otel.slo.objectives import Slo
from locust_otel.slo.text import table as slo_table

FRAME_S = 0.5
"""Seconds between two drawings; one takes some milliseconds of the load's event loop."""


_VERDICTS = (ExitCode.MISSED, ExitCode.UNDECIDED, ExitCode.NOT_VALID)


class _Demo:
    """What of a demo goes on inside of Locust."""

    def __init__(
        self, console: Console, run_time_s: float | None, slo: Slo, stack: Stack | None, *, is_opened: bool
    ) -> None:
        self.bridge: Bridge | None = None
        self._slo = slo
        self._is_opened = is_opened
        self._stack = stack
        self._console = console
        self._run_time_s = run_time_s
        self._view: LiveView | None = None
        self._greenlet: gevent.Greenlet | None = None

    def on_init(self, environment: Any, **_: object) -> None:
        """Show the run, in the process that knows all of it."""
        if isinstance(environment.runner, locust.runners.WorkerRunner):
            return
        self.bridge = locust_otel.attach(environment)
        self.bridge.remember("page")
        url = self.bridge.url or "off"
        self._console.print(f"[bold]metrics[/bold]  [cyan]{url}[/cyan]", highlight=False, soft_wrap=True)
        if environment.web_ui is not None:
            web = f"http://127.0.0.1:{environment.parsed_options.web_port}"
            self._console.print(f"[bold]web UI[/bold]   [cyan]{web}[/cyan]", highlight=False)
        if self._is_opened and self.bridge.url is not None:
            open_page(self.bridge.url)
        stack = self._stack
        below = (lambda: stack.board.screen(datetime.now(UTC))) if stack is not None else tuple
        self._view = LiveView(self._console, self._run_time_s, below)
        self._view.start()
        self._greenlet = gevent.spawn(self._draw)

    def on_quitting(self, **_: object) -> None:
        """Leave the terminal to what comes after."""
        if self._greenlet is not None and self._view is not None:
            self._greenlet.kill()
            self._greenlet = None
            self._view.stop()

    def _draw(self) -> None:
        assert self._view is not None  # noqa: S101  # for the type checker
        assert self.bridge is not None  # noqa: S101  # likewise
        while True:
            with contextlib.suppress(TimeoutError):
                self._view.show(self.bridge.ask("page"), self._slo)
            if self._stack is not None and not self._console.is_terminal:
                for line in self._stack.board.news():
                    self._console.print(line, highlight=False, soft_wrap=True)
            gevent.sleep(FRAME_S)


def run(options: Namespace) -> int:
    """Run the demo and return the exit code.

    Raises:
        ConfigurationError: A flag cannot be used; nothing has started.
    """
    for fault in options.fault:
        parse_fault(fault)
    run_time_s = duration(options.run_time, "--run-time")
    if run_time_s < 1:
        raise ConfigurationError("--run-time", f"{options.run_time!r} is no run.", "Give 1s or more.", slug="run-time")
    slo_file = options.slo or str(locustfile("slo.yaml"))
    slo = load_slo(slo_file)
    stack = None
    if options.stack:
        port = metrics_port(options.prometheus_port)
        options.prometheus_port = str(port)
        stack = Stack(find(), slo_file, port)
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width; the tables need this much
        console = Console(width=110)
    with ExitStack() as ends, tempfile.TemporaryDirectory(prefix="locust-otel-demo-") as folder:
        if stack is not None:
            ends.enter_context(stack)
            for name, url in stack.urls.items():
                console.print(f"[bold]{name:12}[/bold] [cyan]{url}[/cyan]", highlight=False)
        report, log = Path(folder, "locust.json"), Path(folder, "locust.log")
        with shop.start(port=options.shop_port, seed=options.seed, faults=options.fault) as running:
            console.print(f"[bold]shop[/bold]     [cyan]{running.url}[/cyan]", highlight=False)
            sys.argv[1:] = _locust_arguments(
                options, running.url, run_time_s, report, log if console.is_terminal else None
            )
            demo = _Demo(console, run_time_s, slo, stack, is_opened=options.open)
            locust_otel.register()
            locust.events.init.add_listener(demo.on_init)
            locust.events.quitting.add_listener(demo.on_quitting)
            here, code = os.getpid(), int(ExitCode.OK)
            try:
                locust.main.main()
            except SystemExit as ended:
                if os.getpid() != here:  # a worker that --processes has forked off
                    os._exit(ended.code if isinstance(ended.code, int) else 1)
                code = ended.code if isinstance(ended.code, int) else 1
            if demo.bridge is None or code == ExitCode.BAD_CONFIGURATION or not report.exists():
                if log.exists():
                    sys.stderr.write(log.read_text())
                return code
            _conclude(console, demo.bridge, slo, report, running)
            if stack is not None:
                console.print("\n[bold]what the webhook got[/bold]", highlight=False)
                console.print(*stack.board.notifications(), sep="\n", highlight=False)
    # A demo that has shown a fault has not failed; with objectives of one's own it is a test like any other.
    return code if options.slo or code not in _VERDICTS else ExitCode.OK


def _locust_arguments(options: Namespace, url: str, run_time_s: float, report: Path, log: Path | None) -> list[str]:
    arguments = ["--locustfile", str(locustfile("webshop.py")), "--host", url]
    arguments += ["--users", str(options.users), "--spawn-rate", str(options.spawn_rate)]
    arguments += ["--run-time", f"{run_time_s:.0f}s", "--stop-timeout", "10", "--only-summary"]
    # A checkout with an empty cart fails on purpose; a demo that has shown it has not failed.
    arguments += ["--exit-code-on-error", "0", "--json-file", str(report.with_suffix(""))]  # Locust appends .json
    arguments += ["--slo", options.slo or str(locustfile("slo.yaml"))]
    arguments += ["--autostart"] if options.web_ui else ["--headless"]
    if options.processes:
        arguments += ["--processes", str(options.processes)]
    if log is not None:  # lines in between would break the table
        arguments += ["--logfile", str(log)]
    if options.prometheus_port is not None:
        arguments += ["--prometheus-port", options.prometheus_port]
    if options.run_record is not None:
        arguments += ["--run-record", options.run_record]
    return arguments


def locustfile(name: str) -> Path:
    """Return the path of an example: in an installed package beside this module, in a checkout in its own folder."""
    installed = Path(__file__).with_name("locustfiles") / name
    return installed if installed.exists() else Path(__file__).parents[2] / "locustfiles" / name


def _conclude(console: Console, bridge: Bridge, slo: Slo, report: Path, running: shop.ShopProcess) -> None:
    """Print the whole run, and what Locust, the bridge and the shop have counted, side by side."""
    page = bridge.ask("page")
    if page is None or page["run"] is None:
        return
    entries = json.loads(report.read_text())
    served = running.stats()["requests"]
    counts = {
        "Locust": (sum(e["num_requests"] for e in entries), sum(e["num_failures"] for e in entries)),
        "bridge": (page["total"]["requests"], page["total"]["failures"]),
        "shop": (sum(s["count"] for s in served), sum(s["count"] for s in served if int(s["status"]) >= 400)),
    }
    console.print()
    console.print(page_table(page))
    if page["slo"] is not None:
        console.print()
        console.print(slo_table(results(page, slo), has_worst=True))
    table = Table(title="who counted what", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    table.add_column("requests", justify="right")
    table.add_column("failed", justify="right")
    for who, (requests, failed) in counts.items():
        table.add_row(who, f"{requests:,}", f"{failed:,}")
    console.print()
    console.print(table)
    agree = len(set(counts.values())) == 1
    console.print("[green]All three agree.[/green]" if agree else "[yellow]They differ.[/yellow]")
    target = urlsplit(bridge.url or "http://127.0.0.1:9646").netloc
    console.print(
        "\nYour own load test:  [bold]locust-otel run -f locustfile.py[/bold] and all of Locust's arguments,\n"
        "and in prometheus.yml:  [bold]scrape_configs: [{job_name: locust, scrape_interval: 5s, "
        f"static_configs: [{{targets: ['{target}']}}]}}][/bold]",
        highlight=False,
        soft_wrap=True,
    )
