"""One load test beside one fault, and its figures.

Everything is a process of its own: the service under load, Locust, the exporter beside it, and the sink or the scrapers
that misbehave. A good scraper reads our self-metrics once a second.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import gevent
import trustme

from tests.backends.servers import free_port
from tests.e2e.exporters import titled
from tests.e2e.harness import Process, Stage
from tests.e2e.pages import Metrics, fetch, wait_until

HERE = Path(__file__).parent
USERS = 20
RUN_S = 8
ALL = USERS * 10 * RUN_S
"""Requests of an undisturbed run, about."""

_ACCOUNT = re.compile(r"requests: Locust ([\d,]+) .*recorded ([\d,]+)(?:.*OTLP ([\d,]+|never))?")


@dataclass(frozen=True)
class Fault:
    """A fault, and the expected behaviour beside it.

    Attributes:
        name: Name in the table.
        kind: `http`, `grpc`, `scraper` or `exporter`; `none` for the run that others are compared with.
        does: Name of the behaviour of the sink, the scrapers or the exporter.
        moves: Self-metrics that must be above 0 at the end, with their labels.
        changes: Number of log lines by exporter: one for each change of state.
        is_complete: Whether the sink must have every request at the end.
        tls: `wrong` or `expired` certificate; empty without TLS.
        gone_s: Seconds of the run between which the sink is gone.
        timeout_s: `OTEL_EXPORTER_OTLP_TIMEOUT`; 0 for the default of ten seconds.
        away_s: Seconds in which the exporter cannot serve.
    """

    name: str
    kind: str
    does: str
    moves: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)
    is_complete: bool = False
    tls: str = ""
    gone_s: tuple[float, float] | None = None
    timeout_s: int = 0
    away_s: float = 0.0

    @property
    def title(self) -> str:
        """Kind and name."""
        return f"{self.kind}: {self.name}"


@dataclass
class Figures:
    """Figures of one run.

    Attributes:
        gap_s: Longest time without the end of a request.
        exit_s: Seconds from the end of the load to the end of the process.
        requests: Requests of all users.
        rss: Peak memory of Locust's process, in bytes.
        exporter_rss: Peak memory of the exporter, in bytes.
        lines: Log lines `OTLP: …` by exporter.
        moved: Self-metrics in the last page.
        scrape_s: Longest wait of the good scraper; infinite after a timeout.
        account: Requests by Locust, recorded, and pushed (None: never).
        taken: Counts of the sink.
        log: Output of Locust.
        code: Exit code of Locust.
    """

    gap_s: float
    exit_s: float
    requests: int
    rss: int
    exporter_rss: int
    lines: dict[str, list[str]]
    moved: Metrics
    scrape_s: float
    account: tuple[int, int, int | None]
    taken: dict[str, Any]
    log: str
    code: int

    @property
    def is_complete(self) -> bool:
        """True if Locust, we and the sink have the same count."""
        locust, recorded, pushed = self.account
        return locust == recorded == pushed == self.taken.get("requests")


class Good:
    """A good scraper: once a second, each time with another name, so that the end does not wait for it.

    It also reads the memory of the exporter.
    """

    def __init__(self, port: int, locust: Process) -> None:
        self.page = ""
        self.longest_s = 0.0
        self.exporter_rss = 0
        self._locust = locust
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Stop scraping."""
        self._greenlet.kill()

    def _run(self) -> None:
        for number in count():
            began = time.monotonic()
            try:
                with gevent.Timeout(5.0, TimeoutError):
                    self.page = fetch(self._url, {"User-Agent": f"good {number}", "Connection": "close"})
                self.longest_s = max(self.longest_s, time.monotonic() - began)
            except TimeoutError:
                self.longest_s = float("inf")
            except OSError:
                pass  # before the start or after the end
            self.exporter_rss = max([self.exporter_rss, *map(most_memory, titled(self._locust))])
            gevent.sleep(0.25 if not self.page else max(began + 1 - time.monotonic(), 0.05))


def play(fault: Fault, folder: Path) -> Figures:
    """Play the load beside the fault, and return its figures."""
    with Stage(folder) as stage:
        target, port, sink_port = free_port(), free_port(), free_port()
        stage.start("python", HERE / "target.py", str(target), name="target")
        options: list[str] = []
        env: dict[str, str] = {}
        start_sink: Callable[[], Process] | None = None
        if fault.kind in {"http", "grpc", "exporter"}:
            certificate = _certificates(fault.tls, folder, env)
            scheme, is_grpc = "https" if certificate else "http", fault.kind == "grpc"
            options += ["--otlp-endpoint", f"{scheme}://127.0.0.1:{sink_port}", "--otlp-interval", "1"]
            if fault.timeout_s:
                env["OTEL_EXPORTER_OTLP_TIMEOUT"] = str(fault.timeout_s)
            options += ["--otlp-protocol", "grpc" if is_grpc else "http/protobuf"]
            does = "well" if fault.kind == "exporter" else fault.does
            order = {"port": sink_port, "fault": does, "is_grpc": is_grpc, "certificate": certificate}
            if fault.does != "refused":
                start_sink = functools.partial(
                    stage.start, "python", HERE / "sink.py", folder, json.dumps(order), name="sink"
                )
        sink = start_sink() if start_sink else None
        wait_for(target)
        if sink is not None:
            wait_for(sink_port)
        locust = stage.start(
            *("locust-otel", "run", "-f", HERE / "load.py", "--headless", "--host", f"http://127.0.0.1:{target}"),
            *("-u", str(USERS), "-r", "1000", "-t", f"{RUN_S}s", "--only-summary", "--stop-timeout", "2"),
            *("--prometheus-port", str(port), "--slow-request", "1ms", *options),
            name="locust",
            env=env,
        )
        good = Good(port, locust)
        locust.wait_for_log("All users spawned")
        began = time.monotonic()
        if fault.kind == "scraper":
            stage.start("python", HERE / "scraping.py", str(port), fault.does, str(RUN_S + 2), name="scrapers")
        disturbed = gevent.spawn(EXPORTER[fault.does], locust) if fault.kind == "exporter" else None
        if fault.gone_s and sink is not None and start_sink is not None:
            gevent.sleep(fault.gone_s[0])
            sink.send(signal.SIGKILL)
            sink.wait()
            gevent.sleep(max(began + fault.gone_s[1] - time.monotonic(), 0))
            start_sink()
        code = locust.wait()
        ended = time.monotonic()
        good.stop()
        if disturbed is not None:
            disturbed.kill()
        return _figures(locust, ended, good, folder, code)


def _killed(locust: Process) -> None:
    """Kill the exporter during the load."""
    gevent.sleep(2)
    _send(locust, signal.SIGKILL)


FROZEN_S = 3.0


def _frozen(locust: Process) -> None:
    """Freeze the exporter during the load."""
    gevent.sleep(2)
    _send(locust, signal.SIGSTOP)
    gevent.sleep(FROZEN_S)
    _send(locust, signal.SIGCONT)


def _slow(locust: Process) -> None:
    """Stop the exporter for four fifths of the time, to the end."""
    while True:
        _send(locust, signal.SIGSTOP)
        gevent.sleep(0.2)
        _send(locust, signal.SIGCONT)
        gevent.sleep(0.05)


def _send(locust: Process, number: signal.Signals) -> None:
    for pid in titled(locust):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


EXPORTER: dict[str, Callable[[Process], None]] = {"killed": _killed, "frozen": _frozen, "slow": _slow}


def _figures(locust: Process, ended: float, good: Good, folder: Path, code: int) -> Figures:
    load = json.loads((folder / "load.json").read_text())
    times = load["ended"]
    steady = [t for t in times if times[0] + 0.5 <= t <= load["stopped"]]
    lines = [line.partition("OTLP: ")[2] for line in locust.log.splitlines() if "OTLP: " in line]
    account = _ACCOUNT.search(locust.log)
    assert account is not None, locust.log[-3000:]
    taken = folder / "taken.json"
    return Figures(
        gap_s=max(after - before for before, after in pairwise(steady)),
        exit_s=ended - load["stopped"],
        requests=len(times),
        rss=load["max_rss"],
        exporter_rss=good.exporter_rss,
        lines={exporter: [line for line in lines if exporter in line] for exporter in ("otlp_metrics", "otlp_logs")},
        moved=Metrics(good.page),
        scrape_s=good.longest_s,
        account=(_number(account[1]), _number(account[2]), _number(account[3]) if account[3] != "never" else None),
        taken=json.loads(taken.read_text()) if taken.exists() else {},
        log=locust.log,
        code=code,
    )


def _number(text: str | None) -> int:
    return int((text or "-1").replace(",", ""))


def most_memory(pid: int) -> int:
    """Return the peak memory of a process in bytes; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def wait_for(port: int) -> None:
    """Wait until a server listens on a port."""

    def is_open() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(is_open, f"port {port}")


def _certificates(kind: str, folder: Path, env: dict[str, str]) -> str:
    """Write the sink's certificate, let Locust trust an authority, and return the file; empty without TLS."""
    if not kind:
        return ""
    authority, other = trustme.CA(), trustme.CA()
    expires = datetime(2020, 1, 1, tzinfo=UTC) if kind == "expired" else None
    issued = authority.issue_cert("127.0.0.1", not_after=expires)
    file, trusted = folder / "sink.pem", folder / "trusted.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(file)
    (other if kind == "wrong" else authority).cert_pem.write_to_path(trusted)
    env["OTEL_EXPORTER_OTLP_CERTIFICATE"] = str(trusted)
    return str(file)
