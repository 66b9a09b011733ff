"""Tests of the summary: its figures against those of the requests that were recorded, and its story."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from locust_otel.review.analysis.finding import Analysis, Finding, Pattern
from locust_otel.review.record.reader import load
from locust_otel.review.report.summary import document, story, summary
from locust_otel.slo.file import parse
from tests.unit.factories import Load, record, worker
from tests.unit.tapes import FAILED, HOME, SLO_TEXT, Tape, small


def test_figures(tmp_path: Path) -> None:
    """Counts, means and shares are those of all requests, and quantiles are near those of the sorted durations."""
    tape = Tape(tmp_path, Load(slow_s=2.0, max_names=9), info={"host": "h"}, start_time=1_764_000_000.25)
    items = [HOME._replace(name=f"/items/{number}") for number in range(4)]
    for second in range(1, 21):
        record(tape.aggregate, HOME, [10, 20, 30, 1000])
        record(tape.aggregate, FAILED, [500])
        tape.aggregate.count_error("GET", "/", "503")
        for key in items:
            record(tape.aggregate, key, [5])
        reasons = ("lag",) if second > 15 else ()
        tape.interval(float(second), users={"A": second, "B": 1}, workers=(worker(reasons=reasons),))
    tape.end()
    run = summary(load(tape.path))
    home = run.endpoints[0]
    assert (home.label, home.requests, home.failures) == ("GET /", 100, 20)
    assert home.mean_s == pytest.approx(1.56 / 5)
    assert [home.p50_s, home.p95_s] == pytest.approx([0.03, 1.0], rel=0.05)
    assert home.share == pytest.approx(1.56 / 1.58)
    assert (run.whole.label, run.whole.requests, run.whole.share) == ("all requests", 180, 1)
    assert run.errors == (("GET /", "503", 20),)
    assert (run.peak_users, run.peak_rps, run.behind) == (21, 9, 0.25)
    assert (run.verdict, run.started) == ("no objectives", datetime.fromtimestamp(1_764_000_000.25, UTC))
    values = json.loads(json.dumps(document(run), allow_nan=False))
    assert values["alike"] == [
        {"method": "GET", "name": "/items/[id]", "names": 4, "examples": ["/items/0", "/items/1"]}
    ]
    assert (values["generator_behind"], values["length_s"], values["info"]) == (0.25, 20, {"host": "h"})
    about_load, alike = story(run, None)
    assert about_load.startswith("21 users made 180 requests in 20 s, up to 9 a second, 95 % of them within ")
    assert about_load.endswith("; 11.11% failed.")
    assert alike == "4 request names hold ids: GET /items/0, /items/1, … look like one: /items/[id]."


def test_objectives(tmp_path: Path) -> None:
    """The verdict and the objectives are those of the record."""
    run = summary(load(small(tmp_path, parse(SLO_TEXT.encode(), "slo.yaml")).path))
    assert run.verdict == "missed"
    assert document(run)["objectives"][0] == {
        "name": "works", "asked": "90 % of requests succeed", "status": "missed", "actual": 0.75, "told": "75.0 %",
        "budget_spent": pytest.approx(2.5 * 2.25 / 60, rel=0.05), "note": "",
    }  # fmt: skip


def test_the_story_of_an_analysis(tmp_path: Path) -> None:
    """The main finding, its first evidence and the advice are in the story, in this order."""
    run = summary(load(small(tmp_path).path))
    finding = Finding(Pattern.LEAK, "Latency drifts.", ("From 1 s to 2 s.", "More."), 0.9)
    *_, main, advice = story(run, Analysis("s", "r", (finding,)))
    assert main == "Latency drifts."
    assert advice.startswith("From 1 s to 2 s. To consider: Something that grows: memory, sessions")
    assert story(run, Analysis("s", "r", (Finding(Pattern.NONE, "No.", (), 1.0),)))[-1] == "No."


def test_an_empty_run(tmp_path: Path) -> None:
    """A run without requests has no durations."""
    tape = Tape(tmp_path, Load(slow_s=2.0, max_names=9))
    tape.interval(1.0)
    run = summary(load(tape.path))
    assert (run.whole.requests, run.whole.p50_s, run.whole.share, run.endpoints) == (0, None, 0, ())
    assert story(run, None)[0].endswith("none failed.")
