"""Frame of all dashboards: variables, annotations, links, and the place of each panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard as b
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import promql as q
from dashboards.generate.panels import DATASOURCE, GREY, PINK, SKY, VERMILLION
from locust_otel.core import catalogue
from locust_otel.core.catalogue import Metric
from locust_otel.slo.rules.promql import aggregated, lines, on

WIDTH = 24
"""Columns of Grafana's grid."""

SCHEMA_VERSION = 39
"""Version of the JSON: the last one that Grafana 11 writes; later versions of Grafana migrate it when they load it."""

Rows = list[tuple[int, list[tuple[int, Any]]]]
"""Height of each row of panels, and its panels with their widths."""


def query_variable(name: str, label: str, query: str) -> b.QueryVariable:
    """Return a variable whose values come from Prometheus."""
    variable = b.QueryVariable(name).label(label).datasource(DATASOURCE).definition(query)
    variable.query({"query": query, "refId": f"variable-{name}"})
    return variable.refresh(d.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(d.VariableSort.ALPHABETICAL_ASC)


def run() -> b.QueryVariable:
    """Return the choice of the run; ids begin with the time, so the latest run of the time range is first."""
    variable = query_variable("run_id", "Run", f"label_values({catalogue.RUN_INFO.name}, run_id)")
    return variable.sort(d.VariableSort.ALPHABETICAL_DESC)


def several(name: str, label: str, metric: Metric) -> b.QueryVariable:
    """Return the choice of several values of the label `name`, or of all."""
    return repeated(name, label, metric).all_value(".*")


def repeated(name: str, label: str, metric: Metric, of_label: str = "") -> b.QueryVariable:
    """Return the same choice for repeated panels: they need the values themselves for All."""
    query = f"label_values({q.RUN.series(metric)}, {of_label or name})"
    variable = query_variable(name, label, query).multi(True).include_all(True)
    return variable.current(d.VariableOption(selected=True, text=["All"], value=["$__all"]))


def run_link(uid: str, title: str, *variables: str) -> dict[str, object]:
    """Return the link of a run in a table with its `Started` and `Ended`, which sets the time range to the run."""
    kept = "&".join(f"${{{name}:queryparam}}" for name in ("datasource", *variables))
    return {
        "title": title,
        "url": f"/d/{uid}?{kept}&var-run_id=${{__value.text:percentencode}}"
        "&from=${__data.fields.Started.numeric}&to=${__data.fields.Ended.numeric}",
        "targetBlank": False,
    }


def _annotation(name: str, colour: str, title: str, text: str, expr: str) -> b.AnnotationQuery:
    annotation = b.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(colour)
    return annotation.expr(expr).step("5s").title_format(title).text_format(text).tag_keys("")


def events() -> list[Builder[d.AnnotationQuery]]:
    """Return start and stop of the run, its alerts and its marks, for every time series."""
    start, elapsed, active = (
        aggregated("max", q.RUN.series(metric), "run_id")
        for metric in (catalogue.RUN_START, catalogue.RUN_ELAPSED, catalogue.RUN_ACTIVE)
    )
    stop = lines(f"(1000 * ({start} + {elapsed}))", f"and {on('run_id')} ({active} == 0)")
    # The series of a mark appears with the mark.
    marks = q.RUN.series(catalogue.MARKS)
    now, before = (
        aggregated("sum", series, "run_id", "mark", "kind") for series in (marks, f"{marks} offset $__interval")
    )
    # Only the start of an alert: a band up to its end would colour most of a graph. The SLO dashboard has the bands.
    alerts = f"{q.FIRING} unless {q.FIRING} offset $__interval"
    return [
        _annotation("Run start", SKY, "start", "{{run_id}}", f"1000 * {start}").use_value_for_time(True),
        _annotation("Run stop", GREY, "stop", "{{run_id}}", stop).use_value_for_time(True),
        _annotation("Alerts", VERMILLION, "{{alertname}}", "{{slo}} {{severity}}", alerts),
        _annotation("Marks", PINK, "{{mark}}", "{{kind}}", f"({now} > {before})\nor ({now} unless {before})"),
    ]


def board(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Builder[d.VariableModel]],
    rows: Sequence[tuple[int, Sequence[tuple[int, Any]]] | str],
) -> d.Dashboard:
    """Return a dashboard.

    Args:
        uid: Never changes: links and bookmarks use it.
        title: Its title.
        description: One sentence.
        variables: All but the data source.
        rows: Rows of panels whose widths add up to `WIDTH`; or headings, which keep the panels below from moving up
            beside repeated panels.

    Raises:
        ValueError: The widths of a row do not add up.
    """
    result = b.Dashboard(title).uid(uid).description(description).tags(["locust", "locust-otel"]).editable()
    result.time("now-15m", "now").refresh("5s").timezone("browser").tooltip(d.DashboardCursorSync.CROSSHAIR)
    link = b.DashboardLink("Locust").type(d.DashboardLinkType.DASHBOARDS).tags(["locust-otel"]).as_dropdown(True)
    result.link(link.include_vars(True).keep_time(True))
    source = b.DatasourceVariable("datasource").label("Data source").type("prometheus")
    for variable in (source, *variables):
        result.with_variable(variable)
    for annotation in events():
        result.annotation(annotation)
    number = y = 0
    for row in rows:
        if isinstance(row, str):
            number += 1
            result.with_row(b.Row(row).id(number).grid_pos(d.GridPos(h=1, w=WIDTH, x=0, y=y)))
            y += 1
            continue
        height, panels = row
        if sum(width for width, _ in panels) != WIDTH:
            raise ValueError(f"{uid}: a row of {[width for width, _ in panels]} does not fill {WIDTH} columns")
        x = 0
        for width, panel in panels:
            number += 1
            result.with_panel(panel.id(number).grid_pos(d.GridPos(h=height, w=width, x=x, y=y)))
            x += width
        y += height
    built = result.build()
    built.schema_version = SCHEMA_VERSION
    return built
