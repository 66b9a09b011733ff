"""Explains an SLO file in words."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from locust_otel.slo.objectives import Objective, Slo, Window, percent, span, spoken


def explained(slo: Slo, rps: Decimal | None = None) -> Iterator[str]:
    """Yield what an SLO file means, a line each.

    Args:
        slo: The file.
        rps: Requests a second that are expected; None where nobody knows.
    """
    requests = rps * slo.period_s if rps is not None else None
    yield f"{slo.source}: {len(slo.objectives)} objectives of {slo.service}, for {spoken(slo.period_s)}"
    if requests is not None:
        yield f"At {rps:f} requests a second those are about {requests:,.0f} requests."
    yield (
        f"The first {spoken(slo.warmup_s)} of a run are not judged."
        if slo.warmup_s
        else "A run is judged from its first request on."
    )
    wait = ""
    if rps:
        seconds = slo.warmup_s + Decimal(slo.min_requests) / rps
        wait = f" At that rate that takes until {seconds:.0f} s after the start."
    yield f"Nothing is decided, and nothing alerts, before {slo.min_requests:,} requests are judged.{wait}"
    yield f"A request is slow above {spoken(slo.slow_s)}."
    for objective in slo.objectives:
        yield ""
        yield from _objective(slo, objective, rps)


def _objective(slo: Slo, objective: Objective, rps: Decimal | None) -> Iterator[str]:
    sentence = objective.sentence
    yield f"{objective.name}: {sentence[0].upper()}{sentence[1:]}."
    share = " of those it judges" if objective.match or objective.only_success else ""
    if objective.budget is None:
        windows = sorted(slo.windows, key=lambda pair: (pair.severity != "critical", pair.long_s))
        if windows:
            yield (
                f"  LocustSLOMeanLatencyHigh fires when the mean is above {spoken(objective.within_s or Decimal(0))} "
                f"over {span(windows[0].long_s)} and over {span(windows[0].short_s)}."
            )
        return
    what = "fail" if objective.sli.value == "success" else "take longer"
    if rps is not None and not share:
        total = rps * slo.period_s
        yield (
            f"  {percent(objective.budget)} of about {total:,.0f} requests may {what}: "
            f"{total * objective.budget:,.0f} in {spoken(slo.period_s)}."
        )
    else:
        yield f"  {percent(objective.budget)} of the requests{share} may {what}; that is its error budget."
    for window in slo.windows:
        yield from _window(slo, objective, objective.budget, window, rps if not share else None)


def _window(slo: Slo, objective: Objective, budget: Decimal, window: Window, rps: Decimal | None) -> Iterator[str]:
    factor = window.factor(slo.period_s)
    ratio = factor * budget
    outage = (ratio * window.long_s).quantize(Decimal("0.1"))
    bad = "fail" if objective.sli.value == "success" else "take longer"
    many = f" (about {ratio * window.long_s * rps:,.0f} of {window.long_s * rps:,.0f})" if rps is not None else ""
    yield (
        f"  The {window.severity} alert fires when more than {_short(ratio)} of the requests{many} {bad} over "
        f"{span(window.long_s)}, and more than {_short(ratio)} over {span(window.short_s)}: the budget burns "
        f"{factor:f} times as fast as it may."
    )
    yield f"    With all of them bad after {span(window.long_s)} without any, that is after {outage:f} s."


def _short(ratio: Decimal) -> str:
    return percent(ratio.quantize(Decimal("0.00001")))
