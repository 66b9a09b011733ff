"""The files of `deploy/`, parsed as by the tools that use them."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from dockerfile_parse import DockerfileParser
from locust import argument_parser, events

from locust_otel.core.options import add_arguments

TOP = Path(__file__).parents[1]
DEPLOY = TOP / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def compose(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the compose file with its variables replaced by values or defaults."""
    values = variables or {}
    text = _VARIABLE.sub(lambda match: values.get(match[1], match[2] or ""), (DEPLOY / "compose.yaml").read_text())
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def dockerfile() -> DockerfileParser:
    """Return the parsed Dockerfile; its parser writes nothing."""
    return DockerfileParser(path=str(DEPLOY / "Dockerfile"), cache_content=True)


def image_environment() -> dict[str, str]:
    """Return the environment of the image."""
    return dict(dockerfile().envs)


def command(service: Mapping[str, Any]) -> list[str]:
    """Return the command line of a service that runs our image."""
    return [*service.get("entrypoint", ["locust-otel"]), *service["command"]]


def kubernetes() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield path and content of each document of the Kubernetes files, without the kustomizations."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from ((path, document) for document in yaml.safe_load_all(path.read_text()))


def kustomizations() -> list[Path]:
    """Return all kustomizations, also those in the folders of their files."""
    return sorted([*KUBERNETES.rglob("kustomization.yaml"), *TOP.glob("*/kustomization.yaml")])


def locust_options(arguments: Sequence[str]) -> Namespace:
    """Return the options of a command line.

    Raises:
        SystemExit: A flag does not exist, or its value is not allowed.
    """
    options: Namespace = _parser().parse_args(list(arguments))
    return options


def variables() -> set[str]:
    """Return the environment variables that Locust or we read as options."""
    return {action.env_var for action in _parser()._actions if getattr(action, "env_var", None)}


def _parser() -> Any:
    def listener(parser: Any, **_: object) -> None:
        add_arguments(parser)

    events.init_command_line_parser.add_listener(listener)
    try:
        return argument_parser.get_parser(default_config_files=[])
    finally:
        events.init_command_line_parser.remove_listener(listener)


def split(line: str) -> list[str]:
    """Return a shell command line as words, without its comment."""
    return shlex.split(line, comments=True)
