"""The exporters of a run: which processes have one, their memory, and the exporter of a worker."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil

from tests.backends.servers import free_port
from tests.e2e.exporters import RESTARTS, TITLE, falls, memory, title, titled
from tests.e2e.harness import (
    SHOP_FAULTS,
    Distributed,
    Outcome,
    Process,
    Stage,
    forking,
    load,
    played,
    settled,
)
from tests.e2e.pages import Metrics, summed, total

MAX_EXPORTER_BYTES = 96 * 2**20


def _beside(*processes: Process) -> dict[str, Any]:
    """Return the exporters of each Locust process, by its id, and the bytes of each exporter."""
    pids = [pid for process in processes for pid in titled(process)]
    beside: dict[int, list[str]] = {}
    for pid in pids:
        beside.setdefault(psutil.Process(pid).ppid(), []).append(title(pid))
    return {"beside": beside, "sizes": [memory(pid) for pid in pids]}


def _counts(stage: Stage, *more: str) -> Outcome:
    shop, port = stage.shop(), free_port()
    process = stage.run(*load(shop.url, run_time="6s"), *more, "--prometheus-port", str(port), "--run-id", "r")
    stage.scrape(port).wait_for(lambda page: page.requests > 300, "300 requests")
    return stage.finished(process, **{"expected": {process.pid: 1}, **_beside(process)})


def counts_local(stage: Stage) -> Outcome:
    """A process that runs its own users."""
    return _counts(stage)


def counts_forked(stage: Stage) -> Outcome:
    """Two forked workers, which have none."""
    return _counts(stage, *forking())


def counts_from_workers(stage: Stage) -> Outcome:
    """A master and two workers that export for themselves."""
    shop, port = stage.shop(), free_port(3)
    flags = ["--export-from", "workers", "--prometheus-port", str(port)]
    group = Distributed(stage, *load(shop.url, run_time="6s"), "--run-id", "r", everywhere=flags)
    stage.scrape(port + 1).wait_for(lambda page: page.requests > 100, "100 requests of a worker")
    processes = (group.master, *group.workers)
    return stage.finished(
        group.master, **{"expected": {process.pid: 1 for process in processes}, **_beside(*processes)}
    )


@played(counts_local, counts_forked, counts_from_workers)
def test_each_locust_process_that_should_has_one_exporter(outcome: Outcome) -> None:
    """A local process and a master have one, workers only if they export; each exporter has the run in its title."""
    beside = outcome.more["beside"]
    assert {pid: len(titles) for pid, titles in beside.items()} == outcome.more["expected"]
    assert {title for titles in beside.values() for title in titles} == {f"{TITLE} r"}
    assert 0 < max(outcome.more["sizes"]) < MAX_EXPORTER_BYTES


def killed_beside_workers(stage: Stage) -> Outcome:
    """Two workers export for themselves, and the exporter of each is killed during the load."""
    shop, port = stage.shop(*SHOP_FAULTS), free_port(3)
    flags = ["--export-from", "workers", "--prometheus-port", str(port)]
    group = Distributed(
        stage,
        *load(shop.url, users=11, run_time="10s"),
        *("--stop-timeout", "5"),
        everywhere=flags,
        env={"TEST_BUSY_S": "5"},
    )
    scrapers = [stage.scrape(port + offset, intervals_s=[0.25], patience_s=10) for offset in (1, 2)]
    for scraper in scrapers:
        scraper.wait_for(lambda page: page.requests > 50, "50 requests")
    killed = [pid for worker in group.workers for pid in titled(worker)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    for scraper in scrapers:
        scraper.wait_for(lambda page: page.value(RESTARTS) == 1, "a restart")
    code = group.wait()
    left = [pid for process in (group.master, *group.workers) for pid in process.children()]
    for scraper in scrapers:
        scraper.stop()
    return Outcome(
        code=code,
        log="".join(worker.log for worker in group.workers),
        locust=stage.totals()[0],
        shop=settled(shop),
        more={"pages": [scraper.pages for scraper in scrapers], "killed": len(killed), "left": left},
    )


@played(killed_beside_workers)
def test_an_exporter_beside_a_worker_is_replaced_too(outcome: Outcome) -> None:
    """The counts of both workers' pages add up to Locust's totals and the shop's, and no counter has fallen."""
    assert outcome.more["killed"] == 2
    assert [falls(pages) for pages in outcome.more["pages"]] == [[], []]
    assert summed(Metrics(pages[-1]).totals for pages in outcome.more["pages"]) == outcome.locust
    assert outcome.shop == outcome.http
    assert total(outcome.locust) > 200
    assert outcome.log.count("and was replaced") == 2
    assert outcome.more["left"] == []
    assert outcome.tracebacks == 0
