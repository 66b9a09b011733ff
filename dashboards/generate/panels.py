"""Look of the panels: one function for each kind of panel.

Colours are those of Okabe and Ito, which colour-blind people can tell apart. Series that are not known beforehand, such
as error types and workers, have Grafana's palette; the legend and the tooltip name them.
No panel has a threshold: limits come from series and are drawn as lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, statetimeline, table, timeseries, xychart
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import heatmap as h
from grafana_foundation_sdk.models import prometheus as p
from grafana_foundation_sdk.models import xychart as x

_Panel = TypeVar("_Panel", timeseries.Panel, stat.Panel, statetimeline.Panel, heatmap.Panel, table.Panel, xychart.Panel)

BLUE, SKY, ORANGE, VERMILLION, GREEN, PINK, GREY = (
    "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#8E8E8E",
)  # fmt: skip
SECONDS, RATIO, PER_SECOND, BYTES, COUNT = "s", "percentunit", "reqps", "bytes", "short"
DATASOURCE = c.DataSourceRef(type_val="prometheus", uid="${datasource}")
NO_RUN = "No data of this run in the time range"
NO_SLO = "No data: the run has no SLO file, or its rules are not loaded"

LIMIT: dict[str, object] = {
    "color": {"mode": "fixed", "fixedColor": GREY},
    "custom.lineStyle": {"fill": "dash", "dash": [10, 8]},
    "custom.lineWidth": 2,
    "custom.showPoints": "never",
    "custom.fillOpacity": 0,
    "custom.stacking": {"mode": "none", "group": "A"},
    "custom.drawStyle": "line",
}
"""Look of a series that is a limit for the others."""


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: The PromQL.
        legend: Name of its series, which may contain labels: `{{worker}}`.
        exemplar: Whether it returns exemplars, which link to traces.
        look: Field properties of its series.
    """

    expr: str
    legend: str = ""
    exemplar: bool = False
    look: Mapping[str, object] | None = None

    def target(
        self, number: int, form: p.PromQueryFormat = p.PromQueryFormat.TIME_SERIES, *, instant: bool = False
    ) -> prometheus.Dataquery:
        """Return the query as Grafana's panel has it; an instant query is evaluated at the end of the time range."""
        query = prometheus.Dataquery().ref_id(ref(number)).datasource(DATASOURCE).expr(self.expr).format(form)
        query.editor_mode(p.QueryEditorMode.CODE).legend_format(self.legend or "__auto").exemplar(self.exemplar)
        return query.instant() if instant else query.range()


def ref(number: int) -> str:
    """Return the name of a panel's query: A, B, C."""
    return chr(ord("A") + number)


def colour(fixed: str) -> dict[str, object]:
    """Return the property that gives a series its colour."""
    return {"color": {"mode": "fixed", "fixedColor": fixed}}


def properties(look: Mapping[str, object]) -> list[d.DynamicConfigValue]:
    """Return field properties in the form of overrides."""
    return [d.DynamicConfigValue(id_val=key, value=value) for key, value in look.items()]


def values(texts: Mapping[str, tuple[str, str]]) -> list[d.ValueMapping]:
    """Return the mapping of values to text and colour."""
    options = {
        value: d.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(texts.items())
    }
    return [d.ValueMap(options=options)]


def _described(panel: _Panel, title: str, description: str, unit: str, no_data: str) -> _Panel:
    """Return a panel with what all kinds have in common."""
    panel.title(title).description(description).unit(unit).datasource(DATASOURCE).no_value(no_data)
    # Without this threshold Grafana adds one at 80.
    base = d.Threshold(color=SKY, value=None)
    return panel.thresholds(ThresholdsConfig().mode(d.ThresholdsMode.ABSOLUTE).steps([base]))


def _palette() -> FieldColor:
    return FieldColor().mode(d.FieldColorModeId.PALETTE_CLASSIC)


def _fixed(color: str) -> FieldColor:
    return FieldColor().mode(d.FieldColorModeId.FIXED).fixed_color(color)


def _legend(mode: c.LegendDisplayMode, *columns: str, is_shown: bool = True) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(mode).placement(c.LegendPlacement.BOTTOM)
    return legend.show_legend(is_shown).calcs([*columns])


def _tooltip(mode: c.TooltipDisplayMode, order: c.SortOrder) -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(mode).sort(order)


def graph(  # noqa: PLR0913  # as the panel has them
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    no_data: str = NO_RUN,
    stacked: bool = False,
    bars: bool = False,
) -> timeseries.Panel:
    """Return lines, areas on top of each other, or bars, over time."""
    panel = _described(timeseries.Panel(), title, description, unit, no_data).min(0).color_scheme(_palette())
    if unit == RATIO:  # else a ratio that is always 0 gets an axis up to 10,000 %
        panel.axis_soft_max(0.01)
    panel.line_width(2).fill_opacity(60 if bars else 30 if stacked else 0)
    panel.show_points(c.VisibilityMode.AUTO).point_size(4)
    panel.draw_style(c.GraphDrawStyle.BARS if bars else c.GraphDrawStyle.LINE).axis_soft_min(0)
    mode = c.StackingMode.NORMAL if stacked or bars else c.StackingMode.NONE
    panel.stacking(common.StackingConfig().mode(mode).group("A"))
    panel.legend(_legend(c.LegendDisplayMode.TABLE, "lastNotNull", "max").sort_by("Max").sort_desc(True))
    panel.tooltip(_tooltip(c.TooltipDisplayMode.MULTI, c.SortOrder.DESCENDING))
    for number, query in enumerate(queries):
        panel.with_target(query.target(number))
        if query.look:
            panel.override_by_query(ref(number), properties(query.look))
    return panel


def figure(title: str, description: str, unit: str, *queries: Query, no_data: str = "–") -> stat.Panel:
    """Return a large number, or a few of them, of the end of the time range."""
    panel = _described(stat.Panel(), title, description, unit, no_data).color_scheme(_fixed("text"))
    panel.color_mode(c.BigValueColorMode.VALUE).graph_mode(c.BigValueGraphMode.NONE).orientation(c.VizOrientation.AUTO)
    panel.justify_mode(c.BigValueJustifyMode.AUTO)
    panel.text_mode(c.BigValueTextMode.VALUE if len(queries) == 1 else c.BigValueTextMode.VALUE_AND_NAME)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    for number, query in enumerate(queries):
        panel.with_target(query.target(number, instant=True))
    return panel


def timeline(
    title: str, description: str, mapping: list[d.ValueMapping], *queries: Query, no_data: str = NO_RUN
) -> statetimeline.Panel:
    """Return a band for each series, whose colour shows its state."""
    panel = _described(statetimeline.Panel(), title, description, COUNT, no_data)
    panel.mappings(mapping).color_scheme(_fixed(GREY))
    panel.show_value(c.VisibilityMode.AUTO).row_height(0.8).merge_values(True).fill_opacity(80).line_width(0)
    panel.legend(_legend(c.LegendDisplayMode.LIST, is_shown=False))
    for number, query in enumerate(queries):
        panel.with_target(query.target(number))
    return panel


def density(title: str, description: str, unit: str, *queries: Query) -> heatmap.Panel:
    """Return a heatmap; its queries return buckets, classic or native."""
    panel = _described(heatmap.Panel(), title, description, unit, NO_RUN)
    panel.exemplars_color(PINK).calculate(False).cell_gap(1)
    panel.color(
        heatmap.HeatmapColorOptions().mode(h.HeatmapColorMode.SCHEME).scheme("Viridis").steps(64).reverse(False)
        .scale(h.HeatmapColorScale.EXPONENTIAL).exponent(0.5).fill(BLUE)
    )  # fmt: skip
    panel.y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(c.AxisPlacement.LEFT)).show_legend()
    panel.filter_values(heatmap.FilterValueRange().le(1e-9))
    panel.tooltip(heatmap.HeatmapTooltip().mode(c.TooltipDisplayMode.SINGLE).y_histogram(False))
    for number, query in enumerate(queries):
        panel.with_target(query.target(number, p.PromQueryFormat.HEATMAP))
    return panel


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        heading: Its heading.
        query: PromQL of its values; empty for a label of the queries.
        label: Name of that label.
        unit: Unit of its values.
        width: Pixels; 0 for the rest of the width.
        hidden: Whether only the labels of its query are needed.
        look: More field properties.
    """

    heading: str
    query: str = ""
    label: str = ""
    unit: str = ""
    width: int = 0
    hidden: bool = False
    look: Mapping[str, object] | None = None


def grid(
    title: str, description: str, *columns: Column, sort: Sequence[str] = (), no_data: str = NO_RUN
) -> table.Panel:
    """Return a table with a row for each set of labels; `sort` are headings, largest value first.

    Grafana calls the value of the first query `Value #A`, and merges rows that have the same labels.
    """
    panel = _described(table.Panel(), title, description, COUNT, no_data)
    panel.color_scheme(_fixed("text")).show_header(True).cell_height(c.TableCellHeight.SM)
    panel.align(c.FieldTextAlignment.AUTO)
    shown: list[str] = []
    queries = 0
    for column in columns:
        field = column.label
        if column.query:
            field = f"Value #{ref(queries)}"
            panel.with_target(Query(column.query).target(queries, p.PromQueryFormat.TABLE, instant=True))
            queries += 1
        if column.hidden:
            continue
        look: dict[str, object] = {"displayName": column.heading, "noValue": "–"}
        look |= {"unit": column.unit} if column.unit else {}
        look |= {"custom.width": column.width} if column.width else {}
        panel.override_by_name(field, properties(look | dict(column.look or {})))
        shown.append(field)
    order = {name: index for index, name in enumerate(shown)}
    for kind, options in (
        ("merge", {}),
        # Without the time, and without labels that no column shows.
        ("filterFieldsByName", {"include": {"names": shown}}),
        ("organize", {"excludeByName": {}, "indexByName": order, "renameByName": {}}),
    ):
        panel.with_transformation(d.DataTransformerConfig(id_val=kind, options=options))
    return panel.sort_by([common.TableSortByFieldState().display_name(heading).desc(True) for heading in sort])


def scatter(title: str, description: str, unit: str, over: Query, *queries: Query) -> xychart.Panel:
    """Return dots: the values of `over` are their x, the values of the other queries at the same time their y."""
    panel = _described(xychart.Panel(), title, description, unit, NO_RUN).min(0).color_scheme(_palette())
    panel.show(x.XYShowMode.POINTS).point_size(xychart.XychartFieldConfigPointSize().fixed(5)).fill_opacity(60)
    panel.mapping(x.SeriesMapping.MANUAL).legend(_legend(c.LegendDisplayMode.LIST))
    panel.tooltip(_tooltip(c.TooltipDisplayMode.SINGLE, c.SortOrder.NONE))
    panel.with_target(over.target(0))
    panel.override_by_name(over.legend, properties({"unit": COUNT, "custom.axisLabel": over.legend}))
    series = []
    for number, query in enumerate(queries, 1):
        panel.with_target(query.target(number))
        panel.override_by_name(query.legend, properties(query.look or {}))
        series.append(
            xychart.XYSeriesConfig()
            .name(xychart.XychartXYSeriesConfigName().fixed(query.legend))
            .frame(xychart.XychartXYSeriesConfigFrame().matcher(_matcher("byIndex", 0)))
            .x(xychart.XychartXYSeriesConfigX().matcher(_matcher("byName", over.legend)))
            .y(xychart.XychartXYSeriesConfigY().matcher(_matcher("byName", query.legend)))
        )
    panel.series(list(series))
    join = {"byField": "Time", "mode": "outer"}
    return panel.with_transformation(d.DataTransformerConfig(id_val="joinByField", options=join))


def _matcher(kind: str, options: object) -> xychart.MatcherConfig:
    return xychart.MatcherConfig().id(kind).options(options)
