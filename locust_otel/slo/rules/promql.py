"""PromQL as functions: one operator a line, so that a rule can be read and a change to it reviewed."""

from __future__ import annotations

from collections.abc import Sequence

from locust_otel.core.catalogue import Metric


def selector(name: str, /, **labels: str) -> str:
    """Return an instant selector: `name{label="value"}`; labels of an empty value are left out."""
    matchers = ", ".join(f'{label}="{_escaped(value)}"' for label, value in labels.items() if value)
    return f"{name}{{{matchers}}}" if matchers else name


def of(metric: Metric, /, **labels: str) -> str:
    """Return a selector of a metric of the catalogue.

    Raises:
        KeyError: The metric has no such label.
    """
    for label in labels:
        if label not in metric.labels:
            raise KeyError(f"{metric.name} has no label {label}")
    return selector(metric.name, **labels)


def increase(series: str, window: str, offset: str = "") -> str:
    """Return the growth of a counter over a window, which ends now or the offset ago."""
    return f"increase({series}[{window}]{f' offset {offset}' if offset else ''})"


def aggregated(function: str, by: Sequence[str], expression: str) -> str:
    """Return an aggregation: `sum by (a, b) (...)`."""
    return f"{function} by ({', '.join(by)}) ({expression})"


def ratio(numerator: str, denominator: str) -> str:
    """Return a quotient, without a value where the denominator is 0: nothing is no share of nothing."""
    return lines(numerator, "/", f"({denominator} > 0)")


def group(expression: str) -> str:
    """Return an expression in parentheses, indented where it has several lines."""
    if "\n" not in expression:
        return f"({expression})"
    inner = "\n".join(f"  {line}" for line in expression.splitlines())
    return f"(\n{inner}\n)"


def lines(*parts: str) -> str:
    """Return operands and operators, each on lines of its own."""
    return "\n".join(parts)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
