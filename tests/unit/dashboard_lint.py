"""What a dashboard of ours must be, as one function a rule: it takes the JSON and yields what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dashboards.generate import names, panels

KNOWN = names.known_series()
LABELS = frozenset().union(*KNOWN.values())
KEYWORDS = {"or", "and", "unless", "offset", "bool"}
LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
RANGES = {"$__range", "$lookback", "1h", "$__range:$__interval"}
"""Windows of queries that are no rates; the hour is how far back the last value before a gap is looked for."""

LEAST_WIDTH = {"stat": 3, "timeseries": 6, "xychart": 8, "table": 8, "heatmap": 8, "state-timeline": 8, "text": 6}
BUILT_IN = re.compile(r"__\w+")
COLOURS = {
    *(panels.BLUE, panels.SKY, panels.ORANGE, panels.VERMILLION, panels.GREEN, panels.PINK, panels.GREY),
    *("text", "transparent"),
}

Dashboard = dict[str, Any]


def drawn(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Return the panels but the headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """Yield where each query stands, and the query: of panels, variables and annotations."""
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
    if found := re.fullmatch(r"label_values\((.*), \w+\)", query, re.S):
        return found[1]
    found = re.fullmatch(r"query_result\((.*)\)", query, re.S)
    assert found, query
    return found[1]


def bare(expression: str) -> str:
    """Return a query without its texts."""
    return re.sub(r'"[^"]*"', '""', expression)


def metrics(expression: str) -> set[str]:
    """Return the names a query asks for."""
    text = re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", re.sub(r"\$\{\w+\}s|\$\w+", " ", bare(expression)))
    text = re.sub(rf"\b({'|'.join(LISTS)})\s*\([^)]*\)", " ", text)
    words = re.finditer(r"(?<![\w.:])([a-zA-Z_][\w:]*)(\s*\()?", text)
    return {word[1] for word in words if not word[2] and word[1] not in KEYWORDS | LISTS} | {
        found[1] for found in re.finditer(r"([a-zA-Z_][\w:]*)\{", bare(expression))
    }


def unknown_names(dashboard: Dashboard) -> Iterator[str]:
    """Each metric, and each label of it, is exported or recorded; a heading or a legend names labels of its query."""
    for where, expression in queries(dashboard):
        used = metrics(expression)
        yield from (f"{where}: no metric {name}" for name in sorted(used - KNOWN.keys()))
        there = frozenset().union(*(KNOWN.get(name, frozenset()) for name in used))
        for name, matchers in re.findall(r"([a-zA-Z_][\w:]*)\{([^}]*)\}", bare(expression)):
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
                if label not in KNOWN.get(name, {label}):
                    yield f"{where}: {name} has no label {label}"
        for listed in re.findall(rf"\b(?:{'|'.join(LISTS)})\s*\(([^)]*)\)", bare(expression)):
            for label in filter(None, (part.strip() for part in listed.split(","))):
                if label not in there:
                    yield f"{where}: nothing in it has a label {label}"
    for panel in drawn(dashboard):
        for target in panel.get("targets", []):
            there = frozenset().union(*(KNOWN.get(name, frozenset()) for name in metrics(target["expr"])))
            for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
                if label not in there:
                    yield f"{panel['title']} {target['refId']}: nothing in it has a label {label}"


def buckets_by_text(dashboard: Dashboard) -> Iterator[str]:
    """No query picks a bucket by the text of its bound, which a scrape and OTLP write differently."""
    for where, expression in queries(dashboard):
        if re.search(r"[{,]\s*le\s*[=!]", expression):
            yield f"{where}: picks a bucket by le"


def windows(dashboard: Dashboard) -> Iterator[str]:
    """Rates are over `$__rate_interval`, everything else over a range that a person has chosen."""
    for where, expression in queries(dashboard):
        for function, window in re.findall(r"(\w+)\s*\(\s*[\w:]+(?:\{[^}]*\})?\[([^]]+)\]", expression):
            wanted = {"$__rate_interval"} if function in {"rate", "increase", "irate"} else RANGES
            if window not in wanted:
                yield f"{where}: {function} over {window}"


def averages(dashboard: Dashboard) -> Iterator[str]:
    """Nothing is averaged, and no aggregation has a quotient inside: sums are divided by sums."""
    for where, expression in queries(dashboard):
        text = bare(expression)
        if re.search(r"\bavg(_over_time)?\b", text):
            yield f"{where}: averages"
        for found in re.finditer(r"\b(?:sum|max|min|quantile|stddev)(?:_over_time)?(?: by \([^)]*\))?\s*\(", text):
            if "/" in inside(text, found.end()).replace("/ ($__interval_ms / 1000)", ""):
                yield f"{where}: aggregates a quotient"


def inside(text: str, start: int) -> str:
    """Return what stands between a bracket that was opened before `start` and its end."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    raise AssertionError(text)


def literals(dashboard: Dashboard) -> Iterator[str]:
    """No threshold stands in a dashboard: neither as one of a panel, nor as a number a query compares with."""
    for panel in drawn(dashboard):
        config = panel.get("fieldConfig", {})
        steps = [config.get("defaults", {}).get("thresholds", {})]
        steps += [p["value"] for o in config.get("overrides", []) for p in o["properties"] if p["id"] == "thresholds"]
        if any(step.get("value") is not None for of in steps for step in of.get("steps", [])):
            yield f"{panel['title']}: has a threshold"
        if panel["type"] not in {"text"} and "steps" not in config.get("defaults", {}).get("thresholds", {}):
            yield f"{panel['title']}: would get Grafana's own threshold at 80"
    for where, expression in queries(dashboard):
        for operator, number in re.findall(r"(==|!=|>=|<=|>|<)\s*(?:bool\s*)?([\d.]+)", bare(expression)):
            if (operator, number) not in {(">", "0"), ("==", "0"), ("==", "1")}:
                yield f"{where}: compares with {number}"


def run_of_each(dashboard: Dashboard) -> Iterator[str]:
    """Whatever has a run_id is asked for that of one run, or told apart by it."""
    for where, expression in queries(dashboard):
        if where.startswith("$") or "by (run_id)" in expression:
            continue
        for name in metrics(expression):
            selectors = re.findall(rf"(?<![\w:]){re.escape(name)}(?![\w:])(?:\{{([^}}]*)\}})?", expression)
            of_one = all(re.match(r'run_id="\$(run_id|baseline)"', matchers) for matchers in selectors)
            if "run_id" in KNOWN.get(name, ()) and not of_one:
                yield f"{where}: {name} of any run"


def completeness(dashboard: Dashboard) -> Iterator[str]:
    """Each panel says what it is and, where there is no data, why; each query has the data source of the variable."""
    for panel in drawn(dashboard):
        who = panel["title"]
        if not who or not panel.get("description", "").endswith("."):
            yield f"{who}: no title, or no sentence about it"
        if panel["datasource"]["uid"] != "${datasource}":
            yield f"{who}: a data source of its own"
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        if panel["type"] != "text" and not (defaults.get("unit") and defaults.get("noValue")):
            yield f"{who}: no unit, or nothing to say without data"
        for target in panel.get("targets", []):
            if target["datasource"]["uid"] != "${datasource}":
                yield f"{who} {target['refId']}: a data source of its own"
    for other in (*dashboard["annotations"]["list"], *dashboard["templating"]["list"]):
        if other.get("type") not in {"custom", "datasource"} and other["datasource"]["uid"] != "${datasource}":
            yield f"{other['name']}: a data source of its own"


def places(dashboard: Dashboard) -> Iterator[str]:
    """Panels lie within the grid, on no other, and are as wide as their kind needs; ids are there once."""
    cells: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        at, who = panel["gridPos"], panel["title"]
        if at["x"] < 0 or at["x"] + at["w"] > 24:
            yield f"{who}: out of the grid"
        if at["w"] < LEAST_WIDTH.get(panel["type"], 24) or (panel["type"] != "row" and at["h"] < 3):
            yield f"{who}: too small"
        if panel.get("repeat") and 24 // panel.get("maxPerRow", 4) < LEAST_WIDTH[panel["type"]] - 2:
            yield f"{who}: too many in a row"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in cells:
                yield f"{who}: lies on {cells[cell]}"
                break
            cells[cell] = who
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) != len(ids) or not all(ids):
        yield f"ids {ids}"
    if len({(p["title"]) for p in drawn(dashboard)}) < len(drawn(dashboard)) - 1:
        yield "a title more than twice"


def variables(dashboard: Dashboard) -> Iterator[str]:
    """Every `$name` is one of Grafana's or a variable of the dashboard, and every variable is used."""
    defined = [variable["name"] for variable in dashboard["templating"]["list"]]
    if defined[0] != "datasource":
        yield "the data source is not the first variable"
    text = re.sub(r'"definition": "[^"]*"', "", str(dashboard))
    used = {a or b for a, b in re.findall(r"\$(?:(\w+)|\{(\w+))", text)}
    yield from (f"${name} is not defined" for name in used - set(defined) if not BUILT_IN.fullmatch(name))
    yield from (f"${name} is not used" for name in set(defined) - used)


def colours(dashboard: Dashboard) -> Iterator[str]:
    """A colour that is chosen is one that the colour-blind tell apart."""
    for found in re.findall(r"'(?:fixedColor|iconColor|color)': '([^']+)'", str(dashboard)):
        if found not in COLOURS:
            yield f"colour {found}"


RULES = (
    unknown_names, buckets_by_text, windows, averages, literals, run_of_each, completeness, places, variables, colours,
)  # fmt: skip
