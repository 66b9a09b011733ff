"""What all dashboards share: variables, annotations, links, and the place of each panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard as b
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import names
from dashboards.generate.panels import DATASOURCE, GREY, PINK, SKY, VERMILLION
from dashboards.generate.promql import RUN

WIDTH = 24
"""Columns of Grafana's grid."""

SCHEMA_VERSION = 39
"""Of the JSON: the last one that Grafana 11 writes; later ones migrate it as they load it."""

Panel = Builder[d.Panel]


def datasource() -> b.DatasourceVariable:
    """Return the choice of the Prometheus."""
    return b.DatasourceVariable("datasource").label("Data source").type("prometheus")


def query_variable(name: str, label: str, query: str) -> b.QueryVariable:
    """Return a variable whose values come from Prometheus."""
    variable = b.QueryVariable(name).label(label).datasource(DATASOURCE).definition(query)
    variable.query({"query": query, "refId": f"variable-{name}"})
    return variable.refresh(d.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(d.VariableSort.ALPHABETICAL_ASC)


def run() -> b.QueryVariable:
    """Return the choice of the run, of those in the time range; the ids begin with the time, so the latest is first."""
    variable = query_variable("run_id", "Run", f"label_values({names.INFO}, run_id)")
    return variable.sort(d.VariableSort.ALPHABETICAL_DESC)


def several(name: str, label: str, metric: str) -> b.QueryVariable:
    """Return the choice of some values of a label of the run, or all of them."""
    variable = query_variable(name, label, f"label_values({RUN.of(metric)}, {name})").multi(True).include_all(True)
    return variable.all_value(".*").current(d.VariableOption(selected=True, text=["All"], value=["$__all"]))


def each(name: str, label: str, metric: str, of_label: str = "") -> b.QueryVariable:
    """Return the same for panels that are repeated, which need the values themselves for All."""
    variable = (
        query_variable(name, label, f"label_values({RUN.of(metric)}, {of_label or name})").multi(True).include_all(True)
    )
    return variable.current(d.VariableOption(selected=True, text=["All"], value=["$__all"]))


def _annotation(name: str, colour: str, title: str, text: str, expr: str) -> b.AnnotationQuery:
    annotation = b.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(colour)
    return annotation.expr(expr).step("5s").title_format(title).text_format(text).tag_keys("")


def events() -> list[Builder[d.AnnotationQuery]]:
    """Return start and stop of the run, its alerts and its marks; each stands on every time series."""
    start = f"max by (run_id) ({RUN.of(names.START)})"
    stop = f"{start} + max by (run_id) ({RUN.of(names.ELAPSED)})"
    is_over = f"max by (run_id) ({RUN.of(names.ACTIVE)}) == 0"
    marks = RUN.of("locust_marks_total")
    # A mark's series comes into being with the mark.
    now = f"sum by (run_id, mark, kind) ({marks})"
    before = f"sum by (run_id, mark, kind) ({marks} offset $__interval)"
    # Where an alert begins: a band from there to its end would tint most of a graph. The SLO dashboard has the bands.
    firing = 'ALERTS{run_id="$run_id", alertstate="firing", severity!="none"}'
    alerts = f"{firing} unless {firing} offset $__interval"
    return [
        _annotation("Run start", SKY, "start", "{{run_id}}", f"1000 * {start}").use_value_for_time(True),
        _annotation("Run stop", GREY, "stop", "{{run_id}}", f"(1000 * ({stop}))\nand on (run_id) ({is_over})")
        .use_value_for_time(True),
        _annotation("Alerts", VERMILLION, "{{alertname}}", "{{slo}} {{severity}}", alerts),
        _annotation("Marks", PINK, "{{mark}}", "{{kind}}", f"({now} > {before})\nor ({now} unless {before})"),
    ]  # fmt: skip


def board(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Builder[d.VariableModel]],
    rows: Sequence[tuple[int, Sequence[tuple[int, Any]]] | str],
) -> d.Dashboard:
    """Return a dashboard.

    Args:
        uid: Never changes: links and bookmarks hold it.
        title: Its title.
        description: One sentence.
        variables: Besides the data source.
        rows: Height of each row of panels, and its panels with their widths, which add up to `WIDTH`; or a heading,
            which keeps what is below it from moving up beside repeated panels.
    """
    result = b.Dashboard(title).uid(uid).description(description).tags(["locust", "locust-otel"]).editable()
    result.time("now-15m", "now").refresh("5s").timezone("browser").tooltip(d.DashboardCursorSync.CROSSHAIR)
    link = b.DashboardLink("Locust").type(d.DashboardLinkType.DASHBOARDS).tags(["locust-otel"]).as_dropdown(True)
    result.link(link.include_vars(True).keep_time(True))
    for variable in (datasource(), *variables):
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
