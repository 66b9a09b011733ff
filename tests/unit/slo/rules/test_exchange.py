"""Tests of the SLO file in the formats of other tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_otel.slo.file import load, parse
from locust_otel.slo.rules.exchange import FORMATS

TOP = Path(__file__).parents[4]
SHIPPED = load(str(TOP / "locustfiles/slo.yaml"))

# From the JSON schemas that OpenSLO publishes (schemas/v1/parts of OpenSLO/OpenSLO, read on 2026-11-22). No
# file can be valid by them: they spell ratioMetric "rationMetric", and require a key "duration" in each condition.
OPENSLO_NAME = re.compile(r"[a-z0-9][a-z0-9.|/\\-]*[a-z0-9]*")
OPENSLO_DURATION = re.compile(r"[1-9][0-9]*[mhdwMQY]")
OPENSLO_NEEDED = {
    "Service": set(),
    "SLO": {"indicator", "budgetingMethod", "objectives", "timeWindow"},
    "AlertCondition": {"severity", "condition"},
    "AlertPolicy": {"alertWhenNoData", "alertWhenResolved", "alertWhenBreaching", "conditions", "notificationTargets"},
    "AlertNotificationTarget": {"target"},
}
SLOTH_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")

ODD = parse(
    b"""
service: Web Shop
period: 90s
scrape_interval: 1s
objectives:
  "a b": {sli: success, target: 99%}
  "A-B": {sli: latency, target: 95%, within: 1s}
  "a_b": {sli: mean, within: 1s}
  "a.b": {sli: success, target: 90%}
""",
    "odd.yaml",
)


def documents(text: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML file."""
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("name", FORMATS)
def test_the_shipped_file(name: str) -> None:
    """The file and its losses are those that were reviewed."""
    text, lost = FORMATS[name](SHIPPED)
    golden = TOP / "tests/golden"
    assert text == (golden / f"{name}.yaml").read_text()
    assert "\n".join(lost) + "\n" == (golden / f"{name}.lost.txt").read_text()


@pytest.mark.parametrize("slo", [SHIPPED, ODD], ids=["shipped", "odd"])
def test_openslo_follows_its_schema(slo: Any) -> None:
    """Each document has the keys of its kind, valid names and durations, and references to other documents."""
    found = documents(FORMATS["openslo"](slo)[0])
    names = {(document["kind"], document["metadata"]["name"]) for document in found}
    assert len(names) == len(found)
    for document in found:
        assert document["apiVersion"] == "openslo/v1"
        assert OPENSLO_NAME.fullmatch(document["metadata"]["name"])
        assert len(document["metadata"]["name"]) <= 255
        spec = document["spec"]
        assert set(spec) >= OPENSLO_NEEDED[document["kind"]], document
        match document["kind"]:
            case "AlertCondition":
                condition = spec["condition"]
                assert condition["kind"] == "burnrate"
                assert condition["op"] in {"lte", "gte", "lt", "gt"}
                assert isinstance(condition["threshold"], int | float)
                assert OPENSLO_DURATION.fullmatch(condition["lookbackWindow"])
                assert OPENSLO_DURATION.fullmatch(condition["alertAfter"])
            case "AlertPolicy":
                assert len(spec["conditions"]) == 1
                assert ("AlertCondition", spec["conditions"][0]["conditionRef"]) in names
                assert spec["notificationTargets"]
                assert all(("AlertNotificationTarget", t["targetRef"]) in names for t in spec["notificationTargets"])
            case "SLO":
                assert ("Service", spec["service"]) in names
                assert all(("AlertPolicy", policy["alertPolicyRef"]) in names for policy in spec["alertPolicies"])
                metric = spec["indicator"]["spec"]["ratioMetric"]
                assert metric["counter"] is True
                assert set(metric) == {"counter", "good", "total"}
                (window,) = spec["timeWindow"]
                assert OPENSLO_DURATION.fullmatch(window["duration"])
                (objective,) = spec["objectives"]
                assert 0 < objective["target"] < 1


@pytest.mark.parametrize("slo", [SHIPPED, ODD], ids=["shipped", "odd"])
def test_sloth_follows_its_specification(slo: Any) -> None:
    """Names are unique and valid, objectives are percentages, and each query has its window."""
    (document,) = documents(FORMATS["sloth"](slo)[0])
    assert document["version"] == "prometheus/v1"
    assert SLOTH_NAME.fullmatch(document["service"])
    names = [entry["name"] for entry in document["slos"]]
    assert len(set(names)) == len(names) > 1
    for entry in document["slos"]:
        assert SLOTH_NAME.fullmatch(entry["name"])
        assert 0 < entry["objective"] < 100
        assert set(entry["sli"]["events"]) == {"error_query", "total_query"}
        assert all(query.count("[{{.window}}]") == 1 for query in entry["sli"]["events"].values())
        assert entry["alerting"]["name"]


def test_seconds_are_rounded_up() -> None:
    """OpenSLO has no seconds: a period of 90 s becomes two minutes, and the loss is reported."""
    text, lost = FORMATS["openslo"](ODD)
    assert documents(text)[-1]["spec"]["timeWindow"][0]["duration"] == "2m"
    assert any(line.startswith("durations:") for line in lost)
