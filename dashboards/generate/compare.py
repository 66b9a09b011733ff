"""Compare runs: a run and an earlier one, second for second from their starts.

The time range is that of the run. The other one, the baseline, is moved by the difference of their starts, which the
hidden variable `shift` holds in whole seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from grafana_foundation_sdk.builders.dashboard import CustomVariable, QueryVariable
from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame, names
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

UID = "locust-otel-compare"
BACK = "$lookback"
NO_DATA = "No data of either run: does the time range hold the run, and the look-back reach the baseline?"


def _baseline(of: q.Selector, offset: str = " offset ${shift}s") -> q.Selector:
    return replace(of, matchers=of.matchers.replace("$run_id", "$baseline"), offset=offset)


def _both(make: Callable[[q.Selector], str], of: q.Selector = q.FILTERED) -> tuple[Query, Query]:
    """Return a query for the run and the same for the baseline, laid over it."""
    older = colour(ORANGE) | {"custom.lineStyle": {"fill": "dash", "dash": [10, 8]}}
    return Query(make(of), "$run_id", look=colour(SKY)), Query(make(_baseline(of)), "baseline $baseline", look=older)


def _either(make: Callable[[q.Selector], str], of: q.Selector = q.FILTERED) -> str:
    """Return one query for both runs, to date, with a run_id each."""
    return f"({make(of)})\nor\n({make(_baseline(of, ''))})"


def _variables() -> list[QueryVariable | CustomVariable]:
    ids = f"query_result(count by (run_id) (max_over_time({names.INFO}{{%s}}[{BACK}])))"
    only_id = '/run_id="([^"]+)"/'
    latest = d.VariableSort.ALPHABETICAL_DESC
    run = frame.query_variable("run_id", "Run", ids.replace("{%s}", "")).regex(only_id).sort(latest)
    baseline = frame.query_variable("baseline", "Baseline", ids % 'run_id!="$run_id"').regex(only_id).sort(latest)
    start = f'max(max_over_time({names.START}{{run_id="%s"}}[{BACK}]))'
    between = f"query_result(round({start % '$run_id'} - {start % '$baseline'}) or vector(0))"
    shift = frame.query_variable("shift", "Shift", between).regex(r"/\} (-?\d+) /").hide(d.VariableHide.HIDE_VARIABLE)
    shift.allow_custom_value(False)
    lookback = CustomVariable("lookback").label("Look back").values("1d,7d,30d,90d")
    lookback.current(d.VariableOption(selected=True, text="7d", value="7d"))
    return [
        lookback,
        run,
        baseline,
        shift,
        frame.several("name", "Name", names.REQUESTS),
        frame.several("user_class", "User class", names.REQUESTS),
    ]


def _whole_runs() -> object:
    by = "run_id"

    def last(metric: str) -> Callable[[q.Selector], str]:
        return lambda s: q.last(metric, by, of=s, window=BACK)

    def throughput(s: q.Selector) -> str:
        run = replace(s, matchers=s.matchers.partition(",")[0])
        return f"{q.total(names.REQUESTS, by, of=s, window=BACK)} / {q.last(names.ELAPSED, by, of=run, window=BACK)}"

    def quantile(of: str) -> Callable[[q.Selector], str]:
        return lambda s: q.quantile(of, by, of=s, window=BACK, to_date=True)

    start = _either(last(names.START), q.RUN)
    return grid(
        "Both runs, whole",
        "Everything to date of the run and its baseline. A click on a run sets the time range to it.",
        Column("Run", label="run_id", look={"links": [_OPEN]}),
        Column("Started", f"floor(1000 * ({start}))", unit="dateTimeAsIso", width=170),
        Column("Lasted", _either(last(names.ELAPSED), q.RUN), unit="dthms", width=130),
        Column(
            "Most users",
            _either(lambda s: f"max by (run_id) (max_over_time({s.over(names.TARGET, BACK)}))", q.BY_CLASS),
            unit="locale",
            width=110,
        ),
        Column("Requests", _either(lambda s: q.total(names.REQUESTS, by, of=s, window=BACK)), unit="locale", width=110),
        Column("Req/s", _either(throughput), unit=PER_SECOND, width=110, look={"decimals": 1}),
        Column(
            "Failed",
            _either(lambda s: q.failure_ratio_to_date(by, of=s, window=BACK)),
            unit=RATIO,
            width=100,
            look={"decimals": 2},
        ),
        Column("p50", _either(quantile("0.5")), unit=SECONDS, width=100),
        Column("p95", _either(quantile("0.95")), unit=SECONDS, width=100),
        Column("p99", _either(quantile("0.99")), unit=SECONDS, width=100),
        Column(
            "Ended",
            _either(lambda s: f"ceil(1000 * ({last(names.START)(s)} + {last(names.ELAPSED)(s)}))", q.RUN),
            unit="dateTimeAsIso",
            width=170,
        ),
        sort=("Started",),
        no_data=NO_DATA,
    )


def _endpoints() -> object:
    by = "method, name"
    ours, theirs = q.FILTERED, _baseline(q.FILTERED, "")

    def p95(s: q.Selector) -> str:
        return q.quantile("0.95", by, of=s, window=BACK, to_date=True)

    def failed(s: q.Selector) -> str:
        return q.failure_ratio_to_date(by, of=s, window=BACK)

    return grid(
        "Endpoints of both runs, whole",
        "Everything to date; the endpoint whose p95 has risen most on top.",
        Column("Method", label="method", width=90),
        Column("Name", label="name"),
        Column("p95, run", p95(ours), unit=SECONDS, width=120),
        Column("p95, baseline", p95(theirs), unit=SECONDS, width=130),
        Column("p95, change", f"({p95(ours)})\n/\n({p95(theirs)})\n- 1", unit=RATIO, width=120, look={"decimals": 0}),
        Column("Failed, run", failed(ours), unit=RATIO, width=120, look={"decimals": 2}),
        Column("Failed, baseline", failed(theirs), unit=RATIO, width=140, look={"decimals": 2}),
        Column("Requests, run", q.total(names.REQUESTS, by, of=ours, window=BACK), unit="locale", width=130),
        Column("Requests, baseline", q.total(names.REQUESTS, by, of=theirs, window=BACK), unit="locale", width=150),
        sort=("p95, change",),
        no_data=NO_DATA,
    )


_OPEN = {
    "title": "Set the time range to this run",
    "url": f"/d/{UID}?${{datasource:queryparam}}&${{lookback:queryparam}}&var-run_id=${{__value.text:percentencode}}"
    "&from=${__data.fields.Started.numeric}&to=${__data.fields.Ended.numeric}",
    "targetBlank": False,
}


def compare() -> d.Dashboard:
    """Return the dashboard."""
    note = "The baseline is moved so that both start together; the time is the run's."

    def over_time(
        title: str, what: str, unit: str, make: Callable[[q.Selector], str], of: q.Selector = q.FILTERED
    ) -> object:
        return graph(title, f"{what} {note}", unit, *_both(make, of), no_data=NO_DATA)

    return frame.board(
        UID,
        "Locust: compare runs",
        "Two Locust runs laid over each other from their starts.",
        _variables(),
        [
            (5, [(24, _whole_runs())]),
            (
                8,
                [
                    (
                        12,
                        over_time(
                            "p95",
                            "95 % of the requests of now are answered within this time.",
                            SECONDS,
                            lambda s: q.quantile("0.95", of=s),
                        ),
                    ),
                    (
                        12,
                        over_time(
                            "Median",
                            "Half of the requests of now are answered within this time.",
                            SECONDS,
                            lambda s: q.quantile("0.5", of=s),
                        ),
                    ),
                ],
            ),
            (
                8,
                [
                    (
                        8,
                        over_time(
                            "Throughput", "Requests a second.", PER_SECOND, lambda s: q.rate(names.REQUESTS, of=s)
                        ),
                    ),
                    (
                        8,
                        over_time(
                            "Failure ratio", "Failed requests over all, now.", RATIO, lambda s: q.failure_ratio(of=s)
                        ),
                    ),
                    (
                        8,
                        over_time(
                            "Users", "Simulated users.", COUNT, lambda s: f"sum({s.of(names.USERS)})", q.BY_CLASS
                        ),
                    ),
                ],
            ),
            (9, [(24, _endpoints())]),
        ],
    )
