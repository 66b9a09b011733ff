"""Runs whose exporter, or whose Locust, is killed, frozen or interrupted, and what there is to see of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import psutil

from locust_otel.review.record.reader import Record
from locust_otel.review.record.reader import load as read_record
from tests.backends.servers import free_port
from tests.e2e.harness import QUICK, SHOP_FAULTS, Distributed, Outcome, Process, Stage, forking, load, settled
from tests.e2e.pages import DEADLINE_S, Metrics, Totals, total, wait_until
from tests.e2e.slo import tables

TITLE = "locust-otel exporter"
"""How `ps` shows an exporter, followed by the run."""

RESTARTS = "locust_otel_exporter_restarts_total"
USERS = 11  # as many as it takes to have one of each
MODES = ("local", "forked", "distributed")


def title(pid: int) -> str:
    """Return how `ps` shows a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").replace("\0", " ")
    except OSError:
        return ""


def exporters(process: Process) -> list[int]:
    """Return the exporters of a process and of its children, also after its own end."""
    return [pid for pid in process.children() if title(pid).startswith(TITLE) or "locust_otel.exporter" in title(pid)]


def titled(process: Process) -> list[int]:
    """Return those that have got so far that they have a name."""
    return [pid for pid in process.children() if title(pid).startswith(TITLE)]


def memory(pid: int) -> int:
    """Return the bytes of a process in memory."""
    rss: int = psutil.Process(pid).memory_info().rss
    return rss


class Watched:
    """A run with an exporter, a shop of its own, and a scraper that is not put off by an endpoint that is away.

    Users work for `busy_s` and then wait for the end: nothing is in flight then, and counts can be compared with
    the shop's to the request.

    Args:
        stage: Where it is played.
        more: Further arguments of Locust.
        mode: One of `MODES`.
        run_time_s: Seconds of the run.
        interval_s: Seconds from scrape to scrape.
        patience_s: Seconds without an answer after which the endpoint is taken to be gone.
        env: Further environment variables.
    """

    def __init__(
        self,
        stage: Stage,
        *more: str,
        mode: str = "local",
        file: Path = QUICK,
        users: int = USERS,
        busy_s: float = 2.0,
        run_time_s: float = 50.0,
        interval_s: float = 0.25,
        patience_s: float = 10.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._stage, self._mode = stage, mode
        self.shop = stage.shop(*SHOP_FAULTS)
        self.port = free_port()
        arguments = [
            *load(self.shop.url, file=file, users=users, run_time=f"{run_time_s:g}s"),
            *("--stop-timeout", "5", "--prometheus-port", str(self.port), *more),
        ]
        env = {"TEST_BUSY_S": f"{busy_s:g}", **(env or {})}
        if mode == "distributed":
            self.process = Distributed(stage, *arguments, env=env).master
        else:
            forks = forking() if mode == "forked" else []
            self.process = stage.start("locust-otel", "run", *arguments, *forks, env=env)
        self.scraper = stage.scrape(self.port, intervals_s=[interval_s], patience_s=patience_s)

    @property
    def exporter(self) -> int:
        """The one exporter."""
        wait_until(lambda: titled(self.process), "an exporter")
        (pid,) = titled(self.process)
        return pid

    def under_load(self, requests: int = 150) -> None:
        """Return when so many requests were scraped."""
        self.scraper.wait_for(lambda page: page.requests > requests, f"{requests} requests")

    def until_idle(self) -> None:
        """Return when users have done their work, and workers have reported it, which they do every three seconds."""
        quiet_s = 1.5 if self._mode == "local" else 4.5
        count, since = 0, time.monotonic()
        deadline = since + DEADLINE_S
        while not count or time.monotonic() - since < quiet_s:
            assert time.monotonic() < deadline, "users do not come to rest"
            time.sleep(0.2)
            if (now := self.shop.stats()["total"]) != count:
                count, since = now, time.monotonic()

    def kill(self) -> tuple[int, float]:
        """Kill the exporter, and return its id and when that was, in Unix time."""
        pid = self.exporter
        os.kill(pid, signal.SIGKILL)
        return pid, time.time()

    def back(self, killed: float, restarts: int) -> float:
        """Return the seconds from a kill to the first page of the next exporter."""
        self.scraper.wait_for(lambda page: page.value(RESTARTS) == restarts, f"restart {restarts}")
        return next(
            when
            for when, page in zip(self.scraper.times, self.scraper.pages, strict=False)
            if when > killed and Metrics(page).value(RESTARTS) == restarts
        ) - killed  # fmt: skip

    def end(self, **more: Any) -> Outcome:
        """Wait for the end, and gather what there is to see."""
        code = self.process.wait()
        wait_until(lambda: not self.process.children(), "its children have ended")
        time.sleep(0.3)  # for what is scraped to be written
        self.scraper.stop()
        folder = self._stage.folder
        locust, untimed = self._stage.totals() if (folder / "stats.json").exists() else ({}, 0)
        seen = {
            "pages": self.scraper.pages,
            "records": records(folder),
            "ended": self.process.ended,
        }
        return Outcome(
            code=code,
            log=self.process.log,
            metrics=self.scraper.last,
            locust=locust,
            untimed=untimed,
            shop=settled(self.shop),
            more={**seen, **more},
        )


def verdict(log: str) -> int:
    """Return the exit code that follows from the one table of objectives in a log.

    On a busy machine the generator may be late, and nothing is valid then.
    """
    (table,) = tables(log)
    statuses = {row.status for row in table.values()}
    return 5 if "invalid" in statuses else 3 if "missed" in statuses else 0 if statuses == {"met"} else 4


def replayed(outcome: Outcome, folder: Path) -> Outcome:
    """Play the scenario of an outcome again, now that no other one is played beside it."""
    with Stage(folder) as stage:
        again: Outcome = outcome.more["play"](stage)
    return again


def records(folder: Path) -> list[Record]:
    """Return the run records of a scenario, the oldest first."""
    return [read_record(path) for path in sorted((folder / "runs").glob("*"), key=lambda path: path.stat().st_mtime)]


def totals_of(record: Record) -> Totals:
    """Return requests and failures by method and name."""
    result: Totals = {}
    for series in record.requests().series:
        requests, failures = result.get(series.key[:2], (0, 0))
        failed = series.total if series.key.outcome == "failure" else 0
        result[series.key[:2]] = (requests + series.total, failures + failed)
    return result


def assert_complete(outcome: Outcome) -> None:
    """Check that Locust, the last page, the account and the shop have the same requests, and nothing went wrong."""
    page, everything = outcome.last, total(outcome.locust)
    assert everything > 200
    assert page.totals == outcome.locust
    assert outcome.shop == outcome.http
    account = outcome.account
    assert account.locust == account.recorded == account.last_scrape == everything
    assert page.value("locust_request_duration_seconds_count") == everything - outcome.untimed
    assert page.value("locust_otel_unreconciled_requests") == 0
    assert page.value("locust_otel_listener_errors_total") == 0
    assert page.value("locust_run_active") == 0
    assert outcome.tracebacks == 0, outcome.log[-3000:]


def assert_whole(record: Record, outcome: Outcome, *, away_s: float = 0.0) -> None:
    """Check that a run record has all requests, its end, and every interval, though nobody wrote it for a while."""
    assert record.is_complete
    assert totals_of(record) == outcome.locust == outcome.last.totals
    assert (record.end or record.intervals[-1]).locust_total == total(outcome.locust)
    assert all(before.end_s == after.start_s for before, after in pairwise(record.intervals))
    assert max(interval.end_s - interval.start_s for interval in record.intervals) < 4 + away_s
    names = [event.name for event in record.events]
    assert names.count("locust.run.start") == names.count("locust.run.stop") == 1


def falls(pages: Sequence[str]) -> list[str]:
    """Return what fell, or went, from one page to the next of all that may only grow; workers may go."""
    found = []
    for before, after in pairwise(map(growing, pages)):
        for sample, value in before.items():
            now = after.get(sample, inf if 'worker="' in sample else -inf)
            if now < value:
                found.append(f"{sample}: {value:g}, then {now:g}")
    return found


def growing(page: str) -> dict[str, float]:
    """Return the samples of counters and histograms, as they are written."""
    samples: dict[str, float] = {}
    may_only_grow = False
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            may_only_grow = line.endswith((" counter", " histogram"))
        elif may_only_grow and not line.startswith("#"):
            sample, _, value = line.rpartition(" ")
            samples[sample] = float(value)
    return samples
