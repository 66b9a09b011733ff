"""Alerts: of the objectives of an SLO file, and of any run.

An alert on an objective looks at counters that begin after the warm-up, asks for the least number of requests, and is
silent once the run has stopped; `keep_firing_for` keeps one that was raised up for a little longer than that.
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
from locust_otel.slo.rules.promql import aggregated, group, increase, lines, of, ratio, selector
from locust_otel.slo.rules.recording_rules import ON_OBJECTIVE, Rule, enough, judged

_RUN = ("run_id",)
_PROCESS = ("job", "instance")
_AND_RUN = "and on (run_id)"
_UNLESS_RUN = "unless on (run_id)"

# Of any run, where no file says what is too much.
_MAX_SLOW = "0.01"
_MAX_FAILED = "0.05"
_SPIKE = "5"
_LEAST_REQUESTS = "100"
_LEAST_USERS = "0.9"


@dataclass(frozen=True, slots=True)
class Links:
    """Where annotations point to: the page of the runbooks, and what stands before the uid of a dashboard."""

    runbooks: str = names.RUNBOOKS
    dashboards: str = names.DASHBOARDS


@dataclass(frozen=True, slots=True)
class _Alert:
    """One alert; its dashboard opens with the variables set to the labels of that name."""

    name: str
    expression: str
    summary: str
    description: str
    severity: str = "warning"
    dashboard: str = "live"
    variables: tuple[str, ...] = _RUN
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
    """Yield the alerts of any run, with an SLO file or without; from it they take how often is scraped."""
    short_s = max(Decimal(60), MIN_SCRAPES * slo.scrape_interval_s)
    short, middle, long = span(short_s), span(2 * short_s), span(10 * short_s)
    alerts = (
        _slow_requests(middle),
        _failures_spike(short, long),
        _saturated(slo),
        *_generator(),
        _telemetry_absent(middle, long, span(max(Decimal(15), 3 * slo.scrape_interval_s))),
        _export_failing(short, middle),
        *_AT_ANY_TIME,
    )
    return (alert.rule(links) for alert in alerts)


def _of_run(function: str, series: str) -> str:
    return aggregated(function, _RUN, series)


_ACTIVE = f"({_of_run('max', catalogue.RUN_ACTIVE.name)} == 1)"


def _while_active(*parts: str) -> str:
    return lines(*parts, _AND_RUN, _ACTIVE)


def _above_in_both(slo: Slo, pair: Window, series: str, limit: str) -> str:
    """Return what holds for objectives of which a recorded series is above its limit in both windows of a pair."""
    long, short = (
        group(lines(selector(series, slo_service=slo.service, window=span(length)), f"> {ON_OBJECTIVE}", limit))
        for length in (pair.long_s, pair.short_s)
    )
    return _while_active(long, f"and {ON_OBJECTIVE}", short, f"and {ON_OBJECTIVE}", enough(slo))


def _budget_burn(slo: Slo, pair: Window) -> _Alert:
    long, short = span(pair.long_s), span(pair.short_s)
    limit = selector(names.BURN_FACTOR, slo_service=slo.service, severity=pair.severity, window=long)
    return _of_slo(
        names.BUDGET_BURN,
        _above_in_both(slo, pair, names.BURN_RATE, limit),
        "{{ $labels.slo }} of {{ $labels.slo_service }} burns its error budget.",
        f"Over the last {long} requests of run {{{{ $labels.run_id }}}} missed {{{{ $labels.slo }}}} "
        f"{{{{ $value | humanize }}}} times as often as its budget allows for (this alert begins at "
        f"{pair.factor(slo.period_s)}); in the last {short} too. At that rate "
        f"{percent(pair.budget.quantize(Decimal('0.0001')))} of the budget for {spoken(slo.period_s)} are gone in "
        f"{long}.",
        severity=pair.severity,
        keep=short,
        labels={"window": long, "short_window": short, "sli": _sli(slo)},
    )


def _sli(slo: Slo) -> str:
    """Return the template of what an objective with a budget measures: a late generator causes no failures."""
    ratios = [objective for objective in slo.objectives if objective.sli is not Sli.MEAN]
    failures = [f'"{objective.name}"' for objective in ratios if objective.sli is Sli.SUCCESS]
    if not failures:
        return Sli.LATENCY.value
    if len(failures) == len(ratios):
        return Sli.SUCCESS.value
    is_one = f"eq $labels.slo {' '.join(failures)}"
    return f"{{{{ if {is_one} }}}}{Sli.SUCCESS.value}{{{{ else }}}}{Sli.LATENCY.value}{{{{ end }}}}"


def _budget_exhausted(slo: Slo) -> _Alert:
    remaining = selector(names.BUDGET_REMAINING, slo_service=slo.service)
    return _of_slo(
        names.BUDGET_EXHAUSTED,
        _while_active(group(f"{remaining} <= 0"), f"and {ON_OBJECTIVE}", enough(slo)),
        "{{ $labels.slo }} of {{ $labels.slo_service }} has spent its error budget.",
        f"Run {{{{ $labels.run_id }}}} has used up what {{{{ $labels.slo }}}} may miss in {spoken(slo.period_s)}; "
        "{{ $value | humanizePercentage }} of the budget are left.",
        severity="critical",
        keep=span(slo.spans_s[0]) if slo.spans_s else "",
        labels={"sli": _sli(slo)},
    )


def _mean_high(slo: Slo, pair: Window) -> _Alert:
    long, short = span(pair.long_s), span(pair.short_s)
    return _of_slo(
        names.MEAN_HIGH,
        _above_in_both(slo, pair, names.MEAN, selector(names.THRESHOLD, slo_service=slo.service)),
        "{{ $labels.slo_service }} is slow on average.",
        f"Over the last {long} requests of run {{{{ $labels.run_id }}}} took {{{{ $value | humanizeDuration }}}} on "
        f"average, which is more than {{{{ $labels.slo }}}} asks for; in the last {short} too.",
        keep=short,
        labels={"sli": Sli.MEAN.value},
    )


def _no_data(slo: Slo, pair: Window) -> _Alert:
    window = span(pair.long_s)
    still = "\nor\n".join(f"{aggregated('sum', OBJECTIVE, increase(one, window))} == 0" for one in judged(slo))
    users = f"({_of_run('sum', catalogue.USERS.name)} > 0)"
    # Before that, a window would look back to before the first request that is judged.
    begun = f"({_of_run('max', catalogue.RUN_ELAPSED.name)} > {slo.warmup_s + pair.long_s:f})"
    return _of_slo(
        names.NO_DATA,
        lines(_while_active(group(still)), _AND_RUN, users, _AND_RUN, begun),
        "Nothing is judged for {{ $labels.slo }} of {{ $labels.slo_service }}.",
        f"Users of run {{{{ $labels.run_id }}}} are active, and for {window} none of their requests was one that "
        "{{ $labels.slo }} judges.",
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
        "--slow-request; the log of Locust names some of them.",
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
            # Failing as often as before is no spike.
            group(lines(now, "<= on (run_id)", f"{_SPIKE} * {before}")),
            _AND_RUN,
            f"({failed} >= 10)",
        ),
        "Requests of run {{ $labels.run_id }} have begun to fail.",
        f"{{{{ $value | humanizePercentage }}}} of the requests failed in the last {short}, more than "
        f"{_SPIKE} times the share of the {long} before.",
        keep="30s",
    )


def _saturated(slo: Slo) -> _Alert:
    # What was measured meanwhile stays in the short windows of pages, which this alert inhibits as long.
    keep_s = max([Decimal(60), *(pair.short_s for pair in slo.windows if pair.severity == "critical")])
    invalid = catalogue.RUN_INVALID.name
    workers = _of_run("max", f'{invalid}{{reason="workers"}}')
    others = _of_run("max", f'{invalid}{{reason!="workers"}}')
    return _Alert(
        names.GENERATOR_SATURATED,
        _while_active(
            f"({_of_run('min', catalogue.RUN_VALID.name)} == 0)",
            _UNLESS_RUN,
            # A run that has lost workers is not valid either, and its generator not slow for that.
            group(lines(f"({workers} == 1)", _UNLESS_RUN, f"({others} == 1)")),
        ),
        "The load generator of run {{ $labels.run_id }} is too slow.",
        "A process that generates load has no CPU left, or its event loop runs late: the latencies it measures are too "
        "long. Alerts on latencies and means are kept quiet meanwhile; those on failures are not.",
        dashboard="generator",
        keep=span(keep_s),
    )


def _generator() -> Iterator[_Alert]:
    yield _Alert(
        names.WORKER_MISSING,
        _while_active(f"({_of_run('max', of(catalogue.WORKERS, state='missing'))} > 0)"),
        "Run {{ $labels.run_id }} has lost workers.",
        "{{ $value }} workers no longer answer the master. What they did after their last report is not counted, and "
        "the load is smaller than planned.",
        dashboard="generator",
        wait="10s",
    )
    users, target = (_of_run("sum", metric.name) for metric in (catalogue.USERS, catalogue.USERS_TARGET))
    yield _Alert(
        names.USERS_BELOW_TARGET,
        _while_active(
            group(lines(group(lines(users, "/ on (run_id)", f"({target} > 0)")), f"< {_LEAST_USERS}")),
            _AND_RUN,
            f"({_of_run('max', of(catalogue.RUN_STATE, state='running'))} == 1)",
        ),
        "Run {{ $labels.run_id }} has fewer users than it should.",
        "{{ $value | humanizePercentage }} of the users that were asked for are there, though all were spawned.",
        wait="30s",
    )


def _heard(series: str, window: str) -> str:
    """Return series that are still there.

    A failed scrape ends a series at once. Nothing marks the end of one that is pushed: it stays for five minutes,
    without a sample.
    """
    return f"({series} and present_over_time({series}[{window}]))"


def _telemetry_absent(middle: str, long: str, silence: str) -> _Alert:
    active = catalogue.RUN_ACTIVE.name
    heard = _heard(active, middle)
    # A process that has begun another run has not died; that the one before goes on may have been its last word.
    silent = lines(f"last_over_time({active}[{long}]) == 1", f"unless on ({', '.join(_PROCESS)})", heard)
    return _Alert(
        names.TELEMETRY_ABSENT,
        lines(f"max by (run_id) {group(silent)}", _UNLESS_RUN, heard),
        "Run {{ $labels.run_id }} has gone silent.",
        "Its last values said that it goes on, and none have come since: the process has died, or cannot be reached.",
        wait=silence,
    )


def _export_failing(short: str, middle: str) -> _Alert:
    by = ("exporter", *_PROCESS)
    on = f"on ({', '.join(by)})"
    failed = aggregated("sum", by, increase(of(catalogue.EXPORTS, outcome="failure"), middle))
    succeeded = aggregated("sum", by, increase(of(catalogue.EXPORTS, outcome="success"), short))
    return _Alert(
        names.EXPORT_FAILING,
        # Windows look back to before the end of a process, which then would have had no success for a while.
        lines(
            f"({failed} > 0)", f"unless {on}", f"({succeeded} > 0)", f"and {on}", _heard(catalogue.EXPORTS.name, short)
        ),
        "Telemetry of {{ $labels.instance }} does not get through by {{ $labels.exporter }}.",
        f"{{{{ $value | humanize }}}} exports failed in the last {middle}, and none succeeded in the last {short}.",
        dashboard="generator",
        variables=(),
        wait="30s",
    )


_AT_ANY_TIME = (
    _Alert(
        names.SERIES_FOLDED,
        f"{aggregated('max', _PROCESS, catalogue.FOLDED_REQUESTS.name)} > 0",
        "Requests of {{ $labels.instance }} are counted under the name _OTHER.",
        "{{ $value }} requests have names beyond --max-request-names. Are there ids in the names? Give `name=` to the "
        "client's calls, or raise the limit.",
        severity="info",
        dashboard="generator",
        variables=(),
    ),
    _Alert(
        names.RUN_ACTIVE,
        _ACTIVE,
        "Load test {{ $labels.run_id }} is running.",
        "For Alertmanager alone: what is planned load needs no page.",
        severity="none",
    ),
)
