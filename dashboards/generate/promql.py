"""PromQL as functions.

Two kinds of figures. *To date*: series of a run start at 0, so the last value of a counter is its total, and a ratio of
two totals or a quantile of a whole histogram is exact; `[$__range]` finds it also where the run is over. *Now*: rates
over `$__rate_interval`. A ratio is always a sum over a sum.

A run is stored with native histograms or with classic buckets, by what its Prometheus was set to. `quantile` asks for
both, native first: it is the nearer one, and where there is none that half is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.generate import names

RATE = "$__rate_interval"
RANGE = "$__range"


@dataclass(frozen=True)
class Selector:
    """Which series: matchers between the braces, and for a run that is laid over another how much older it is."""

    matchers: str = 'run_id="$run_id"'
    offset: str = ""

    def of(self, metric: str, *more: str) -> str:
        """Return an instant vector."""
        return f"{self._series(metric, more)}{self.offset}"

    def over(self, metric: str, window: str, *more: str) -> str:
        """Return a range vector."""
        return f"{self._series(metric, more)}[{window}]{self.offset}"

    def _series(self, metric: str, more: tuple[str, ...]) -> str:
        return f"{metric}{{{', '.join(part for part in (self.matchers, *more) if part)}}}"


RUN = Selector()
"""All of the run."""

FILTERED = Selector('run_id="$run_id", name=~"$name", user_class=~"$user_class"')
"""What of the run the variables leave."""

BY_NAME = Selector('run_id="$run_id", name=~"$name"')
"""The same, for metrics without a user class."""

BY_CLASS = Selector('run_id="$run_id", user_class=~"$user_class"')
"""The same, for metrics without a name."""


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


def rate(metric: str, by: str = "", *more: str, of: Selector = FILTERED) -> str:
    """Return how fast a counter grows now."""
    return f"sum{_by(by)} (rate({of.over(metric, RATE, *more)}))"


def total(metric: str, by: str = "", *more: str, of: Selector = FILTERED, window: str = RANGE) -> str:
    """Return a counter's value to date."""
    return f"sum{_by(by)} (max_over_time({of.over(metric, window, *more)}))"


def last(metric: str, by: str = "", *more: str, of: Selector = RUN, window: str = RANGE, how: str = "max") -> str:
    """Return the last value of a gauge."""
    return f"{how}{_by(by)} (last_over_time({of.over(metric, window, *more)}))"


def arrivals(metric: str, by: str, of: Selector = FILTERED) -> str:
    """Return how fast a counter grows, where it does.

    For series that come into being with their first event, which `rate` would lose. The hour keeps a missed scrape from
    looking like a new series.
    """
    now = f"sum by ({by}) ({of.of(metric)})"
    before = f"sum by ({by}) (last_over_time({of.over(metric, '1h')} offset $__interval))"
    return f"({now} - ({before} or {now} * 0)) / ($__interval_ms / 1000)\n> 0"


def quantile(  # noqa: PLR0913  # all but the first have a default
    q: str,
    by: str = "",
    *,
    metric: str = names.DURATION,
    of: Selector = FILTERED,
    window: str = RATE,
    to_date: bool = False,
) -> str:
    """Return a quantile of a histogram, native or classic: of now, or of all to date."""
    function = "last_over_time" if to_date else "rate"
    native = f"sum{_by(by)} ({function}({of.over(metric, window)}))"
    with_le = f"le, {by}" if by else "le"
    classic = f"sum by ({with_le}) ({function}({of.over(f'{metric}_bucket', window)}))"
    return f"histogram_quantile({q}, {native})\nor\nhistogram_quantile({q}, {classic})"


def failure_ratio(by: str = "", *, of: Selector = FILTERED) -> str:
    """Return failed requests over all requests, now."""
    return f"{rate(names.REQUESTS, by, _FAILED, of=of)}\n/\n{rate(names.REQUESTS, by, of=of)}"


def failure_ratio_to_date(by: str = "", *, of: Selector = FILTERED, window: str = RANGE) -> str:
    """Return failed requests over all requests, of all to date."""
    failed = total(names.REQUESTS, by, _FAILED, of=of, window=window)
    return f"{failed}\n/\n{total(names.REQUESTS, by, of=of, window=window)}"


def throughput_to_date(by: str = "", *, of: Selector = FILTERED, window: str = RANGE) -> str:
    """Return requests over the seconds the run has lasted."""
    requests = total(names.REQUESTS, by, of=of, window=window)
    run = Selector(of.matchers.partition(",")[0], of.offset)
    return f"{requests}\n/ on () group_left ()\n{last(names.ELAPSED, of=run, window=window)}"


_FAILED = 'outcome="failure"'
FAILED = _FAILED


def of_this_process(vector: str) -> str:
    """Return of a metric of our own health, which has no run_id, what the run's own processes say."""
    run, workers = RUN.of(names.INFO), RUN.of(names.WORKER_USERS)
    return f"({vector})\nand on (job, instance)\n({run} or {workers})"
