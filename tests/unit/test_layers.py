"""Tests of the structure of the package: imports between rooms, imports of libraries, and names."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import locust_otel

PACKAGE = "locust_otel"
ROOT = Path(locust_otel.__file__).parent
REPOSITORY = ROOT.parent
TESTS = Path(__file__).parent

ROOMS: dict[str, set[str]] = {
    "core": set(),
    "wire": {"core"},
    "slo": {"core"},
    "plugin": {"core", "wire"},
    "exporter": {"core", "wire", "slo"},
    "review": {"core", "wire", "slo"},
    "gameday": {"core", "slo", "review"},
    "project": {"core", "slo"},
    "demo": {"core", "wire", "slo", "plugin", "exporter", "review", "gameday", "project"},
}
"""Rooms that each room may import besides itself."""

DOORS: dict[str, set[str]] = {"__init__": {"core", "plugin"}, "auto": set(), "cli": {"core"}}
"""Modules outside the rooms, and the rooms that each may import; `cli` loads the commands by their names."""

LIBRARIES: dict[str, set[str]] = {
    "locust": {"plugin", "demo", "cli"},
    "gevent": {"plugin", "demo"},
    "greenlet": {"plugin", "demo"},
    "psutil": {"plugin", "gameday"},
    "msgpack": {"wire"},
    "msgspec": {"wire", "review.record", "exporter.record"},
    "opentelemetry": {"exporter.otlp"},
    "grpc": {"exporter.otlp"},
    "requests": {"exporter.otlp"},
    "urllib3": {"exporter.otlp"},
    "google": {"exporter.otlp", "exporter.endpoint"},
    "uvicorn": {"exporter.endpoint"},
    "bcrypt": {"exporter.endpoint"},
    "setproctitle": {"exporter.process"},
    "yaml": {"core.documents", "slo.rules", "project.stack_command", "demo"},
    "pydantic": {"core.shape", "slo", "gameday", "exporter.endpoint.web_config"},
    "pydantic_core": {"core.shape"},
    "rich": {"slo.text", "review", "gameday", "demo"},
    "numpy": {"review.analysis", "review.report.pictures"},
    "scipy": {"review.analysis"},
    "matplotlib": {"review.report.pictures"},
}
"""Rooms, folders or modules that may import each library."""

SAME_IDEA = {
    "__init__",
    "command",  # the command of a room
    "output",  # an output of the exporter, and the contract of all of them
    "schema",  # the shape of a YAML file
    "settings",  # what the user asked for
}
"""Names of modules that several rooms may use."""

TOPICS = {
    "exporter/test_parity.py": "the endpoint and OTLP against each other",
    "wire/test_hostile.py": "reports that a hostile worker might send",
}
"""Tests that do not belong to one module."""


def modules() -> dict[str, Path]:
    """Return the modules of the package by their names in it, without the examples of a wheel."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(ROOT.rglob("*.py"))
        if "locustfiles" not in path.parts
    }


MODULES = modules()
FOLDERS = sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.rglob("__init__.py") if path.parent != ROOT)


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """Yield the imports of a module, also in functions: the dotted name, and the name imported from it if any."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = f"{PACKAGE}.{package}".rstrip(".").split(".")
                base = ".".join(parents[: len(parents) - node.level + 1] + ([base] if base else []))
            yield from ((base, alias.name) for alias in node.names)


def internal(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """Yield the imports from the package: the module, and the name imported from it if any.

    Imports of the root, which has only lazy names, are left out.
    """
    for base, name in imported(path, module):
        if base.split(".")[0] != PACKAGE:
            continue
        within = base.removeprefix(PACKAGE).lstrip(".")
        candidate = f"{within}.{name}".strip(".")
        if candidate in MODULES:
            yield candidate, ""
        elif within:
            yield within, name


def room(module: str) -> str:
    """Return the room of a module, or the module itself if it is outside the rooms."""
    return module.partition(".")[0]


def is_within(module: str, places: set[str]) -> bool:
    """Return whether a module is one of these places, or is in one of them."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_the_rooms_are_those_of_the_table() -> None:
    """The top of the package has only the rooms and the doors."""
    assert {room(name) for name in MODULES} == {*ROOMS, *DOORS}
    assert {path.stem for path in ROOT.glob("*.py")} == set(DOORS)


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_only_what_it_may(name: str) -> None:
    """A module imports only its own room and the rooms of the table, and no private names of other rooms."""
    allowed = {room(name), *(ROOMS | DOORS)[room(name)]}
    for other, taken in internal(MODULES[name], name):
        assert room(other) in allowed, f"{name} imports {other}"
        is_private = any(part.startswith("_") for part in (*other.split("."), taken))
        assert not is_private or room(other) == room(name), f"{name} imports {other}: {taken}"


def test_no_import_cycles() -> None:
    """Imports have no cycles, also in functions."""
    edges = {name: {other for other, _ in internal(path, name)} - {name} for name, path in MODULES.items()}
    while True:
        ends = {name for name, others in edges.items() if not others & set(edges)} | set(edges).difference(
            *edges.values()
        )
        if not ends:
            break
        edges = {name: others for name, others in edges.items() if name not in ends}
    assert not edges, "\n".join(f"{name}: {sorted(others & set(edges))}" for name, others in edges.items())


def test_each_library_has_its_places() -> None:
    """A library is imported only in its places of the table."""
    wrong = []
    for name, path in MODULES.items():
        for library in sorted({base.split(".")[0] for base, _ in imported(path, name)}):
            if library == PACKAGE or library in sys.stdlib_module_names:
                continue
            if not is_within(name, LIBRARIES.get(library, set())):
                wrong.append(f"{name} imports {library}")
    assert not wrong


def test_homonyms() -> None:
    """Two modules, or two public classes, share a name only if they are the same idea."""
    places = defaultdict(list)
    for name, path in MODULES.items():
        if path.stem not in SAME_IDEA:
            places[f"module {path.stem}"].append(name)
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[f"class {node.name}"].append(name)
    assert {homonym: names for homonym, names in places.items() if len(names) > 1} == {}


def test_tests_mirror_the_package() -> None:
    """Each unit test has the folder and the name of its module."""
    strays = [
        str(path.relative_to(TESTS))
        for path in sorted(TESTS.rglob("test_*.py"))
        if path.parent != TESTS
        and not (ROOT / path.parent.relative_to(TESTS) / path.name.removeprefix("test_")).exists()
    ]
    assert strays == sorted(TOPICS)
    modules = {path.relative_to(ROOT) for path in ROOT.rglob("*.py") if not path.stem.endswith("_pb2")}
    untested = {path for path in modules if not (TESTS / path.parent / f"test_{path.name}").exists()}
    assert {path for path in untested if path.name != "__init__.py"} == {Path("auto.py")}  # a locustfile: tests/e2e


def test_unit_tests_start_nothing() -> None:
    """No unit test sleeps, opens a socket or starts a process."""
    calls = re.compile(
        r"(time\.|gevent\.)?sleep|socket\.(socket|create_\w+)|subprocess\.(run|Popen|check_output)|os\.fork"
    )
    found = [
        f"{path.name}:{node.lineno}: {ast.unparse(node)}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and calls.fullmatch(ast.unparse(node.func))
        if not ast.unparse(node).endswith("sleep(0)")  # lets other greenlets run
    ]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_of_rooms(folder: str) -> None:
    """The `__init__` of a room is a paragraph without code, so that the import of a module imports no other module."""
    module = tree(ROOT / folder / "__init__.py")
    assert len(module.body) == 1
    text = ast.get_docstring(module) or ""
    assert len(text.split()) >= (25 if folder in ROOMS else 8), text
    if folder in ROOMS:
        assert "import" in text


def test_the_map_names_every_room() -> None:
    """The map of CONTRIBUTING.md has a line for each room and each of its folders, and no other lines."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    section = text.partition("## Where things are")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([a-z_/]+)/` \|", section, re.MULTILINE)
    assert sorted(named) == FOLDERS
    for path in re.findall(r"`([a-z_]+/[a-z_/]*(?:\.[a-z]+)?)`", section):
        assert (ROOT / path).exists() or (REPOSITORY / path).exists(), path


def test_imports_are_recognised(tmp_path: Path) -> None:
    """`internal` and `imported` find each kind of import, also in functions and under `if`."""
    path = tmp_path / "run.py"
    path.write_text(
        "import locust_otel\nimport locust_otel.plugin.bridge\nfrom locust_otel import core, register\n"
        "from locust_otel.exporter import session\nfrom . import process\nfrom .run import Run, _hidden\n"
        "def f():\n    from locust_otel.cli import main\n    import locust.env\n"
        "if TYPE_CHECKING:\n    from locust_otel.demo.shop import ShopProcess\n",
        encoding="utf-8",
    )
    assert list(internal(path, "exporter.page")) == [
        ("plugin.bridge", ""), ("core", ""), ("exporter.session", ""), ("exporter.process", ""),
        ("exporter.run", "Run"), ("exporter.run", "_hidden"), ("cli", "main"), ("demo.shop", "ShopProcess"),
    ]  # fmt: skip
    assert ("locust.env", "") in list(imported(path, "run"))


def test_durations_use_monotonic_clocks() -> None:
    """No code subtracts wall-clock times, which may jump; the exception is a date in an HTTP header."""
    differences = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Sub):
                names = {
                    ast.unparse(call.func)
                    for side in ast.iter_child_nodes(node)
                    for call in ast.walk(side)
                    if isinstance(call, ast.Call)
                }
                if names & {"time", "time.time", "time_ns", "time.time_ns", "datetime.now"}:
                    differences.append(f"{path.relative_to(ROOT)}: {ast.unparse(node)}")
    assert differences == ["exporter/otlp/sender.py: parsedate_to_datetime(text).timestamp() - time()"]
