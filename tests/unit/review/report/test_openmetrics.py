"""Tests of the back-fill: each scrape of it is one that could have been, in the form OpenMetrics asks for."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest

from locust_otel.cli import main
from locust_otel.review.report import openmetrics
from locust_otel.slo.file import parse
from locust_otel.wire.record import Mark
from tests.unit.factories import Load, expected_samples, parsed_samples, record, rich_load, sample_key, worker
from tests.unit.tapes import HOME, SLO_TEXT, Tape, small

START = 1_764_000_000.25
_LINE = re.compile(r"(\w+)\{(.*)\} (\S+) (\S+)")


def written(path: Path, **changes: object) -> str:
    """Return the back-fill of a record."""
    out = StringIO()
    given = {"job": None, "instance": None, "interval_s": 1.0, **changes}
    openmetrics.write(path, out, **given)  # type: ignore[arg-type]
    return out.getvalue()


def scrapes(text: str) -> dict[float, str]:
    """Return the page of each scrape: the lines of its time, without the time."""
    pages: dict[float, list[str]] = {}
    heads = [line for line in text.splitlines() if line.startswith("# ") and line != "# EOF"]
    times = sorted({float(m[4]) for line in text.splitlines() if (m := _LINE.fullmatch(line))})
    for time in times:
        pages[time] = []
    for line in text.splitlines():
        if line.startswith("# "):
            for page in pages.values():
                page.append(line)
        else:
            match = _LINE.fullmatch(line)
            assert match is not None, line
            pages[float(match[4])].append(line.rpartition(" ")[0])
    assert heads
    return {time: "\n".join(page) + "\n" for time, page in pages.items()}


def test_each_scrape_is_what_would_have_been_scraped(tmp_path: Path) -> None:
    """At the end of an interval the samples are those of the run's own families, with job and instance."""
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
    """The first scrape, at the start, has the objectives at 0, and the last what the verdict says."""
    tape = small(tmp_path, parse(SLO_TEXT.encode(), "slo.yaml"))
    pages = scrapes(written(tape.path, interval_s=None))
    assert list(pages) == [START + second for second in (0, 1, 2, 3, 4, 4.25)]
    totals = []
    for page in pages.values():
        samples = parsed_samples(page, openmetrics=True)
        totals.append([v for (name, labels), v in samples.items() if name == "locust_slo_events_total"])
    assert totals[0] == [0, 0, 0, 0]
    assert totals[-1] == [6, 2, 6, 2]


def test_samples_of_a_series_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric comes once, a series within it too, its times rise, and the end is marked; whatever was in memory."""
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
    """Where an interval is long, scrapes within it have what was known at its start."""
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


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`report` writes a file, or prints; it takes the labels from the record, and says where it is cut off."""
    tape = small(tmp_path)
    out = tmp_path / "run.om"
    command = ["report", str(tape.path), "--format", "openmetrics"]
    assert main([*command, "-o", str(out)]) == 0
    assert 'job="locust",instance="127.0.0.1:9700"' in out.read_text()
    assert capsys.readouterr().err == ""
    tape.path.write_bytes(tape.path.read_bytes()[:-30])
    assert main([*command, "--interval", "500ms", "--instance", "a:1"]) == 0
    printed = capsys.readouterr()
    assert 'instance="a:1"' in printed.out
    assert "The record has no end" in printed.err
    assert main([*command, "--interval", "0"]) == 78
    assert main(["report", str(out), "--format", "openmetrics"]) == 1
    assert "record-damaged" in capsys.readouterr().err
    assert main([*command, "-o", str(tmp_path)]) == 78
