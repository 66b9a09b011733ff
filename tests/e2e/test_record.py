"""The run record has every request of Locust, in every way to run Locust and to end a run."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from locust_otel.review.record.reader import Record, RecordStream, load
from locust_otel.review.record.rejudge import results
from tests.backends.servers import free_port
from tests.e2e.exporters import assert_whole, exporters, record_files, records, totals_of
from tests.e2e.harness import (
    CALM,
    QUICK,
    SHOP_FAULTS,
    Distributed,
    Outcome,
    Process,
    Stage,
    WebUI,
    in_modes,
    played,
    with_web_ui,
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


def _arguments(stage: Stage, port: int, *more: str, run_time: str = "5s", file: Path = QUICK) -> list[str]:
    (stage.folder / "slo.yaml").write_text(SLO)
    shop = stage.shop(*SHOP_FAULTS)
    recorded = ("--run-record", "runs", "--slo", "slo.yaml", "--prometheus-port", str(port), "--run-id", "nightly")
    return [*arguments_of(shop.url, file=file, run_time=run_time), *recorded, *more]


def _outcome(stage: Stage, process: Process, scraper: Scraper) -> Outcome:
    outcome = stage.finished(process, scraper)
    outcome.more["records"] = records(stage.folder)
    return outcome


def whole(stage: Stage, mode: str) -> Outcome:
    """A run that ends by its run time."""
    port = free_port()
    process = stage.run_in(mode, *_arguments(stage, port, run_time="5s" if mode == "local" else "7s"))
    return _outcome(stage, process, stage.scrape(port))


def terminated(stage: Stage) -> Outcome:
    """SIGTERM in the middle."""
    port = free_port()
    process = stage.run(*_arguments(stage, port, run_time="50s"))
    scraper = stage.scrape(port)
    scraper.wait_for(lambda page: page.requests > 300, "300 requests")
    scraper.wait_for(lambda page: page.elapsed_s > 4, "the end of the warm-up")
    process.send(signal.SIGTERM)
    return _outcome(stage, process, scraper)


WHOLE = (*in_modes(whole), terminated)


@played(*WHOLE)
def test_the_record_has_every_request_of_locust(outcome: Outcome) -> None:
    """Requests and failures of each method and name are those of Locust and of the last page."""
    (record,) = outcome.more["records"]
    assert len(outcome.locust) > 15
    assert_whole(record, outcome)
    assert record.run_id == "nightly"
    errors = outcome.last.by("locust_request_errors_total", "method", "name", "error_type")
    assert {tuple(key): count for key, count in record.requests().errors.items()} == errors
    buckets = outcome.last.by("locust_request_duration_seconds_bucket", "method", "name", le="0.123")
    recorded: dict[tuple[str, ...], int] = {}
    for series in record.requests().series:
        below = series.measured - record.layout.above(series.counts, 0.123)
        recorded[series.key[:2]] = recorded.get(series.key[:2], 0) + below
    assert recorded == buckets


@played(*WHOLE)
def test_the_record_has_the_course_of_the_run(outcome: Outcome) -> None:
    """It has users, CPU and events; the last state is stopped."""
    (record,) = outcome.more["records"]
    assert record.intervals[-1].state == "stopped"
    assert {interval.state for interval in record.intervals} >= {"running"}
    assert max(sum(interval.users.values()) for interval in record.intervals) == 22
    assert sum(record.intervals[-1].users.values()) == 0
    assert any(interval.cpu_ratio is not None for interval in record.intervals)
    assert {event.name for event in record.events} >= {"locust.run.start", "locust.run.stop"}


@played(*WHOLE)
def test_the_verdict_of_the_record_is_that_of_the_run(outcome: Outcome) -> None:
    """The verdict in the record, the verdict computed from its intervals, and the last page are equal."""
    (record,) = outcome.more["records"]
    assert record.warm_s is not None
    assert record.warm_s >= 2
    written = {
        verdict["slo"]: [verdict[key] for key in ("status", "good", "bad", "budget_spent", "sum_s")]
        for verdict in record.verdict
    }
    assert written == {
        r.objective.name: [r.status.value, r.counts.good, r.counts.bad, r.budget_spent, r.counts.sum_s]
        for r in results(record)
    }
    assert len(written) == 3
    page: Metrics = outcome.last
    for name in ("works", "fast"):
        events = page.by("locust_slo_events_total", "outcome", slo=name)
        assert written[name][1:3] == [events["good",], events["bad",]]


def from_workers(stage: Stage) -> Outcome:
    """A master and two workers that serve their own numbers."""
    flags = ("--export-from", "workers")
    arguments = _arguments(stage, free_port(3), *flags, run_time="7s")
    processes = Distributed(stage, *arguments, everywhere=("--run-record", "runs"))
    code = processes.wait()
    (path,) = record_files(stage.folder)
    stream = RecordStream(path)
    more = {"record": load(path), "workers": max(len(stream.record.workers) for _ in stream.intervals())}
    return Outcome(code=code, log=processes.master.log, locust=stage.totals()[0], more=more)


@played(from_workers)
def test_the_master_records_what_its_workers_serve(outcome: Outcome) -> None:
    """The master writes one record with every request, the workers none."""
    record = outcome.more["record"]
    assert totals_of(record) == outcome.locust
    assert record.is_complete
    assert outcome.more["workers"] == 2


def web_ui(stage: Stage) -> Outcome:
    """Two runs of one process with the web UI."""
    port, web = free_port(), free_port()
    shop = stage.shop(*SHOP_FAULTS)
    process = stage.run(
        *(*with_web_ui(shop.url, web, QUICK), "--stop-timeout", "5", "--prometheus-port", str(port)),
        *("--run-record", "runs", "--run-id", "nightly"),
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
    outcome = _outcome(stage, process, scraper)
    outcome.more["runs"] = runs
    return outcome


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
    process = stage.run(*_arguments(stage, port, run_time="50s"))
    scraper = stage.scrape(port, intervals_s=(0.25,))
    scraper.wait_for(lambda page: page.elapsed_s > 5, "5 seconds")
    process.send(signal.SIGKILL)
    return _outcome(stage, process, scraper)


@played(killed)
def test_after_a_kill_the_record_is_closed(outcome: Outcome) -> None:
    """The last state in the file is "lost", and the file has all values of the last page."""
    (record,) = outcome.more["records"]
    assert record.is_complete
    assert (record.end or record.intervals[-1]).state == "lost"
    elapsed_s = outcome.last.value("locust_run_elapsed_seconds")
    assert record.intervals[-1].end_s > elapsed_s - 1.5
    assert outcome.last.requests >= record.requests(end_s=elapsed_s).total > 100


def _limited(process: Process, size: int) -> None:
    (exporter,) = exporters(process)
    _, hard = resource.prlimit(exporter, resource.RLIMIT_FSIZE)
    resource.prlimit(exporter, resource.RLIMIT_FSIZE, (size, hard))


def _with_limit(stage: Stage, *, is_lifted: bool) -> Outcome:
    port = free_port()
    arguments = _arguments(stage, port, run_time="9s", file=CALM)
    # Bytes that do not compress: the log and Locust's own report must stay below the limit.
    (stage.folder / "slo.yaml").write_text(SLO + f"# {os.urandom(60_000).hex()}\n")
    process = stage.run(*arguments)
    scraper = stage.scrape(port)
    scraper.wait_for(lambda page: page.elapsed_s > 2, "two intervals")
    (path,) = record_files(stage.folder)
    _limited(process, path.stat().st_size + 100)
    process.wait_for_log("Cannot write the run record in")
    if is_lifted:
        time.sleep(2)
        _limited(process, resource.RLIM_INFINITY)
    return _outcome(stage, process, scraper)


def full(stage: Stage) -> Outcome:
    """The disk is full from the middle to the end."""
    return _with_limit(stage, is_lifted=False)


def full_for_a_while(stage: Stage) -> Outcome:
    """The disk is full in the middle for some seconds."""
    return _with_limit(stage, is_lifted=True)


@played(full, full_for_a_while)
def test_a_full_disk_does_not_disturb_the_run(outcome: Outcome) -> None:
    """Locust and the last page have the same totals, the log has one line about the disk, and our health counts it."""
    assert outcome.last.totals == outcome.locust
    assert total(outcome.locust) > 100
    (failure,) = [line for line in outcome.log.splitlines() if "Cannot write the run record in " in line]
    assert "File too large. The run continues" in failure
    assert outcome.last.value("locust_otel_exports_total", exporter="run_record", outcome="failure") > 0
    assert outcome.tracebacks == 0


@played(full)
def test_after_a_full_disk_the_record_is_readable(outcome: Outcome) -> None:
    """The record has the requests up to then, and is marked as incomplete."""
    (record,) = outcome.more["records"]
    assert not record.is_complete
    assert 0 < record.requests().total < total(outcome.locust)


@played(full_for_a_while)
def test_if_the_disk_has_space_again_the_record_is_complete(outcome: Outcome) -> None:
    """The record has every request, and the log has a line about it."""
    (record,) = outcome.more["records"]
    assert record.is_complete
    assert totals_of(record) == outcome.locust
    assert "has recovered; nothing is missing in it" in outcome.log


def vanished(stage: Stage) -> Outcome:
    """The folder is removed in the middle."""
    port = free_port()
    process = stage.run(*_arguments(stage, port, run_time="6s", file=CALM))
    scraper = stage.scrape(port)
    scraper.wait_for(lambda page: page.requests > 50, "50 requests")
    (stage.folder / "runs").rename(stage.folder / "elsewhere")  # in one step, since the exporter makes it again
    wait_until(lambda: record_files(stage.folder), "the file is made again")
    return _outcome(stage, process, scraper)


@played(vanished)
def test_a_removed_folder_is_made_again(outcome: Outcome) -> None:
    """The new file has every request."""
    (record,) = outcome.more["records"]
    assert record.is_complete
    assert totals_of(record) == outcome.locust == outcome.last.totals


def unwritable(stage: Stage) -> Outcome:
    """The folder cannot be made."""
    (stage.folder / "taken").write_text("")
    process = stage.run(*arguments_of("http://127.0.0.1:9"), "--run-record", "taken/runs")
    return Outcome(code=process.wait(), log=process.log)


@played(unwritable)
def test_an_unwritable_folder_is_refused_before_the_run(outcome: Outcome) -> None:
    """The exit code is 78, and the message names the flag."""
    assert outcome.code == 78
    assert "--run-record: 'taken/runs' cannot be written to: Not a directory." in outcome.log
    assert "run-record-unwritable" in outcome.log
    assert outcome.tracebacks == 0
