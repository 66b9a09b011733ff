"""Compare runs: a run and an earlier one, second for second from their starts.

The time range is that of the run. The other one, the baseline, is moved by the difference of their starts, which the
hidden variable `shift` holds in whole seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from grafana_foundation_sdk.builders.dashboard import CustomVariable, QueryVariable
from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame
from dashboards.generate import promql as q
from dashboards.generate.panels import (
    COUNT,
    ORANGE,
    PER_SECOND,
    RATIO,
    SECONDS,
    SKY,
    Column,
    Query,
    colour,
    graph,
    grid,
)
from locust_otel.core import catalogue
from locust_otel.slo.rules.promql import aggregated, of, over

UID = "locust-otel-compare"
BACK = "$lookback"
NO_DATA = "No data of either run: does the time range hold the run, and the look-back reach the baseline?"

_Make = Callable[[q.Selector], str]


def _baseline(run: q.Selector, offset: str = "") -> q.Selector:
    return q.Selector(tuple(matcher.replace("$run_id", "$baseline") for matcher in run.matchers), offset)


def _over_time(title: str, description: str, unit: str, make: _Make, run: q.Selector = q.FILTERED) -> object:
    """Return a graph of the run with the baseline laid over it."""
    look = colour(ORANGE) | {"custom.lineStyle": {"fill": "dash", "dash": [10, 8]}}
    return graph(
        title,
        f"{description} The baseline is moved so that both runs start together; the time is that of the run.",
        unit,
        Query(make(run), "$run_id", look=colour(SKY)),
        Query(make(_baseline(run, "${shift}s")), "baseline $baseline", look=look),
        no_data=NO_DATA,
    )


def _either(make: _Make, run: q.Selector = q.FILTERED) -> str:
    """Return one query for both runs, to date, with the run_id of each."""
    return f"({make(run)})\nor\n({make(_baseline(run))})"


def _variables() -> list[QueryVariable | CustomVariable]:
    def run_ids(name: str, label: str, *matchers: str) -> QueryVariable:
        runs = aggregated("count", over("max_over_time", of(catalogue.RUN_INFO, *matchers), BACK), "run_id")
        variable = frame.query_variable(name, label, f"query_result({runs})").regex('/run_id="([^"]+)"/')
        return variable.sort(d.VariableSort.ALPHABETICAL_DESC)

    run_start, baseline_start = (
        f"max({over('max_over_time', of(catalogue.RUN_START, run_id=run), BACK)})" for run in ("$run_id", "$baseline")
    )
    seconds = f"query_result(round({run_start} - {baseline_start}) or vector(0))"
    shift = frame.query_variable("shift", "Shift", seconds).regex(r"/\} (-?\d+) /").hide(d.VariableHide.HIDE_VARIABLE)
    shift.allow_custom_value(False)
    lookback = CustomVariable("lookback").label("Look back").values("1d,7d,30d,90d")
    lookback.current(d.VariableOption(selected=True, text="7d", value="7d"))
    return [
        lookback,
        run_ids("run_id", "Run"),
        run_ids("baseline", "Baseline", 'run_id!="$run_id"'),
        shift,
        frame.several("name", "Name", catalogue.REQUESTS),
        frame.several("user_class", "User class", catalogue.REQUESTS),
    ]


def _whole_runs() -> object:
    def start(run: q.Selector) -> str:
        return q.last(catalogue.RUN_START, "run_id", scope=run, window=BACK)

    def elapsed(run: q.Selector) -> str:
        return q.last(catalogue.RUN_ELAPSED, "run_id", scope=run, window=BACK)

    def requests(run: q.Selector) -> str:
        return q.total(catalogue.REQUESTS, "run_id", scope=run, window=BACK)

    def most_users(run: q.Selector) -> str:
        return aggregated("max", run.over("max_over_time", catalogue.USERS_TARGET, BACK), "run_id")

    def quantile(ratio: str, run: q.Selector) -> str:
        return q.quantile(ratio, "run_id", scope=run, to_date=BACK)

    failed = _either(lambda run: q.failure_ratio_to_date("run_id", scope=run, window=BACK))
    throughput = _either(lambda run: f"{requests(run)} / {elapsed(run.run)}")
    ended = _either(lambda run: f"ceil(1000 * ({start(run)} + {elapsed(run)}))", q.RUN)
    date = partial(Column, unit="dateTimeAsIso", width=170)
    link = frame.run_link(UID, "Set the time range to this run", "lookback")
    return grid(
        "Both runs, to date",
        "All values to date of the run and of its baseline. A click on a run sets the time range to it.",
        Column("Run", label="run_id", look={"links": [link]}),
        date("Started", f"floor(1000 * ({_either(start, q.RUN)}))"),
        Column("Lasted", _either(elapsed, q.RUN), unit="dthms", width=130),
        Column("Most users", _either(most_users, q.BY_CLASS), unit="locale", width=110),
        Column("Requests", _either(requests), unit="locale", width=110),
        Column("Req/s", throughput, unit=PER_SECOND, width=110, look={"decimals": 1}),
        Column("Failed", failed, unit=RATIO, width=100, look={"decimals": 2}),
        *(
            Column(heading, _either(partial(quantile, ratio)), unit=SECONDS, width=100)
            for heading, ratio in (("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99"))
        ),
        date("Ended", ended),
        sort=("Started",),
        no_data=NO_DATA,
    )


def _endpoints() -> object:
    by = ("method", "name")
    run, baseline = q.FILTERED, _baseline(q.FILTERED)
    p95, p95_before = (q.quantile("0.95", *by, scope=of_run, to_date=BACK) for of_run in (run, baseline))
    ratio = partial(Column, unit=RATIO)

    def failed(of_run: q.Selector) -> str:
        return q.failure_ratio_to_date(*by, scope=of_run, window=BACK)

    def requests(of_run: q.Selector) -> str:
        return q.total(catalogue.REQUESTS, *by, scope=of_run, window=BACK)

    return grid(
        "Endpoints of both runs, to date",
        "All values to date, the endpoint whose p95 has risen most first.",
        Column("Method", label="method", width=90),
        Column("Name", label="name"),
        Column("p95, run", p95, unit=SECONDS, width=120),
        Column("p95, baseline", p95_before, unit=SECONDS, width=130),
        ratio("p95, change", f"({p95})\n/\n({p95_before})\n- 1", width=120, look={"decimals": 0}),
        ratio("Failed, run", failed(run), width=120, look={"decimals": 2}),
        ratio("Failed, baseline", failed(baseline), width=140, look={"decimals": 2}),
        Column("Requests, run", requests(run), unit="locale", width=130),
        Column("Requests, baseline", requests(baseline), unit="locale", width=150),
        sort=("p95, change",),
        no_data=NO_DATA,
    )


def _latency(title: str, ratio: str, share: str) -> object:
    return _over_time(
        title,
        f"{share} of the current requests take at most this time.",
        SECONDS,
        lambda run: q.quantile(ratio, scope=run),
    )


def compare() -> d.Dashboard:
    """Return the dashboard."""
    throughput = _over_time(
        "Throughput", "Requests per second.", PER_SECOND, lambda run: q.rate(catalogue.REQUESTS, scope=run)
    )
    failures = _over_time(
        "Failure ratio",
        "Current failed requests, divided by all requests.",
        RATIO,
        lambda run: q.failure_ratio(scope=run),
    )
    users = _over_time(
        "Users", "Simulated users.", COUNT, lambda run: f"sum({run.series(catalogue.USERS)})", q.BY_CLASS
    )
    return frame.board(
        UID,
        "Locust: compare runs",
        "Two Locust runs laid over each other from their starts.",
        _variables(),
        [
            (5, [(24, _whole_runs())]),
            (8, [(12, _latency("p95", "0.95", "95 %")), (12, _latency("Median", "0.5", "Half"))]),
            (8, [(8, throughput), (8, failures), (8, users)]),
            (9, [(24, _endpoints())]),
        ],
    )
