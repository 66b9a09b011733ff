"""Every snippet of the documentation is parsed by the program that would run it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from locust_otel import cli
from locust_otel.core.catalogue import CATALOGUE
from locust_otel.core.errors import ConfigurationError
from locust_otel.demo import faults
from locust_otel.slo.file import load
from locust_otel.slo.rules import names
from tests import deploy
from tests.backends.servers import promtool
from tests.deploy import TOP

PAGES = sorted([TOP / "README.md", TOP / "CONTRIBUTING.md", *(TOP / "docs").glob("*.md"), *TOP.glob("*/README.md")])
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
_ASSIGNMENT = re.compile(r"\w+=.*", re.S)
_METRIC = re.compile(r"\blocust_\w+")
_REPOSITORY = "https://github.com/locust-otel/locust-otel"
_PICTURES = "https://raw.githubusercontent.com/locust-otel/locust-otel"
FOREIGN = (
    "zcat",
    "prometheus",
    "alertmanager",
    "jq",
    "pip",
    "git",
    "cd",
    "export",
    "promtool",
    "amtool",
    "python",
    "go",
    "npm",
    "pytest",
    "uv",
    "cat",
    "echo",
)
"""Programs whose arguments are not checked."""


def snippets(*languages: str) -> Iterator[Any]:
    """Yield the snippets in these languages as parameters, named by page and line, with whether each has a prompt."""
    for page in PAGES:
        text = page.read_text()
        for fence in _FENCE.finditer(text):
            if fence[2] in languages:
                line = text.count("\n", 0, fence.start()) + 1
                snippet = re.sub(rf"^{fence[1]}", "", fence[3], flags=re.M)
                yield pytest.param(snippet, fence[2] == "console", id=f"{page.relative_to(TOP)}:{line}")


def commands(snippet: str, *, is_console: bool) -> Iterator[list[str]]:
    """Yield the command lines of a shell snippet as words, without assignments before them."""
    joined = re.sub(r"\\\n\s*", " ", snippet)
    for raw in joined.splitlines():
        if is_console and not raw.startswith("$ "):
            continue  # output of the command
        words = deploy.split(raw.removeprefix("$ "))
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words.pop(0)
        if words:
            yield words


def check(words: list[str]) -> None:  # noqa: PLR0912  # one branch a program
    """Fail if a program would refuse its command line."""
    program, *arguments = words
    if "|" in arguments:
        check(words[: words.index("|")])
        return
    if program == "locust-otel" and arguments[:1] == ["run"]:
        deploy.locust_options([word for word in arguments[1:] if word != "--open"])  # only our command has it
    elif program == "locust":
        deploy.locust_options(arguments)
    elif program == "locust-otel":
        ours = arguments[: arguments.index("--")] if "--" in arguments else arguments  # another program's follow
        cli._parser().parse_args(ours)
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.M)
        assert {argument for argument in arguments if "=" not in argument} <= set(targets)
        for argument in arguments:
            if argument.startswith("ARGS="):
                cli._parser().parse_args(["demo", *deploy.split(argument.removeprefix("ARGS="))])
    elif program == "docker":
        _check_docker(arguments)
    elif program == "kubectl":
        for flag, value in pairwise(arguments):
            assert flag != "-k" or (TOP / value / "kustomization.yaml").is_file(), value
    elif program == "curl":
        _check_curl(arguments)
    elif program == "python" and arguments[:1] == ["-m"]:
        assert (TOP / f"{arguments[1].replace('.', '/')}.py").is_file()
    else:
        assert program in FOREIGN, f"check the arguments of {program} here, or add it to FOREIGN"


def _check_docker(arguments: list[str]) -> None:
    if arguments[0] == "compose":
        assert arguments[1] == "-f"
        assert (TOP / arguments[2]).is_file()
        assert arguments[3] in ("up", "down", "logs", "ps")
        if arguments[3] == "logs":
            assert arguments[-1] in deploy.compose()["services"]
    elif arguments[0] == "build":
        assert (TOP / arguments[arguments.index("-f") + 1]).is_file()
    else:
        assert arguments[0] == "run"
        image = next(i for i, argument in enumerate(arguments) if re.match(r"locust-otel(:|$)", argument))
        check(["locust-otel", *arguments[image + 1 :]])


def _check_curl(arguments: list[str]) -> None:
    for flag, value in pairwise(arguments):
        if flag == "-d":
            document = json.loads(value)
            if "mark" in document:
                assert set(document) <= {"mark", "kind"}
                continue
            faults.build(document.pop("name"), document)


@pytest.mark.parametrize(("snippet", "is_console"), list(snippets("sh", "bash", "console")))
def test_commands_exist(snippet: str, is_console: bool) -> None:
    """Each of our commands parses, and the files, services and targets that other programs name exist."""
    for words in commands(snippet, is_console=is_console):
        check(words)


@pytest.mark.parametrize(
    "words",
    [
        ["locust-otel", "run", "--no-such-flag"],
        ["locust-otel", "demo", "--no-such-flag"],
        ["make", "nothing"],
        ["docker", "compose", "-f", "deploy/compose.yaml", "logs", "nobody"],
        ["kubectl", "apply", "-k", "deploy/nowhere"],
        ["curl", "-d", '{"name": "errors", "ratio": 2}'],
        ["frobnicate"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_fails(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The checks refuse planted faults."""
    with pytest.raises((AssertionError, SystemExit, ConfigurationError)):
        check(words)


@pytest.mark.parametrize(("snippet", "_"), list(snippets("yaml")))
def test_yaml_snippets_are_valid(snippet: str, _: bool, backend: Callable[[str], None], tmp_path: Path) -> None:
    """SLO files load, Prometheus takes its configuration, and compose files satisfy their schema."""
    document = yaml.safe_load(snippet)
    file = tmp_path / "snippet.yaml"
    file.write_text(snippet)
    assert isinstance(document, dict | list)
    if "objectives" in document:
        assert load(str(file)).objectives
    elif "scrape_configs" in document or "groups" in document:
        backend("promtool")
        kind = ("config", "--syntax-only") if "scrape_configs" in document else ("rules",)
        checked = promtool("check", *kind, file)
        assert checked.returncode == 0, checked.stderr
    elif "services" in document:
        jsonschema.validate(document, get_builtin_schema("vendor.compose-spec"))


@pytest.mark.parametrize(("snippet", "_"), list(snippets("promql")))
def test_promql_snippets_parse(snippet: str, _: bool, backend: Callable[[str], None], tmp_path: Path) -> None:
    """Each expression parses, the snippet as a whole or line by line, and names metrics that exist."""
    backend("promtool")
    if not _parses(snippet, tmp_path):
        for line in snippet.splitlines():
            assert _parses(line, tmp_path), line
    assert set(_METRIC.findall(snippet)) <= _metrics()


def _parses(expression: str, folder: Path) -> bool:
    rules = {"groups": [{"name": "snippet", "rules": [{"record": "snippet", "expr": expression}]}]}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    return promtool("check", "rules", folder / "rules.yaml").returncode == 0


def _metrics() -> set[str]:
    exported = {metric.name for metric in CATALOGUE}
    parts = {f"{name}_{part}" for name in exported for part in ("bucket", "sum", "count")}
    recorded = {str(value).partition(":")[0] for value in vars(names).values()}
    return exported | parts | recorded


@pytest.mark.parametrize(("snippet", "_"), list(snippets("python")))
def test_python_snippets_compile(snippet: str, _: bool) -> None:
    """Each snippet is valid Python."""
    compile(snippet, "snippet", "exec")


def test_links_of_the_landing_page() -> None:
    """A package index shows it too, so each link is absolute, and leads to a file of this repository."""
    text = (TOP / "README.md").read_text()
    links = re.findall(rf"\({_REPOSITORY}/(?:blob|tree)/main/([^)#]+)|\({_PICTURES}/main/([^)]+)\)", text)
    assert len(links) >= 20
    for path in map("".join, links):
        assert (TOP / path).exists(), path
    assert not re.findall(r"\]\((?!https://)", text)


def test_the_tables_of_migrating_name_our_metrics() -> None:
    """Each metric in the column `here` is exported."""
    rows = re.findall(r"^\|[^|]*\|([^|]*)\|", (TOP / "docs" / "migrating.md").read_text(), re.M)
    metrics = {name for row in rows for name in _METRIC.findall(row)}
    assert len(metrics) >= 10
    assert metrics <= _metrics()


def test_each_language_has_snippets() -> None:
    """The search finds snippets of each language."""
    counts = {language: len(list(snippets(language))) for language in ("sh", "console", "yaml", "promql", "python")}
    assert counts["sh"] >= 15
    assert min(counts.values()) >= 2
