"""Tests of the house: which room may import which, which library is imported where, and what things are called."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import locust_otel
from locust_otel.cli import COMMANDS
from tests.unit.test_import import run

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
"""What each room may import besides itself."""

DOORS: dict[str, set[str]] = {"__init__": {"core", "plugin"}, "auto": set(), "cli": {"core"}}
"""Modules of no room, and what each may import; `cli` loads the commands of the rooms by their names."""

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
"""Where each library may be imported: a room, a folder or a module."""

BESIDE_LOCUST = ("core", "wire", "slo", "exporter", "review", "gameday", "project")
"""Rooms that run without Locust: in the exporter's process, or in a command."""

SAME_IDEA = {
    "__init__",
    "command",  # the command of a room
    "output",  # an output of the exporter, and the contract of all of them
    "schema",  # the shape of a YAML file
    "settings",  # what the user asked for
}
"""Names of modules that several rooms may have."""

TOPICS = {
    "exporter/test_parity.py": "the endpoint and OTLP against each other",
    "wire/test_hostile.py": "reports that a hostile worker might send",
}
"""Tests of no single module."""


def modules() -> dict[str, Path]:
    """Return the modules of the package by their name within it; the examples that a wheel has are left out."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(ROOT.rglob("*.py"))
        if "locustfiles" not in path.parts
    }


MODULES = modules()
FOLDERS = sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.rglob("__init__.py") if path.parent != ROOT)


@cache
def tree(path: Path) -> ast.Module:
    """Return a file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """Yield what a module imports, in functions too: the dotted name, and the name taken from it if any."""
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


def own(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """Yield what a module imports of the package: the module, and the name taken from it if any.

    The root is left out: it has lazy names only.
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
    """Return the room of a module, or the door that it is."""
    return module.partition(".")[0]


def is_within(module: str, places: set[str]) -> bool:
    """Return whether a module is one of these places, or in one of them."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_the_rooms_are_those_of_the_table() -> None:
    """At the top of the package are the rooms and the doors, and nothing else."""
    assert {room(name) for name in MODULES} == {*ROOMS, *DOORS}
    assert {path.stem for path in ROOT.glob("*.py")} == set(DOORS)


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_only_what_it_may(name: str) -> None:
    """A module imports its own room and those of the table; of another room no private name."""
    allowed = {room(name), *(ROOMS | DOORS)[room(name)]}
    for other, taken in own(MODULES[name], name):
        assert room(other) in allowed, f"{name} imports {other}"
        is_private = any(part.startswith("_") for part in (*other.split("."), taken))
        assert not is_private or room(other) == room(name), f"{name} imports {other}: {taken}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Modules can be read in the order of their imports: there is no cycle, in functions neither."""
    edges = {name: {other for other, _ in own(path, name)} - {name} for name, path in MODULES.items()}
    while True:
        ends = {name for name, others in edges.items() if not others & set(edges)} | set(edges).difference(
            *edges.values()
        )
        if not ends:
            break
        edges = {name: others for name, others in edges.items() if name not in ends}
    assert not edges, "\n".join(f"{name}: {sorted(others & set(edges))}" for name, others in edges.items())


def test_each_library_has_its_places() -> None:
    """A library is imported where the design has a place for it, and none that has no place."""
    wrong = []
    for name, path in MODULES.items():
        for library in sorted({base.split(".")[0] for base, _ in imported(path, name)}):
            if library == PACKAGE or library in sys.stdlib_module_names:
                continue
            if not is_within(name, LIBRARIES.get(library, set())):
                wrong.append(f"{name} imports {library}")
    assert not wrong


@pytest.mark.parametrize("name", BESIDE_LOCUST)
def test_what_runs_beside_locust_loads_nothing_of_it(name: str) -> None:
    """With all modules of a room loaded, and so all that they import, there is neither Locust nor gevent."""
    names = [f"{PACKAGE}.{module}" for module in MODULES if room(module) == name and not module.endswith("__main__")]
    code = (
        f"import importlib, json, sys\nfor name in {names!r}:\n    importlib.import_module(name)\n"
        "print(json.dumps(sorted({'locust', 'gevent', 'greenlet', 'zope'} & set(sys.modules))))"
    )
    assert run(code) == []


def test_each_room_holds_its_commands() -> None:
    """Each module with a command is in the table of the commands, under the name that its parser has."""
    assert {f"{PACKAGE}.{name}" for name in MODULES if name.endswith("command")} == set(COMMANDS.values())
    for name, module in COMMANDS.items():
        commands = argparse.ArgumentParser().add_subparsers()
        import_module(module).add_to(commands)
        assert list(commands.choices) == [name]


def test_homonyms() -> None:
    """Two modules, or two public classes, have one name only where they are the same idea."""
    places = defaultdict(list)
    for name, path in MODULES.items():
        if path.stem not in SAME_IDEA:
            places[f"module {path.stem}"].append(name)
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[f"class {node.name}"].append(name)
    assert {what: names for what, names in places.items() if len(names) > 1} == {}


def test_tests_mirror_the_package() -> None:
    """Each unit test lies where its module lies, and has its name."""
    strays = [
        str(path.relative_to(TESTS))
        for path in sorted(TESTS.rglob("test_*.py"))
        if path.parent != TESTS
        and not (ROOT / path.parent.relative_to(TESTS) / path.name.removeprefix("test_")).exists()
    ]
    assert strays == sorted(TOPICS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_room_says_what_it_is_for(folder: str) -> None:
    """The `__init__` of a room is a paragraph and no code, so that to load one module loads no others."""
    module = tree(ROOT / folder / "__init__.py")
    assert len(module.body) == 1
    text = ast.get_docstring(module) or ""
    assert len(text.split()) >= (25 if folder in ROOMS else 8), text
    if folder in ROOMS:
        assert "import" in text


def test_the_map_names_every_room() -> None:
    """The map of CONTRIBUTING.md has a line for each room and each folder in one, and for none that is gone."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    section = text.partition("## Where things are")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([a-z_/]+)/` \|", section, re.MULTILINE)
    assert sorted(named) == FOLDERS
    for path in re.findall(r"`([a-z_]+/[a-z_/]*(?:\.[a-z]+)?)`", section):
        assert (ROOT / path).exists() or (REPOSITORY / path).exists(), path


def test_the_test_sees_imports(tmp_path: Path) -> None:
    """The reading of imports finds each kind of them, in functions and under `if` too."""
    path = tmp_path / "run.py"
    path.write_text(
        "import locust_otel\nimport locust_otel.plugin.bridge\nfrom locust_otel import core, register\n"
        "from locust_otel.exporter import session\nfrom . import process\nfrom .run import Run, _hidden\n"
        "def f():\n    from locust_otel.cli import main\n    import locust.env\n"
        "if TYPE_CHECKING:\n    from locust_otel.demo.shop import ShopProcess\n",
        encoding="utf-8",
    )
    assert list(own(path, "exporter.page")) == [
        ("plugin.bridge", ""), ("core", ""), ("exporter.session", ""), ("exporter.process", ""),
        ("exporter.run", "Run"), ("exporter.run", "_hidden"), ("cli", "main"), ("demo.shop", "ShopProcess"),
    ]  # fmt: skip
    assert ("locust.env", "") in list(imported(path, "run"))


def test_durations_come_from_clocks_that_nobody_sets() -> None:
    """No difference is taken of wall-clock times, which a step of the clock falsifies; but with a date in a header."""
    found = []
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
                    found.append(f"{path.relative_to(ROOT)}: {ast.unparse(node)}")
    assert found == ["exporter/otlp/sender.py: parsedate_to_datetime(text).timestamp() - time()"]
