"""PromQL as functions, for rules, dashboards and queries: one operator a line, so that a change can be reviewed."""

from __future__ import annotations

import re

from locust_otel.core.catalogue import Metric


def selector(name: str, /, *matchers: str, **labels: str) -> str:
    """Return an instant selector, `name{label="value"}`: matchers as they are, then labels without the empty ones."""
    equal = (f'{label}="{_escaped(value)}"' for label, value in labels.items() if value)
    listed = ", ".join((*matchers, *equal))
    return f"{name}{{{listed}}}" if listed else name


def of(metric: Metric, /, *matchers: str, **labels: str) -> str:
    """Return a selector of a metric of the catalogue.

    Raises:
        KeyError: The metric has no such label.
    """
    for label in (*(re.split(r"\W", matcher, maxsplit=1)[0] for matcher in matchers), *labels):
        if label not in metric.labels:
            raise KeyError(f"{metric.name} has no label {label}")
    return selector(metric.name, *matchers, **labels)


def over(function: str, series: str, window: str, offset: str = "") -> str:
    """Return a function of a range: `rate(series[1m] offset 5m)`; the window ends now, or the offset ago."""
    return f"{function}({series}[{window}]{f' offset {offset}' if offset else ''})"


def increase(series: str, window: str, offset: str = "") -> str:
    """Return the increase of a counter over a window, which ends now or the offset ago."""
    return over("increase", series, window, offset)


def aggregated(function: str, expression: str, /, *by: str) -> str:
    """Return an aggregation by labels: `sum by (a, b) (...)`; without labels `sum (...)`."""
    labels = f" by ({', '.join(by)})" if by else ""
    return f"{function}{labels} ({expression})"


def on(*labels: str) -> str:
    """Return the labels on which two operands match: `on (a, b)`."""
    return f"on ({', '.join(labels)})"


def ratio(numerator: str, denominator: str) -> str:
    """Return a quotient, without a sample where the denominator is 0."""
    return lines(numerator, "/", f"({denominator} > 0)")


def group(expression: str) -> str:
    """Return an expression in parentheses; several lines are indented."""
    if "\n" not in expression:
        return f"({expression})"
    inner = "\n".join(f"  {line}" for line in expression.splitlines())
    return f"(\n{inner}\n)"


def lines(*parts: str) -> str:
    """Return operands and operators, each on its own line."""
    return "\n".join(parts)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
