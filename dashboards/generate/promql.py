"""Queries of dashboards, made of the PromQL of the rules and of Grafana's variables.

*To date*: the series of a run start at 0, so the last value of a counter is its total, and a ratio of two totals or a
quantile of a whole histogram is exact. `[$__range]` finds these values after the run is over too. *Now*: rates over
`$__rate_interval`. A ratio is always a sum over a sum.

Prometheus stores native histograms or classic buckets, depending on its settings. `quantile` queries both, the more
exact native histogram first; one of the two is empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from locust_otel.core import catalogue
from locust_otel.core.catalogue import Metric
from locust_otel.slo.rules import names
from locust_otel.slo.rules.promql import aggregated, lines, of, on, over, selector

RATE = "$__rate_interval"
RANGE = "$__range"
STEPS = "$__range:$__interval"
"""Window of a subquery."""

RUN_ID = 'run_id="$run_id"'


@dataclass(frozen=True)
class Selector:
    """Choice of series: matchers, and the offset of a run that is laid over another one."""

    matchers: tuple[str, ...] = (RUN_ID,)
    offset: str = ""

    @property
    def run(self) -> Selector:
        """All series of the run; its first matcher names it."""
        return replace(self, matchers=self.matchers[:1])

    def series(self, metric: Metric | str, *matchers: str, **labels: str) -> str:
        """Return an instant vector of a metric of the catalogue, or of a recorded series."""
        series = self._series(metric, *matchers, **labels)
        return f"{series} offset {self.offset}" if self.offset else series

    def over(self, function: str, metric: Metric | str, window: str, *matchers: str, **labels: str) -> str:
        """Return a function of a range vector."""
        return over(function, self._series(metric, *matchers, **labels), window, self.offset)

    def _series(self, metric: Metric | str, *matchers: str, **labels: str) -> str:
        if isinstance(metric, str):
            return selector(metric, *self.matchers, *matchers, **labels)
        return of(metric, *self.matchers, *matchers, **labels)


RUN = Selector()
"""All series of the run."""

BY_NAME = Selector((RUN_ID, 'name=~"$name"'))
"""Series of the run with the chosen names."""

BY_CLASS = Selector((RUN_ID, 'user_class=~"$user_class"'))
"""Series of the run with the chosen user classes."""

FILTERED = Selector((*BY_NAME.matchers, 'user_class=~"$user_class"'))
"""Series of the run with the chosen names and user classes."""

FIRING, PENDING = (
    RUN.series(names.ALERTS, f'alertstate="{state}", severity!="none"') for state in ("firing", "pending")
)
"""Alerts of the run."""


def rate(metric: Metric, *by: str, scope: Selector = FILTERED, **labels: str) -> str:
    """Return the increase of a counter per second, now."""
    return aggregated("sum", scope.over("rate", metric, RATE, **labels), *by)


def total(metric: Metric, *by: str, scope: Selector = FILTERED, window: str = RANGE, **labels: str) -> str:
    """Return the value of a counter to date."""
    return aggregated("sum", scope.over("max_over_time", metric, window, **labels), *by)


def last(metric: Metric | str, *by: str, scope: Selector = RUN, window: str = RANGE, how: str = "max") -> str:
    """Return the last value of a gauge, or of a recorded series."""
    return aggregated(how, scope.over("last_over_time", metric, window), *by)


def arrivals(metric: Metric, *by: str, scope: Selector = FILTERED) -> str:
    """Return the increase of a counter per second, where it is above 0.

    For series that appear with their first event, which `rate` would miss. The hour keeps a missed scrape from looking
    like a new series.
    """
    now = aggregated("sum", scope.series(metric), *by)
    before = aggregated("sum", replace(scope, offset="$__interval").over("last_over_time", metric, "1h"), *by)
    return f"({now} - ({before} or {now} * 0)) / ($__interval_ms / 1000)\n> 0"


def quantile(
    q: str, *by: str, metric: Metric = catalogue.REQUEST_DURATION, scope: Selector = FILTERED, to_date: str = ""
) -> str:
    """Return a quantile of a histogram, native or classic: of now, or of all values in the window `to_date`."""
    function, window = ("last_over_time", to_date) if to_date else ("rate", RATE)
    native = aggregated("sum", scope.over(function, metric, window), *by)
    classic = aggregated("sum", scope.over(function, f"{metric.name}_bucket", window), "le", *by)
    return lines(f"histogram_quantile({q}, {native})", "or", f"histogram_quantile({q}, {classic})")


def failure_ratio(*by: str, scope: Selector = FILTERED) -> str:
    """Return failed requests over all requests, now."""
    failed = rate(catalogue.REQUESTS, *by, scope=scope, outcome="failure")
    return lines(failed, "/", rate(catalogue.REQUESTS, *by, scope=scope))


def failure_ratio_to_date(*by: str, scope: Selector = FILTERED, window: str = RANGE) -> str:
    """Return failed requests over all requests, to date."""
    failed = total(catalogue.REQUESTS, *by, scope=scope, window=window, outcome="failure")
    return lines(failed, "/", total(catalogue.REQUESTS, *by, scope=scope, window=window))


def throughput_to_date(*by: str) -> str:
    """Return requests over the seconds that the run has lasted."""
    return lines(total(catalogue.REQUESTS, *by), f"/ {on()} group_left ()", last(catalogue.RUN_ELAPSED))


def of_this_process(vector: str) -> str:
    """Return those series of a metric without run_id that come from the processes of the run."""
    run, workers = RUN.series(catalogue.RUN_INFO), RUN.series(catalogue.WORKER_USERS)
    return lines(f"({vector})", f"and {on('job', 'instance')}", f"({run} or {workers})")


def alert_states(*by: str) -> str:
    """Return 2 for alerts that fire, 1 for alerts that are pending."""
    return lines(f"2 * {aggregated('max', FIRING, *by)}", "or", aggregated("max", PENDING, *by))
