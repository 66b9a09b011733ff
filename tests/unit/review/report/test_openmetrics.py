"""Tests of the samples of a record: each scrape is what a Prometheus would have scraped, in OpenMetrics."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest

from locust_otel.review.report import openmetrics
from locust_otel.slo.file import parse
from locust_otel.wire.record import Mark
from tests.unit.factories import Load, expected_samples, parsed_samples, record, rich_load, sample_key, worker
from tests.unit.tapes import HOME, SLO_TEXT, Tape, small

START = 1_764_000_000.25
_LINE = re.compile(r"(\w+)\{(.*)\} (\S+) (\S+)")


def written(path: Path, **changes: object) -> str:
    """Return the samples of a record."""
    out = StringIO()
    given = {"job": None, "instance": None, "interval_s": 1.0, **changes}
    openmetrics.write(path, out, **given)  # type: ignore[arg-type]
    return out.getvalue()


def scrapes(text: str) -> dict[float, str]:
    """Return the page of each scrape by time: the headers, and the samples of that time."""
    matches = [(line, _LINE.fullmatch(line)) for line in text.splitlines()]
    assert all(match or line.startswith("# ") for line, match in matches)
    pages: dict[float, list[str]] = {time: [] for time in sorted({float(match[4]) for _, match in matches if match})}
    for line, match in matches:
        for time, page in pages.items():
            if match is None:
                page.append(line)
            elif float(match[4]) == time:
                page.append(line.rpartition(" ")[0])
    return {time: "\n".join(page) + "\n" for time, page in pages.items()}


def test_each_scrape_is_what_would_have_been_scraped(tmp_path: Path) -> None:
    """At the end of an interval the samples are those of the families of the run, with job and instance."""
    workers = (worker("host-0", lags_s=(0.001, 0.02)), worker("host-1", lags_s=(0.5,)))
    tape = Tape(
        tmp_path, rich_load(), workers=workers, worker_states={"running": 2}, workers_expected=2,
        info={"host": "http://shop", "team": 'q"\n\\ü'}, marks={("latency", "fault"): 1},
    )  # fmt: skip
    tape.interval(1.0, marks=(Mark(0.5, "latency", "fault"),))
    record(tape.aggregate, HOME, [700.5, 3], 9)
    tape.aggregate.count_error("GET", "/", "503")
    tape.interval(2.0, users={"Shopper": 1})
    tape.end()

    pages = scrapes(written(tape.path, job="j", instance="i:1"))

    assert list(pages) == [START, START + 1, START + 2]
    for time, taken in zip(list(pages)[1:], tape.taken, strict=True):
        expected = {
            sample_key(name, {**dict(labels), "job": "j", "instance": "i:1"}): value
            for (name, labels), value in expected_samples(taken, openmetrics.SCOPES).items()
        }
        assert parsed_samples(pages[time], openmetrics=True) == pytest.approx(expected)


def test_objectives_begin_at_zero(tmp_path: Path) -> None:
    """The first scrape has objectives with counts of 0, and the last those of the verdict."""
    tape = small(tmp_path, parse(SLO_TEXT.encode(), "slo.yaml"))
    pages = scrapes(written(tape.path, interval_s=None))
    assert list(pages) == [START + second for second in (0, 1, 2, 3, 4, 4.25)]
    totals = []
    for page in pages.values():
        samples = parsed_samples(page, openmetrics=True)
        totals.append([v for (name, labels), v in samples.items() if name == "locust_slo_events_total"])
    assert totals[0] == [0, 0, 0, 0]
    assert totals[-1] == [6, 2, 6, 2]


def test_samples_of_a_series_are_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each metric and each series is there once, with rising times, whether its text was in memory or in the file."""
    path = small(tmp_path).path
    text = written(path, interval_s=0.1)
    monkeypatch.setattr(openmetrics, "_BUFFERED", 100)
    assert written(path, interval_s=0.1) == text
    assert text.endswith("# EOF\n")
    heads = re.findall(r"# TYPE (\S+)", text)
    assert len(heads) == len(set(heads)) > 10
    last = ""
    times: dict[str, float] = {}
    for match in map(_LINE.fullmatch, text.splitlines()):
        if match is None:
            continue
        series = re.sub(r"_(bucket|sum|count)$", "", match[1]) + re.sub(r',?le="[^"]*"', "", match[2])
        assert series == last or series not in times, match[0]
        assert times.get(series, 0) <= float(match[4])
        last, times[series] = series, float(match[4])


def test_a_long_gap_keeps_the_values(tmp_path: Path) -> None:
    """Scrapes within a long interval have the values at its start."""
    tape = Tape(tmp_path, Load(slow_s=5.0, max_names=9))
    record(tape.aggregate, HOME, [1])
    tape.interval(1.0)
    record(tape.aggregate, HOME, [1])
    tape.interval(4.5)
    tape.end()
    pages = scrapes(written(tape.path))
    counts = [
        next((v for (n, labels), v in parsed_samples(page, openmetrics=True).items()
              if n == "locust_requests_total" and ("outcome", "success") in labels), None)
        for page in pages.values()
    ]  # fmt: skip
    assert counts == [None, 1, 1, 1, 1, 2]
