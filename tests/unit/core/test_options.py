"""Tests of the options in Locust's real parser: command line, environment variables, configuration files, help."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from locust import argument_parser, events

from locust_otel.core.options import OPTIONS, add_arguments, number, port
from locust_otel.core.settings import Flags, flags_of, values_of

FLAGS = {
    "--prometheus-port": "9700", "--prometheus-host": "0.0.0.0", "--prometheus-web-config": "web.yml",
    "--prometheus-linger": "3s", "--run-id": "nightly", "--run-label": "team=shop", "--slow-request": "250ms",
    "--max-request-names": "17", "--export-from": "workers", "--otlp-endpoint": "http://127.0.0.1:4317",
    "--otlp-protocol": "grpc", "--otlp-interval": "2s", "--propagate-traces": "0.1", "--slo": "slo.yaml",
    "--run-record": "runs", "--slo-abort": "true", "--no-gc-freeze": "true", "--group-names": "true",
}  # fmt: skip
"""A value for each flag."""

DESTS = {flag: flag[2:].replace("-", "_") for flag in FLAGS}
SWITCHES = {"--slo-abort", "--no-gc-freeze", "--group-names"}
COMMAND_LINE = tuple(text for item in FLAGS.items() for text in item[: 1 if item[0] in SWITCHES else 2])


@pytest.fixture(autouse=True)
def _parser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Add the options to Locust's parser, without the environment and the configuration files of this machine."""
    for option in OPTIONS:
        monkeypatch.delenv(option.env_var, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def listener(parser: Any, **_: object) -> None:
        add_arguments(parser)

    events.init_command_line_parser.add_listener(listener)
    yield
    events.init_command_line_parser.remove_listener(listener)


def parse(*arguments: str) -> Namespace:
    """Return the namespace of Locust's parser."""
    options: Namespace = argument_parser.get_parser().parse_args(list(arguments))
    return options


def check_all(options: Namespace) -> None:
    """Assert that the namespace has the values of `FLAGS`."""
    values = values_of(options)
    assert flags_of(values) == Flags(
        port=9700, port_is_named=True, host="0.0.0.0", linger_s=3.0, run_id="nightly",
        run_labels={"team": "shop"}, slow_s=0.25, max_names=17, from_workers=True, trace_ratio=0.1, slo_abort=True,
        gc_freeze=False, group_names=True,
    )  # fmt: skip
    for name in ("prometheus-web-config", "otlp-endpoint", "otlp-protocol", "otlp-interval", "slo", "run-record"):
        assert values[DESTS[f"--{name}"]] == FLAGS[f"--{name}"]


def test_every_option_is_tested() -> None:
    """`FLAGS` has all options."""
    assert {option.flag: option.dest for option in OPTIONS} == DESTS


def test_defaults() -> None:
    """Without flags the values are the defaults of the code."""
    assert flags_of(values_of(parse())) == Flags()


def test_command_line() -> None:
    """Each flag sets its value."""
    check_all(parse(*COMMAND_LINE))


def test_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option has an environment variable."""
    for flag, value in FLAGS.items():
        monkeypatch.setenv("LOCUST_OTEL_" + DESTS[flag].upper(), value)
    check_all(parse())


@pytest.mark.parametrize("name", ["locust.conf", "locust.toml"])
def test_configuration_files(tmp_path: Path, name: str) -> None:
    """Each option works in Locust's configuration files."""
    is_toml = name.endswith("toml")
    lines = ["[tool.locust]"] if is_toml else []
    for flag, value in FLAGS.items():
        quoted = f'["{value}"]' if flag == "--run-label" else f'"{value}"'
        lines.append(f"{flag[2:]} = {quoted if is_toml else value}")
    path = tmp_path / name
    path.write_text("\n".join(lines), encoding="utf-8")
    check_all(parse("--config", str(path)))


def test_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line overrides the environment, and given values override both."""
    monkeypatch.setenv("LOCUST_OTEL_PROMETHEUS_PORT", "9701")
    options = parse("--prometheus-port", "9702")
    assert values_of(parse())["prometheus_port"] == "9701"
    assert values_of(options)["prometheus_port"] == "9702"
    assert values_of(options, {"prometheus_port": 9703})["prometheus_port"] == 9703


@pytest.mark.parametrize("given", [(), COMMAND_LINE], ids=["none", "all"])
def test_values_in_the_namespace_are_plain(given: tuple[str, ...]) -> None:
    """Locust can send the values to workers in msgpack: text, lists of text, and booleans."""
    options = {dest: getattr(parse(*given), dest) for dest in DESTS.values()}
    for value in options.values():
        texts = value if type(value) is list else [value]
        assert value is None or type(value) is bool or all(type(text) is str for text in texts)
    assert msgpack.unpackb(msgpack.packb(options)) == options


def test_web_ui() -> None:
    """No option is in the form of Locust's web UI, which would send it to workers."""
    parser = argument_parser.get_parser()
    assert not set(DESTS.values()) & parser.args_included_in_web_ui.keys()
    assert not set(DESTS.values()) & argument_parser.ui_extra_args_dict([]).keys()


def test_help() -> None:
    """`--help` has a group with each flag, and the default port."""
    text = argument_parser.get_parser().format_help()
    group = re.split(r"\n\n(?=\S)", text.partition("locust-otel options:\n")[2])[0]
    assert [flag for flag in FLAGS if flag not in group] == []
    assert "9646" in group


@pytest.mark.parametrize(("parse_number", "highest"), [(number, 10**9), (port, 65_535)])
def test_numbers(parse_number: Any, highest: int) -> None:
    """A number or a port is at least 1 and has a highest value."""
    assert (parse_number("1"), parse_number(str(highest))) == (1, highest)
    for text in ("0", "-1", str(highest + 1)):
        with pytest.raises(ArgumentTypeError, match=f"^{text} is not a number from 1 to {highest}$"):
            parse_number(text)
