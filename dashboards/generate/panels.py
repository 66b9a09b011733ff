"""How panels look: one function for each kind, with what all of its kind have in common.

Colours are those of Okabe and Ito, which the colour-blind tell apart; where a series cannot be known beforehand
(error types, workers), Grafana's palette has to do, and the legend and the tooltip tell which is which.
No panel has a threshold: limits come from series and are drawn as lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, statetimeline, table, timeseries, xychart
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import heatmap as h
from grafana_foundation_sdk.models import prometheus as p
from grafana_foundation_sdk.models import xychart as x

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
"""What makes a series the line that others are held against."""


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: The PromQL.
        legend: What its series are called; in a table, the heading of its value.
        instant: Whether it asks for the end of the time range only.
        exemplar: Whether it brings exemplars, the way into a trace.
        look: Field properties of its series.
    """

    expr: str
    legend: str = ""
    instant: bool = False
    exemplar: bool = False
    look: Mapping[str, object] | None = None

    def target(self, number: int, form: p.PromQueryFormat = p.PromQueryFormat.TIME_SERIES) -> prometheus.Dataquery:
        """Return what the panel asks."""
        query = prometheus.Dataquery().ref_id(ref(number)).datasource(DATASOURCE).expr(self.expr).format(form)
        query.editor_mode(p.QueryEditorMode.CODE).legend_format(self.legend or "__auto").exemplar(self.exemplar)
        return query.instant() if self.instant else query.range()


def ref(number: int) -> str:
    """Return the name of a panel's query: A, B, C."""
    return chr(ord("A") + number)


def colour(fixed: str) -> dict[str, object]:
    """Return the property that gives a series its colour."""
    return {"color": {"mode": "fixed", "fixedColor": fixed}}


def properties(look: Mapping[str, object]) -> list[d.DynamicConfigValue]:
    """Return field properties as overrides have them."""
    return [d.DynamicConfigValue(id_val=key, value=value) for key, value in look.items()]


def values(**of: tuple[str, str]) -> list[d.ValueMapping]:
    """Return the mapping of values to text and colour; a number is written `_1`."""
    options = {
        key.removeprefix("_"): d.ValueMappingResult(text=text, color=color, index=index)
        for index, (key, (text, color)) in enumerate(of.items())
    }
    return [d.ValueMap(options=options)]


def _none() -> ThresholdsConfig:
    """Return no thresholds; Grafana would put one at 80 by itself."""
    base = [d.Threshold(color=SKY, value=None)]
    return ThresholdsConfig().mode(d.ThresholdsMode.ABSOLUTE).steps(base)


def _fixed(color: str) -> FieldColor:
    return FieldColor().mode(d.FieldColorModeId.FIXED).fixed_color(color)


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
    panel = timeseries.Panel().title(title).description(description).unit(unit).datasource(DATASOURCE)
    panel.no_value(no_data).min(0).thresholds(_none())
    if unit == RATIO:  # a ratio that is 0 throughout would get an axis up to 10,000 %
        panel.axis_soft_max(0.01)
    panel.color_scheme(FieldColor().mode(d.FieldColorModeId.PALETTE_CLASSIC))
    panel.line_width(2).fill_opacity(60 if bars else 30 if stacked else 0).show_points(
        c.VisibilityMode.AUTO
    ).point_size(4)
    panel.draw_style(c.GraphDrawStyle.BARS if bars else c.GraphDrawStyle.LINE).axis_soft_min(0)
    mode = c.StackingMode.NORMAL if stacked or bars else c.StackingMode.NONE
    panel.stacking(common.StackingConfig().mode(mode).group("A"))
    panel.legend(
        common.VizLegendOptions().display_mode(c.LegendDisplayMode.TABLE).placement(c.LegendPlacement.BOTTOM)
        .show_legend(True).calcs(["lastNotNull", "max"])
        .sort_by("Max").sort_desc(True)
    )  # fmt: skip
    panel.tooltip(common.VizTooltipOptions().mode(c.TooltipDisplayMode.MULTI).sort(c.SortOrder.DESCENDING))
    for number, query in enumerate(queries):
        panel.with_target(query.target(number))
        if query.look:
            panel.override_by_query(ref(number), properties(query.look))
    return panel


def figure(title: str, description: str, unit: str, *queries: Query, no_data: str = "–") -> stat.Panel:
    """Return a number to read from afar, or a few of them."""
    panel = stat.Panel().title(title).description(description).unit(unit).datasource(DATASOURCE)
    panel.no_value(no_data).thresholds(_none()).color_scheme(_fixed("text"))
    panel.color_mode(c.BigValueColorMode.VALUE).graph_mode(c.BigValueGraphMode.NONE).orientation(c.VizOrientation.AUTO)
    panel.justify_mode(c.BigValueJustifyMode.AUTO)
    panel.text_mode(c.BigValueTextMode.VALUE if len(queries) == 1 else c.BigValueTextMode.VALUE_AND_NAME)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    for number, query in enumerate(queries):
        panel.with_target(query.target(number))
        if query.look:
            panel.override_by_query(ref(number), properties(query.look))
    return panel


def timeline(
    title: str, description: str, mapping: list[d.ValueMapping], *queries: Query, no_data: str = NO_RUN
) -> statetimeline.Panel:
    """Return a band for each series that changes its colour with its state."""
    panel = statetimeline.Panel().title(title).description(description).unit(COUNT).datasource(DATASOURCE)
    panel.no_value(no_data).thresholds(_none()).mappings(mapping).color_scheme(_fixed(GREY))
    panel.show_value(c.VisibilityMode.AUTO).row_height(0.8).merge_values(True).fill_opacity(80).line_width(0)
    panel.legend(
        common.VizLegendOptions().display_mode(c.LegendDisplayMode.LIST).placement(c.LegendPlacement.BOTTOM)
        .show_legend(False).calcs([])
    )  # fmt: skip
    for number, query in enumerate(queries):
        panel.with_target(query.target(number))
    return panel


def density(title: str, description: str, unit: str, *queries: Query) -> heatmap.Panel:
    """Return a heatmap; its queries give buckets, classic or native."""
    panel = heatmap.Panel().title(title).description(description).unit(unit).datasource(DATASOURCE).no_value(NO_RUN)
    panel.exemplars_color(PINK).calculate(False).cell_gap(1).thresholds(_none())
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
        heading: What stands above it.
        query: What its values are; none for a label of the queries.
        label: Which label.
        unit: Of its values.
        width: In pixels; 0 for what is left.
        hidden: Whether only the labels of its query are wanted.
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

    Each column with a query is one; Grafana calls its value `Value #A` and merges the rows by what labels they share.
    """
    panel = table.Panel().title(title).description(description).unit(COUNT).datasource(DATASOURCE).no_value(no_data)
    panel.thresholds(_none()).color_scheme(_fixed("text")).show_header(True).cell_height(c.TableCellHeight.SM)
    panel.align(c.FieldTextAlignment.AUTO)
    shown: list[str] = []
    queries = 0
    for column in columns:
        field = column.label
        if column.query:
            field = f"Value #{ref(queries)}"
            panel.with_target(Query(column.query, instant=True).target(queries, p.PromQueryFormat.TABLE))
            queries += 1
        if column.hidden:
            continue
        look: dict[str, object] = {"displayName": column.heading, "noValue": "–"}
        look |= {"unit": column.unit} if column.unit else {}
        look |= {"custom.width": column.width} if column.width else {}
        panel.override_by_name(field, properties(look | dict(column.look or {})))
        shown.append(field)
    panel.with_transformation(d.DataTransformerConfig(id_val="merge", options={}))
    # The time, and labels that no column shows, stay out.
    panel.with_transformation(
        d.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": shown}})
    )
    order = {name: index for index, name in enumerate(shown)}
    organize = {"excludeByName": {}, "indexByName": order, "renameByName": {}}
    panel.with_transformation(d.DataTransformerConfig(id_val="organize", options=organize))
    return panel.sort_by([common.TableSortByFieldState().display_name(heading).desc(True) for heading in sort])


@dataclass(frozen=True)
class Dots:
    """What a scatter plot draws over its x: a query, its name and colour."""

    query: str
    name: str
    color: str


def scatter(title: str, description: str, unit: str, over: tuple[str, str], *dots: Dots) -> xychart.Panel:
    """Return points whose x is one query (with its name) and whose y are others, at the same moments."""
    panel = xychart.Panel().title(title).description(description).unit(unit).datasource(DATASOURCE).no_value(NO_RUN)
    panel.thresholds(_none()).min(0).color_scheme(FieldColor().mode(d.FieldColorModeId.PALETTE_CLASSIC))
    panel.show(x.XYShowMode.POINTS).point_size(xychart.XychartFieldConfigPointSize().fixed(5)).fill_opacity(60)
    panel.mapping(x.SeriesMapping.MANUAL)
    panel.legend(
        common.VizLegendOptions().display_mode(c.LegendDisplayMode.LIST).placement(c.LegendPlacement.BOTTOM)
        .show_legend(True).calcs([])
    )  # fmt: skip
    panel.tooltip(common.VizTooltipOptions().mode(c.TooltipDisplayMode.SINGLE).sort(c.SortOrder.NONE))
    expression, name = over
    panel.with_target(Query(expression, name).target(0))
    panel.override_by_name(name, properties({"unit": COUNT, "custom.axisLabel": name}))
    series = []
    for number, dot in enumerate(dots, 1):
        panel.with_target(Query(dot.query, dot.name).target(number))
        panel.override_by_name(dot.name, properties(colour(dot.color)))
        series.append(
            xychart.XYSeriesConfig()
            .name(xychart.XychartXYSeriesConfigName().fixed(dot.name))
            .frame(xychart.XychartXYSeriesConfigFrame().matcher(_matcher("byIndex", 0)))
            .x(xychart.XychartXYSeriesConfigX().matcher(_matcher("byName", name)))
            .y(xychart.XychartXYSeriesConfigY().matcher(_matcher("byName", dot.name)))
        )
    panel.series(list(series))
    join = {"byField": "Time", "mode": "outer"}
    return panel.with_transformation(d.DataTransformerConfig(id_val="joinByField", options=join))


def _matcher(kind: str, options: object) -> xychart.MatcherConfig:
    return xychart.MatcherConfig().id(kind).options(options)
