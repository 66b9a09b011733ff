"""`locust-otel demo`: the shop, a load test against it, and at the end the counts of shop, Locust and plugin."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import locust.main  # first: modules that are imported before it keep the unpatched sockets and locks

import gevent  # isort: skip
from rich.console import Console, RenderableType
from rich.table import Table

import locust_otel
from locust_otel.core.errors import ConfigurationError, ExitCode
from locust_otel.core.settings import duration
from locust_otel.demo import shop
from locust_otel.demo.faults import parse as parse_fault
from locust_otel.demo.live import LiveView
from locust_otel.demo.live import table as page_table
from locust_otel.demo.stack import Stack, metrics_port
from locust_otel.demo.stack import running as running_stack
from locust_otel.plugin.bridge import Bridge
from locust_otel.plugin.command import open_page
from locust_otel.project.files import shipped
from locust_otel.project.servers import find
from locust_otel.slo.file import load as load_slo
from locust_otel.slo.objectives import Slo

FRAME_S = 0.5
"""Seconds between two drawings; each takes some milliseconds of the load's event loop."""

_VERDICTS = (ExitCode.MISSED, ExitCode.UNDECIDED, ExitCode.NOT_VALID)


class _Demo:
    """The part of a demo inside Locust, which shows the run."""

    def __init__(self, console: Console, run_time_s: float, slo: Slo, stack: Stack | None, *, is_opened: bool) -> None:
        self.bridge: Bridge | None = None
        self._console = console
        self._slo = slo
        self._stack = stack
        self._is_opened = is_opened
        self._view = LiveView(console, run_time_s, self._below)
        self._drawing: gevent.Greenlet | None = None

    def on_init(self, environment: Any, **_: object) -> None:
        """Show the run, in the process that has all requests."""
        if isinstance(environment.runner, locust.runners.WorkerRunner):
            return
        self.bridge = bridge = locust_otel.attach(environment)
        bridge.remember("page")
        self._console.print(f"[bold]metrics[/bold]  [cyan]{bridge.url or 'off'}[/cyan]", soft_wrap=True)
        if environment.web_ui is not None:
            web = f"http://127.0.0.1:{environment.parsed_options.web_port}"
            self._console.print(f"[bold]web UI[/bold]   [cyan]{web}[/cyan]")
        if self._is_opened and bridge.url is not None:
            open_page(bridge.url)
        self._view.start()
        self._drawing = gevent.spawn(self._draw, bridge)

    def on_quitting(self, **_: object) -> None:
        """Stop drawing."""
        if self._drawing is not None:
            self._drawing.kill()
            self._drawing = None
            self._view.stop()

    def _below(self) -> Iterable[RenderableType]:
        return () if self._stack is None else self._stack.board.screen(datetime.now(UTC))

    def _draw(self, bridge: Bridge) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                self._view.show(bridge.ask("page"), self._slo)
            if self._stack is not None and not self._console.is_terminal:
                for line in self._stack.board.news():
                    self._console.print(line, soft_wrap=True)
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
        raise ConfigurationError(
            "--run-time", f"{options.run_time!r} is too short.", "Write 1s or more.", slug="run-time"
        )
    slo_file = options.slo or str(shipped("locustfiles/slo.yaml"))
    slo = load_slo(slo_file)
    servers = None
    if options.stack:
        options.prometheus_port = str(metrics_port(options.prometheus_port))
        servers = find("--stack")
    console = Console(highlight=False)
    if not console.is_terminal:  # a file or a pipe has no width; the tables need this one
        console = Console(width=110, highlight=False)
    with ExitStack() as ends, tempfile.TemporaryDirectory(prefix="locust-otel-demo-") as folder:
        stack = None
        if servers is not None:
            stack = ends.enter_context(running_stack(servers, slo_file, int(options.prometheus_port)))
            for name, url in stack.urls.items():
                console.print(f"[bold]{name:12}[/bold] [cyan]{url}[/cyan]")
        report, log = Path(folder, "locust.json"), Path(folder, "locust.log")
        with shop.start(port=options.shop_port, seed=options.seed, faults=options.fault) as running:
            console.print(f"[bold]shop[/bold]     [cyan]{running.url}[/cyan]")
            log_file = log if console.is_terminal else None
            sys.argv[1:] = _locust_arguments(options, running.url, run_time_s, report, log_file)
            demo = _Demo(console, run_time_s, slo, stack, is_opened=options.open)
            locust_otel.register()
            locust.events.init.add_listener(demo.on_init)
            locust.events.quitting.add_listener(demo.on_quitting)
            main_pid, code = os.getpid(), int(ExitCode.OK)
            try:
                locust.main.main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
                if os.getpid() != main_pid:  # a worker, forked by --processes
                    os._exit(code)
            if demo.bridge is None or code == ExitCode.BAD_CONFIGURATION or not report.exists():
                if log.exists():
                    sys.stderr.write(log.read_text())
                return code
            _conclude(console, demo.bridge, report, running)
            if stack is not None:
                console.print("\n[bold]messages of the webhook[/bold]")
                console.print(*stack.board.notifications(), sep="\n")
    # The demo succeeds if it shows a fault; with the user's own objectives it is a test like any other.
    return code if options.slo or code not in _VERDICTS else _forgiven(console, code)


def _forgiven(console: Console, code: int) -> ExitCode:
    """Print that the demo's own objectives do not decide the exit code, and return that of success."""
    if code:
        longer = " A run of -t 60s has enough requests." if code == ExitCode.UNDECIDED else ""
        console.print(
            f"\nWith --slo FILE the exit code would be {code}; the demo's own objectives leave it at 0.{longer}"
        )
    return ExitCode.OK


def _locust_arguments(options: Namespace, url: str, run_time_s: float, report: Path, log: Path | None) -> list[str]:
    # A checkout with an empty cart fails on purpose: it must not decide the exit code.
    flags = {
        "--locustfile": shipped("locustfiles/webshop.py"),
        "--host": url,
        "--users": options.users,
        "--spawn-rate": options.spawn_rate,
        "--run-time": f"{run_time_s:.0f}s",
        "--stop-timeout": 10,
        "--exit-code-on-error": 0,
        "--json-file": report.with_suffix(""),  # Locust appends .json
        "--slo": options.slo or shipped("locustfiles/slo.yaml"),
        "--processes": options.processes,
        "--logfile": log,  # log lines would break the table
        "--prometheus-port": options.prometheus_port,
        "--run-record": options.run_record,
    }
    arguments = [str(part) for flag, value in flags.items() if value is not None for part in (flag, value)]
    return [*arguments, "--only-summary", "--autostart" if options.web_ui else "--headless"]


def _conclude(console: Console, bridge: Bridge, report: Path, running: shop.ShopProcess) -> None:
    """Print the endpoints of the whole run, and the counts of Locust, the bridge and the shop."""
    page = bridge.ask("page")
    if page is None or page["run"] is None:
        return
    entries = json.loads(report.read_text())
    served = running.stats()["requests"]
    counts = {
        "Locust": (sum(entry["num_requests"] for entry in entries), sum(entry["num_failures"] for entry in entries)),
        "bridge": (page["total"]["requests"], page["total"]["failures"]),
        "shop": (sum(row["count"] for row in served), sum(row["count"] for row in served if row["status"] >= 400)),
    }
    console.print()
    console.print(page_table(page))
    table = Table("", title="counts compared", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("requests", "failed"):
        table.add_column(column, justify="right")
    for side, (requests, failed) in counts.items():
        table.add_row(side, f"{requests:,}", f"{failed:,}")
    console.print()
    console.print(table)
    all_agree = len(set(counts.values())) == 1
    console.print("[green]All three agree.[/green]" if all_agree else "[yellow]They differ.[/yellow]")
    target = urlsplit(bridge.url or "http://127.0.0.1:9646").netloc
    console.print(
        "\nYour own load test:  [bold]locust-otel run -f locustfile.py[/bold] and all of Locust's arguments,\n"
        "and in prometheus.yml:  [bold]scrape_configs: [{job_name: locust, scrape_interval: 5s, "
        f"static_configs: [{{targets: ['{target}']}}]}}][/bold]",
        soft_wrap=True,
    )
