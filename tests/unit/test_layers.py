"""Tests of the order of the package: a module imports only from above it, and each library has one door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import locust_otel

PACKAGE = "locust_otel"
ROOT = Path(locust_otel.__file__).parent
ORDER = (
    "errors",
    "documents",
    "catalogue",
    "histogram",
    "snapshot",
    "events",
    "marks",
    "traces",
    "propagation",
    "aggregate",
    "redaction",
    "slo",
    "slo.objectives",
    "slo.windows",
    "slo.schema",
    "slo.file",
    "slo.counts",
    "slo.verdict",
    "slo.burn",
    "slo.validity",
    "slo.progress",
    "slo.text",
    "mixin",
    "mixin.names",
    "mixin.dashboards",
    "mixin.promql",
    "mixin.recording",
    "mixin.alerts",
    "mixin.rules",
    "mixin.exchange",
    "doctor",
    "mark_client",
    "marked_command",
    "recorder",
    "slow_log",
    "generator",
    "pacing",
    "distributed",
    "exporters",
    "exporters.ledger",
    "exporters.families",
    "exporters.prometheus",
    "exporters.protobuf",
    "exporters.scrapers",
    "exporters.access",
    "exporters.marking",
    "exporters.web_config",
    "exporters.forks",
    "exporters.connections",
    "exporters.server",
    "exporters.otlp",
    "exporters.otlp.settings",
    "exporters.otlp.sender",
    "exporters.otlp.grpc",
    "exporters.otlp.metrics",
    "exporters.otlp.logs",
    "exporters.otlp.pusher",
    "record",
    "record.format",
    "record.file",
    "record.writer",
    "record.decode",
    "record.reader",
    "record.verdict",
    "check",
    "check.flags",
    "check.findings",
    "check.rounding",
    "check.files",
    "check.csv_file",
    "check.json_file",
    "check.query",
    "check.prometheus",
    "check.baseline",
    "check.formats",
    "check.command",
    "analysis",
    "analysis.timeline",
    "analysis.from_record",
    "analysis.from_prometheus",
    "analysis.finding",
    "analysis.statistics",
    "analysis.loads",
    "analysis.periodic",
    "analysis.drift",
    "analysis.bottleneck",
    "analysis.growth",
    "analysis.notes",
    "analysis.analyze",
    "analysis.text",
    "report",
    "report.openmetrics",
    "report.summary",
    "report.story",
    "report.figures",
    "report.pictures",
    "report.style",
    "report.html",
    "report.markdown",
    "report.formats",
    "options",
    "config",
    "gameday",
    "gameday.plan",
    "gameday.schema",
    "gameday.contradictions",
    "gameday.file",
    "gameday.journal",
    "gameday.faults",
    "gameday.api",
    "gameday.history",
    "gameday.from_record",
    "gameday.notices",
    "gameday.impact",
    "gameday.judge",
    "gameday.score",
    "gameday.formats",
    "gameday.load",
    "gameday.watch",
    "gameday.view",
    "gameday.conductor",
    "gameday.command",
    "gameday.chaostoolkit",
    "runners",
    "run",
    "nodes",
    "master",
    "marker",
    "shutdown",
    "watch",
    "recording",
    "bridge",
    "live_data",
    "live_page",
    "demo",
    "commands",
    "commands.demo",
    "commands.rules",
    "commands.dashboards",
    "commands.check",
    "commands.analyze",
    "commands.report",
    "commands.mark",
    "commands.gameday",
    "commands.doctor",
    "cli",
    "plugin",
    "auto",
)
ANALYSIS = tuple(name for name in ORDER if name.startswith(("analysis.", "report.pictures")))
DOORS = {
    "locust": {"plugin", "cli", "demo"},
    "prometheus_client": {"exporters.prometheus", "demo"},
    "opentelemetry": {f"exporters.otlp.{name}" for name in ("sender", "grpc", "metrics", "logs", "pusher")},
    "grpc": {"exporters.otlp.grpc"},
    "numpy": set(ANALYSIS),
    "scipy": set(ANALYSIS),
    "matplotlib": {"report.figures", "report.pictures"},
    "google": {"exporters.protobuf", "exporters.otlp.sender", "exporters.otlp.grpc"},
}
"""Who may import these."""


def modules() -> dict[str, Path]:
    """Return the modules of the package by their name within it; the root and the examples are none."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(ROOT.rglob("*.py"))
        if path != ROOT / "__init__.py" and "locustfiles" not in path.parts
    }


MODULES = modules()


def place(name: str) -> str:
    """Return the name in `ORDER` that a module belongs to: all of `demo` is one."""
    return "demo" if name.partition(".")[0] == "demo" else name


def imported(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """Yield what a module imports, in functions too: the dotted name, and the name taken from it if any."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = f"{PACKAGE}.{package}".rstrip(".").split(".")
                base = ".".join(parents[: len(parents) - node.level + 1] + ([base] if base else []))
            yield from ((base, alias.name) for alias in node.names)


def own(path: Path, module: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports."""
    for base, name in imported(path, module):
        if base.split(".")[0] != PACKAGE:
            continue
        within = base.removeprefix(PACKAGE).lstrip(".")
        candidate = f"{within}.{name}".strip(".")
        if candidate in MODULES:
            yield candidate
        elif within:
            yield within
        # What is left is the root of the package, or one of its lazy names: both load nothing by themselves.


def test_the_order_is_complete() -> None:
    """Each module of the package has its place, and each place has a module."""
    assert {place(name) for name in MODULES} == set(ORDER)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_above_it(name: str) -> None:
    """No import, at the top or in a function, points down or sideways; `demo` is one place."""
    above = ORDER[: ORDER.index(place(name))]
    for other in own(MODULES[name], name):
        assert place(other) in above or (place(other), place(name)) == ("demo", "demo"), f"{name} imports {other}"


@pytest.mark.parametrize("library", DOORS)
def test_doors(library: str) -> None:
    """A library that the design keeps at one door is imported behind no other."""
    found = {place(n) for n, path in MODULES.items() if any(b.split(".")[0] == library for b, _ in imported(path, n))}
    assert found <= DOORS[library]


def test_the_test_sees_imports(tmp_path: Path) -> None:
    """The reading of imports finds each kind of them, in functions and under `if` too."""
    path = tmp_path / "run.py"
    path.write_text(
        "import locust_otel\nimport locust_otel.plugin.nodes\nfrom locust_otel import bridge, register\n"
        "from locust_otel.exporter import server\nfrom . import plugin\nfrom .config import resolve\n"
        "def f():\n    from locust_otel.cli import main\n    import locust.env\n"
        "if TYPE_CHECKING:\n    from locust_otel.demo.shop import Shop\n",
        encoding="utf-8",
    )
    assert list(own(path, "run")) == [
        "nodes", "bridge", "exporters.server", "plugin", "config", "cli", "demo.shop",
    ]  # fmt: skip
    assert ("locust.env", "") in list(imported(path, "run"))


def test_durations_come_from_clocks_that_nobody_sets() -> None:
    """No difference is taken of wall-clock times, which a step of the clock falsifies; but with a date in a header."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Sub):
                names = {
                    ast.unparse(call.func)
                    for side in ast.iter_child_nodes(node)
                    for call in ast.walk(side)
                    if isinstance(call, ast.Call)
                }
                if names & {"time", "time.time", "time_ns", "time.time_ns", "datetime.now"}:
                    found.append(f"{path.relative_to(ROOT)}: {ast.unparse(node)}")
    assert found == ["exporters/otlp/sender.py: parsedate_to_datetime(told).timestamp() - time()"]
