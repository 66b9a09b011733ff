"""Rules of our dashboards: one function for each rule, which takes the JSON and yields the problems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dashboards.generate import panels
from locust_otel.core import catalogue
from locust_otel.core.catalogue import CATALOGUE, Kind, Scope
from locust_otel.slo.file import load
from locust_otel.slo.rules.names import ALERTS, OBJECTIVE
from locust_otel.slo.rules.recording_rules import recording_rules

KEYWORDS = {"or", "and", "unless", "offset", "bool"}
LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}

TARGET_LABELS = ("job", "instance")
"""Labels that Prometheus adds to the series of a target."""


def bare(expression: str) -> str:
    """Return a query without its quoted texts."""
    return re.sub(r'"[^"]*"', '""', expression)


def metrics(expression: str) -> set[str]:
    """Return the names of the series in a query."""
    text = re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", re.sub(r"\$\{\w+\}s|\$\w+", " ", bare(expression)))
    text = re.sub(rf"\b({'|'.join(LISTS)})\s*\([^)]*\)", " ", text)
    words = re.finditer(r"(?<![\w.:])([a-zA-Z_][\w:]*)(\s*\()?", text)
    return {word[1] for word in words if not word[2] and word[1] not in KEYWORDS | LISTS} | {
        found[1] for found in re.finditer(r"([a-zA-Z_][\w:]*)\{", bare(expression))
    }


def recorded_series() -> dict[str, tuple[str, ...]]:
    """Return the series that the rules of the shipped SLO files record, with their labels."""
    series: dict[str, tuple[str, ...]] = {}
    for path in sorted(Path("locustfiles").glob("slo*.yaml")):
        for rule in recording_rules(load(str(path))):
            labels = (*OBJECTIVE, *rule.get("labels", ()), *series.get(rule["record"], ()))
            inherited = (label for name in metrics(rule["expr"]) for label in series.get(name, ()))
            series[rule["record"]] = tuple(dict.fromkeys((*labels, *inherited)))
    return series


SLO_SERIES: dict[str, tuple[str, ...]] = {
    **{metric.name: metric.labels for metric in CATALOGUE if metric.scope is Scope.SLO or metric is catalogue.MARKS},
    **recorded_series(),
    ALERTS: (*OBJECTIVE, "alertname", "alertstate", "severity"),
}
"""Series and labels that a run has only with an SLO file, its rules, or marks."""


def known_series() -> dict[str, frozenset[str]]:
    """Return the labels of every series that the catalogue exports, a rule records, or Prometheus itself has."""
    known = {name: frozenset(labels) for name, labels in SLO_SERIES.items()} | {"up": frozenset(TARGET_LABELS)}
    for metric in CATALOGUE:
        if metric.name not in known:
            labels = known[metric.name] = frozenset((*metric.labels, *TARGET_LABELS))
            if metric.kind is Kind.HISTOGRAM:
                known[f"{metric.name}_bucket"] = labels | {"le"}
    return known


KNOWN = known_series()
RANGES = {"$__range", "$lookback", "1h", "$__range:$__interval"}
"""Windows of functions other than rates; the hour is how far `arrivals` looks back for the last value before a gap."""

LEAST_WIDTH = {"stat": 3, "timeseries": 6, "xychart": 8, "table": 8, "heatmap": 8, "state-timeline": 8, "text": 6}
BUILT_IN = re.compile(r"__\w+")
COLOURS = {
    *(panels.BLUE, panels.SKY, panels.ORANGE, panels.VERMILLION, panels.GREEN, panels.PINK, panels.GREY),
    *("text", "transparent"),
}

Dashboard = dict[str, Any]


def drawn(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Return the panels without the headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """Yield place and PromQL of each query: of panels, variables and annotations."""
    for panel in drawn(dashboard):
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"${variable['name']}", of_variable(variable["query"]["query"])
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"]


def of_variable(query: str) -> str:
    """Return the PromQL of `label_values(…, label)` or `query_result(…)`."""
    found = re.fullmatch(r"label_values\((.*), \w+\)|query_result\((.*)\)", query, re.DOTALL)
    assert found, query
    return found[1] or found[2]


def labels_of(expressions: Iterable[str]) -> frozenset[str]:
    """Return the labels of all series in queries."""
    used = set().union(*map(metrics, expressions))
    return frozenset().union(*(KNOWN.get(name, frozenset()) for name in used))


def unknown_names(dashboard: Dashboard) -> Iterator[str]:
    """Each series, and each of its labels, is exported or recorded."""
    for where, expression in queries(dashboard):
        yield from (f"{where}: no metric {name}" for name in sorted(metrics(expression) - KNOWN.keys()))
        for name, matchers in re.findall(r"([a-zA-Z_][\w:]*)\{([^}]*)\}", bare(expression)):
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
                if label not in KNOWN.get(name, {label}):
                    yield f"{where}: {name} has no label {label}"
        lists = re.findall(rf"\b(?:{'|'.join(LISTS)})\s*\(([^)]*)\)", bare(expression))
        for label in re.findall(r"\w+", " ".join(lists)):
            if label not in labels_of([expression]):
                yield f"{where}: nothing in it has a label {label}"


def unknown_labels(dashboard: Dashboard) -> Iterator[str]:
    """Each legend, column of a table and `label_values` names a label of its query."""
    named = [
        (f"${variable['name']}", found[2], [found[1]])
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
        and (found := re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]))
    ]
    for panel in drawn(dashboard):
        expressions = [target["expr"] for target in panel.get("targets", [])]
        for target in panel.get("targets", []):
            labels = re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
            named += ((f"{panel['title']} {target['refId']}", label, [target["expr"]]) for label in labels)
        if panel["type"] == "table":
            fields = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
            named += ((panel["title"], field, expressions) for field in fields if not field.startswith("Value #"))
    for where, label, expressions in named:
        if label not in labels_of(expressions):
            yield f"{where}: nothing in it has a label {label}"


def buckets_by_text(dashboard: Dashboard) -> Iterator[str]:
    """No query selects a bucket by the text of its bound: a scrape and OTLP write it differently."""
    for where, expression in queries(dashboard):
        if re.search(r"[{,]\s*le\s*[=!]", expression):
            yield f"{where}: selects a bucket by le"


def windows(dashboard: Dashboard) -> Iterator[str]:
    """Rates are over `$__rate_interval`, all other functions over a range that the user has chosen."""
    for where, expression in queries(dashboard):
        for function, window in re.findall(r"(\w+)\s*\(\s*[\w:]+(?:\{[^}]*\})?\[([^]]+)\]", expression):
            wanted = {"$__rate_interval"} if function in {"rate", "increase", "irate"} else RANGES
            if window not in wanted:
                yield f"{where}: {function} over {window}"


def averages(dashboard: Dashboard) -> Iterator[str]:
    """There are no averages and no aggregations of quotients: sums are divided by sums."""
    for where, expression in queries(dashboard):
        text = bare(expression)
        if re.search(r"\bavg(_over_time)?\b", text):
            yield f"{where}: averages"
        for found in re.finditer(r"\b(?:sum|max|min|quantile|stddev)(?:_over_time)?(?: by \([^)]*\))?\s*\(", text):
            if "/" in inside(text, found.end()).replace("/ ($__interval_ms / 1000)", ""):
                yield f"{where}: aggregates a quotient"


def inside(text: str, start: int) -> str:
    """Return the text between a bracket that was opened before `start` and its end."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    raise AssertionError(text)


def literals(dashboard: Dashboard) -> Iterator[str]:
    """No dashboard contains a limit: neither as the threshold of a panel, nor as a number in a comparison."""
    for panel in drawn(dashboard):
        config = panel.get("fieldConfig", {})
        steps = [config.get("defaults", {}).get("thresholds", {})]
        steps += [p["value"] for o in config.get("overrides", []) for p in o["properties"] if p["id"] == "thresholds"]
        if any(step.get("value") is not None for threshold in steps for step in threshold.get("steps", [])):
            yield f"{panel['title']}: has a threshold"
        if panel["type"] != "text" and "steps" not in config.get("defaults", {}).get("thresholds", {}):
            yield f"{panel['title']}: would get Grafana's own threshold at 80"
    for where, expression in queries(dashboard):
        for operator, number in re.findall(r"(==|!=|>=|<=|>|<)\s*(?:bool\s*)?([\d.]+)", bare(expression)):
            if (operator, number) not in {(">", "0"), ("==", "0"), ("==", "1")}:
                yield f"{where}: compares with {number}"


def run_of_each(dashboard: Dashboard) -> Iterator[str]:
    """A series with a run_id is selected or grouped by its run_id."""
    for where, expression in queries(dashboard):
        if where.startswith("$") or "by (run_id)" in expression:
            continue
        for name in metrics(expression):
            selectors = re.findall(rf"(?<![\w:]){re.escape(name)}(?![\w:])(?:\{{([^}}]*)\}})?", expression)
            is_selected = all(re.match(r'run_id="\$(run_id|baseline)"', matchers) for matchers in selectors)
            if "run_id" in KNOWN.get(name, ()) and not is_selected:
                yield f"{where}: {name} of any run"


def completeness(dashboard: Dashboard) -> Iterator[str]:
    """Each panel has title, description, unit and a text for no data; each query uses the data source variable."""
    for panel in drawn(dashboard):
        title = panel["title"]
        if not title or not panel.get("description", "").endswith("."):
            yield f"{title}: no title, or no sentence about it"
        if panel["datasource"]["uid"] != "${datasource}":
            yield f"{title}: a data source of its own"
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        if panel["type"] != "text" and not (defaults.get("unit") and defaults.get("noValue")):
            yield f"{title}: no unit, or nothing to say without data"
        for target in panel.get("targets", []):
            if target["datasource"]["uid"] != "${datasource}":
                yield f"{title} {target['refId']}: a data source of its own"
    for other in (*dashboard["annotations"]["list"], *dashboard["templating"]["list"]):
        if other.get("type") not in {"custom", "datasource"} and other["datasource"]["uid"] != "${datasource}":
            yield f"{other['name']}: a data source of its own"


def places(dashboard: Dashboard) -> Iterator[str]:
    """Panels are inside the grid, do not overlap and are wide enough for their kind; ids are unique."""
    cells: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        at, title = panel["gridPos"], panel["title"]
        if at["x"] < 0 or at["x"] + at["w"] > 24:
            yield f"{title}: out of the grid"
        if at["w"] < LEAST_WIDTH.get(panel["type"], 24) or (panel["type"] != "row" and at["h"] < 3):
            yield f"{title}: too small"
        if panel.get("repeat") and 24 // panel.get("maxPerRow", 4) < LEAST_WIDTH[panel["type"]] - 2:
            yield f"{title}: too many in a row"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in cells:
                yield f"{title}: lies on {cells[cell]}"
                break
            cells[cell] = title
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) != len(ids) or not all(ids):
        yield f"ids {ids}"
    if len({(p["title"]) for p in drawn(dashboard)}) < len(drawn(dashboard)) - 1:
        yield "a title more than twice"


def variables(dashboard: Dashboard) -> Iterator[str]:
    """Each `$name` is a variable of Grafana or of the dashboard, and each variable is used."""
    defined = [variable["name"] for variable in dashboard["templating"]["list"]]
    if defined[0] != "datasource":
        yield "the data source is not the first variable"
    text = re.sub(r'"definition": "[^"]*"', "", str(dashboard))
    used = {a or b for a, b in re.findall(r"\$(?:(\w+)|\{(\w+))", text)}
    yield from (f"${name} is not defined" for name in used - set(defined) if not BUILT_IN.fullmatch(name))
    yield from (f"${name} is not used" for name in set(defined) - used)


def colours(dashboard: Dashboard) -> Iterator[str]:
    """All fixed colours are of the palette that colour-blind people can tell apart."""
    for found in re.findall(r"'(?:fixedColor|iconColor|color)': '([^']+)'", str(dashboard)):
        if found not in COLOURS:
            yield f"colour {found}"


RULES = (
    unknown_names, unknown_labels, buckets_by_text, windows, averages, literals, run_of_each, completeness, places,
    variables, colours,
)  # fmt: skip
