"""Alerts: of the objectives of an SLO file, and of any run.

An alert on an objective looks at counters that begin after the warm-up, asks for the least number of requests, and is
silent once the run has stopped; `keep_firing_for` keeps one that was raised up for a little longer than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from locust_otel.core import catalogue
from locust_otel.slo.objectives import Sli, Slo, Window, percent, span, spoken
from locust_otel.slo.rules import names
from locust_otel.slo.rules.names import OBJECTIVE
from locust_otel.slo.rules.promql import aggregated, group, increase, lines, of, ratio, selector
from locust_otel.slo.rules.recording_rules import Rule, enough
from locust_otel.slo.windows import MIN_SCRAPES

_BY = ", ".join(OBJECTIVE)
_RUN = ("run_id",)
_PROCESS = ("job", "instance")
_ACTIVE = f"({aggregated('max', _RUN, catalogue.RUN_ACTIVE.name)} == 1)"
_AND_ACTIVE = ("and on (run_id)", _ACTIVE)

# Of any run, where no file says what is too much.
_MAX_SLOW = "0.01"
_MAX_FAILED = "0.05"
_SPIKE = "5"
_LEAST_REQUESTS = "100"
_LEAST_USERS = "0.9"


@dataclass(frozen=True, slots=True)
class Links:
    """Where annotations point to.

    Attributes:
        runbooks: A page with a heading for each alert.
        dashboards: What stands before the uid of a dashboard in Grafana's address.
    """

    runbooks: str = names.RUNBOOKS
    dashboards: str = names.DASHBOARDS

    def of(self, alert: str, dashboard: str, *labels: str) -> dict[str, str]:
        """Return the links of an alert."""
        query = "&".join(f"var-{label}={{{{ $labels.{label} | urlquery }}}}" for label in labels)
        return {
            "runbook_url": f"{self.runbooks}#{alert.lower()}",
            "dashboard_url": f"{self.dashboards}/{dashboard}" + (f"?{query}" if query else ""),
        }


def slo_alerts(slo: Slo, links: Links) -> Iterator[Rule]:
    """Yield the alerts of an SLO file."""
    if any(objective.target is not None for objective in slo.objectives):
        for pair in slo.windows:
            yield _budget_burn(slo, pair, links)
        yield _budget_exhausted(slo, links)
    pairs = sorted(slo.windows, key=lambda pair: (pair.severity != "critical", pair.long_s))
    if any(objective.sli is Sli.MEAN for objective in slo.objectives) and pairs:
        yield _mean_high(slo, pairs[0], links)
    if pairs:
        yield _no_data(slo, pairs[0], links)


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows of the alerts of any run, as Prometheus writes them; the short one holds four scrapes or more."""

    short: str
    middle: str
    long: str
    silence: str

    @classmethod
    def of(cls, scrape_interval_s: Decimal) -> _Windows:
        short_s = max(Decimal(60), MIN_SCRAPES * scrape_interval_s)
        silence_s = max(Decimal(15), 3 * scrape_interval_s)
        return cls(span(short_s), span(2 * short_s), span(10 * short_s), span(silence_s))


def run_alerts(slo: Slo, links: Links) -> Iterator[Rule]:
    """Yield the alerts of any run, with an SLO file or without; from it they take how often is scraped."""
    windows = _Windows.of(slo.scrape_interval_s)
    yield _slow_requests(windows, links)
    yield _failures_spike(windows, links)
    yield _saturated(slo, links)
    yield from _generator(links)
    yield from _telemetry(windows, links)
    yield _alert(
        names.RUN_ACTIVE,
        _ACTIVE,
        "none",
        "Load test {{ $labels.run_id }} is running.",
        "For Alertmanager alone: what is planned load needs no page.",
        links.of(names.RUN_ACTIVE, "locust-otel-live", "run_id"),
    )


def _alert(  # noqa: PLR0913, PLR0917  # the parts of an alert
    name: str,
    expression: str,
    severity: str,
    summary: str,
    description: str,
    links: dict[str, str],
    *,
    wait: str = "",
    keep: str = "",
    labels: dict[str, str] | None = None,
) -> Rule:
    return {
        "alert": name,
        "expr": expression,
        **({"for": wait} if wait else {}),
        **({"keep_firing_for": keep} if keep else {}),
        "labels": {"severity": severity, **(labels or {})},
        "annotations": {"summary": summary, "description": description, **links},
    }


def _budget_burn(slo: Slo, pair: Window, links: Links) -> Rule:
    long, short, factor = span(pair.long_s), span(pair.short_s), pair.factor(slo.period_s)
    limit = selector(names.BURN_FACTOR, slo_service=slo.service, severity=pair.severity, window=long)

    def burns(window: str) -> str:
        rate = selector(names.BURN_RATE, slo_service=slo.service, window=window)
        return group(lines(rate, f"> on ({_BY})", limit))

    return _alert(
        names.BUDGET_BURN,
        lines(burns(long), f"and on ({_BY})", burns(short), f"and on ({_BY})", enough(slo), *_AND_ACTIVE),
        pair.severity,
        "{{ $labels.slo }} of {{ $labels.slo_service }} burns its error budget.",
        f"Over the last {long} requests of run {{{{ $labels.run_id }}}} missed {{{{ $labels.slo }}}} "
        f"{{{{ $value | humanize }}}} times as often as its budget allows for (this alert begins at {factor}); in the "
        f"last {short} too. At that rate {percent(pair.budget.quantize(pair.budget.__class__('0.0001')))} of the "
        f"budget for {spoken(slo.period_s)} are gone in {long}.",
        links.of(names.BUDGET_BURN, "locust-otel-slo", "run_id", "slo"),
        keep=short,
        labels={"window": long, "short_window": short},
    )


def _budget_exhausted(slo: Slo, links: Links) -> Rule:
    remaining = selector(names.BUDGET_REMAINING, slo_service=slo.service)
    return _alert(
        names.BUDGET_EXHAUSTED,
        lines(group(f"{remaining} <= 0"), f"and on ({_BY})", enough(slo), *_AND_ACTIVE),
        "critical",
        "{{ $labels.slo }} of {{ $labels.slo_service }} has spent its error budget.",
        f"Run {{{{ $labels.run_id }}}} has used up what {{{{ $labels.slo }}}} may miss in {spoken(slo.period_s)}; "
        "{{ $value | humanizePercentage }} of the budget are left.",
        links.of(names.BUDGET_EXHAUSTED, "locust-otel-slo", "run_id", "slo"),
        keep=span(slo.spans_s[0]) if slo.spans_s else "",
    )


def _mean_high(slo: Slo, pair: Window, links: Links) -> Rule:
    long, short = span(pair.long_s), span(pair.short_s)
    limit = selector(names.THRESHOLD, slo_service=slo.service)

    def above(window: str) -> str:
        return group(lines(selector(names.MEAN, slo_service=slo.service, window=window), f"> on ({_BY})", limit))

    return _alert(
        names.MEAN_HIGH,
        lines(above(long), f"and on ({_BY})", above(short), f"and on ({_BY})", enough(slo), *_AND_ACTIVE),
        "warning",
        "{{ $labels.slo_service }} is slow on average.",
        f"Over the last {long} requests of run {{{{ $labels.run_id }}}} took {{{{ $value | humanizeDuration }}}} on "
        f"average, which is more than {{{{ $labels.slo }}}} asks for; in the last {short} too.",
        links.of(names.MEAN_HIGH, "locust-otel-slo", "run_id", "slo"),
        keep=short,
    )


def _no_data(slo: Slo, pair: Window, links: Links) -> Rule:
    window = span(pair.long_s)
    counters = []
    if any(objective.target is not None for objective in slo.objectives):
        counters.append(of(catalogue.SLO_EVENTS, slo_service=slo.service))
    if any(objective.sli is Sli.MEAN for objective in slo.objectives):
        counters.append(of(catalogue.SLO_MEAN_REQUESTS, slo_service=slo.service))
    still = "\nor\n".join(f"{aggregated('sum', OBJECTIVE, increase(one, window))} == 0" for one in counters)
    elapsed = aggregated("max", _RUN, catalogue.RUN_ELAPSED.name)
    # Before that, a window would look back to before the first request that is judged.
    begun = f"({elapsed} > {slo.warmup_s + pair.long_s:f})"
    users = f"({aggregated('sum', _RUN, catalogue.USERS.name)} > 0)"
    return _alert(
        names.NO_DATA,
        lines(group(still), *_AND_ACTIVE, "and on (run_id)", users, "and on (run_id)", begun),
        "warning",
        "Nothing is judged for {{ $labels.slo }} of {{ $labels.slo_service }}.",
        f"Users of run {{{{ $labels.run_id }}}} are active, and for {window} none of their requests was one that "
        "{{ $labels.slo }} judges.",
        links.of(names.NO_DATA, "locust-otel-slo", "run_id", "slo"),
    )


def _requests(window: str, **labels: str) -> str:
    return aggregated("sum", _RUN, increase(of(catalogue.REQUESTS, **labels), window))


def _slow_requests(windows: _Windows, links: Links) -> Rule:
    slow = aggregated("sum", _RUN, increase(catalogue.SLOW_REQUESTS.name, windows.middle))
    enough_requests = f"({_requests(windows.middle)} >= {_LEAST_REQUESTS})"
    return _alert(
        names.SLOW_REQUESTS,
        lines(
            f"{group(ratio(slow, _requests(windows.middle)))} > {_MAX_SLOW}",
            "and on (run_id)",
            enough_requests,
            *_AND_ACTIVE,
        ),
        "warning",
        "Requests of run {{ $labels.run_id }} are slow.",
        f"{{{{ $value | humanizePercentage }}}} of the requests in the last {windows.middle} took longer than "
        "--slow-request; the log of Locust names some of them.",
        links.of(names.SLOW_REQUESTS, "locust-otel-live", "run_id"),
        keep="30s",
    )


def _failures_spike(windows: _Windows, links: Links) -> Rule:
    failed = _requests(windows.short, outcome="failure")
    now = ratio(failed, _requests(windows.short))
    before = ratio(
        aggregated(
            "sum", _RUN, f"increase({of(catalogue.REQUESTS, outcome='failure')}[{windows.long}] offset {windows.short})"
        ),
        aggregated("sum", _RUN, f"increase({catalogue.REQUESTS.name}[{windows.long}] offset {windows.short})"),
    )
    return _alert(
        names.FAILURES_SPIKE,
        lines(
            f"{group(now)} > {_MAX_FAILED}",
            "unless on (run_id)",
            # Failing as often as before is no spike.
            group(lines(group(now), "<= on (run_id)", f"{_SPIKE} * {group(before)}")),
            "and on (run_id)",
            f"({failed} >= 10)",
            *_AND_ACTIVE,
        ),
        "warning",
        "Requests of run {{ $labels.run_id }} have begun to fail.",
        f"{{{{ $value | humanizePercentage }}}} of the requests failed in the last {windows.short}, more than "
        f"{_SPIKE} times the share of the {windows.long} before.",
        links.of(names.FAILURES_SPIKE, "locust-otel-live", "run_id"),
        keep="30s",
    )


def _reasons(operator: str) -> str:
    return aggregated("max", _RUN, f'{catalogue.RUN_INVALID.name}{{reason{operator}"workers"}}')


def _saturated(slo: Slo, links: Links) -> Rule:
    # What was measured meanwhile stays in the short windows of pages, which this alert inhibits as long.
    keep_s = max([Decimal(60), *(pair.short_s for pair in slo.of_severity("critical"))])
    return _alert(
        names.GENERATOR_SATURATED,
        lines(
            f"({aggregated('min', _RUN, catalogue.RUN_VALID.name)} == 0)",
            "unless on (run_id)",
            # A run that has lost workers is not valid either, and its generator not slow for that.
            group(lines(f"({_reasons('=')} == 1)", "unless on (run_id)", f"({_reasons('!=')} == 1)")),
            *_AND_ACTIVE,
        ),
        "warning",
        "The load generator of run {{ $labels.run_id }} is too slow.",
        "A process that generates load has no CPU left, or its event loop runs late: the latencies it measures are its "
        "own. Until that is mended the numbers of this run say nothing about the service.",
        links.of(names.GENERATOR_SATURATED, "locust-otel-generator", "run_id"),
        keep=span(keep_s),
    )


def _generator(links: Links) -> Iterator[Rule]:
    yield _alert(
        names.WORKER_MISSING,
        lines(f"({aggregated('max', _RUN, of(catalogue.WORKERS, state='missing'))} > 0)", *_AND_ACTIVE),
        "warning",
        "Run {{ $labels.run_id }} has lost workers.",
        "{{ $value }} workers no longer answer the master. What they did after their last report is not counted, and "
        "the load is smaller than planned.",
        links.of(names.WORKER_MISSING, "locust-otel-generator", "run_id"),
        wait="10s",
    )
    running = f"({aggregated('max', _RUN, of(catalogue.RUN_STATE, state='running'))} == 1)"
    users = aggregated("sum", _RUN, catalogue.USERS.name)
    target = aggregated("sum", _RUN, catalogue.USERS_TARGET.name)
    yield _alert(
        names.USERS_BELOW_TARGET,
        lines(
            group(lines(group(lines(users, "/ on (run_id)", f"({target} > 0)")), f"< {_LEAST_USERS}")),
            "and on (run_id)",
            running,
            *_AND_ACTIVE,
        ),
        "warning",
        "Run {{ $labels.run_id }} has fewer users than it should.",
        "{{ $value | humanizePercentage }} of the users that were asked for are there, though all were spawned.",
        links.of(names.USERS_BELOW_TARGET, "locust-otel-live", "run_id"),
        wait="30s",
    )


def _heard(series: str, window: str) -> str:
    """Return series that are still there.

    A failed scrape ends a series at once. Nothing marks the end of one that is pushed: it stays for five minutes,
    without a sample.
    """
    return f"({series} and present_over_time({series}[{window}]))"


def _telemetry(windows: _Windows, links: Links) -> Iterator[Rule]:
    active = catalogue.RUN_ACTIVE.name
    heard = _heard(active, windows.middle)
    # A process that has begun another run has not died; that the one before goes on may have been its last word.
    silent = lines(
        f"last_over_time({active}[{windows.long}]) == 1",
        f"unless on ({', '.join(_PROCESS)})",
        heard,
    )
    yield _alert(
        names.TELEMETRY_ABSENT,
        lines(
            f"max by ({', '.join(_RUN)}) {group(silent)}",
            "unless on (run_id)",
            heard,
        ),
        "warning",
        "Run {{ $labels.run_id }} has gone silent.",
        "Its last values said that it goes on, and none have come since: the process has died, or cannot be reached.",
        links.of(names.TELEMETRY_ABSENT, "locust-otel-live", "run_id"),
        wait=windows.silence,
    )
    by = ("exporter", *_PROCESS)
    on = f"on ({', '.join(by)})"
    failed = aggregated("sum", by, increase(of(catalogue.EXPORTS, outcome="failure"), windows.middle))
    succeeded = aggregated("sum", by, increase(of(catalogue.EXPORTS, outcome="success"), windows.short))
    yield _alert(
        names.EXPORT_FAILING,
        lines(
            f"({failed} > 0)",
            f"unless {on}",
            f"({succeeded} > 0)",
            # Windows look back to before the end of a process, which then would have had no success for a while.
            f"and {on}",
            _heard(catalogue.EXPORTS.name, windows.short),
        ),
        "warning",
        "Telemetry of {{ $labels.instance }} does not get through by {{ $labels.exporter }}.",
        f"{{{{ $value | humanize }}}} exports failed in the last {windows.middle}, and none succeeded in the last "
        f"{windows.short}.",
        links.of(names.EXPORT_FAILING, "locust-otel-generator"),
        wait="30s",
    )
    yield _alert(
        names.SERIES_FOLDED,
        f"{aggregated('max', _PROCESS, catalogue.FOLDED_REQUESTS.name)} > 0",
        "info",
        "Requests of {{ $labels.instance }} are counted under the name _OTHER.",
        "{{ $value }} requests have names beyond --max-request-names. Are there ids in the names? Give `name=` to the "
        "client's calls, or raise the limit.",
        links.of(names.SERIES_FOLDED, "locust-otel-generator"),
    )
