"""Tests of the runbooks: a heading for each alert, and only names that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from locust_otel.core.catalogue import CATALOGUE, Kind
from locust_otel.slo.rules import names
from tests.unit.dashboard_lint import KNOWN

TOP = Path(__file__).parents[2]
TEXT = (TOP / "deploy/runbooks.md").read_text()
HEADINGS = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
QUERIES = re.findall(r"^```promql\n(.+?)^```$", TEXT, re.MULTILINE | re.DOTALL)
RULES = [
    rule
    for path in TOP.glob("deploy/prometheus/rules/*/*.yaml")
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]


def test_every_alert_has_its_heading_and_no_heading_is_left_over() -> None:
    """The headings are the alerts, in any order, each once."""
    assert sorted(HEADINGS) == sorted({rule["alert"] for rule in RULES if "alert" in rule})


def test_runbook_urls_lead_to_headings() -> None:
    """GitHub's anchor of a heading is the one in the alert."""
    anchors = {f"{names.RUNBOOKS}#{heading.lower()}" for heading in HEADINGS}
    urls = [rule["annotations"]["runbook_url"] for rule in RULES if "alert" in rule]
    assert len(urls) > 13
    assert set(urls) == anchors


def test_parts_of_a_section() -> None:
    """Each section has its three parts and a query."""
    for section in TEXT.split("\n## ")[1:]:
        for part in ("**Look at**", "**Do**", "**False alarm**", "```promql"):
            assert part in section, section.splitlines()[0]


def test_names_in_queries_and_text() -> None:
    """Metrics are those of the catalogue, recorded series those of the rules."""
    parts = {
        f"{metric.name}_{part}" for metric in CATALOGUE for part in ("sum", "count") if metric.kind is Kind.HISTOGRAM
    }
    series = set(re.findall(r"\blocust_[a-z_:]+", TEXT))
    assert len(series) >= 15
    assert series <= set(KNOWN) | parts


def test_dashboards_are_called_by_their_titles() -> None:
    """Dashboards are named by their titles."""
    titles = {json.loads(path.read_text())["title"] for path in TOP.glob("dashboards/*.json")}
    named = set(re.findall(r"\*(Locust: [^*]+)\*", TEXT))
    assert len(named) == 3
    assert named <= titles
