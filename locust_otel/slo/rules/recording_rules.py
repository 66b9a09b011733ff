"""Recording rules of an SLO file: the same series for every file, so that dashboards need not know it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from locust_otel.core import catalogue
from locust_otel.slo.objectives import Sli, Slo, percent, span
from locust_otel.slo.rules import names
from locust_otel.slo.rules.names import OBJECTIVE
from locust_otel.slo.rules.promql import aggregated, group, increase, lines, of, ratio, selector

Rule = dict[str, Any]
"""A rule, as Prometheus' rule files have it."""

ON_OBJECTIVE = f"on ({', '.join(OBJECTIVE)})"


def recording_rules(slo: Slo) -> Iterator[Rule]:
    """Yield the recording rules of a file, each after those it stands on."""
    service = slo.service
    yield from _infos(slo)
    yield _rule(names.JUDGED, "\nor\n".join(map(_sum, judged(slo))))
    if slo.slis != {Sli.SUCCESS}:
        yield _rule(names.THRESHOLD, aggregated("max", OBJECTIVE, of(catalogue.SLO_THRESHOLD, slo_service=service)))
    if slo.slis != {Sli.MEAN}:
        yield from _ratios(slo)
    if Sli.MEAN in slo.slis:
        seconds = of(catalogue.SLO_MEAN_SECONDS, slo_service=service)
        requests = of(catalogue.SLO_MEAN_REQUESTS, slo_service=service)
        yield from _quotients(slo, names.MEAN_TO_DATE, names.MEAN, seconds, requests)


def _rule(record: str, expression: str, **labels: str) -> Rule:
    return {"record": record, "expr": expression, **({"labels": labels} if labels else {})}


def _infos(slo: Slo) -> Iterator[Rule]:
    for objective in slo.objectives:
        known = of(catalogue.SLO_MIN_REQUESTS, slo_service=slo.service, slo=objective.name)
        yield _rule(
            names.INFO,
            f"{aggregated('max', OBJECTIVE, known)} * 0 + 1",
            # As it is anyway; promtool's linter takes two rules for one that differ in their expressions only.
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


def _sum(series: str) -> str:
    return aggregated("sum", OBJECTIVE, series)


def _quotients(slo: Slo, to_date: str, record: str, numerator: str, denominator: str) -> Iterator[Rule]:
    """Yield the quotient of two counters: of all that they have counted, and of their growth in each window."""
    yield _rule(to_date, ratio(_sum(numerator), _sum(denominator)))
    for seconds in slo.spans_s:
        window = span(seconds)
        growth = (_sum(increase(counter, window)) for counter in (numerator, denominator))
        yield _rule(record, ratio(*growth), window=window)


def _ratios(slo: Slo) -> Iterator[Rule]:
    service = slo.service
    bad = of(catalogue.SLO_EVENTS, slo_service=service, outcome="bad")
    every = of(catalogue.SLO_EVENTS, slo_service=service)
    yield _rule(names.OBJECTIVE_RATIO, aggregated("max", OBJECTIVE, of(catalogue.SLO_OBJECTIVE, slo_service=service)))
    # 1 - 0.99 is 0.010000000000000009; rounded it is the budget that was written. Not round(…, 1e-9): Prometheus
    # divides by 1 / 1e-9, which is no whole number, and says 0.010000000000000002.
    yield _rule(names.BUDGET, f"round((1 - {selector(names.OBJECTIVE_RATIO, slo_service=service)}) * 1e9) / 1e9")
    yield from _quotients(slo, names.ERROR_RATIO_TO_DATE, names.ERROR_RATIO, bad, every)
    budget = selector(names.BUDGET, slo_service=service)
    yield _rule(
        names.BURN_RATE,
        lines(selector(names.ERROR_RATIO, slo_service=service), f"/ {ON_OBJECTIVE} group_left ()", budget),
    )
    for pair in slo.windows:
        yield _rule(
            names.BURN_FACTOR,
            f"{budget} * 0 + {pair.factor(slo.period_s)}",
            severity=pair.severity,
            window=span(pair.long_s),
            short_window=span(pair.short_s),
        )
    elapsed = aggregated("max", ("run_id",), catalogue.RUN_ELAPSED.name)
    period = f"{slo.period_s:f}"
    yield _rule(
        names.BUDGET_SPENT,
        lines(
            selector(names.ERROR_RATIO_TO_DATE, slo_service=service),
            f"/ {ON_OBJECTIVE}",
            budget,
            "* on (run_id) group_left ()",
            f"clamp(({elapsed} - {slo.warmup_s:f}) / {period}, 0, 1)",
        ),
    )
    yield _rule(names.BUDGET_REMAINING, f"1 - {selector(names.BUDGET_SPENT, slo_service=service)}")


def enough(slo: Slo) -> str:
    """Return what holds for objectives with enough judged requests, to date, for anything to be said."""
    least = aggregated("max", OBJECTIVE, of(catalogue.SLO_MIN_REQUESTS, slo_service=slo.service))
    return group(lines(selector(names.JUDGED, slo_service=slo.service), f">= {ON_OBJECTIVE}", least))
