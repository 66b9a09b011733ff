"""Pages of `/metrics`: functions that fetch, scrape and read them."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

DEADLINE_S = 60.0
"""Limit for events that take two seconds on an idle machine."""

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Totals = dict[tuple[str, str], tuple[int, int]]
"""Requests and failures by method and name."""


class Metrics:
    """One page of `/metrics`, parsed by prometheus_client."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: list[tuple[str, dict[str, str], float]] = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def by(self, name: str, /, *labels: str, **matching: str) -> dict[tuple[str, ...], float]:
        """Return the sums of a metric by labels; an absent label is the empty text."""
        sums: dict[tuple[str, ...], float] = {}
        for metric, values, value in self.samples:
            if metric == name and all(values.get(key, "") == wanted for key, wanted in matching.items()):
                key = tuple(values.get(label, "") for label in labels)
                sums[key] = sums.get(key, 0) + value
        return sums

    def value(self, name: str, /, **matching: str) -> float:
        """Return the sum of a metric's samples, which must have at least one."""
        sums = self.by(name, **matching)
        assert sums, f"{name} {matching} is missing"
        return sums[()]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of the run; 0 on a page without a run."""
        return self.by("locust_run_elapsed_seconds").get((), 0.0)

    @property
    def names(self) -> set[str]:
        """Names of all samples."""
        return {name for name, _, _ in self.samples}

    @property
    def run_ids(self) -> set[str]:
        """All values of the label `run_id`."""
        return {labels["run_id"] for _, labels, _ in self.samples if "run_id" in labels}

    @property
    def totals(self) -> Totals:
        """Requests and failures by method and name."""
        counts = self.by("locust_requests_total", "method", "name", "outcome")
        return {
            (method, name): (
                int(counts[method, name, "success"] + counts[method, name, "failure"]),
                int(counts[method, name, "failure"]),
            )
            for method, name, _ in counts
        }

    @property
    def requests(self) -> int:
        """All requests."""
        return int(sum(self.by("locust_requests_total").values()))


def total(totals: Totals) -> int:
    """Return the requests of all methods and names."""
    return sum(requests for requests, _ in totals.values())


def summed(parts: Iterable[Totals]) -> Totals:
    """Return the sums of several totals."""
    result: Totals = {}
    for key, (requests, failures) in (item for part in parts for item in part.items()):
        before = result.get(key, (0, 0))
        result[key] = (before[0] + requests, before[1] + failures)
    return result


def fetch(
    url: str, headers: Mapping[str, str] | None = None, *, form: Mapping[str, str] | None = None, ca: Path | None = None
) -> str:
    """Return the body of a page; a form makes it a POST.

    Raises:
        OSError: The port is closed, or the answer is 4xx or 5xx.
    """
    data = None if form is None else urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data, dict(headers or {}))
    opener = _opener
    if ca is not None:
        https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca)))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
    with opener.open(request, timeout=20) as response:
        body: bytes = response.read()
    return body.decode()


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: It does not hold in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


class Scraper:
    """Scrapes like Prometheus: at fixed times, with its header, until the endpoint is gone.

    Args:
        folder: Folder of the pages.
        intervals_s: Seconds from scrape to scrape, used in turn.
        count: Number of scrapes; 0 for no limit.
        told_timeout_s: Scrape timeout in the header, by default the longest interval.
        password: User and password with a colon between, for basic auth.
        ca: Certificate to trust; the URL is https then.
        agent: User agent, by which the endpoint distinguishes scrapers.
        patience_s: Seconds without an answer after which the endpoint counts as gone.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        intervals_s: Sequence[float] = (1.0,),
        count: int = 0,
        told_timeout_s: float | None = None,
        password: str = "",
        ca: Path | None = None,
        agent: str = "Prometheus/3.5.3",
        patience_s: float = 0.0,
    ) -> None:
        self.url = f"{'https' if ca else 'http'}://127.0.0.1:{port}/metrics"
        self._folder = folder
        folder.mkdir()
        headers = {
            "User-Agent": agent,
            "Accept": "text/plain;version=0.0.4",
            "X-Prometheus-Scrape-Timeout-Seconds": str(told_timeout_s or max(intervals_s)),
        }
        if password:
            headers["Authorization"] = f"Basic {b64encode(password.encode()).decode()}"
        how = {
            "url": self.url,
            "headers": headers,
            "intervals_s": intervals_s,
            "count": count,
            "ca": str(ca or ""),
            "patience_s": patience_s,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-ISs", Path(__file__).with_name("scraper.py"), folder, json.dumps(how)]
        )

    @property
    def pages(self) -> list[str]:
        """The pages so far."""
        return [path.read_text() for path in sorted(self._folder.glob("0*"))]

    @property
    def times(self) -> list[float]:
        """Unix time of each page."""
        return [path.stat().st_mtime for path in sorted(self._folder.glob("0*"))]

    @property
    def last(self) -> Metrics:
        """The last page."""
        pages = self.pages
        assert pages, f"{self.url} was never scraped"
        return Metrics(pages[-1])

    def wait_for(self, condition: Callable[[Metrics], object], what: str) -> Metrics:
        """Wait for a page that satisfies the condition, beginning with the latest one, and return it."""
        deadline = time.monotonic() + DEADLINE_S
        checked = max(len(self.pages) - 1, 0)
        while True:
            pages = self.pages
            for page in pages[checked:]:
                if condition(metrics := Metrics(page)):
                    return metrics
            checked = len(pages)
            assert time.monotonic() < deadline, f"{self.url}: not within {DEADLINE_S:g} s: {what}"
            time.sleep(0.1)

    def wait_until_gone(self) -> None:
        """Wait until the endpoint is gone."""
        self._process.wait(DEADLINE_S)

    def stop(self) -> None:
        """Stop scraping."""
        self._process.kill()
        self._process.wait()
