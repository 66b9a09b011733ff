"""Processes that are killed, frozen or cut off during a run: every request is counted once."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import gevent
import pytest

from tests.backends.servers import free_port
from tests.e2e.exporters import falls
from tests.e2e.harness import Outcome, Process, Stage, played
from tests.e2e.pages import Metrics, total
from tests.faults.bench import wait_for

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


class Group:
    """A master and two workers under a steady load; `via` is the port of a proxy between the master and one of them."""

    def __init__(self, stage: Stage, *, run_time: str, via: int = 0) -> None:
        self._stage = stage
        self._target, self.port, self.bind = free_port(), free_port(), free_port()
        stage.start("python", HERE / "target.py", str(self._target), name="target")
        wait_for(self._target)
        self._run_time = run_time
        self.master = self.start_master("master")
        self.workers = [self.start_worker("worker0", via or self.bind), self.start_worker("worker1", self.bind)]

    def start_master(self, name: str) -> Process:
        """Start a master on the ports of the group."""
        return self._stage.start(
            *("locust-otel", "run", "-f", HERE / "load.py", "--headless", "--host", f"http://127.0.0.1:{self._target}"),
            *("-u", "20", "-r", "1000", "-t", self._run_time, "--only-summary", "--stop-timeout", "2"),
            *("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(self.bind)),
            *("--expect-workers", "2", "--prometheus-port", str(self.port), "--json-file", "stats"),
            name=name,
        )

    def start_worker(self, name: str, port: int) -> Process:
        """Start a worker."""
        return self._stage.start(
            *("locust-otel", "run", "-f", HERE / "load.py", "--worker", "--master-host", "127.0.0.1"),
            *("--master-port", str(port)),
            name=name,
        )


def missing(page: Metrics) -> float:
    """Return the number of workers missing."""
    return page.value("locust_workers", state="missing")


def network_cut(stage: Stage) -> Outcome:
    """The network between the master and one of two workers is cut for more than 10 s, and restored."""
    via = free_port()
    group = Group(stage, run_time="120s", via=via)
    proxy = stage.start("python", HERE / "proxy.py", str(via), str(group.bind), name="proxy")
    return _stopped(stage, group, proxy, 10)


def worker_frozen(stage: Stage) -> Outcome:
    """One of two workers is frozen for more than 20 s, and goes on."""
    group = Group(stage, run_time="120s")
    return _stopped(stage, group, group.workers[0], 20)


def _stopped(stage: Stage, group: Group, process: Process, seconds: float) -> Outcome:
    scraper = stage.scrape(group.port)
    scraper.wait_for(lambda page: page.requests > 200, "reports of both")
    process.send(signal.SIGSTOP)
    gevent.sleep(seconds)
    cut = scraper.wait_for(missing, "a missing worker")
    process.send(signal.SIGCONT)
    scraper.wait_for(lambda page: not missing(page), "the worker is back")
    scraper.wait_for(lambda page: page.requests > max(cut.requests + 400, 2000), "reports of both")
    group.master.send(signal.SIGTERM)
    return stage.finished(group.master, scraper, cut=missing(cut))


@played(network_cut, worker_frozen)
def test_a_worker_that_comes_back_is_counted_whole_and_once(outcome: Outcome) -> None:
    """It is missing for a time; at the end each of its requests is counted once, and no counter has fallen."""
    assert outcome.code == 0
    assert outcome.more["cut"] == 1
    assert outcome.account.locust == outcome.account.recorded == total(outcome.locust) == outcome.last.requests > 2000
    assert outcome.last.totals == outcome.locust
    assert falls(outcome.more["pages"]) == []
    assert outcome.last.value("locust_otel_listener_errors_total") == 0
    assert outcome.tracebacks == 0


def master_killed(stage: Stage) -> Outcome:
    """The master is killed; another one replaces it with two new workers, while the old ones still work."""
    group = Group(stage, run_time="6s")
    scraper = stage.scrape(group.port)
    scraper.wait_for(lambda page: page.requests > 200, "reports of both")
    group.master.send(signal.SIGKILL)
    group.master.wait()
    scraper.wait_until_gone()
    before = scraper.last
    master = group.start_master("master2")
    group.start_worker("worker2", group.bind)
    group.start_worker("worker3", group.bind)
    again = stage.scrape(group.port)
    old = [worker.is_alive for worker in group.workers]
    return stage.finished(master, again, before=before, old=old)


@played(master_killed)
def test_a_new_master_counts_its_own_workers_only(outcome: Outcome) -> None:
    """The new run has no request of the old one's workers, and the log names them.

    Locust's own table adds their reports, though Locust logs that it has discarded them (2.47).
    """
    assert outcome.code == 0
    assert outcome.more["old"] == [True, True]
    assert outcome.log.count("which this master has not started") == 2
    assert outcome.account.locust == outcome.account.recorded == outcome.last.requests
    assert 500 < outcome.last.requests < total(outcome.locust)
    assert outcome.last.value("locust_otel_listener_errors_total") >= 4
    (before,), (after,) = outcome.more["before"].run_ids, outcome.last.run_ids
    assert before != after


def single(
    stage: Stage, file: str, *more: str, users: int, grpc: bool = False, env: dict[str, str] | None = None
) -> Outcome:
    """Play a run in one process, with a good sink."""
    target, port, sink_port = free_port(), free_port(), free_port()
    stage.start("python", HERE / "target.py", str(target), name="target")
    order = {"port": sink_port, "fault": "well", "is_grpc": grpc, "certificate": ""}
    stage.start("python", HERE / "sink.py", stage.folder, json.dumps(order), name="sink")
    wait_for(target)
    wait_for(sink_port)
    process = stage.run(
        *("-f", HERE / file, "--headless", "--host", f"http://127.0.0.1:{target}", "-t", "8s"),
        *("-u", str(users), "-r", str(users), "--only-summary", "--stop-timeout", "5", "--json-file", "stats"),
        *("--prometheus-port", str(port), "--otlp-endpoint", f"http://127.0.0.1:{sink_port}", "--otlp-interval", "1"),
        *("--otlp-protocol", "grpc" if grpc else "http/protobuf", *more),
        env={"PYTHONPATH": str(HERE.parents[1]), **(env or {})},
    )
    outcome = stage.finished(process, stage.scrape(port))
    outcome.more["taken"] = json.loads((stage.folder / "taken.json").read_text())
    return outcome


def forks(stage: Stage) -> Outcome:
    """A task forks, runs programs and starts processes, while numbers are scraped and pushed over HTTP."""
    return single(stage, "forking.py", users=21)


def forks_beside_grpc(stage: Stage) -> Outcome:
    """The same with pushes over gRPC, which runs in another process than the one that forks."""
    return single(stage, "forking.py", users=21, grpc=True)


@played(forks, forks_beside_grpc)
def test_forks_disturb_no_number(outcome: Outcome) -> None:
    """Children neither count nor report: Locust, scrape and sink agree, and no process is left."""
    assert outcome.code == 0
    assert outcome.account.locust == outcome.account.recorded == total(outcome.locust) == outcome.last.requests > 300
    assert outcome.more["taken"]["requests"] == outcome.last.requests
    assert outcome.last.by("locust_otel_exports_total", "outcome", exporter="otlp_metrics")["failure",] == 0
    assert outcome.last.by("locust_user_errors_total") == {}
    assert outcome.tracebacks == 0


def two_thousand_users(stage: Stage) -> Outcome:
    """2,000 users begin at once."""
    return single(stage, "load.py", users=2000, env={"LOAD_PAUSE_S": "10"})


@played(two_thousand_users)
def test_two_thousand_users_at_once(outcome: Outcome) -> None:
    """Each of their requests is counted, scraped and pushed, and the metric of the target is 2,000."""
    assert outcome.code == 0
    assert outcome.account.locust == outcome.account.recorded == total(outcome.locust) == outcome.last.requests >= 500
    assert outcome.more["taken"]["requests"] == outcome.last.requests
    targets = (sum(Metrics(page).by("locust_users_target").values()) for page in outcome.more["pages"])
    assert max(targets) == 2000
    assert outcome.tracebacks == 0
