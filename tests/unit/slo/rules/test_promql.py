"""Tests of the PromQL helpers: the text that they write."""

from __future__ import annotations

import pytest

from locust_otel.core import catalogue
from locust_otel.slo.rules.promql import aggregated, group, increase, lines, of, on, over, ratio, selector


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (selector("up"), "up"),
        (selector("up", job="", name='a"\\\n'), 'up{name="a\\"\\\\\\n"}'),
        (selector("up", 'job=~"a|b"', instance="x"), 'up{job=~"a|b", instance="x"}'),
        (of(catalogue.WORKERS, 'state!="ready"', run_id="a"), 'locust_workers{state!="ready", run_id="a"}'),
        (over("rate", "a_total", "5m"), "rate(a_total[5m])"),
        (increase("a_total", "5m", "1h"), "increase(a_total[5m] offset 1h)"),
        (aggregated("sum", "a"), "sum (a)"),
        (aggregated("max", "a", "job", "slo"), "max by (job, slo) (a)"),
        (on(), "on ()"),
        (on("job", "slo"), "on (job, slo)"),
        (ratio("a", "b"), "a\n/\n(b > 0)"),
        (group("a"), "(a)"),
        (group(lines("a", "+", group(lines("b", "/", "c")))), "(\n  a\n  +\n  (\n    b\n    /\n    c\n  )\n)"),
    ],
)
def test_expressions(expression: str, text: str) -> None:
    """Labels are escaped, empty labels are left out, and operands of several lines are indented."""
    assert expression == text


@pytest.mark.parametrize(("matchers", "labels"), [((), {"name": "/"}), (('name!~"x"',), {})])
def test_a_label_that_the_metric_does_not_have(matchers: tuple[str, ...], labels: dict[str, str]) -> None:
    """A selector of the catalogue refuses unknown labels, in either form."""
    with pytest.raises(KeyError, match="locust_users has no label name"):
        of(catalogue.USERS, *matchers, **labels)
