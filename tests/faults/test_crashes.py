"""Processes that are killed, frozen or cut off in the middle of a run, and what is counted then: nothing twice."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import gevent
import pytest

from tests.backends.servers import free_port
from tests.e2e.harness import Outcome, Process, Stage, played
from tests.e2e.pages import Metrics, Scraper, total
from tests.faults.bench import wait_for

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


class Group:
    """A master and two workers under a steady load; one of the workers may stand behind a network."""

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

    def outcome(self, scraper: Scraper, master: Process, **more: object) -> Outcome:
        """Wait for the end of the master."""
        code = master.wait()
        scraper.wait_until_gone()
        return Outcome(
            code=code,
            log=master.log,
            metrics=scraper.last,
            locust=self._stage.totals()[0],
            more={"pages": [Metrics(page) for page in scraper.pages], **more},
        )


def missing(page: Metrics) -> float:
    """Return the number of workers missing."""
    return page.value("locust_workers", state="missing")


def network_cut(stage: Stage) -> Outcome:
    """The network between the master and one of two workers is cut for ten seconds, and heals."""
    via = free_port()
    group = Group(stage, run_time="24s", via=via)
    proxy = stage.start("python", HERE / "proxy.py", str(via), str(group.bind), name="proxy")
    scraper = stage.scrape(group.port)
    scraper.wait_for(lambda page: page.requests > 200, "reports of both")
    proxy.send(signal.SIGSTOP)
    gevent.sleep(10)
    cut = scraper.last
    proxy.send(signal.SIGCONT)
    scraper.wait_for(lambda page: not missing(page), "the worker is back")
    return group.outcome(scraper, group.master, cut=missing(cut))


def worker_frozen(stage: Stage) -> Outcome:
    """One of two workers is frozen for twenty seconds, and goes on."""
    group = Group(stage, run_time="34s")
    scraper = stage.scrape(group.port)
    scraper.wait_for(lambda page: page.requests > 200, "reports of both")
    group.workers[0].send(signal.SIGSTOP)
    gevent.sleep(20)
    cut = scraper.last
    group.workers[0].send(signal.SIGCONT)
    scraper.wait_for(lambda page: not missing(page), "the worker is back")
    return group.outcome(scraper, group.master, cut=missing(cut))


@played(network_cut, worker_frozen)
def test_a_worker_that_comes_back_is_counted_whole_and_once(outcome: Outcome) -> None:
    """While it is away it is missing; at the end every request of it is there, once, and no counter has fallen."""
    assert outcome.code == 0
    assert outcome.more["cut"] == 1
    assert outcome.account.locust == outcome.account.recorded == total(outcome.locust) == outcome.last.requests > 2000
    assert outcome.last.totals == outcome.locust
    requests = [page.requests for page in outcome.more["pages"]]
    assert requests == sorted(requests)
    assert outcome.last.value("locust_otel_listener_errors_total") == 0
    assert outcome.tracebacks == 0


def master_killed(stage: Stage) -> Outcome:
    """The master is killed; another one takes its place with two new workers, while the old ones still work."""
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
    return group.outcome(again, master, before=before, old=old)


@played(master_killed)
def test_a_new_master_counts_its_own_workers_only(outcome: Outcome) -> None:
    """A worker keeps to its master, so the new run has none of the old one's, and says so.

    Locust's own table adds what such a worker reports, though it says that it has discarded it (2.47).
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
    process = stage.start(
        *("locust-otel", "run", "-f", HERE / file, "--headless", "--host", f"http://127.0.0.1:{target}", "-t", "8s"),
        *("-u", str(users), "-r", str(users), "--only-summary", "--stop-timeout", "5", "--json-file", "stats"),
        *("--prometheus-port", str(port), "--otlp-endpoint", f"http://127.0.0.1:{sink_port}", "--otlp-interval", "1"),
        *("--otlp-protocol", "grpc" if grpc else "http/protobuf", *more),
        env={"PYTHONPATH": str(HERE.parents[1]), **(env or {})},
    )
    scraper = stage.scrape(port)
    code = process.wait()
    scraper.wait_until_gone()
    taken = json.loads((stage.folder / "taken.json").read_text())
    seen = {"taken": taken, "left": process.children(), "pages": [Metrics(page) for page in scraper.pages]}
    return Outcome(code=code, log=process.log, metrics=scraper.last, locust=stage.totals()[0], more=seen)


def forks(stage: Stage) -> Outcome:
    """A task forks, runs programs and has children work, while numbers are scraped and pushed over HTTP."""
    return single(stage, "forking.py", users=21)


def forks_beside_grpc(stage: Stage) -> Outcome:
    """The same where numbers are pushed over gRPC, which is in another process than the one that forks."""
    return single(stage, "forking.py", users=21, grpc=True)


@played(forks, forks_beside_grpc)
def test_forks_disturb_no_number(outcome: Outcome) -> None:
    """Children count nothing and report nothing: Locust, scrape and sink agree, and both processes end."""
    assert outcome.code == 0
    assert outcome.account.locust == outcome.account.recorded == total(outcome.locust) == outcome.last.requests > 300
    assert outcome.more["taken"]["requests"] == outcome.last.requests
    assert outcome.more["left"] == []
    assert outcome.last.by("locust_otel_exports_total", "outcome", exporter="otlp_metrics")["failure",] == 0
    assert outcome.last.by("locust_user_errors_total") == {}
    assert outcome.tracebacks == 0


def two_thousand_users(stage: Stage) -> Outcome:
    """Two thousand users begin at once."""
    return single(stage, "load.py", users=2000, env={"LOAD_PAUSE_S": "10"})


@played(two_thousand_users)
def test_two_thousand_users_at_once(outcome: Outcome) -> None:
    """Each of their requests is counted, scraped and pushed, and the target says how many there should be."""
    assert outcome.code == 0
    assert outcome.account.locust == outcome.account.recorded == total(outcome.locust) == outcome.last.requests >= 500
    assert outcome.more["taken"]["requests"] == outcome.last.requests
    assert max(sum(page.by("locust_users_target").values()) for page in outcome.more["pages"]) == 2000
    assert outcome.tracebacks == 0
