"""The run record has every request of Locust, in every way to run it and to end it."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from locust_otel.review.record.reader import Record, RecordStream, load
from locust_otel.review.record.rejudge import results
from tests.backends.servers import free_port
from tests.e2e.exporters import exporters
from tests.e2e.harness import (
    CALM,
    QUICK,
    SHOP_FAULTS,
    Distributed,
    Outcome,
    Process,
    Stage,
    WebUI,
    forking,
    free_ports,
    played,
)
from tests.e2e.harness import load as arguments_of
from tests.e2e.pages import Metrics, Scraper, Totals, total, wait_until

pytestmark = pytest.mark.slow

SLO = """service: shop
period: 1m
scrape_interval: 1s
warmup: 2s
min_requests: 10
objectives:
  works: {sli: success, target: 99%}
  fast: {sli: latency, target: 95%, within: 123ms}
  mean: {sli: mean, within: 10s}
"""


def totals_of(record: Record) -> Totals:
    """Return requests and failures by method and name."""
    result: Totals = {}
    for series in record.requests().series:
        requests, failures = result.get(series.key[:2], (0, 0))
        failed = series.total if series.key.outcome == "failure" else 0
        result[series.key[:2]] = (requests + series.total, failures + failed)
    return result


def records(folder: Path) -> list[Path]:
    """Return the records of a scenario, the oldest first."""
    return sorted((folder / "runs").glob("*.jsonl.gz"), key=lambda path: path.stat().st_mtime)


def _arguments(stage: Stage, port: int, *more: str, run_time: str = "5s", file: Path = QUICK) -> list[str]:
    (stage.folder / "slo.yaml").write_text(SLO)
    shop = stage.shop(*SHOP_FAULTS)
    recorded = ("--run-record", "runs", "--slo", "slo.yaml", "--prometheus-port", str(port), "--run-id", "nightly")
    return [*arguments_of(shop.url, file=file, run_time=run_time), *recorded, *more]


def _outcome(stage: Stage, process: Process, scraper: Scraper, **more: Any) -> Outcome:
    code = process.wait()
    scraper.wait_until_gone()
    locust, _ = stage.totals()
    read = [load(path) for path in records(stage.folder)]
    return Outcome(code=code, log=process.log, metrics=scraper.last, locust=locust, more={"records": read, **more})


def local(stage: Stage) -> Outcome:
    """One process."""
    port = free_port()
    process = stage.start("locust-otel", "run", *_arguments(stage, port))
    return _outcome(stage, process, stage.scrape(port))


def forked(stage: Stage) -> Outcome:
    """`--processes 2`."""
    port = free_port()
    process = stage.start("locust-otel", "run", *_arguments(stage, port, run_time="7s"), *forking())
    return _outcome(stage, process, stage.scrape(port))


def distributed(stage: Stage) -> Outcome:
    """A master and two workers."""
    port = free_port()
    arguments = _arguments(stage, port, run_time="7s")
    processes = Distributed(stage, *arguments, everywhere=("--run-record", "runs"))
    return _outcome(stage, processes.master, stage.scrape(port))


def terminated(stage: Stage) -> Outcome:
    """SIGTERM in the middle."""
    port = free_port()
    process = stage.start("locust-otel", "run", *_arguments(stage, port, run_time="50s"))
    scraper = stage.scrape(port)
    scraper.wait_for(lambda page: page.requests > 300, "300 requests")
    process.send(signal.SIGTERM)
    return _outcome(stage, process, scraper)


WHOLE = (local, forked, distributed, terminated)


@played(*WHOLE)
def test_the_record_has_every_request_of_locust(outcome: Outcome) -> None:
    """Requests and failures of each method and name are Locust's own, and those of the last page."""
    (read,) = outcome.more["records"]
    assert len(outcome.locust) > 15
    assert totals_of(read) == outcome.locust == outcome.last.totals
    assert read.is_complete
    assert read.run_id == "nightly"
    assert (read.end or read.intervals[-1]).locust_total == total(outcome.locust)
    errors = outcome.last.by("locust_request_errors_total", "method", "name", "error_type")
    assert {tuple(key): count for key, count in read.requests().errors.items()} == errors
    buckets = outcome.last.by("locust_request_duration_seconds_bucket", "method", "name", le="0.123")
    recorded: dict[tuple[str, ...], int] = {}
    for series in read.requests().series:
        below = series.measured - read.layout.above(series.counts, 0.123)
        recorded[series.key[:2]] = recorded.get(series.key[:2], 0) + below
    assert recorded == buckets


@played(*WHOLE)
def test_the_record_has_the_course_of_the_run(outcome: Outcome) -> None:
    """About one interval a second, without gaps, with users, workers and events; at the end it has stopped."""
    (read,) = outcome.more["records"]
    longest = max(interval.end_s - interval.start_s for interval in read.intervals)
    assert longest < 4
    assert read.intervals[-1].state == "stopped"
    assert {interval.state for interval in read.intervals} >= {"running"}
    assert max(sum(interval.users.values()) for interval in read.intervals) == 22
    assert sum(read.intervals[-1].users.values()) == 0
    assert any(interval.cpu_ratio is not None for interval in read.intervals)
    assert {event.name for event in read.events} >= {"locust.run.start", "locust.run.stop"}


@played(*WHOLE)
def test_the_record_is_judged_as_the_run_was(outcome: Outcome) -> None:
    """The verdict in the record, the one that follows from its intervals, and the last page are the same."""
    (read,) = outcome.more["records"]
    assert read.warm_s is not None
    assert read.warm_s >= 2
    told = {each["slo"]: (each["status"], each["good"], each["bad"], each["budget_spent"]) for each in read.verdict}
    own = {
        each.objective.name: (each.status.value, each.counts.good, each.counts.bad, each.budget_spent)
        for each in results(read)
    }
    assert own == told
    assert len(told) == 3
    page: Metrics = outcome.last
    for name in ("works", "fast"):
        events = page.by("locust_slo_events_total", "outcome", slo=name)
        assert told[name][1:3] == (events["good",], events["bad",])
    assert [r.counts.sum_s for r in results(read)] == [each["sum_s"] for each in read.verdict]


def from_workers(stage: Stage) -> Outcome:
    """A master and two workers that serve their own numbers."""
    flags = ("--export-from", "workers")
    arguments = _arguments(stage, free_ports(3), *flags, run_time="7s")
    processes = Distributed(stage, *arguments, everywhere=("--run-record", "runs"))
    code = processes.wait()
    (path,) = records(stage.folder)
    stream = RecordStream(path)
    more = {"record": load(path), "workers": max(len(stream.record.workers) for _ in stream.intervals())}
    return Outcome(code=code, log=processes.master.log, locust=stage.totals()[0], more=more)


@played(from_workers)
def test_the_master_records_what_its_workers_serve(outcome: Outcome) -> None:
    """The master writes one record with every request, the workers none."""
    read = outcome.more["record"]
    assert totals_of(read) == outcome.locust
    assert read.is_complete
    assert outcome.more["workers"] == 2


def web_ui(stage: Stage) -> Outcome:
    """Two runs of one process with the web UI."""
    port, web = free_port(), free_port()
    shop = stage.shop(*SHOP_FAULTS)
    process = stage.start(
        *("locust-otel", "run", "-f", str(QUICK), "--host", shop.url, "--web-host", "127.0.0.1"),
        *("--web-port", str(web), "--stop-timeout", "5", "--prometheus-port", str(port), "--run-record", "runs"),
        *("--run-id", "nightly"),
    )
    scraper, ui = stage.scrape(port), WebUI(web)
    runs: list[Totals] = []
    for run_id in ("nightly", "nightly-2"):
        ui.start()
        wanted = {run_id}
        scraper.wait_for(lambda page: page.run_ids == wanted and page.requests > 200, run_id)  # noqa: B023
        ui.stop()
        runs.append(ui.settled_totals())
    process.send(signal.SIGTERM)
    code = process.wait()
    return Outcome(
        code=code, log=process.log, more={"runs": runs, "records": [load(path) for path in records(stage.folder)]}
    )


@played(web_ui)
def test_each_run_of_the_web_ui_has_its_own_record(outcome: Outcome) -> None:
    """Two runs make two complete files, each with the numbers of Locust's table."""
    read: list[Record] = outcome.more["records"]
    assert [record.run_id for record in read] == ["nightly", "nightly-2"]
    assert [totals_of(record) for record in read] == outcome.more["runs"]
    assert all(record.is_complete for record in read)


def killed(stage: Stage) -> Outcome:
    """SIGKILL in the middle."""
    port = free_port()
    process = stage.start("locust-otel", "run", *_arguments(stage, port, run_time="50s"))
    scraper = stage.scrape(port, intervals_s=(0.25,))
    scraper.wait_for(lambda page: page.value("locust_run_elapsed_seconds") > 5, "5 seconds")
    (exporter,) = exporters(process)
    process.send(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not psutil.pid_exists(exporter), "the end of the exporter")
    return Outcome(
        log=process.log, metrics=scraper.last, more={"records": [load(path) for path in records(stage.folder)]}
    )


@played(killed)
def test_after_a_kill_the_record_is_closed(outcome: Outcome) -> None:
    """The file has an end, which says that Locust is lost, and all that the last page had."""
    (read,) = outcome.more["records"]
    assert read.is_complete
    assert (read.end or read.intervals[-1]).state == "lost"
    elapsed_s = outcome.last.value("locust_run_elapsed_seconds")
    assert read.intervals[-1].end_s > elapsed_s - 1.5
    assert outcome.last.requests >= read.requests(end_s=elapsed_s).total > 100


def _limited(process: Process, size: int) -> None:
    (exporter,) = exporters(process)
    _, hard = resource.prlimit(exporter, resource.RLIMIT_FSIZE)
    resource.prlimit(exporter, resource.RLIMIT_FSIZE, (size, hard))


def _with_limit(stage: Stage, *, is_lifted: bool) -> Outcome:
    port = free_port()
    arguments = _arguments(stage, port, run_time="9s", file=CALM)
    # Much that does not compress, for the log and Locust's own report to stay below the limit.
    (stage.folder / "slo.yaml").write_text(SLO + f"# {os.urandom(60_000).hex()}\n")
    process = stage.start("locust-otel", "run", *arguments)
    scraper = stage.scrape(port)
    scraper.wait_for(lambda page: page.value("locust_run_elapsed_seconds") > 2, "two intervals")
    (path,) = records(stage.folder)
    _limited(process, path.stat().st_size + 100)
    process.wait_for_log("Cannot write the run record in")
    if is_lifted:
        time.sleep(2)
        _limited(process, resource.RLIM_INFINITY)
    return _outcome(stage, process, scraper)


def full(stage: Stage) -> Outcome:
    """The disk is full in the middle, and stays so."""
    return _with_limit(stage, is_lifted=False)


def full_for_a_while(stage: Stage) -> Outcome:
    """The disk is full in the middle for some seconds."""
    return _with_limit(stage, is_lifted=True)


@played(full, full_for_a_while)
def test_a_full_disk_takes_nothing_from_the_run(outcome: Outcome) -> None:
    """Locust and the last page have the same totals, the log tells of the disk once, and our health counts it."""
    assert outcome.last.totals == outcome.locust
    assert total(outcome.locust) > 100
    (failure,) = [line for line in outcome.log.splitlines() if "Cannot write the run record in " in line]
    assert "File too large. The run continues" in failure
    assert outcome.last.value("locust_otel_exports_total", exporter="run_record", outcome="failure") > 0
    assert outcome.tracebacks == 0


@played(full)
def test_what_was_written_before_the_disk_was_full_is_there(outcome: Outcome) -> None:
    """The record is readable, and says that it is not complete."""
    (read,) = outcome.more["records"]
    assert not read.is_complete
    assert 0 < read.requests().total < total(outcome.locust)


@played(full_for_a_while)
def test_once_there_is_room_again_nothing_is_missing(outcome: Outcome) -> None:
    """The record is complete, and the log says so."""
    (read,) = outcome.more["records"]
    assert read.is_complete
    assert totals_of(read) == outcome.locust
    assert "has recovered; nothing is missing in it" in outcome.log


def vanished(stage: Stage) -> Outcome:
    """The folder is removed in the middle."""
    port = free_port()
    process = stage.start("locust-otel", "run", *_arguments(stage, port, run_time="6s", file=CALM))
    scraper = stage.scrape(port)
    scraper.wait_for(lambda page: page.requests > 50, "50 requests")
    (stage.folder / "runs").rename(
        stage.folder / "elsewhere"
    )  # in one step: it would be made again while it is emptied
    wait_until(lambda: records(stage.folder), "the file is made again")
    return _outcome(stage, process, scraper)


@played(vanished)
def test_a_removed_folder_costs_nothing(outcome: Outcome) -> None:
    """The file is made again with all that was in it."""
    (read,) = outcome.more["records"]
    assert read.is_complete
    assert totals_of(read) == outcome.locust == outcome.last.totals


def unwritable(stage: Stage) -> Outcome:
    """The folder cannot be made."""
    (stage.folder / "taken").write_text("")
    process = stage.start("locust-otel", "run", *arguments_of("http://127.0.0.1:9"), "--run-record", "taken/runs")
    return Outcome(code=process.wait(), log=process.log)


@played(unwritable)
def test_an_unwritable_folder_is_refused_before_the_run(outcome: Outcome) -> None:
    """It is bad configuration, told with its flag, and nothing has started."""
    assert outcome.code == 78
    assert "--run-record: 'taken/runs' cannot be written to: Not a directory." in outcome.log
    assert "run-record-unwritable" in outcome.log
    assert outcome.tracebacks == 0
