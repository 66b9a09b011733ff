"""Tests of the dashboards: the rules that each of them keeps, the schema, and that each rule finds a planted fault."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.generate import frame
from dashboards.generate import promql as q
from dashboards.generate.__main__ import dashboards, text
from locust_otel.core import catalogue
from locust_otel.slo.rules import names
from locust_otel.slo.rules.dashboards_command import files
from tests.unit import dashboard_lint as lint

Rule = Callable[[dict[str, Any]], Iterator[str]]
UIDS = [f"locust-otel-{name}" for name in ("live", "slo", "load", "compare", "gameday", "generator")]
SHIPPED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files()}


@pytest.mark.parametrize("uid", UIDS)
@pytest.mark.parametrize("rule", lint.RULES, ids=lambda rule: rule.__name__)
def test_rules(rule: Rule, uid: str) -> None:
    """Each dashboard satisfies each rule."""
    assert list(rule(SHIPPED[uid])) == []


def test_uids() -> None:
    """The six dashboards have the ids of links and bookmarks, and their files are named by them."""
    assert [dashboard.uid for dashboard in dashboards()] == UIDS
    assert {name: dashboard["uid"] for name, dashboard in SHIPPED.items()} == {uid: uid for uid in sorted(UIDS)}


@pytest.mark.parametrize("uid", UIDS)
def test_the_schema_is_grafanas(uid: str) -> None:
    """Grafana's own models read each file and write it again unchanged: they know every key."""
    read = Dashboard.from_json(SHIPPED[uid])
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == SHIPPED[uid]


@pytest.mark.parametrize("uid", UIDS)
def test_files_can_be_provisioned(uid: str) -> None:
    """A file is the classic JSON of Grafana 11 to 13: no v2 resource, no database id, no input to fill in."""
    dashboard = SHIPPED[uid]
    assert dashboard["schemaVersion"] == 39
    assert not {"apiVersion", "kind", "spec", "elements", "layout", "__inputs", "__requires", "id"} & dashboard.keys()
    assert dashboard["tags"] == ["locust", "locust-otel"]
    assert dashboard["editable"] is True


def test_files_are_up_to_date() -> None:
    """Each generation gives the bytes of the files."""
    first, second = ({d.uid: text(d) for d in dashboards()} for _ in range(2))
    assert first == second == {path.stem: path.read_text(encoding="utf-8") for path in files()}


@pytest.mark.parametrize("uid", UIDS)
def test_annotations(uid: str) -> None:
    """Start and stop of the run, its alerts and its marks are on every time series: no annotation has a filter."""
    found = {a["name"]: a for a in SHIPPED[uid]["annotations"]["list"]}
    assert list(found) == ["Run start", "Run stop", "Alerts", "Marks"]
    assert all(a["enable"] and "filter" not in a for a in found.values())
    assert [name for name, a in found.items() if a.get("useValueForTime")] == ["Run start", "Run stop"]


@pytest.mark.parametrize("uid", UIDS)
def test_quantiles_take_both_kinds_of_histogram(uid: str) -> None:
    """A query for a quantile takes native histograms or else classic buckets."""
    for where, expression in lint.queries(SHIPPED[uid]):
        for part in expression.split("histogram_quantile")[1::2]:
            assert "_bucket" not in part, where
        assert expression.count("histogram_quantile") == 2 * expression.count("_seconds_bucket{") or (
            "heatmap" in where
        ), where


def test_latency_has_exemplars_and_objectives() -> None:
    """The latency of a live run has exemplars, and the thresholds of the objectives as dashed lines."""
    (latency,) = (p for p in SHIPPED["locust-otel-live"]["panels"] if p["title"] == "Latency")
    assert [t["refId"] for t in latency["targets"] if t.get("exemplar")] == ["B"]
    (objective,) = (t for t in latency["targets"] if "locust_slo_threshold_seconds" in t["expr"])
    (look,) = (o for o in latency["fieldConfig"]["overrides"] if o["matcher"]["options"] == objective["refId"])
    assert {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 8]}} in look["properties"]


def test_a_click_on_an_endpoint_filters() -> None:
    """A name in the table of endpoints is a link to the same dashboard with that name chosen."""
    (table,) = (p for p in SHIPPED["locust-otel-live"]["panels"] if p["title"] == "Endpoints")
    (name,) = (o for o in table["fieldConfig"]["overrides"] if o["matcher"]["options"] == "name")
    (links,) = (p["value"] for p in name["properties"] if p["id"] == "links")
    assert links[0]["url"].startswith("/d/locust-otel-live?")
    assert "&var-name=${__value.text:percentencode}" in links[0]["url"]


def test_a_game_day_shows_faults_and_alerts_on_one_time_line() -> None:
    """Faults are the marks with the kinds that `locust-otel gameday` sets; the service is chosen by its job."""
    dashboard = SHIPPED["locust-otel-gameday"]
    (line,) = (p for p in dashboard["panels"] if p["title"] == "Faults and alerts")
    faults, alerts = (target["expr"] for target in line["targets"])
    assert 'kind="fault-start"' in faults
    assert 'kind="fault-end"' in faults
    assert 'alertstate="firing"' in alerts
    assert 'alertstate="pending"' in alerts
    assert [v["name"] for v in dashboard["templating"]["list"]] == ["datasource", "run_id", "service_job"]


def _query(expression: str) -> Callable[[dict[str, Any]], None]:
    def plant(dashboard: dict[str, Any]) -> None:
        dashboard["panels"][3]["targets"][0]["expr"] = expression

    return plant


def _variable(query: str) -> Callable[[dict[str, Any]], None]:
    def plant(dashboard: dict[str, Any]) -> None:
        next(v for v in dashboard["templating"]["list"] if v["name"] == "name")["query"]["query"] = query

    return plant


def _annotation(expression: str) -> Callable[[dict[str, Any]], None]:
    return lambda dashboard: dashboard["annotations"]["list"][3].update(expr=expression)


def _panel(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda dashboard: dashboard["panels"][3].update(changes)


def _legend(dashboard: dict[str, Any]) -> None:
    dashboard["panels"][3]["targets"][0]["legendFormat"] = "{{worker}}"


def _column(dashboard: dict[str, Any]) -> None:
    table = next(panel for panel in dashboard["panels"] if panel["type"] == "table")
    table["fieldConfig"]["overrides"][0]["matcher"]["options"] = "worker"


def _threshold(dashboard: dict[str, Any]) -> None:
    dashboard["panels"][3]["fieldConfig"]["defaults"]["thresholds"]["steps"].append({"color": "red", "value": 0.5})


def _colour(dashboard: dict[str, Any]) -> None:
    dashboard["panels"][3]["fieldConfig"]["defaults"]["color"] = {"mode": "fixed", "fixedColor": "red"}


SELECTED = 'locust_requests_total{run_id="$run_id"}'
BUCKET = 'locust_request_duration_seconds_bucket{run_id="$run_id", le="0.5"}'
UNKNOWN = "locust_request_count_total"
FAULTS: list[tuple[Rule, Callable[[dict[str, Any]], None], str]] = [
    (lint.unknown_names, _query(f'sum({UNKNOWN}{{run_id="$run_id"}})'), f"no metric {UNKNOWN}"),
    (lint.unknown_names, _query("node_load1"), "no metric node_load1"),
    (
        lint.unknown_names,
        _query('locust_slo:burn_rate:rates{run_id="$run_id"}'),
        "no metric locust_slo:burn_rate:rates",
    ),
    (lint.unknown_names, _query("time() - max(locust_otel_last_exports > 0)"), "no metric locust_otel_last_exports"),
    (lint.unknown_names, _variable(f"label_values({UNKNOWN}{{name!=''}}, name)"), f"$name: no metric {UNKNOWN}"),
    (lint.unknown_names, _variable(f"query_result(max({UNKNOWN}))"), f"$name: no metric {UNKNOWN}"),
    (lint.unknown_labels, _variable("label_values(locust_users, name)"), "$name: nothing in it has a label name"),
    (lint.unknown_names, _annotation(f'max({UNKNOWN}{{run_id="$run_id"}})'), f"annotation Marks: no metric {UNKNOWN}"),
    (lint.unknown_names, _query('sum(locust_users{run_id="$run_id", name="x"})'), "has no label name"),
    (lint.unknown_names, _query(f"sum by (worker) ({SELECTED})"), "nothing in it has a label worker"),
    (lint.unknown_labels, _legend, "nothing in it has a label worker"),
    (lint.unknown_labels, _column, "Endpoints: nothing in it has a label worker"),
    (lint.buckets_by_text, _query(BUCKET), "by le"),
    (lint.windows, _query(f"sum(rate({SELECTED}[5m]))"), "rate over 5m"),
    (lint.windows, _query(f"sum(max_over_time({SELECTED}[6h]))"), "max_over_time over 6h"),
    (lint.averages, _query(f"avg({SELECTED})"), "averages"),
    (lint.averages, _query(f"max by (name) ({SELECTED} / {SELECTED})"), "aggregates a quotient"),
    (lint.literals, _query(f"sum({SELECTED}) > 0.95"), "compares with 0.95"),
    (lint.literals, _threshold, "has a threshold"),
    (lint.run_of_each, _query("sum(locust_requests_total)"), "of any run"),
    (lint.run_of_each, _query(f"{SELECTED} + locust_requests_total"), "of any run"),
    (lint.completeness, _panel(description=""), "no sentence"),
    (lint.completeness, _panel(datasource={"type": "prometheus", "uid": "mine"}), "a data source of its own"),
    (lint.completeness, _panel(fieldConfig={"defaults": {"unit": "s"}}), "nothing to say without data"),
    (lint.places, _panel(gridPos={"x": 0, "y": 0, "w": 4, "h": 4}), "lies on"),
    (lint.places, _panel(gridPos={"x": 0, "y": 90, "w": 2, "h": 4}), "too small"),
    (lint.places, _panel(gridPos={"x": 22, "y": 90, "w": 4, "h": 4}), "out of the grid"),
    (lint.places, _panel(id=1), "ids"),
    (lint.variables, _query(f"sum({SELECTED}) + $spare"), "$spare is not defined"),
    (lint.variables, lambda dashboard: dashboard["templating"]["list"].append({"name": "idle"}), "$idle is not used"),
    (lint.colours, _colour, "colour red"),
]


@pytest.mark.parametrize(("rule", "plant", "problem"), FAULTS, ids=[f"{r.__name__}-{s}" for r, _, s in FAULTS])
def test_each_rule_finds_a_planted_fault(rule: Rule, plant: Callable[[dict[str, Any]], None], problem: str) -> None:
    """A fault planted in a good dashboard is found by its rule, which reports nothing else."""
    dashboard = copy.deepcopy(SHIPPED["locust-otel-live"])
    plant(dashboard)
    found = list(rule(dashboard))
    assert found
    assert all(problem in line for line in found), found


def test_a_row_that_does_not_fill_the_grid_is_refused() -> None:
    """The widths of the panels of a row must add up."""
    with pytest.raises(ValueError, match=r"a row of \[8\] does not fill 24 columns"):
        frame.board("uid", "title", "About.", [], [(8, [(8, None)])])


def test_known_series() -> None:
    """A histogram is known by its name and by its buckets, which alone have `le`; recorded series by their labels."""
    known = lint.known_series()
    assert known["locust_request_duration_seconds_bucket"] - known["locust_request_duration_seconds"] == {"le"}
    assert known["locust_slo_status"] == {"run_id", "slo", "slo_service", "status"}
    assert known["locust_slo:burn_rate:rate"] == {"run_id", "slo", "slo_service", "window"}


def test_promql() -> None:
    """Queries have the selected series, windows, labels and offsets; a label that a metric has not is refused."""
    assert q.rate(catalogue.USER_ERRORS, "user_class", scope=q.RUN, error_type="x") == (
        'sum by (user_class) (rate(locust_user_errors_total{run_id="$run_id", error_type="x"}[$__rate_interval]))'
    )
    assert q.quantile("0.5", metric=catalogue.GENERATOR_LAG, scope=q.Selector((), "5s"), to_date="1m") == (
        "histogram_quantile(0.5, sum (last_over_time(locust_generator_lag_seconds[1m] offset 5s)))\nor\n"
        "histogram_quantile(0.5, sum by (le) (last_over_time(locust_generator_lag_seconds_bucket[1m] offset 5s)))"
    )
    assert q.RUN.series(names.BURN_RATE, window="2m") == 'locust_slo:burn_rate:rate{run_id="$run_id", window="2m"}'
    with pytest.raises(KeyError, match="locust_users has no label name"):
        q.FILTERED.series(catalogue.USERS)
