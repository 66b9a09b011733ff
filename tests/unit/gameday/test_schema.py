"""Tests of the shape of a game-day file: values, expectations, and the JSON Schema."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from locust_otel.gameday.schema import MAX_EXPECTATIONS, MAX_STEPS, LoadShape, json_schema
from tests.unit.gameday.days import expect, fault, step

LOAD = {"locustfile": "shop.py", "users": "5", "run_time": "1m"}
FAULT = {"name": "db", "run": "x", "undo": "y", "for": "2m"}


def test_the_settled_time_is_the_last_deadline() -> None:
    """It is the end of the fault or the last deadline, from the start or from the end of the fault."""
    assert step("10s", fault()).settled_s == 20
    assert step("10s", fault(), expect(alert="A", within="15s")).settled_s == 25
    assert step("10s", fault(), expect(alert="A", within="5s", clears_within="20s")).settled_s == 40


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"alert": "A", "within": "60s"}, "A within 1:00"),
        (
            {"alert": "A", "severity": "page", "within": "5s", "clears_within": "2m"},
            "A (page) within 5 s, gone within 2:00",
        ),
        ({"no_alert": "A"}, "no A"),
    ],
)
def test_an_expectation_in_words(keys: dict[str, str], sentence: str) -> None:
    """It has the alert, its severity and its times."""
    assert expect(**keys).sentence == sentence


@pytest.mark.parametrize(("rate", "number"), [("10", Decimal(10)), ("0.50", Decimal("0.5"))])
def test_a_rate(rate: str, number: Decimal) -> None:
    """It is a decimal number."""
    assert LoadShape.model_validate({**LOAD, "spawn_rate": rate}).spawn_rate == number


@pytest.mark.parametrize("rate", ["0", "-1", "1e3", "fast", "", "1.2.3", "1234567890123"])
def test_a_rate_that_is_refused(rate: str) -> None:
    """0 and other texts are not rates."""
    with pytest.raises(ValidationError, match="a number of users a second"):
        LoadShape.model_validate({**LOAD, "spawn_rate": rate})


@pytest.mark.parametrize("name", ["x" * 201, "two\nlines", " "])
def test_a_line_that_is_refused(name: str) -> None:
    """A name is one line of up to 200 characters, and not empty."""
    with pytest.raises(ValidationError, match=r"one line of up to 200|instead of a text"):
        fault(name=name)


def test_the_schema() -> None:
    """It is a schema with limits, describes each key, accepts a good file, and refuses a fault without undo."""
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert '"null"' not in json.dumps(schema)
    for shape in (schema, *schema["$defs"].values()):
        assert shape["additionalProperties"] is False
        assert all(value["description"] for value in shape["properties"].values())
    assert schema["properties"]["steps"]["maxItems"] == MAX_STEPS
    assert schema["$defs"]["StepShape"]["properties"]["expect"]["maxItems"] == MAX_EXPECTATIONS
    values: dict[str, Any] = {"name": "lose the database", "steps": [{"at": "2m", "fault": dict(FAULT)}]}
    validator = Draft202012Validator(schema)
    assert not list(validator.iter_errors(values))
    del values["steps"][0]["fault"]["undo"]
    assert list(validator.iter_errors(values))
