"""Tests of the JSON Schema: editors and the parser agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from locust_otel.core.errors import ConfigurationError
from locust_otel.slo.file import parse
from locust_otel.slo.schema import json_schema
from tests.unit.slo_files import MINIMAL, MUTATED, VALID, dumped

SCHEMA = Draft202012Validator(json_schema())
OF_SEVERAL_KEYS = {
    "slo-warmup", "slo-period-short", "slo-window-short", "slo-window-order", "slo-window-long", "slo-window-twice",
    "slo-window-unreachable",
}  # fmt: skip
"""Slugs of relations between keys, which the schema cannot express."""
OF_NUMBERS = {"slo-ratio", "slo-target-fine", "slo-duration-long", "slo-duration-unit", "slo-count"}
"""Slugs of numbers that YAML converts (1e9, .5), or that have too many digits."""


def agrees(values: Any) -> bool:
    """Return whether the schema accepts values."""
    return not list(SCHEMA.iter_errors(values))


def test_is_a_schema() -> None:
    """The schema is valid, describes each key, and contains no trace of Python."""
    Draft202012Validator.check_schema(json_schema())
    text = json.dumps(json_schema())
    assert '"null"' not in text
    for shape in (json_schema(), *json_schema()["$defs"].values()):
        assert shape["additionalProperties"] is False
        assert all(value["description"] for value in shape["properties"].values())
    for name, value in json_schema()["properties"].items():
        if "default" in value:
            assert agrees({**yaml.safe_load(MINIMAL), name: value["default"]}), name


@pytest.mark.parametrize("path", sorted(Path("locustfiles").glob("slo*.yaml")), ids=lambda path: path.name)
def test_shipped_files(path: Path) -> None:
    """The shipped files are valid in an editor, and name the schema."""
    assert agrees(yaml.safe_load(path.read_text()))
    (named,) = (line.partition("$schema=")[2] for line in path.read_text().splitlines() if "$schema=" in line)
    assert (path.parent / named).is_file()


@settings(max_examples=40, deadline=None)
@given(VALID)
def test_valid_files(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """A file that the parser accepts is valid in an editor, except for unusual forms of times."""
    written = yaml.safe_load(dumped(both[0]))
    for error in SCHEMA.iter_errors(written):
        assert error.path[-1] == "period"
        assert error.instance.endswith("ms") or "." in error.instance


@settings(max_examples=100, deadline=None)
@given(MUTATED)
def test_what_the_schema_accepts_the_parser_accepts(values: dict[str, Any]) -> None:
    """The parser refuses a file without errors in an editor only for relations between keys."""
    data = dumped(values)
    if not agrees(yaml.safe_load(data)):
        return
    try:
        parse(data, "slo.yaml")
    except ConfigurationError as error:
        slugs = {problem.slug for problem in error.problems}
    else:
        slugs = set()
    assert slugs <= OF_SEVERAL_KEYS | OF_NUMBERS


@pytest.mark.parametrize(
    "change",
    [
        {"perod": "4h"}, {"period": 30}, {"period": "30"}, {"period": "0s"}, {"period": None}, {"warmup": "a while"},
        {"min_requests": 0}, {"min_requests": 1.5}, {"service": ""}, {"service": "a b "}, {"service": "x" * 101},
        {"objectives": {}}, {"objectives": []}, {"objectives": {"a": None}}, {"objectives": {" a": {"sli": "mean"}}},
        {"objectives": {"a": {"sli": "success"}}}, {"objectives": {"a": {"target": "99%"}}}, {"scrape_interval": "0"},
        {"objectives": {"a": {"sli": "p99", "target": "99%"}}}, {"objectives": {"a": {"sli": "success", "target": 99}}},
        {"objectives": {"a": {"sli": "success", "target": "100%"}}}, {"period": "1.5s"}, {"slow_request": "0.5ms"},
        {"objectives": {"a": {"sli": "success", "target": 1}}},
        {"objectives": {"a": {"sli": "success", "target": "99"}}},
        {"objectives": {"a": {"sli": "success", "target": "99%", "within": "2s"}}}, {"windows": []}, {"windows": {}},
        {"objectives": {"a": {"sli": "latency", "target": "99%"}}}, {"objectives": {"a": {"sli": "mean", "within": 2}}},
        {"objectives": {"a": {"sli": "mean", "within": "2s", "target": "99%"}}},
        {"objectives": {"a": {"sli": "mean", "within": "2s", "match": {}}}},
        {"objectives": {"a": {"sli": "mean", "within": "2s", "match": {"name": ""}}}},
        {"objectives": {"a": {"sli": "mean", "within": "2s", "match": {"name": None}}}},
        {"objectives": {"a": {"sli": "mean", "within": "2s", "match": {"names": "/"}}}},
        {"windows": [{"severity": "page", "long": "2m", "short": "30s", "budget": "20%"}]},
        {"windows": [{"severity": "warning", "long": "2m", "short": "30s", "budget": 20}]},
        {"windows": [{"severity": "warning", "long": "2m", "short": "30s"}]},
    ],
    ids=str,
)  # fmt: skip
def test_typical_mistakes(change: dict[str, Any]) -> None:
    """The editor and the parser refuse typical mistakes."""
    values = {**yaml.safe_load(MINIMAL), **change}
    assert not agrees(values)
    with pytest.raises(ConfigurationError):
        parse(dumped(values), "slo.yaml")
