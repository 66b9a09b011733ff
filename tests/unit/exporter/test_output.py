"""Tests of the contract of an output."""

from __future__ import annotations

import inspect

import pytest

from locust_otel.exporter.output import Output
from locust_otel.exporter.process import outputs_of
from locust_otel.exporter.slow_log import SlowLog
from tests.unit.processes import Exporter

METHODS = {name: method for name, method in vars(Output).items() if inspect.isfunction(method)}
SESSION = Exporter().session
OUTPUTS = [*outputs_of(SESSION), SlowLog(SESSION)]


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: type(output).__name__)
def test_an_output_has_the_parameters_of_the_contract(output: Output) -> None:
    """Each overridden method can be called as the contract says, and `account` is a property."""
    for name, method in METHODS.items():
        parameters = inspect.signature(getattr(type(output), name)).parameters
        assert list(parameters) == list(inspect.signature(method).parameters), name
    assert isinstance(inspect.getattr_static(output, "account"), property)


def test_order() -> None:
    """The watch is first: its verdict belongs to the run that the others deliver."""
    assert [type(output).__name__ for output in OUTPUTS] == [
        "Watch", "RecordOutput", "Page", "Endpoint", "OtlpOutput", "SlowLog",
    ]  # fmt: skip
    assert [type(output).__name__ for output in OUTPUTS if output.adds_events] == ["Watch", "SlowLog"]
