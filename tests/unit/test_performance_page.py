"""Tests of the performance page, its pictures, and the trends of the soak test."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import page, soak
from tests.bench.chart import Panel, svg

DOCS = Path(__file__).parents[2] / "docs"
KNOWN = json.loads((DOCS / "performance.json").read_text())


@pytest.mark.parametrize("name", page.files(KNOWN))
def test_page_is_up_to_date(name: str) -> None:
    """Page and pictures are generated from `performance.json`."""
    assert (DOCS / name).read_text() == page.files(KNOWN)[name], "run python -m tests.bench.report --page"


def test_picture() -> None:
    """A picture is XML with a title and a description, and its points match the axes."""
    text = svg("A & B", "Words <here>", [Panel("y", "x", {"up": [(0.0, 0.0), (10.0, 100.0)]})])
    tree = ElementTree.fromstring(text)  # noqa: S314  # our own
    name = "{http://www.w3.org/2000/svg}"
    assert tree.findtext(f"{name}title") == "A & B"
    assert tree.findtext(f"{name}desc") == "Words <here>"
    line = tree.find(f".//{name}polyline")
    assert line is not None
    assert line.attrib["points"] == "70.0,206.0 550.0,34.0"


def _look(at_s: float, rss: float) -> soak.Look:
    return soak.Look(
        at_s=at_s, requests=1, rss=rss, alone_rss=80.0, exporter_rss=60.0, files=7, alone_files=5, scrape_s=0.1,
        scrape_worst_s=0.2, gzip_bytes=200_000, record_bytes=1, cpu_s=2.0, alone_cpu_s=1.0, exporter_cpu_s=3.0,
        held_s=0.004, alone_held_s=0.005,
    )  # fmt: skip


def test_trends_of_the_soak() -> None:
    """Half a MiB a minute is growth, half a MiB once is not; the first minute is ignored."""
    times = [30.0 * number for number in range(1, 21)]
    growing = soak.trends([_look(at_s, 100 + at_s / 120) for at_s in times])
    flat = soak.trends([_look(at_s, 100.0 if at_s >= 60 else 50.0) for at_s in times])
    step = soak.trends([_look(at_s, 100.5 if at_s >= 300 else 100.0) for at_s in times])
    assert [trend.what for trend in growing if not trend.is_flat] == ["memory that the bridge adds"]
    assert growing[0].per_10_min == pytest.approx(5.0)
    assert all(trend.is_flat for trend in [*flat, *step])
