"""Real Locust processes, their logs, and Locust's own counts.

A `Stage` belongs to one scenario: a folder that is also HOME, free ports, processes, scrapers. It ends all that it
started. `Stages` plays several scenarios at a time, because a run mostly waits; a test gets the `Outcome` of its own.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
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
        ended: Unix time at which the test saw that it had ended; 0 while it runs.
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
        """Its output so far."""
        return self.file.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        """True while it runs."""
        if self._process.poll() is None:
            return True
        self.ended = self.ended or time.time()
        return False

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait for its end, and return its exit code.

        Raises:
            AssertionError: It does not end in time.
        """
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.file.stem} did not end:\n{self.log[-3000:]}") from None
        self.ended = self.ended or time.time()
        return int(code)

    def wait_for_log(self, text: str) -> None:
        """Wait until it has printed this text."""
        wait_until(lambda: text in self.log or not self.is_alive, f"{text!r} in the log")
        assert text in self.log, f"{self.file.stem} ended without {text!r}:\n{self.log[-3000:]}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to it and its children, as a terminal does."""
        os.killpg(self.pid, number)

    def children(self) -> list[int]:
        """Return the ids of the processes of its group but itself, also after its own end."""
        pids = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            if int(fields[2]) == self.pid and fields[0] != "Z" and int(stat.parent.name) != self.pid:
                pids.append(int(stat.parent.name))
        return pids

    def end(self) -> None:
        """End it and its children."""
        for pid in [*self.children(), *([self.pid] if self.is_alive else [])]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


@dataclass
class Account:
    """The line in the log with all counts; None is a count that it does not have."""

    locust: int | None
    before_reset: int
    recorded: int
    last_scrape: int | None

    @classmethod
    def all_in(cls, log: str) -> list[Account]:
        """Return the accounts in a log, in order."""

        def number(text: str | None) -> int | None:
            return None if text is None else int(text.replace(",", ""))

        return [cls(number(m[1]), number(m[2]) or 0, number(m[3]) or 0, number(m[4])) for m in _ACCOUNT.finditer(log)]


@dataclass
class Outcome:
    """Result of a scenario.

    Attributes:
        code: Exit code of the process that was started, or of the master.
        log: Its output.
        metrics: The last page of its scraper; None without a scraper.
        locust: Locust's own totals; empty without `--json-file`.
        untimed: Requests without a duration among them.
        shop: Requests that the shop has counted.
        more: Other results, by a name of the scenario's own.
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
        """Tracebacks in the log, without those of the user whose task raises on purpose."""
        return self.log.count("Traceback") - self.log.count("LookupError: stumbled")

    @property
    def http(self) -> int:
        """Requests that Locust sent to the shop."""
        return sum(requests for (method, _), (requests, _) in self.locust.items() if method in {"GET", "POST"})


class Stage:
    """Folder, processes and scrapers of one scenario; a context manager that ends them."""

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
        """Start a shop for this scenario."""
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

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Process:
        """Start `locust-otel run` with these arguments."""
        return self.start("locust-otel", "run", *arguments, env=env)

    def run_in(self, mode: str, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Process:
        """Start a run, `local`, with two `forked` workers, or `distributed` on three processes; return its master."""
        if mode == "distributed":
            group = Distributed(self, *map(str, arguments), env=env)
            return (group if "--headless" in arguments else group.complete()).master
        return self.run(*arguments, *(forking() if mode == "forked" else []), env=env)

    def scrape(self, port: int, **how: Any) -> Scraper:
        """Scrape a port of 127.0.0.1 until its server is gone."""
        self._count += 1
        scraper = Scraper(self.folder / f"pages{self._count}", port, **how)
        self._exits.callback(scraper.stop)
        return scraper

    def totals(self, name: str = "stats") -> tuple[Totals, int]:
        """Return Locust's totals from `--json-file NAME`, and the requests without a duration among them.

        Without the file they are empty.
        """
        file = self.folder / f"{name}.json"
        entries = json.loads(file.read_text()) if file.exists() else []
        return (
            {(e["method"], e["name"]): (e["num_requests"], e["num_failures"]) for e in entries},
            sum(e["num_none_requests"] for e in entries),
        )

    def finished(
        self,
        process: Process,
        *scrapers: Scraper,
        locust: str = "stats",
        shop: demo_shop.ShopProcess | None = None,
        **more: Any,
    ) -> Outcome:
        """Wait for the end of a process, its children and its scrapers, and return the outcome.

        Args:
            process: The process; a master's workers are waited for by the caller.
            scrapers: The first one has the last page of the outcome.
            locust: Name of the `--json-file`.
            shop: Shop whose count is part of the outcome, once it has answered everything.
            more: Other results.
        """
        code = process.wait()
        wait_until(lambda: not process.children(), "its children have ended")
        for scraper in scrapers:
            scraper.wait_until_gone()
        totals, untimed = self.totals(locust)
        more = {"ended": process.ended, **({"pages": scrapers[0].pages} if scrapers else {}), **more}
        return Outcome(
            code=code,
            log=process.log,
            metrics=scrapers[0].last if scrapers else None,
            locust=totals,
            untimed=untimed,
            shop=settled(shop) if shop is not None else 0,
            more=more,
        )


def logged_at(log: str, text: str) -> float:
    """Return the Unix time of the first line of Locust's log with this text."""
    line = next(line for line in log.splitlines() if text in line)
    when = line[1 : line.index("]")]
    return datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()


def settled(shop: demo_shop.ShopProcess) -> int:
    """Wait until the shop has answered everything, and return its count of requests."""
    wait_until(lambda: shop.stats()["in_flight"] == 0, "the shop is done")
    count: int = shop.stats()["total"]
    return count


def findings(script: Path, *arguments: Path) -> dict[str, Any]:
    """Run a script in a process of its own, and return the JSON that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    output = subprocess.run(
        [sys.executable, script, *arguments], check=True, stdout=subprocess.PIPE, timeout=170, env=environment
    ).stdout
    result: dict[str, Any] = json.loads(output)
    return result


def commands_with(folder: Path) -> list[str]:
    """Return the command lines of all processes that have the path of a folder in them."""
    commands = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # ended meanwhile
    return [command for command in commands if str(folder) in command]


def load(host: str, *, file: Path | str = QUICK, users: int = QUICK_USERS, run_time: str = "4s") -> list[str]:
    """Return the arguments of a bounded headless run."""
    return [
        *("-f", str(file), "--headless", "--host", host, "-u", str(users), "-r", "100", "-t", run_time),
        *("--only-summary", "--json-file", "stats", "--slow-request", "200ms"),
    ]


def with_web_ui(host: str, web_port: int, file: Path | str = CALM) -> list[str]:
    """Return the arguments of a run that the web UI starts."""
    return ["-f", str(file), "--host", host, "--web-host", "127.0.0.1", "--web-port", str(web_port)]


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
        everywhere: Arguments of master and workers.
        env: Environment variables of the workers.
        command: Command that starts each of them.
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
        """Start another worker."""
        worker = self._stage.start(
            *(*self._command, "-f", self._file, "--worker", "--master-host", "127.0.0.1"),
            *("--master-port", str(self._bind), *self._everywhere),
            name=f"worker{len(self.workers)}",
            env=self._env,
        )
        self.workers.append(worker)
        return worker

    def complete(self) -> Self:
        """Wait until all workers are connected."""
        self.master.wait_for_log(f"{len(self.workers)} workers connected")
        return self

    def wait(self) -> int:
        """Wait for the end of master and workers, and return the master's exit code."""
        code = self.master.wait()
        for worker in self.workers:
            worker.wait()
        return code


class WebUI:
    """Locust's web UI and its buttons."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def wait(self) -> None:
        """Wait until it answers."""
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
        """Return the table's counts."""
        entries = json.loads(fetch(f"{self._url}/stats/requests"))["stats"]
        return {
            (e["method"], e["name"]): (e["num_requests"], e["num_failures"])
            for e in entries
            if e["name"] != "Aggregated"
        }

    def settled_totals(self) -> Totals:
        """Wait until the table's counts stay the same for 6 s, and return them.

        The table is up to 2 s old, and workers report every 3 s.
        """
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
    """Parametrize a test with the `outcome` of each scenario."""
    return pytest.mark.parametrize(
        "outcome", scenarios, ids=[getattr(scenario, "__name__", None) for scenario in scenarios], indirect=True
    )


def in_modes(play: Callable[..., Outcome], *modes: str) -> tuple[Scenario, ...]:
    """Return a scenario for each mode, by default for all three; see `Stage.run_in`."""
    scenarios = []
    for mode in modes or ("local", "forked", "distributed"):
        scenario: Any = functools.partial(play, mode=mode)
        scenario.__name__ = f"{play.__name__.strip('_')}_{mode}"
        scenarios.append(scenario)
    return tuple(scenarios)


class Stages:
    """Plays scenarios in order, several at a time.

    Args:
        folder: Makes a new folder for a name.
        at_once: Scenarios at a time.
    """

    def __init__(self, folder: Callable[[str], Path], at_once: int = 4) -> None:
        self._folder = folder
        self._pool = Pool(at_once)
        self._results: dict[Scenario, Any] = {}

    def play(self, scenarios: Sequence[Scenario]) -> Iterator[Self]:
        """Begin to play; the end of the iteration ends the scenarios."""
        queue = gevent.spawn(self._enqueue, scenarios)
        self._results = {scenario: gevent.event.AsyncResult() for scenario in scenarios}
        try:
            yield self
        finally:
            queue.kill()
            self._pool.kill()

    def of(self, scenario: Scenario) -> Outcome:
        """Wait for the end of a scenario and return its outcome, or raise its exception."""
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
