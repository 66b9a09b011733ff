"""The live page in a real browser: wide and narrow, light and dark, before, during and after a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

FACTS = Path(__file__).with_name("live_page_facts.py")
ROOT = FACTS.parents[2]
VIEWS = ("wide-light", "wide-dark", "narrow-light", "narrow-dark")
RUNS = ("short", "healthy", "failing", "over", "plain")
CHARTS = 6


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is to be seen of the page, scene by scene."""
    command = [sys.executable, str(FACTS), str(tmp_path_factory.mktemp("page"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=170, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _duration(value: float) -> str:
    """Return seconds as the page writes them."""
    if value >= 1:
        return f"{value:.2f}".rstrip("0").rstrip(".") + "\u00a0s"
    digits = 1 if value < 0.01 else 0
    return f"{value * 1000:.{digits}f}".removesuffix(".0") + "\u00a0ms"


def _bytes(value: float) -> str:
    """Return bytes as the page writes them."""
    number = f"{value / 1e6:.1f}" if value >= 1e6 else f"{value / 1e3:.1f}"
    return number.removesuffix(".0") + ("\u00a0MB" if value >= 1e6 else "\u00a0kB")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scene", ["before", *RUNS])
def test_it_can_be_read(seen: dict[str, Any], scene: str, view: str) -> None:
    """Nothing overlaps or is cut off, texts and lines have the contrast they need, and nothing comes from elsewhere."""
    facts = seen[f"{scene}-{view}"]
    assert (facts["said"], facts["elsewhere"], facts["shown"]["twice"]) == ([], [], [])
    assert facts["overlaps"] == []
    assert facts["cut"] == []
    assert facts["contrast"][0] >= 4.5, facts["contrast"]
    assert min(facts["contrasts of lines"], default=21) >= 3


def test_before_the_first_run(seen: dict[str, Any]) -> None:
    """It is said that nothing runs, and neither numbers nor charts are shown."""
    shown = seen["before-wide-light"]["shown"]
    assert shown["sentence"] == "No run has started yet."
    assert set(shown["hidden"]) == {"lost", "invalid", "aborted", "tiles", "over-time", "by-endpoint"}


@pytest.mark.parametrize("scene", RUNS)
def test_requests_and_failures(seen: dict[str, Any], scene: str) -> None:
    """The table of endpoints has each request and failure once, and a line for all of them."""
    rows = {cells[0]: cells[1:3] for cells in seen[f"{scene}-wide-light"]["shown"]["endpoints"]}
    counted = seen[scene]
    expected = {**counted, "All requests": [sum(one[n] for one in counted.values()) for n in (0, 1)]}
    assert {name: cells[0] for name, cells in rows.items()} == {name: f"{one[0]:,}" for name, one in expected.items()}
    assert {name: cells[1].partition(" ")[0] for name, cells in rows.items()} == {
        name: f"{one[1]:,}" for name, one in expected.items()
    }


@pytest.mark.parametrize("scene", RUNS)
def test_the_tiles(seen: dict[str, Any], scene: str) -> None:
    """Within five seconds one sees state, verdict, time, rate, failures, p95, users, data and validity."""
    facts = seen[f"{scene}-wide-light"]
    tiles, data = {name: text.split("\n") for name, text in facts["shown"]["tiles"].items()}, facts["data"]
    run, total = data["run"], data["total"]
    assert tiles["state"][0] == run["state"]
    minutes, seconds = divmod(int(run["elapsed_s"]), 60)
    assert tiles["elapsed"][0] == f"{minutes:02}:{seconds:02}"
    assert tiles["rate"] == [f"{total['rate']:.1f}".removesuffix(".0"), f"{total['requests']:,} requests"]
    assert float(tiles["failed"][0].split()[0]) == pytest.approx(100 * total["failures"] / total["requests"], abs=0.05)
    assert tiles["p95"][0] == _duration(total["p95_s"])
    assert tiles["users"][0] == f"{run['users']:,}"
    assert tiles["received"][1] == _bytes(1_200 * total["requests"]) + " in all"
    assert tiles["valid"][0] == ("in doubt" if scene == "failing" else "valid")


def test_the_verdict_in_words(seen: dict[str, Any]) -> None:
    """State and verdict are words in the tile, in the sentence and in the title, not only colours."""
    words = {"short": "warming up", "healthy": "met", "failing": "missed", "over": "met", "plain": "no objectives"}
    for scene, word in words.items():
        shown = seen[f"{scene}-wide-light"]["shown"]
        assert shown["tiles"]["state"].split("\n")[1] == word
        statuses = {cells[1].partition("\n")[0] for cells in shown["objectives"]}
        assert statuses == ({word} if word in {"met", "missed"} else {"undecided"} if scene == "short" else set())
    assert seen["healthy-wide-light"]["shown"]["title"] == "met · 2026-11-24T16-00-00Z-3f9a"
    assert seen["plain-wide-light"]["shown"]["title"].startswith("running · ")
    assert "is over; objectives: 4 met." in seen["over-wide-light"]["shown"]["sentence"]
    assert "Its numbers are not valid now" in seen["failing-wide-light"]["shown"]["sentence"]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scene", RUNS)
def test_the_charts(seen: dict[str, Any], scene: str, view: str) -> None:
    """Each chart has its lines, units at its axis, the last values in its legend, and says them to screen readers."""
    facts = seen[f"{scene}-{view}"]
    shown, curves = facts["shown"], facts["data"]["curves"]
    last = {name: column[-1] for name, column in curves.items()}
    legends = [text.replace("\n", " ") for text in shown["legends"]]
    assert [chart["lines"] for chart in shown["charts"]] == [2, 3, 1, 1, 1, 1]
    assert legends[0] == f"all {last['requests']:.0f}/s"
    assert legends[2:5] == [f"{name} {_duration(last[f'{name}_s'])}" for name in ("p50", "p95", "p99")]
    assert legends[5] == f"running {last['users']:.0f}"
    assert legends[8] == f"mean {_duration(last['lag_s'])}"
    for chart, unit in zip(shown["charts"], ("/s", "s", "0", "B/s", "%", "ms"), strict=True):
        axis = [text for text in chart["texts"] if ":" not in text]
        assert len(axis) >= 2
        assert all(text.endswith(unit) for text in axis if unit != "0"), axis
        assert len([text for text in chart["texts"] if ":" in text]) >= 1
        assert len(chart["told"]) > 10
    marks = [f"{one['mark']} ({one['kind']})" for one in facts["data"]["marks"]]
    assert [chart["marks"] for chart in shown["charts"]] == [marks] * CHARTS


def test_at_most_fifteen_minutes(seen: dict[str, Any]) -> None:
    """A longer run shows its last fifteen minutes."""
    ats = seen["failing-wide-light"]["data"]["curves"]["at_s"]
    assert (len(ats), ats[0], ats[-1]) == (900, 121.0, 1020.0)


def test_a_moment_is_looked_at(seen: dict[str, Any]) -> None:
    """The pointer and the slider show the values of a moment, in all charts; leaving shows those of now again."""
    touched = seen["touched"]
    hovered, curves = touched["hovered"], touched["data"]["curves"]
    moment = hovered["moment"]
    assert moment.endswith(" into the run")
    minutes, seconds = moment.split(", ")[1].split(" ")[0].split(":")
    index = curves["at_s"].index(60 * int(minutes) + int(seconds))
    assert abs(index - len(curves["at_s"]) / 2) < 60
    legends = [text.replace("\n", " ") for text in hovered["legends"]]
    assert legends[2:5] == [f"{name} {_duration(curves[f'{name}_s'][index])}" for name in ("p50", "p95", "p99")]
    assert touched["left"] == touched["at the end"] == "now, 16:12:00 UTC, 12:00 into the run"
    assert touched["by keyboard"] == "16:11:00 UTC, 11:00 into the run"


def test_a_mark_and_the_end(seen: dict[str, Any]) -> None:
    """A mark typed into the page is in the run; numbers change; an open page gets the last ones and says it is over."""
    assert seen["touched"]["marks"][-1] == ["by keyboard <b>&", "fault"]
    assert seen["touched"]["ended"] == "Run 2026-11-24T16-00-00Z-3f9a is over; objectives: 4 met."


def test_it_is_read_out_in_order(seen: dict[str, Any]) -> None:
    """Headings, tables, pictures and controls have the names that assistive technology reads out."""
    tree = seen["healthy-wide-light"]["tree"]
    parts = [
        "- status:", 'heading "Objectives" [level=2]', 'table "Objectives"', 'figure "Requests"',
        'img "Requests: all 50/s', 'slider "Values at"', 'heading "Marks" [level=2]', 'textbox "What happens now"',
        'button "Mark"', 'table "Endpoints"', 'rowheader "All requests"',
    ]  # fmt: skip
    places = [tree.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)
    assert tree.count("- status") == 2  # the sentence, and what became of a mark: nothing that changes each second
