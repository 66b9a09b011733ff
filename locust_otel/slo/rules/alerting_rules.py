"""Alerts: of the objectives of an SLO file, and of any run.

An alert on an objective uses counters that begin after the warm-up, requires the least number of requests, and fires
only while the run is active. `keep_firing_for` keeps it firing a little longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from locust_otel.core import catalogue
from locust_otel.slo.burn import MIN_SCRAPES
from locust_otel.slo.objectives import Sli, Slo, Window, percent, span, spoken
from locust_otel.slo.rules import names
from locust_otel.slo.rules.names import OBJECTIVE
from locust_otel.slo.rules.promql import aggregated, group, increase, lines, of, on, over, ratio, selector
from locust_otel.slo.rules.recording_rules import ON_OBJECTIVE, Rule, enough, judged

_PROCESS = ("job", "instance")
_AND_RUN = f"and {on('run_id')}"
_UNLESS_RUN = f"unless {on('run_id')}"

# Limits for any run: no file sets them.
_MAX_SLOW = "0.01"
_MAX_FAILED = "0.05"
_SPIKE = "5"
_LEAST_REQUESTS = "100"
_LEAST_USERS = "0.9"


@dataclass(frozen=True, slots=True)
class Links:
    """Targets of the links in annotations: the page of the runbooks, and the address of a dashboard without its uid."""

    runbooks: str = names.RUNBOOKS
    dashboards: str = names.DASHBOARDS


@dataclass(frozen=True, slots=True)
class _Alert:
    """One alert; its link opens the dashboard with `variables` set to the labels of the same names."""

    name: str
    expression: str
    summary: str
    description: str
    severity: str = "warning"
    dashboard: str = "live"
    variables: tuple[str, ...] = ("run_id",)
    wait: str = ""
    keep: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self, links: Links) -> Rule:
        query = "&".join(f"var-{label}={{{{ $labels.{label} | urlquery }}}}" for label in self.variables)
        return {
            "alert": self.name,
            "expr": self.expression,
            **({"for": self.wait} if self.wait else {}),
            **({"keep_firing_for": self.keep} if self.keep else {}),
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{links.runbooks}#{self.name.lower()}",
                "dashboard_url": f"{links.dashboards}/locust-otel-{self.dashboard}" + (f"?{query}" if query else ""),
            },
        }


_of_slo = partial(_Alert, dashboard="slo", variables=("run_id", "slo"))
_of_generator = partial(_Alert, dashboard="generator")


def slo_alerts(slo: Slo, links: Links) -> Iterator[Rule]:
    """Yield the alerts of an SLO file."""
    pair = slo.most_urgent
    if slo.slis != {Sli.MEAN}:
        yield from (_budget_burn(slo, window).rule(links) for window in slo.windows)
        yield _budget_exhausted(slo).rule(links)
    if pair is not None and Sli.MEAN in slo.slis:
        yield _mean_high(slo, pair).rule(links)
    if pair is not None:
        yield _no_data(slo, pair).rule(links)


def run_alerts(slo: Slo, links: Links) -> Iterator[Rule]:
    """Yield the alerts of any run; they depend only on the scrape interval and the windows of the file."""
    short_s = max(Decimal(60), MIN_SCRAPES * slo.scrape_interval_s)
    short, middle, long = span(short_s), span(2 * short_s), span(10 * short_s)
    alerts = (
        _slow_requests(middle),
        _failures_spike(short, long),
        _saturated(slo),
        _worker_missing(),
        _users_below_target(),
        _telemetry_absent(middle, long, span(max(Decimal(15), 3 * slo.scrape_interval_s))),
        _export_failing(short, middle),
        _series_folded(),
        _run_active(),
    )
    return (alert.rule(links) for alert in alerts)


def _of_run(function: str, series: str) -> str:
    return aggregated(function, series, "run_id")


_ACTIVE = f"({_of_run('max', catalogue.RUN_ACTIVE.name)} == 1)"


def _while_active(*parts: str) -> str:
    return lines(*parts, _AND_RUN, _ACTIVE)


def _above_in_both(slo: Slo, pair: Window, series: str, limit: str) -> str:
    """Return a condition: a recorded series of an objective is above its limit in both windows of a pair."""
    long, short = (
        group(lines(selector(series, slo_service=slo.service, window=span(length)), f"> {ON_OBJECTIVE}", limit))
        for length in (pair.long_s, pair.short_s)
    )
    return _while_active(long, f"and {ON_OBJECTIVE}", short, f"and {ON_OBJECTIVE}", enough(slo))


def _budget_burn(slo: Slo, pair: Window) -> _Alert:
    long, short, factor = span(pair.long_s), span(pair.short_s), pair.factor(slo.period_s)
    limit = selector(names.BURN_FACTOR, slo_service=slo.service, severity=pair.severity, window=long)
    return _of_slo(
        names.BUDGET_BURN,
        _above_in_both(slo, pair, names.BURN_RATE, limit),
        "{{ $labels.slo }} of {{ $labels.slo_service }} burns its error budget.",
        f"In run {{{{ $labels.run_id }}}} the burn rate of {{{{ $labels.slo }}}} is {{{{ $value | humanize }}}} over "
        f"the last {long}. It is above the limit of {factor} over the last {short} too. A burn rate of {factor} spends "
        f"{percent(pair.budget.quantize(Decimal('0.0001')))} of the budget for {spoken(slo.period_s)} in {long}.",
        severity=pair.severity,
        keep=short,
        labels={"window": long, "short_window": short, "sli": _sli(slo)},
    )


def _sli(slo: Slo) -> str:
    """Return the template of the SLI of an objective with a budget; inhibition needs it, as no late generator fails."""
    ratios = [objective for objective in slo.objectives if objective.sli is not Sli.MEAN]
    failures = [f'"{objective.name}"' for objective in ratios if objective.sli is Sli.SUCCESS]
    if not failures:
        return Sli.LATENCY.value
    if len(failures) == len(ratios):
        return Sli.SUCCESS.value
    is_success = f"eq $labels.slo {' '.join(failures)}"
    return f"{{{{ if {is_success} }}}}{Sli.SUCCESS.value}{{{{ else }}}}{Sli.LATENCY.value}{{{{ end }}}}"


def _budget_exhausted(slo: Slo) -> _Alert:
    remaining = selector(names.BUDGET_REMAINING, slo_service=slo.service)
    return _of_slo(
        names.BUDGET_EXHAUSTED,
        _while_active(group(f"{remaining} <= 0"), f"and {ON_OBJECTIVE}", enough(slo)),
        "{{ $labels.slo }} of {{ $labels.slo_service }} has spent its error budget.",
        f"Run {{{{ $labels.run_id }}}} has spent the error budget of {{{{ $labels.slo }}}} for "
        f"{spoken(slo.period_s)}: {{{{ $value | humanizePercentage }}}} of it is left.",
        severity="critical",
        keep=span(slo.spans_s[0]) if slo.spans_s else "",
        labels={"sli": _sli(slo)},
    )


def _mean_high(slo: Slo, pair: Window) -> _Alert:
    long, short = span(pair.long_s), span(pair.short_s)
    return _of_slo(
        names.MEAN_HIGH,
        _above_in_both(slo, pair, names.MEAN, selector(names.THRESHOLD, slo_service=slo.service)),
        "The mean response time of {{ $labels.slo_service }} is too high.",
        f"Requests of run {{{{ $labels.run_id }}}} took {{{{ $value | humanizeDuration }}}} on average over the last "
        f"{long}. That is longer than {{{{ $labels.slo }}}} allows, and so is the average over the last {short}.",
        keep=short,
        labels={"sli": Sli.MEAN.value},
    )


def _no_data(slo: Slo, pair: Window) -> _Alert:
    window = span(pair.long_s)
    idle = "\nor\n".join(f"{aggregated('sum', increase(series, window), *OBJECTIVE)} == 0" for series in judged(slo))
    users = f"({_of_run('sum', catalogue.USERS.name)} > 0)"
    # Earlier the window would reach back to before the first judged request.
    has_begun = f"({_of_run('max', catalogue.RUN_ELAPSED.name)} > {slo.warmup_s + pair.long_s:f})"
    return _of_slo(
        names.NO_DATA,
        lines(_while_active(group(idle)), _AND_RUN, users, _AND_RUN, has_begun),
        "No request is judged for {{ $labels.slo }} of {{ $labels.slo_service }}.",
        f"Run {{{{ $labels.run_id }}}} has users, but {{{{ $labels.slo }}}} has judged none of their requests for "
        f"{window}.",
    )


def _requests(window: str, offset: str = "", **labels: str) -> str:
    return _of_run("sum", increase(of(catalogue.REQUESTS, **labels), window, offset))


def _slow_requests(window: str) -> _Alert:
    slow, requests = _of_run("sum", increase(catalogue.SLOW_REQUESTS.name, window)), _requests(window)
    return _Alert(
        names.SLOW_REQUESTS,
        _while_active(f"{group(ratio(slow, requests))} > {_MAX_SLOW}", _AND_RUN, f"({requests} >= {_LEAST_REQUESTS})"),
        "Requests of run {{ $labels.run_id }} are slow.",
        f"{{{{ $value | humanizePercentage }}}} of the requests in the last {window} took longer than "
        "--slow-request. Locust's log lists some of them.",
        keep="30s",
    )


def _failures_spike(short: str, long: str) -> _Alert:
    failed = _requests(short, outcome="failure")
    now = group(ratio(failed, _requests(short)))
    before = group(ratio(_requests(long, short, outcome="failure"), _requests(long, short)))
    return _Alert(
        names.FAILURES_SPIKE,
        _while_active(
            f"{now} > {_MAX_FAILED}",
            _UNLESS_RUN,
            # A share of failures that does not grow is no spike.
            group(lines(now, f"<= {on('run_id')}", f"{_SPIKE} * {before}")),
            _AND_RUN,
            f"({failed} >= 10)",
        ),
        "Requests of run {{ $labels.run_id }} have begun to fail.",
        f"{{{{ $value | humanizePercentage }}}} of the requests failed in the last {short}, more than "
        f"{_SPIKE} times the share in the {long} before.",
        keep="30s",
    )


def _saturated(slo: Slo) -> _Alert:
    # Late measurements remain in the short windows of critical alerts, which this alert inhibits for as long.
    keep_s = max([Decimal(60), *(pair.short_s for pair in slo.windows if pair.severity == "critical")])
    workers = _of_run("max", of(catalogue.RUN_INVALID, reason="workers"))
    others = _of_run("max", of(catalogue.RUN_INVALID, 'reason!="workers"'))
    return _of_generator(
        names.GENERATOR_SATURATED,
        _while_active(
            f"({_of_run('min', catalogue.RUN_VALID.name)} == 0)",
            _UNLESS_RUN,
            # A run that has lost workers is not valid either, but its generator is not slow.
            group(lines(f"({workers} == 1)", _UNLESS_RUN, f"({others} == 1)")),
        ),
        "The load generator of run {{ $labels.run_id }} is too slow.",
        "A process that generates load has no CPU left, or its event loop is late. The latencies that it measures are "
        "too long. Alertmanager suppresses alerts on latencies and means meanwhile, but no alerts on failures.",
        keep=span(keep_s),
    )


def _worker_missing() -> _Alert:
    return _of_generator(
        names.WORKER_MISSING,
        _while_active(f"({_of_run('max', of(catalogue.WORKERS, state='missing'))} > 0)"),
        "Run {{ $labels.run_id }} has lost workers.",
        "{{ $value }} workers no longer answer the master. Their requests since the last report are not counted, and "
        "the load is smaller than planned.",
        wait="10s",
    )


def _users_below_target() -> _Alert:
    users, target = (_of_run("sum", metric.name) for metric in (catalogue.USERS, catalogue.USERS_TARGET))
    return _Alert(
        names.USERS_BELOW_TARGET,
        _while_active(
            group(lines(group(lines(users, f"/ {on('run_id')}", f"({target} > 0)")), f"< {_LEAST_USERS}")),
            _AND_RUN,
            f"({_of_run('max', of(catalogue.RUN_STATE, state='running'))} == 1)",
        ),
        "Run {{ $labels.run_id }} has fewer users than its target.",
        "Only {{ $value | humanizePercentage }} of the target number of users are running, although spawning is over.",
        wait="30s",
    )


def _heard(series: str, window: str) -> str:
    """Return series that still have samples.

    A failed scrape ends a series at once. Nothing marks the end of a pushed series: it remains for five minutes
    without a sample.
    """
    return f"({series} and {over('present_over_time', series, window)})"


def _telemetry_absent(middle: str, long: str, silence: str) -> _Alert:
    active = catalogue.RUN_ACTIVE.name
    heard = _heard(active, middle)
    # A process that has begun another run is alive, even if the last sample of its previous run is 1.
    silent = lines(f"{over('last_over_time', active, long)} == 1", f"unless {on(*_PROCESS)}", heard)
    return _Alert(
        names.TELEMETRY_ABSENT,
        lines(f"max by (run_id) {group(silent)}", _UNLESS_RUN, heard),
        "Run {{ $labels.run_id }} no longer sends data.",
        "The run was active when its last sample came. The process has died, or it cannot be reached.",
        wait=silence,
    )


def _export_failing(short: str, middle: str) -> _Alert:
    by = ("exporter", *_PROCESS)
    failed = aggregated("sum", increase(of(catalogue.EXPORTS, outcome="failure"), middle), *by)
    succeeded = aggregated("sum", increase(of(catalogue.EXPORTS, outcome="success"), short), *by)
    # Windows reach back to before the end of a process, which would then have had no success for a while.
    heard = _heard(catalogue.EXPORTS.name, short)
    return _of_generator(
        names.EXPORT_FAILING,
        lines(f"({failed} > 0)", f"unless {on(*by)}", f"({succeeded} > 0)", f"and {on(*by)}", heard),
        "Exports of {{ $labels.instance }} by {{ $labels.exporter }} fail.",
        f"{{{{ $value | humanize }}}} exports failed in the last {middle}, and none succeeded in the last {short}.",
        variables=(),
        wait="30s",
    )


def _series_folded() -> _Alert:
    return _of_generator(
        names.SERIES_FOLDED,
        f"{aggregated('max', catalogue.FOLDED_REQUESTS.name, *_PROCESS)} > 0",
        "Requests of {{ $labels.instance }} are counted under the name _OTHER.",
        "{{ $value }} requests have names beyond --max-request-names. If names contain ids, give `name=` to the "
        "client's calls. If not, raise the limit.",
        severity="info",
        variables=(),
    )


def _run_active() -> _Alert:
    return _Alert(
        names.RUN_ACTIVE,
        _ACTIVE,
        "Load test {{ $labels.run_id }} is running.",
        "Lets Alertmanager suppress pages during planned load.",
        severity="none",
    )
