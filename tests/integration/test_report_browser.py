"""The HTML report in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from locust_otel.review.record.reader import load
from locust_otel.review.report.rendering import page
from locust_otel.review.report.summary import analyzed, summary
from locust_otel.slo.file import parse
from tests.analysis.simulation import Plan, simulate, steps
from tests.e2e.harness import findings

FACTS = Path(__file__).with_name("page_facts.py")
WIDTHS = {"wide": 1280, "narrow": 400}
SLO = b"""
service: shop
period: 3m
scrape_interval: 1s
warmup: 5s
min_requests: 100
objectives:
  availability: {sli: success, target: 99%}
  fast-enough: {sli: latency, target: 95%, within: 500ms}
"""


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give the views of the report on a simulated collapse, compared with a baseline."""
    folder = tmp_path_factory.mktemp("report")
    slo = parse(SLO, "slo.yaml")
    bad = Plan(steps(20, 160, 8, 20), 180, "pool-cliff", 10.0, 170.0, has_mark=True, time_scale=7.0)
    record = simulate(bad, folder / "bad", slo)
    baseline = simulate(Plan(steps(20, 160, 8, 20), 180, seed=2, time_scale=2.0), folder / "good", slo)
    run = summary(load(record))
    assert run.record.is_complete
    text = page(run, analyzed(run.record), summary(load(baseline)))
    (folder / "report.html").write_text(text, encoding="utf-8")
    return findings(FACTS, folder / "report.html", folder)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WIDTHS)
def test_page(views: dict[str, Any], size: str, scheme: str) -> None:
    """There is no message, no request, no overlap, no sideways scroll; every picture has title and description."""
    view = views[f"{size}-{scheme}"]
    for finding in ("messages", "requests", "overlaps", "text_overlaps", "twice"):
        assert view[finding] == [], finding
    assert view["width"] <= WIDTHS[size]
    assert len(view["pictures"]) == 6
    for picture in view["pictures"]:
        assert picture["role"] == "img"
        assert len(picture["texts"]) == 2
        assert all(len(text) > 10 for text in picture["texts"])
