"""Runs whose exporter, or whose Locust, is killed, frozen or interrupted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from locust_otel.review.record.reader import Record
from locust_otel.review.record.reader import load as read_record
from tests.backends.servers import free_port
from tests.e2e.harness import QUICK, SHOP_FAULTS, Outcome, Process, Stage, load
from tests.e2e.pages import Metrics, Totals, total, wait_until

TITLE = "locust-otel exporter"
"""Title of an exporter in `ps`; the run follows."""

RESTARTS = "locust_otel_exporter_restarts_total"
USERS = 11  # enough for one user of each class


def title(pid: int) -> str:
    """Return the title of a process in `ps`; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").replace("\0", " ")
    except OSError:
        return ""


def exporters(process: Process) -> list[int]:
    """Return the exporters beside a process, also after its end."""
    return [pid for pid in process.children() if title(pid).startswith(TITLE) or "locust_otel.exporter" in title(pid)]


def titled(process: Process) -> list[int]:
    """Return the exporters that have set their title already."""
    return [pid for pid in process.children() if title(pid).startswith(TITLE)]


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    rss: int = psutil.Process(pid).memory_info().rss
    return rss


class Watched:
    """A run with an exporter, a shop, and a scraper that goes on while the endpoint is away for some seconds.

    Users work for `busy_s` and are idle then, so that counts can be compared with the shop's to the request.

    Args:
        stage: Stage of the scenario.
        more: Further arguments of Locust.
        mode: `local`, `forked` or `distributed`.
        file: Locustfile.
        users: Users.
        busy_s: Seconds that each user works.
        run_time_s: Seconds of the run.
        interval_s: Seconds from scrape to scrape.
        patience_s: Seconds without an answer after which the endpoint counts as gone.
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
        self.process = stage.run_in(mode, *arguments, env=env)
        self.scraper = stage.scrape(self.port, intervals_s=[interval_s], patience_s=patience_s)

    @property
    def exporter(self) -> int:
        """Process id of the one exporter, once it is there."""
        wait_until(lambda: titled(self.process), "an exporter")
        (pid,) = titled(self.process)
        return pid

    def under_load(self, requests: int = 150) -> None:
        """Wait until so many requests were scraped."""
        self.scraper.wait_for(lambda page: page.requests > requests, f"{requests} requests")

    def until_idle(self) -> None:
        """Wait until users are idle, and workers have reported, which they do every 3 s."""
        quiet_s = 1.5 if self._mode == "local" else 4.5
        count, since = 0, time.monotonic()

        def is_idle() -> bool:
            nonlocal count, since
            if (now := self.shop.stats()["total"]) != count:
                count, since = now, time.monotonic()
            return bool(count) and time.monotonic() - since >= quiet_s

        wait_until(is_idle, "users are idle")

    def kill(self) -> tuple[int, float]:
        """Kill the exporter; return its process id and the Unix time."""
        pid = self.exporter
        os.kill(pid, signal.SIGKILL)
        return pid, time.time()

    def back(self, killed: float, restarts: int) -> float:
        """Wait for a page of the next exporter; return the seconds without a page from the kill on."""
        self.scraper.wait_for(lambda page: page.value(RESTARTS) == restarts, f"restart {restarts}")
        return next(
            when
            for when, page in zip(self.scraper.times, self.scraper.pages, strict=False)
            if when > killed and Metrics(page).value(RESTARTS) == restarts
        ) - killed  # fmt: skip

    def end(self, **more: Any) -> Outcome:
        """Wait for the end, and return the outcome."""
        self.process.wait()
        wait_until(lambda: not self.process.children(), "its children have ended")
        time.sleep(0.3)  # until the last page is written
        self.scraper.stop()
        return self._stage.finished(
            self.process, self.scraper, shop=self.shop, **{"records": records(self._stage.folder), **more}
        )


def records(folder: Path) -> list[Record]:
    """Return the run records of a scenario, the oldest first."""
    return [read_record(path) for path in record_files(folder)]


def record_files(folder: Path) -> list[Path]:
    """Return the files of the run records, the oldest first."""
    return sorted((folder / "runs").glob("*.jsonl.gz"), key=lambda path: path.stat().st_mtime)


def totals_of(record: Record) -> Totals:
    """Return requests and failures by method and name."""
    result: Totals = {}
    for series in record.requests().series:
        requests, failures = result.get(series.key[:2], (0, 0))
        failed = series.total if series.key.outcome == "failure" else 0
        result[series.key[:2]] = (requests + series.total, failures + failed)
    return result


def assert_complete(outcome: Outcome) -> None:
    """Check that Locust, the last page, the account and the shop have the same requests, and that there is no error."""
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
    """Check that a run record has all requests, its end, and intervals of about a second without gaps.

    Without an exporter, for `away_s`, no interval ends.
    """
    assert record.is_complete
    assert totals_of(record) == outcome.locust == outcome.last.totals
    assert (record.end or record.intervals[-1]).locust_total == total(outcome.locust)
    assert all(before.end_s == after.start_s for before, after in pairwise(record.intervals))
    lengths_s = [interval.end_s - interval.start_s for interval in record.intervals]
    assert median(lengths_s) < 2
    assert max(lengths_s) < 8 + away_s
    names = [event.name for event in record.events]
    assert names.count("locust.run.start") == names.count("locust.run.stop") == 1


def falls(pages: Sequence[str]) -> list[str]:
    """Return the samples of counters that fell or disappeared from one page to the next; workers may disappear."""
    result = []
    for before, after in pairwise(map(growing, pages)):
        for sample, value in before.items():
            now = after.get(sample, inf if 'worker="' in sample else -inf)
            if now < value:
                result.append(f"{sample}: {value:g}, then {now:g}")
    return result


def growing(page: str) -> dict[str, float]:
    """Return the samples of counters and histograms on a page; the key is name and labels as text."""
    samples: dict[str, float] = {}
    is_growing = False
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            is_growing = line.endswith((" counter", " histogram"))
        elif is_growing and not line.startswith("#"):
            sample, _, value = line.rpartition(" ")
            samples[sample] = float(value)
    return samples
