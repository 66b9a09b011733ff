"""Tests of the extras: what each one brings, that nothing else needs it, and what is pinned."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.bench import weight
from tests.unit.test_import import run
from tests.unit.test_layers import MODULES, PACKAGE, REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
BRINGS = {
    "analysis": {"numpy", "scipy", "matplotlib"},
    "chaostoolkit": {"chaostoolkit"},
    "grpc": {"grpcio", "opentelemetry-exporter-otlp-proto-grpc"},
}
"""The packages of each extra for users, which nothing else brings."""

IMPORTS = ("numpy", "scipy", "matplotlib", "chaoslib", "grpc", "opentelemetry.exporter.otlp.proto.grpc")
"""The modules of these packages."""

NEED_AN_EXTRA = {
    "exporter.otlp.grpc",
    "review.report.pictures",
    *(f"review.analysis.{name}" for name in ("analyze", "bottleneck", "drift", "growth", "notes", "periodic")),
    *(f"review.analysis.{name}" for name in ("readers", "statistics", "timeline")),
}
"""Our modules that are imported only where the extra is there."""

BLOCK = f"import sys\nsys.modules.update(dict.fromkeys({IMPORTS!r}))\nimport importlib, json\n"
"""Code after which Python finds none of these modules, as without the extras."""


def closure(requirements: list[str]) -> set[str]:
    """Return the names of all packages that are installed here for these requirements."""
    waiting = list(map(Requirement, requirements))
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = canonicalize_name(requirement.name), extra
            if key not in seen:
                seen.add(key)
                needed = map(Requirement, requires(key[0]) or ())
                waiting += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def names(requirements: list[str]) -> set[str]:
    """Return the names of these requirements."""
    return {canonicalize_name(Requirement(text).name) for text in requirements}


@pytest.mark.parametrize("extra", BRINGS)
def test_only_the_extra_brings_its_packages(extra: str) -> None:
    """An extra brings its packages, and neither the package alone nor another extra brings one of them."""
    assert BRINGS[extra] <= closure(EXTRAS[extra])
    others = [text for other in BRINGS if other != extra for text in EXTRAS[other]]
    assert BRINGS[extra].isdisjoint(closure(PROJECT["dependencies"] + others))


def test_grpc_brings_nothing_else() -> None:
    """Packages that gRPC shares with HTTP are there without the extra."""
    assert closure(EXTRAS["grpc"]) - closure(PROJECT["dependencies"]) == BRINGS["grpc"]


def test_developers_have_every_extra() -> None:
    """`dev` has all the others."""
    (ours,) = (Requirement(text) for text in EXTRAS["dev"] if text.startswith("locust-otel"))
    assert ours.extras == set(BRINGS) == set(EXTRAS) - {"dev"}


def test_everything_is_pinned() -> None:
    """Each package that is named in `pyproject.toml`, for whatever extra, has its version in `constraints.txt`."""
    pins = re.findall(r"^([\w.-]+)==", (REPOSITORY / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    named = names([*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)])
    assert named - set(map(canonicalize_name, pins)) == {"locust-otel"}


def test_no_other_module_needs_an_extra() -> None:
    """Without the packages of the extras every module can be imported but those that are loaded behind a check."""
    modules = sorted(set(MODULES) - NEED_AN_EXTRA - {"auto", "__init__"})
    code = f"""{BLOCK}
import locust
for name in {modules!r}:
    importlib.import_module(f"{PACKAGE}.{{name}}")
print(json.dumps(len({modules!r})))
"""
    assert run(code) == len(modules)


def test_what_needs_an_extra() -> None:
    """Without those packages each of the excepted modules fails for one of them: the list has none too many."""
    code = f"""{BLOCK}
missing = {{}}
for name in {sorted(NEED_AN_EXTRA)!r}:
    try:
        importlib.import_module(f"{PACKAGE}.{{name}}")
    except ModuleNotFoundError as error:
        missing[name] = error.name
print(json.dumps(missing))
"""
    missing = run(code)
    assert set(missing) == NEED_AN_EXTRA
    assert set(missing.values()) <= set(IMPORTS)


def test_http_needs_no_grpc() -> None:
    """Where HTTP is asked for, targets are found, data is encoded, and senders are made without the extra."""
    code = f"""{BLOCK}
import locust_otel.exporter.otlp.encoding
from locust_otel.exporter.otlp.push import sender_of
from locust_otel.exporter.otlp.settings import Signal, resolve
otlp = resolve("http://127.0.0.1:4318", "http/protobuf", None, {{}})
senders = [sender_of(Signal.METRICS, otlp.metrics), sender_of(Signal.LOGS, otlp.logs)]
print(json.dumps([type(sender).__name__ for sender in senders]))
"""
    assert run(code) == ["HttpSender", "HttpSender"]


def test_http_loads_no_grpc() -> None:
    """Where the extra is there too, a push over HTTP does not load it."""
    code = """
import json, sys
import locust_otel.exporter.otlp.encoding
from locust_otel.exporter.otlp.push import sender_of
from locust_otel.exporter.otlp.settings import Signal, resolve
sender_of(Signal.METRICS, resolve("http://127.0.0.1:4318", "http/protobuf", None, {}).metrics)
print(json.dumps([name for name in sys.modules if name == "grpc" or name.endswith("proto.grpc")]))
"""
    assert run(code) == []


def test_the_readme_has_a_row_for_each_extra() -> None:
    """The table of sizes is what `tests.bench.weight` has written, a row for each thing that it measures."""
    text = weight.PAGE.read_text("utf-8").partition(weight.MARKS[0])[2].partition(weight.MARKS[1])[0]
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \| (\d+) \| (.+?) \|", text, re.MULTILINE)
    assert {name: use for name, _, _, use in rows} == weight.ROWS
    assert {f"locust-otel[{extra}]" for extra in BRINGS} - set(weight.ROWS) == {"locust-otel[chaostoolkit]"}
    sizes = {name: (int(packages), int(mb)) for name, packages, mb, _ in rows}
    assert sizes["locust"] < sizes["locust-otel"] < sizes["locust-otel[grpc]"] < sizes["locust-otel[analysis]"]
    assert re.search(r"on 20\d\d-\d\d-\d\d with Python 3\.\d+", text)


def test_the_table_of_sizes() -> None:
    """A row has the sum of its packages, and names the largest that those before it have not."""
    base = {"locust": {"a": 2_000_000}, "locust-otel": {"a": 2_000_000, "b": 2_000_000, "c": 1_600_000, "d": 400_000}}
    rows = weight.table(base | {"locust-otel[grpc]": {**base["locust-otel"], "e": 9_400_000}}).splitlines()
    assert rows[2:] == [
        f"| `locust` | 1 | 2 | {weight.ROWS['locust']} | a 2 |",
        f"| `locust-otel` | 4 | 6 | {weight.ROWS['locust-otel']} | b 2, c 2 |",
        f"| `locust-otel[grpc]` | 5 | 15 | {weight.ROWS['locust-otel[grpc]']} | e 9 |",
    ]
