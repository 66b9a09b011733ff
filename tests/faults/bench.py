"""One load test beside one fault, and what came of it.

Everything is a process of its own: the service under load, Locust, the exporter beside it, the sink or the scrapers
that misbehave, and the one good scraper that reads our self-metrics once a second.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
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

MAX_GAP_S = 0.05
MAX_EXIT_S = 2.0
MAX_LOAD_OFF = 0.02

_ACCOUNT = re.compile(r"requests: Locust ([\d,]+) .*recorded ([\d,]+)(?:.*OTLP ([\d,]+|never))?")


@dataclass(frozen=True)
class Fault:
    """What is wrong, and what is expected of us.

    Attributes:
        name: For the table.
        kind: `http`, `grpc`, `scraper` or `exporter`; `none` for the run that others are compared with.
        does: What the sink, the scrapers or the exporter do, as they name it.
        moves: Self-metrics that must be above 0 at the end, with their labels.
        changes: Log lines about each exporter: one for each change of state.
        is_complete: Whether the sink must have every request at the end.
        tls: `wrong` or `expired` certificate.
        gone_s: Seconds of the run between which the sink is not there.
        timeout_s: `OTEL_EXPORTER_OTLP_TIMEOUT`; 0: the usual ten seconds.
        away_s: Seconds in which nothing can be served.
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
        """Name with kind."""
        return f"{self.kind}: {self.name}"


@dataclass
class Figures:
    """What one run came to.

    Attributes:
        gap_s: Longest time without the end of a request.
        worst_tenths: Fewest requests in 100 ms.
        exit_s: Seconds from the end of the load to the end of the process.
        requests: Of all users.
        rss: Most memory of Locust's process, in bytes.
        exporter_rss: Most memory of the exporter, in bytes.
        lines: Lines of the log about each exporter, `OTLP: …`.
        moved: Self-metrics in the last page.
        scrape_s: Longest that the good scraper waited; infinite if once in vain.
        account: Requests by Locust, recorded, and pushed whole (None: never).
        taken: What the sink has.
        log: What Locust printed.
        code: Its exit code.
    """

    gap_s: float
    worst_tenth: int
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
        """Whether the sink has what Locust and we counted, and we know it."""
        locust, recorded, pushed = self.account
        return locust == recorded == pushed == self.taken.get("requests")


class Good:
    """A scraper that means well: once a second, each time anew, so that nobody waits for it at the end.

    It also looks at the memory of the exporter that it scrapes.
    """

    def __init__(self, port: int, locust: Process) -> None:
        self.page = ""
        self.longest_s = 0.0
        self.exporter_rss = 0
        self._locust = locust
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Scrape no more."""
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
                pass  # not there yet, or gone
            self.exporter_rss = max([self.exporter_rss, *map(most_memory, titled(self._locust))])
            gevent.sleep(0.25 if not self.page else max(began + 1 - time.monotonic(), 0.05))


def play(fault: Fault, folder: Path) -> Figures:
    """Run the load beside the fault."""
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
    """Kill the exporter in the middle of the load."""
    gevent.sleep(2)
    _send(locust, signal.SIGKILL)


FROZEN_S = 3.0


def _frozen(locust: Process) -> None:
    """Freeze the exporter in the middle of the load."""
    gevent.sleep(2)
    _send(locust, signal.SIGSTOP)
    gevent.sleep(FROZEN_S)
    _send(locust, signal.SIGCONT)


def _slow(locust: Process) -> None:
    """Let the exporter have a fifth of its time, to the end."""
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
    tenths = [0] * (int((steady[-1] - steady[0]) * 10) + 1)
    for t in steady:
        tenths[int((t - steady[0]) * 10)] += 1
    told = [line.partition("OTLP: ")[2] for line in locust.log.splitlines() if "OTLP: " in line]
    account = _ACCOUNT.search(locust.log)
    assert account is not None, locust.log[-3000:]
    taken = folder / "taken.json"
    return Figures(
        gap_s=max(after - before for before, after in pairwise(steady)),
        worst_tenth=min(tenths[:-1]),
        exit_s=ended - load["stopped"],
        requests=len(times),
        rss=load["max_rss"],
        exporter_rss=good.exporter_rss,
        lines={exporter: [t for t in told if exporter in t] for exporter in ("otlp_metrics", "otlp_logs")},
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
    """Return the most bytes that a process has used; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def wait_for(port: int) -> None:
    """Return when somebody listens on a port."""
    import socket

    def is_there() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(is_there, f"port {port}")


def _certificates(kind: str, folder: Path, env: dict[str, str]) -> str:
    """Write the certificate of the sink, tell Locust whom to trust, and return the file; empty without TLS."""
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
