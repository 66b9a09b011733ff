"""Tests of the extras: their packages, the pinned versions, and the table of sizes."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.bench import weight
from tests.unit.test_layers import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
BRINGS = {
    "analysis": {"numpy", "scipy", "matplotlib"},
    "chaostoolkit": {"chaostoolkit"},
    "grpc": {"grpcio", "opentelemetry-exporter-otlp-proto-grpc"},
}
"""Packages that only this extra installs."""


def closure(requirements: list[str]) -> set[str]:
    """Return the names of all packages that these requirements install."""
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
    """An extra installs its packages; neither the package alone nor another extra does."""
    assert BRINGS[extra] <= closure(EXTRAS[extra])
    others = [text for other in BRINGS if other != extra for text in EXTRAS[other]]
    assert BRINGS[extra].isdisjoint(closure(PROJECT["dependencies"] + others))


def test_grpc_brings_nothing_else() -> None:
    """The extra `grpc` installs only the packages that HTTP does not need."""
    assert closure(EXTRAS["grpc"]) - closure(PROJECT["dependencies"]) == BRINGS["grpc"]


def test_developers_have_every_extra() -> None:
    """`dev` has all other extras."""
    (ours,) = (Requirement(text) for text in EXTRAS["dev"] if text.startswith("locust-otel"))
    assert ours.extras == set(BRINGS) == set(EXTRAS) - {"dev"}


def test_everything_is_pinned() -> None:
    """Each package in `pyproject.toml` has its version in `constraints.txt`."""
    pins = re.findall(r"^([\w.-]+)==", (REPOSITORY / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    named = names([*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)])
    assert named - set(map(canonicalize_name, pins)) == {"locust-otel"}


def test_the_readme_has_a_row_for_each_extra() -> None:
    """The table of sizes has the rows of `tests.bench.weight`."""
    text = weight.PAGE.read_text("utf-8").partition(weight.MARKS[0])[2].partition(weight.MARKS[1])[0]
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \| (\d+) \| (.+?) \|", text, re.MULTILINE)
    assert {name: use for name, _, _, use in rows} == weight.ROWS
    assert {f"locust-otel[{extra}]" for extra in BRINGS} - set(weight.ROWS) == {"locust-otel[chaostoolkit]"}
    sizes = {name: (int(packages), int(mb)) for name, packages, mb, _ in rows}
    assert sizes["locust"] < sizes["locust-otel"] < sizes["locust-otel[grpc]"] < sizes["locust-otel[analysis]"]
    assert re.search(r"on 20\d\d-\d\d-\d\d with Python 3\.\d+", text)


def test_the_table_of_sizes() -> None:
    """A row has the sum of its packages, and names the largest packages that the rows before lack."""
    base = {"locust": {"a": 2_000_000}, "locust-otel": {"a": 2_000_000, "b": 2_000_000, "c": 1_600_000, "d": 400_000}}
    rows = weight.table(base | {"locust-otel[grpc]": {**base["locust-otel"], "e": 9_400_000}}).splitlines()
    assert rows[2:] == [
        f"| `locust` | 1 | 2 | {weight.ROWS['locust']} | a 2 |",
        f"| `locust-otel` | 4 | 6 | {weight.ROWS['locust-otel']} | b 2, c 2 |",
        f"| `locust-otel[grpc]` | 5 | 15 | {weight.ROWS['locust-otel[grpc]']} | e 9 |",
    ]
