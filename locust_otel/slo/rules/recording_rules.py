"""Recording rules of an SLO file: the same series for every file, so that one dashboard fits all files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from locust_otel.core import catalogue
from locust_otel.core.catalogue import Metric
from locust_otel.slo.objectives import Sli, Slo, percent, span
from locust_otel.slo.rules import names
from locust_otel.slo.rules.names import OBJECTIVE
from locust_otel.slo.rules.promql import aggregated, group, increase, lines, of, on, ratio, selector

Rule = dict[str, Any]
"""A rule, as in Prometheus' rule files."""

ON_OBJECTIVE = on(*OBJECTIVE)


def recording_rules(slo: Slo) -> Iterator[Rule]:
    """Yield the recording rules of a file, each after the rules whose series it uses."""
    yield from _infos(slo)
    yield _rule(names.JUDGED, "\nor\n".join(map(_sum, judged(slo))))
    if slo.slis != {Sli.SUCCESS}:
        yield _rule(names.THRESHOLD, _gauge(slo, catalogue.SLO_THRESHOLD))
    if slo.slis != {Sli.MEAN}:
        yield from _ratios(slo)
    if Sli.MEAN in slo.slis:
        counters = (catalogue.SLO_MEAN_SECONDS, catalogue.SLO_MEAN_REQUESTS)
        seconds, requests = (of(counter, slo_service=slo.service) for counter in counters)
        yield from _quotients(slo, names.MEAN_TO_DATE, names.MEAN, seconds, requests)


def _rule(record: str, expression: str, **labels: str) -> Rule:
    return {"record": record, "expr": expression, **({"labels": labels} if labels else {})}


def _sum(series: str) -> str:
    return aggregated("sum", series, *OBJECTIVE)


def _gauge(slo: Slo, metric: Metric, /, **labels: str) -> str:
    """Return a gauge of the objectives of a file, once for each objective."""
    return aggregated("max", of(metric, slo_service=slo.service, **labels), *OBJECTIVE)


def _infos(slo: Slo) -> Iterator[Rule]:
    for objective in slo.objectives:
        yield _rule(
            names.INFO,
            f"{_gauge(slo, catalogue.SLO_MIN_REQUESTS, slo=objective.name)} * 0 + 1",
            # The series has this label already. Without it promtool's linter takes the rules of two objectives for one.
            slo=objective.name,
            sli=objective.sli.value,
            target="" if objective.target is None else percent(objective.target),
            within="" if objective.within_s is None else span(objective.within_s),
            period=span(slo.period_s),
        )


def judged(slo: Slo) -> Iterator[str]:
    """Yield the counters of judged requests that a file has."""
    if slo.slis != {Sli.MEAN}:
        yield of(catalogue.SLO_EVENTS, slo_service=slo.service)
    if Sli.MEAN in slo.slis:
        yield of(catalogue.SLO_MEAN_REQUESTS, slo_service=slo.service)


def _quotients(slo: Slo, to_date: str, record: str, numerator: str, denominator: str) -> Iterator[Rule]:
    """Yield the quotient of two counters: of their values to date, and of their increases in each window."""
    yield _rule(to_date, ratio(_sum(numerator), _sum(denominator)))
    for seconds in slo.spans_s:
        window = span(seconds)
        increases = (_sum(increase(counter, window)) for counter in (numerator, denominator))
        yield _rule(record, ratio(*increases), window=window)


def _ratios(slo: Slo) -> Iterator[Rule]:
    def recorded(name: str) -> str:
        return selector(name, slo_service=slo.service)

    budget = recorded(names.BUDGET)
    yield _rule(names.OBJECTIVE_RATIO, _gauge(slo, catalogue.SLO_OBJECTIVE))
    # 1 - 0.99 is 0.010000000000000009; rounded it is the budget of the file. Not round(…, 1e-9): Prometheus divides by
    # 1 / 1e-9, which is no whole number, and returns 0.010000000000000002.
    yield _rule(names.BUDGET, f"round((1 - {recorded(names.OBJECTIVE_RATIO)}) * 1e9) / 1e9")
    bad = of(catalogue.SLO_EVENTS, slo_service=slo.service, outcome="bad")
    all_events = of(catalogue.SLO_EVENTS, slo_service=slo.service)
    yield from _quotients(slo, names.ERROR_RATIO_TO_DATE, names.ERROR_RATIO, bad, all_events)
    yield _rule(names.BURN_RATE, lines(recorded(names.ERROR_RATIO), f"/ {ON_OBJECTIVE} group_left ()", budget))
    for pair in slo.windows:
        yield _rule(
            names.BURN_FACTOR,
            f"{budget} * 0 + {pair.factor(slo.period_s)}",
            severity=pair.severity,
            window=span(pair.long_s),
            short_window=span(pair.short_s),
        )
    elapsed = aggregated("max", catalogue.RUN_ELAPSED.name, "run_id")
    yield _rule(
        names.BUDGET_SPENT,
        lines(
            recorded(names.ERROR_RATIO_TO_DATE),
            f"/ {ON_OBJECTIVE}",
            budget,
            f"* {on('run_id')} group_left ()",
            f"clamp(({elapsed} - {slo.warmup_s:f}) / {slo.period_s:f}, 0, 1)",
        ),
    )
    yield _rule(names.BUDGET_REMAINING, f"1 - {recorded(names.BUDGET_SPENT)}")


def enough(slo: Slo) -> str:
    """Return a condition: the objective has judged at least the required number of requests to date."""
    required = _gauge(slo, catalogue.SLO_MIN_REQUESTS)
    return group(lines(selector(names.JUDGED, slo_service=slo.service), f">= {ON_OBJECTIVE}", required))
