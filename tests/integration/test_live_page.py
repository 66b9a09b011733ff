"""The live page in a real browser: wide and narrow, light and dark, before, during and after a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import findings

pytestmark = pytest.mark.browser

FACTS = Path(__file__).with_name("live_page_facts.py")
VIEWS = ("wide-light", "wide-dark", "narrow-light", "narrow-dark")
RUNS = ("short", "healthy", "failing", "over", "plain")
CHARTS = 6


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give the views of the page, by scene."""
    return findings(FACTS, tmp_path_factory.mktemp("page"))


def _duration(value: float) -> str:
    """Return seconds in the page's format."""
    if value >= 1:
        return f"{value:.2f}".rstrip("0").rstrip(".") + "\u00a0s"
    digits = 1 if value < 0.01 else 0
    return f"{value * 1000:.{digits}f}".removesuffix(".0") + "\u00a0ms"


def _bytes(value: float) -> str:
    """Return bytes in the page's format."""
    number = f"{value / 1e6:.1f}" if value >= 1e6 else f"{value / 1e3:.1f}"
    return number.removesuffix(".0") + ("\u00a0MB" if value >= 1e6 else "\u00a0kB")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scene", ["before", *RUNS])
def test_the_page_is_legible(seen: dict[str, Any], scene: str, view: str) -> None:
    """Nothing overlaps or is cut off, texts have a contrast of 4.5 and lines of 3, and all files are the exporter's."""
    facts = seen[f"{scene}-{view}"]
    for finding in ("messages", "elsewhere", "twice", "overlaps", "cut"):
        assert facts[finding] == [], finding
    assert facts["contrast"][0] >= 4.5, facts["contrast"]
    assert min(facts["contrasts of lines"], default=21) >= 3


def test_before_the_first_run(seen: dict[str, Any]) -> None:
    """A sentence says that no run has started; numbers and charts are hidden."""
    shown = seen["before-wide-light"]["shown"]
    assert shown["sentence"] == "No run has started yet."
    assert set(shown["hidden"]) == {"lost", "invalid", "aborted", "tiles", "over-time", "by-endpoint"}


@pytest.mark.parametrize("scene", RUNS)
def test_requests_and_failures(seen: dict[str, Any], scene: str) -> None:
    """The table of endpoints has every request and failure, and a line with the sums."""
    rows = {cells[0]: cells[1:3] for cells in seen[f"{scene}-wide-light"]["shown"]["endpoints"]}
    counted = seen[scene]
    expected = {**counted, "All requests": [sum(counts) for counts in zip(*counted.values(), strict=True)]}
    assert {name: [requests, failures.partition(" ")[0]] for name, (requests, failures) in rows.items()} == {
        name: [f"{count:,}" for count in counts] for name, counts in expected.items()
    }


@pytest.mark.parametrize("scene", RUNS)
def test_the_tiles(seen: dict[str, Any], scene: str) -> None:
    """They show state, verdict, time, rate, failures, p95, users, data and validity."""
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
    """State and verdict are words in the tile, the sentence and the title, not only colours."""
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
    """Each chart has its lines, units at its axis, the last values in its legend, and a label for screen readers."""
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
        assert len(chart["label"]) > 10
    marks = [f"{mark['mark']} ({mark['kind']})" for mark in facts["data"]["marks"]]
    assert [chart["marks"] for chart in shown["charts"]] == [marks] * CHARTS


def test_at_most_fifteen_minutes(seen: dict[str, Any]) -> None:
    """A longer run shows its last fifteen minutes."""
    ats = seen["failing-wide-light"]["data"]["curves"]["at_s"]
    assert (len(ats), ats[0], ats[-1]) == (900, 121.0, 1020.0)


def test_the_values_of_a_moment(seen: dict[str, Any]) -> None:
    """Pointer and slider show the values of a moment in all charts; without them the charts show the last ones."""
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
    """A mark typed into the page is in the run, and an open page gets the final values and the end of the run."""
    assert seen["touched"]["marks"][-1] == ["by keyboard <b>&", "fault"]
    assert seen["touched"]["ended"] == "Run 2026-11-24T16-00-00Z-3f9a is over; objectives: 4 met."


def test_the_accessibility_tree(seen: dict[str, Any]) -> None:
    """Headings, tables, pictures and controls have names, and are in the order of the page."""
    tree = seen["healthy-wide-light"]["tree"]
    parts = [
        "- status:", 'heading "Objectives" [level=2]', 'table "Objectives"', 'figure "Requests"',
        'img "Requests: all 50/s', 'slider "Values at"', 'heading "Marks" [level=2]', 'textbox "What happens now"',
        'button "Mark"', 'table "Endpoints"', 'rowheader "All requests"',
    ]  # fmt: skip
    places = [tree.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)
    assert tree.count("- status") == 2  # the sentence, and the result of a mark: no text that changes each second
