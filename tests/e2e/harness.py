"""Real Locust processes, what they log, and what Locust itself counted.

A `Stage` is the place of one scenario: a folder that is also HOME, free ports, processes, scrapers; whatever it
started is gone when it is left. `Stages` plays several at a time, since a run mostly waits, and a test asks for the
`Outcome` of its own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import gevent
import gevent.event
import pytest
from gevent.pool import Pool

from locust_otel.demo import shop as demo_shop
from tests.backends.servers import free_port
from tests.e2e.pages import DEADLINE_S, Metrics, Scraper, Totals, fetch, wait_until

LOCUSTFILES = Path(__file__).with_name("locustfiles")
QUICK, CALM, IDLE, LATE = (LOCUSTFILES / f"{name}.py" for name in ("quick", "calm", "idle", "late"))
EXAMPLES = Path(__file__).parents[2] / "locustfiles"
AUTO = Path(__file__).parents[2] / "locust_otel" / "auto.py"
BIN = Path(sys.executable).parent

QUICK_USERS = 22
SHOP_FAULTS = ("errors:ratio=1,status=500,route=/api/cart", "latency:added_s=0.25,route=/admin/dashboard")
SLOW_ROUTE = "/admin/dashboard"

_ACCOUNT = re.compile(
    r"requests: (?:Locust ([\d,]+)(?: \(([\d,]+) before a reset\))? · )?recorded ([\d,]+)"
    r"(?: · (?:last scrape ([\d,]+)|(never scraped)))?"
)


class Process:
    """One process of Locust, with its log.

    Attributes:
        ended: Unix time at which it was seen to have ended; 0 while it runs.
    """

    def __init__(self, command: Sequence[str | Path], folder: Path, name: str, env: Mapping[str, str]) -> None:
        self.file = folder / f"{name}.log"
        self.ended = 0.0
        with self.file.open("wb") as log:
            # A session of its own: a Ctrl-C goes to a whole process group, and this one is not the tests'.
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        """Everything it printed."""
        return self.file.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        if self._process.poll() is None:
            return True
        self.ended = self.ended or time.time()
        return False

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Return its exit code, once it has ended.

        Raises:
            AssertionError: It does not end.
        """
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.file.stem} did not end:\n{self.log[-3000:]}") from None
        self.ended = self.ended or time.time()
        return int(code)

    def wait_for_log(self, text: str) -> None:
        """Return when it has printed this text."""
        wait_until(lambda: text in self.log or not self.is_alive, f"{text!r} in the log")
        assert text in self.log, f"{self.file.stem} ended without {text!r}:\n{self.log[-3000:]}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal as the terminal does: to it and its children."""
        os.killpg(self.pid, number)

    def children(self) -> list[int]:
        """Return the ids of the processes of its group but itself, also after its own end."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            if int(fields[2]) == self.pid and fields[0] != "Z" and int(stat.parent.name) != self.pid:
                found.append(int(stat.parent.name))
        return found

    def end(self) -> None:
        """End it, and what it has left behind."""
        for pid in [*self.children(), *([self.pid] if self.is_alive else [])]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


@dataclass
class Account:
    """The line that says what was counted; None is what it does not say."""

    locust: int | None
    before_reset: int
    recorded: int
    last_scrape: int | None

    @classmethod
    def all_in(cls, log: str) -> list[Account]:
        """Return every such line of a log, in order."""

        def number(text: str | None) -> int | None:
            return None if text is None else int(text.replace(",", ""))

        return [cls(number(m[1]), number(m[2]) or 0, number(m[3]) or 0, number(m[4])) for m in _ACCOUNT.finditer(log)]


@dataclass
class Outcome:
    """What there is to look at once a scenario is over.

    Attributes:
        code: Exit code of the process that was started, or of the master.
        log: What it printed.
        metrics: The last page its scraper got; None where there was no scraper.
        locust: Locust's own totals; empty where it was not asked to write them.
        shop: Requests the shop has counted.
        more: Whatever else a scenario has seen.
    """

    code: int = 0
    log: str = ""
    metrics: Metrics | None = None
    locust: Totals = field(default_factory=dict)
    untimed: int = 0
    shop: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> Metrics:
        """The last page."""
        assert self.metrics is not None, f"no page:\n{self.log[-3000:]}"
        return self.metrics

    @property
    def account(self) -> Account:
        """The one account in the log."""
        accounts = Account.all_in(self.log)
        assert len(accounts) == 1, f"{len(accounts)} accounts:\n{self.log[-3000:]}"
        return accounts[0]

    @property
    def tracebacks(self) -> int:
        """Tracebacks in the log, but those of the user whose task raises on purpose."""
        return self.log.count("Traceback") - self.log.count("LookupError: stumbled")

    @property
    def http(self) -> int:
        """Requests that Locust sent to the shop."""
        return sum(requests for (method, _), (requests, _) in self.locust.items() if method in {"GET", "POST"})


class Stage:
    """The place of one scenario; a context manager that ends what was started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._exits = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def shop(self, *faults: str, time_scale: float = 0.1) -> demo_shop.ShopProcess:
        """Start a shop of its own."""
        return self._exits.enter_context(demo_shop.start(time_scale=time_scale, faults=faults))

    def start(self, *command: str | Path, name: str = "", env: Mapping[str, str] | None = None) -> Process:
        """Start an executable of the virtual environment (`locust-otel`, `locust`, `python`) with arguments."""
        self._count += 1
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("LOCUST", "OTEL", "PYTEST", "COV"))
        }
        clean |= {"HOME": str(self.folder), "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **(env or {})}
        program, *arguments = command
        process = Process([BIN / program, *arguments], self.folder, name or f"process{self._count}", clean)
        self._exits.callback(process.end)
        return process

    def scrape(self, port: int, **how: Any) -> Scraper:
        """Scrape a port of 127.0.0.1 until nobody listens there any more."""
        self._count += 1
        scraper = Scraper(self.folder / f"pages{self._count}", port, **how)
        self._exits.callback(scraper.stop)
        return scraper

    def totals(self, name: str = "stats") -> tuple[Totals, int]:
        """Return Locust's totals from `--json-file NAME`, and the requests without a time among them."""
        entries = json.loads((self.folder / f"{name}.json").read_text())
        return (
            {(e["method"], e["name"]): (e["num_requests"], e["num_failures"]) for e in entries},
            sum(e["num_none_requests"] for e in entries),
        )


def free_ports(count: int) -> int:
    """Return the first of some free ports in a row."""
    while True:
        first = free_port()
        try:
            for port in range(first + 1, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def logged_at(log: str, text: str) -> float:
    """Return the Unix time of the first line of Locust's log with this text."""
    line = next(line for line in log.splitlines() if text in line)
    when = line[1 : line.index("]")]
    return datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()


def settled(shop: demo_shop.ShopProcess) -> int:
    """Return what the shop has counted, once it has nothing more to answer."""
    wait_until(lambda: shop.stats()["in_flight"] == 0, "the shop is done")
    count: int = shop.stats()["total"]
    return count


def load(host: str, *, file: Path | str = QUICK, users: int = QUICK_USERS, run_time: str = "4s") -> list[str]:
    """Return the arguments of a bounded headless run."""
    return [
        *("-f", str(file), "--headless", "--host", host, "-u", str(users), "-r", "100", "-t", run_time),
        *("--only-summary", "--json-file", "stats", "--slow-request", "200ms"),
    ]


def forking(processes: int = 2) -> list[str]:
    """Return the arguments of a master that forks its workers."""
    bind = str(free_port())
    return [
        *("--processes", str(processes), "--master-bind-host", "127.0.0.1"),
        *("--master-bind-port", bind, "--master-port", bind),
    ]


class Distributed:
    """A master and its workers, each a process of its own.

    Args:
        load: Arguments of the master, besides those that make it one.
        everywhere: Arguments of the workers too.
        env: Environment variables of the workers.
        command: What they are started with.
    """

    def __init__(
        self,
        stage: Stage,
        *load: str,
        workers: int = 2,
        everywhere: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = ("locust-otel", "run"),
    ) -> None:
        self._stage = stage
        self._command = command
        self._env = env
        self._bind = free_port()
        self._file = load[load.index("-f") + 1]
        self._everywhere = everywhere
        self.workers: list[Process] = []
        self.master = stage.start(
            *(*command, *load, "--master", "--master-bind-host", "127.0.0.1"),
            *("--master-bind-port", str(self._bind), "--expect-workers", str(workers), *everywhere),
            name="master",
        )
        for _ in range(workers):
            self.add_worker()

    def add_worker(self) -> Process:
        """Start one more."""
        worker = self._stage.start(
            *(*self._command, "-f", self._file, "--worker", "--master-host", "127.0.0.1"),
            *("--master-port", str(self._bind), *self._everywhere),
            name=f"worker{len(self.workers)}",
            env=self._env,
        )
        self.workers.append(worker)
        return worker

    def complete(self) -> Self:
        """Return it once all workers are there."""
        self.master.wait_for_log(f"{len(self.workers)} workers connected")
        return self

    def wait(self) -> int:
        """Return the master's exit code, once it and all workers have ended."""
        code = self.master.wait()
        for worker in self.workers:
            worker.wait()
        return code


class WebUI:
    """Locust's web UI, and what its buttons do."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def wait(self) -> None:
        """Return when it is there."""
        wait_until(self._is_there, "the web UI")

    def start(self, users: int = QUICK_USERS) -> None:
        """Press Start."""
        self.wait()
        answer = json.loads(fetch(f"{self._url}/swarm", form={"user_count": str(users), "spawn_rate": "100"}))
        assert answer["success"], answer

    def stop(self) -> None:
        """Press Stop."""
        self._act("stop")

    def reset(self) -> None:
        """Press Reset."""
        self._act("stats/reset")

    def _act(self, path: str) -> None:
        try:
            fetch(f"{self._url}/{path}", form={})
        except urllib.error.HTTPError as error:
            if error.code != 405:
                raise
            fetch(f"{self._url}/{path}")  # as earlier Locusts have it

    def totals(self) -> Totals:
        """Return what the table shows."""
        entries = json.loads(fetch(f"{self._url}/stats/requests"))["stats"]
        return {
            (e["method"], e["name"]): (e["num_requests"], e["num_failures"])
            for e in entries
            if e["name"] != "Aggregated"
        }

    def settled_totals(self) -> Totals:
        """Return what the table shows once it does not change any more; it is up to 2 s old, workers' reports 3 s."""
        before, same = self.totals(), 0
        while same < 6:
            time.sleep(1)
            now = self.totals()
            same = same + 1 if now == before else 0
            before = now
        return before

    def _is_there(self) -> bool:
        try:
            fetch(self._url)
        except OSError:
            return False
        return True


Scenario = Callable[[Stage], Outcome]


def played(*scenarios: Scenario) -> pytest.MarkDecorator:
    """Have a test called once with the `outcome` of each scenario."""
    return pytest.mark.parametrize(
        "outcome", scenarios, ids=[getattr(scenario, "__name__", None) for scenario in scenarios], indirect=True
    )


class Stages:
    """Plays scenarios, several at a time, in the order in which they are asked for.

    Args:
        folder: Makes a new folder for a name.
    """

    def __init__(self, folder: Callable[[str], Path], at_once: int = 4) -> None:
        self._folder = folder
        self._pool = Pool(at_once)
        self._results: dict[Scenario, Any] = {}

    def play(self, scenarios: Sequence[Scenario]) -> Iterator[Self]:
        """Begin to play; whoever iterates ends it."""
        queue = gevent.spawn(self._enqueue, scenarios)
        self._results = {scenario: gevent.event.AsyncResult() for scenario in scenarios}
        try:
            yield self
        finally:
            queue.kill()
            self._pool.kill()

    def of(self, scenario: Scenario) -> Outcome:
        """Return the outcome of a scenario, once it is over; what it raised is raised here."""
        outcome: Outcome | Exception = self._results[scenario].get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _enqueue(self, scenarios: Sequence[Scenario]) -> None:
        for scenario in scenarios:
            self._pool.spawn(self._play, scenario)

    def _play(self, scenario: Scenario) -> None:
        try:
            with Stage(self._folder(getattr(scenario, "__name__", "scenario"))) as stage:
                self._results[scenario].set(scenario(stage))
        except Exception as error:  # for the test that asks for it
            self._results[scenario].set(error)
