"""Tests of the settings: through Locust's real parser, from flags, environment variables and files."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from locust import argument_parser, events

import locust_otel
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import DEFAULT_PORT, OPTIONS, add_arguments
from locust_otel.core.settings import Linger, Settings, duration, new_run_id, resolve
from locust_otel.exporter.otlp.settings import OtlpSettings, Target
from locust_otel.slo.file import load

SLO = str(Path(locust_otel.__file__).parents[1] / "locustfiles" / "slo.yaml")
FLAGS = {
    "--prometheus-port": "9700", "--prometheus-host": "0.0.0.0", "--prometheus-web-config": "web.yml",
    "--prometheus-linger": "3s", "--run-id": "nightly", "--run-label": "team=shop", "--slow-request": "250ms",
    "--max-request-names": "17", "--export-from": "workers", "--otlp-endpoint": "http://127.0.0.1:4317",
    "--otlp-protocol": "grpc", "--otlp-interval": "2s", "--propagate-traces": "0.1", "--slo": SLO,
    "--run-record": "runs",
    "--slo-abort": "true",
}  # fmt: skip
TARGET = Target(
    "http://127.0.0.1:4317", "grpc", {}, 10.0, "none", certificate=None, client_certificate=None, client_key=None
)
OTLP = OtlpSettings(metrics=TARGET, logs=TARGET, interval_s=2.0, is_exponential=False, is_delta=False)
DESTS = {flag: flag[2:].replace("-", "_") for flag in FLAGS}


SWITCHES = {option.flag for option in OPTIONS if option.is_switch}
ALL = tuple(text for item in FLAGS.items() for text in item[: 1 if item[0] in SWITCHES else 2])
"""The command line with each flag."""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the environment and the configuration files of this machine out."""
    for name in [*(option.env_var for option in OPTIONS), *(name for name in os.environ if name.startswith("OTEL_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def ours() -> Iterator[None]:
    """Have Locust ask us for arguments, as a registered bridge does."""

    def listener(parser: Any, **_: object) -> None:
        add_arguments(parser)

    events.init_command_line_parser.add_listener(listener)
    yield
    events.init_command_line_parser.remove_listener(listener)


def parse(*arguments: str) -> Namespace:
    """Return Locust's namespace."""
    options: Namespace = argument_parser.get_parser().parse_args(list(arguments))
    return options


def slugs(**given: object) -> list[str]:
    """Return the slugs of the problems of these settings."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(None, given)
    return [problem.slug for problem in caught.value.problems]


def of(**given: object) -> Settings:
    """Return settings that differ from the defaults by these."""
    return resolve(None, given)


# ------------------------------------------------------------------------------------------------- Locust's parser


@pytest.mark.usefixtures("ours")
def test_defaults() -> None:
    """Without a flag the settings are those of the design, with Locust's options as with none at all."""
    expected = Settings(
        port=9646, port_is_named=False, host="127.0.0.1", web_config=None, linger=Linger(None), run_id=None,
        run_labels={}, slow_s=5.0, max_names=200, from_workers=False, otlp=None, trace_ratio=None,
    )  # fmt: skip
    assert resolve(parse()) == resolve(None) == resolve(Namespace()) == expected


def test_every_option_is_tried() -> None:
    """The flags that these tests give are all there are."""
    assert {option.flag for option in OPTIONS} == FLAGS.keys()
    assert {option.dest for option in OPTIONS} == set(DESTS.values())


def _check_all(options: Namespace) -> None:
    options.prometheus_web_config = None
    assert resolve(options) == Settings(
        port=9700, port_is_named=True, host="0.0.0.0", web_config=None, linger=Linger(3.0), run_id="nightly",
        run_labels={"team": "shop"}, slow_s=0.25, max_names=17, from_workers=True, otlp=OTLP, trace_ratio=0.1,
        slo=load(SLO), slo_abort=True, run_record="runs",
    )  # fmt: skip


@pytest.mark.usefixtures("ours")
def test_flags() -> None:
    """Each flag reaches its setting."""
    options = parse(*ALL)
    assert options.prometheus_web_config == "web.yml"
    _check_all(options)


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("by", ["parser", "no options", "other options"])
def test_environment_variables(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Each flag has an environment variable, read by Locust's parser, and by us where nobody parsed."""
    for flag, value in FLAGS.items():
        if flag != "--prometheus-web-config":
            monkeypatch.setenv("LOCUST_OTEL_" + DESTS[flag].upper(), value)
    namespaces = {"parser": parse(), "no options": Namespace(), "other options": Namespace(host="x")}
    _check_all(namespaces[by])


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("text", ["[team=shop,git_sha=3f9a]", "[team=shop, git_sha=3f9a]"])
def test_several_labels_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A list in a variable is written as Locust's parser wants it, and read the same without it."""
    monkeypatch.setenv("LOCUST_OTEL_RUN_LABEL", text)
    expected = {"team": "shop", "git_sha": "3f9a"}
    assert resolve(parse()).run_labels == resolve(None).run_labels == expected


@pytest.mark.usefixtures("ours")
def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands on the command line wins, and what a program gives wins over all."""
    monkeypatch.setenv("LOCUST_OTEL_PROMETHEUS_PORT", "9701")
    assert resolve(parse()).port == 9701
    assert resolve(parse("--prometheus-port", "9702")).port == 9702
    assert resolve(parse("--prometheus-port", "9702"), {"prometheus_port": 9703}).port == 9703


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("name", ["locust.conf", "locust.toml"])
def test_configuration_files(tmp_path: Path, name: str) -> None:
    """Each option can stand in Locust's configuration files."""
    toml = name.endswith("toml")
    lines = ["[tool.locust]"] if toml else []
    for flag, value in FLAGS.items():
        if flag != "--prometheus-web-config":
            text = f'["{value}"]' if toml and flag == "--run-label" else f'"{value}"' if toml else value
            lines.append(f"{flag[2:]} = {text}")
    path = tmp_path / name
    path.write_text("\n".join(lines), encoding="utf-8")
    _check_all(parse("--config", str(path)))


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("given", [(), ALL], ids=["none", "all"])
def test_options_are_plain(given: tuple[str, ...]) -> None:
    """In Locust's namespace, which msgpack carries to workers, our options are text, lists of text, and switches."""
    ours = {dest: getattr(parse(*given), dest) for dest in DESTS.values()}
    for value in ours.values():
        assert (
            value is None or type(value) in {str, bool} or (type(value) is list and all(type(v) is str for v in value))
        )
    assert msgpack.unpackb(msgpack.packb(ours)) == ours


@pytest.mark.usefixtures("ours")
def test_not_in_the_web_ui() -> None:
    """None of our options appears in the form of Locust's web UI, which would send them around."""
    parser = argument_parser.get_parser()
    assert not set(DESTS.values()) & parser.args_included_in_web_ui.keys()
    assert not set(DESTS.values()) & argument_parser.ui_extra_args_dict([]).keys()


@pytest.mark.usefixtures("ours")
def test_help_shows_the_group() -> None:
    """`--help` has a group of ours, with each flag."""
    text = argument_parser.get_parser().format_help()
    group = re.split(r"\n\n(?=\S)", text.partition("locust-otel options:\n")[2])[0]
    for flag in FLAGS:
        assert flag in group
    assert "9646" in group
    assert "%%" not in text


# ----------------------------------------------------------------------------------------------------- each setting


@pytest.mark.parametrize(
    ("text", "port"),
    [("0", 0), ("1", 1), ("65535", 65535), (" 9700 ", 9700), ("off", None), ("OFF", None), (9700, 9700), (0, 0)],
)
def test_ports(text: object, port: int | None) -> None:
    """A port is a number up to 65535, or off; one that is given is named."""
    settings = of(prometheus_port=text)
    assert (settings.port, settings.port_is_named) == (port, True)


@pytest.mark.parametrize("text", ["65536", "-1", "9646.0", "none", "٩", "1e3", "0x10", "9" * 30, True])
def test_ports_that_are_none(text: object) -> None:
    """Anything else is refused."""
    assert slugs(prometheus_port=text) == ["prometheus-port"]


@pytest.mark.parametrize("text", ["", None])
def test_an_empty_port_is_none_given(text: object) -> None:
    """An empty variable, as compose files leave behind, is no port that was named."""
    settings = of(prometheus_port=text)
    assert (settings.port, settings.port_is_named) == (DEFAULT_PORT, False)


@pytest.mark.parametrize("text", ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "my-host.example"])
def test_hosts(text: str) -> None:
    """Addresses of both families and names are taken as they are."""
    assert of(prometheus_host=text).host == text


@pytest.mark.parametrize("text", ["http://x", "a b", "x/y", "[::1]", "host\n"])
def test_hosts_that_are_none(text: str) -> None:
    """URLs, brackets and blanks are refused, but for blanks around."""
    if text.strip() == "host":
        assert of(prometheus_host=text).host == "host"
    else:
        assert slugs(prometheus_host=text) == ["prometheus-host"]


@pytest.mark.parametrize(
    ("text", "limit"),
    [("auto", None), ("AUTO", None), ("0", 0.0), ("off", 0.0), ("10s", 10.0), ("1.5m", 90.0), (3, 3.0)],
)
def test_lingers(text: object, limit: float | None) -> None:
    """The linger is auto, off, or a time."""
    assert of(prometheus_linger=text).linger == Linger(limit)


@pytest.mark.parametrize("text", ["-1", "soon", "1d", "inf", "nan"])
def test_lingers_that_are_none(text: str) -> None:
    """Anything else is refused."""
    assert slugs(prometheus_linger=text) == ["time"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("1ms", 0.001),
        ("1100ms", 1.1),
        ("0.5", 0.5),
        (".5s", 0.5),
        ("5", 5.0),
        ("5 s", 5.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        (2.5, 2.5),
        (7, 7.0),
        ("2675ms", 2.675),
        ("0.1ms", 0.0001),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    """A time is a number of seconds or has a unit, and becomes the float that is nearest to what was written."""
    assert duration(text, "--x") == seconds
    assert of(slow_request=text).slow_s == seconds


@pytest.mark.parametrize("ms", range(1, 10_000, 37))
def test_whole_milliseconds_are_the_float_as_written(ms: int) -> None:
    """`1001ms` is the same float as 1.001, and as that duration divided by 1000."""
    assert duration(f"{ms}ms", "--x") == float(f"{ms / 1000}") == ms / 1000


@pytest.mark.parametrize("text", ["-1", "five", "5 years", "1e3", "5ss", "", "1,5", "0x5", "inf", "nan", None])
def test_durations_that_are_none(text: object) -> None:
    """Anything else is refused, with where it was written."""
    with pytest.raises(ConfigurationError) as caught:
        duration(text, "--slow-request")
    assert (caught.value.slug, caught.value.where) == ("time", "--slow-request")


@pytest.mark.parametrize("text", ["0", "0s", "0.0000000001", "9" * 400])
def test_slow_thresholds_that_are_none(text: str) -> None:
    """A threshold of zero, or without end, is refused."""
    assert slugs(slow_request=text) == ["slow-request"]


@pytest.mark.parametrize("text", ["nightly", "2026-11-22T07-17-03Z-3f9a", "a", "7", "v1.2_x:y+z-", "x" * 100])
def test_run_ids(text: str) -> None:
    """A run's id is taken as it is."""
    assert of(run_id=text).run_id == text


@pytest.mark.parametrize("text", ["-x", "_x", "a b", "a/b", 'a"', "x" * 101, "ü", "a\n"])
def test_run_ids_that_are_none(text: str) -> None:
    """What would need quoting anywhere is refused."""
    assert slugs(run_id=text) == ["run-id"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["git_sha=3f9a", "team=shop"], {"git_sha": "3f9a", "team": "shop"}), (["a=b=c"], {"a": "b=c"}),
        (["a="], {"a": ""}), (['a="q" ü'], {"a": '"q" ü'}), ({"a": 1, "b": "x=y"}, {"a": "1", "b": "x=y"}),
        (["_a1=x"], {"_a1": "x"}), ([], {}), ({}, {}),
    ],
)  # fmt: skip
def test_run_labels(labels: object, expected: dict[str, str]) -> None:
    """A label is a name and any text, given as a list or as a mapping."""
    assert of(run_label=labels).run_labels == expected


@pytest.mark.parametrize("label", ["novalue", "=x", "1a=x", "a-b=x", "a.b=x", "a b=x", "ü=x", ""])
def test_run_labels_that_are_none(label: str) -> None:
    """A label without a value, or whose name Prometheus refuses, is refused."""
    assert slugs(run_label=[label]) == ["run-label"]


@pytest.mark.parametrize(
    "name",
    ["job", "instance", "le", "quantile", "run_id", "host", "locustfile", "profile", "version", "__name__", "__x"],
)
def test_reserved_run_labels(name: str) -> None:
    """Labels that Prometheus or this bridge sets are refused, with another name to choose."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(None, {"run_label": [f"{name}=x"]})
    assert caught.value.slug == "run-label-reserved"
    proposed = re.search(r"(\w+)=\.\.\.", caught.value.remedy)
    assert proposed is not None
    if proposed[1] not in {"run_run_id"}:
        assert of(run_label=[f"{proposed[1]}=x"]).run_labels == {proposed[1]: "x"}


def test_a_run_label_twice() -> None:
    """The same label twice is refused, also with the same value."""
    assert slugs(run_label=["a=1", "a=1"]) == ["run-label-twice"]


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("200", 200), ("100000", 100_000), (50, 50)])
def test_max_names(text: object, number: int) -> None:
    """The number of names is a whole one from 1."""
    assert of(max_request_names=text).max_names == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "100001", "many", "٣"])
def test_max_names_that_are_none(text: str) -> None:
    """Anything else is refused."""
    assert slugs(max_request_names=text) == ["max-request-names"]


@pytest.mark.parametrize(("text", "expected"), [("master", False), ("workers", True), (" Workers ", True)])
def test_export_from(text: str, expected: bool) -> None:
    """Numbers come from the master or from the workers."""
    assert of(export_from=text).from_workers is expected


@pytest.mark.parametrize("text", ["worker", "both", "1"])
def test_export_from_that_is_none(text: str) -> None:
    """Anything else is refused."""
    assert slugs(export_from=text) == ["export-from"]


def test_web_config(tmp_path: Path) -> None:
    """The file is read, and what is wrong with it is told like any other problem."""
    path = tmp_path / "web.yml"
    path.write_text("http_server_config: {headers: {X-Frame-Options: deny}}", encoding="utf-8")
    web_config = of(prometheus_web_config=str(path)).web_config
    assert web_config is not None
    assert web_config.headers == {"X-Frame-Options": "deny"}
    with pytest.raises(ConfigurationError):
        of(prometheus_web_config=str(tmp_path / "missing.yml"))


# -------------------------------------------------------------------------------------------------------- together


def test_all_problems_at_once() -> None:
    """Every problem is told, in the order of the flags, each with where, what and what would be right."""
    given = {
        "prometheus_port": "x", "prometheus_host": "a b", "prometheus_linger": "x", "otlp_endpoint": "x",
        "otlp_interval": "0", "propagate_traces": "2", "run_id": "-", "run_label": ["x"], "slow_request": "0",
        "max_request_names": "0", "export_from": "x", "run_record": "a\0b", "slo": "none.yaml", "slo_abort": "x",
    }  # fmt: skip
    with pytest.raises(ConfigurationError) as caught:
        resolve(None, given)
    problems = caught.value.problems
    assert [p.slug for p in problems] == [
        "slo-unreadable",
        "prometheus-port", "prometheus-host", "time", "otlp-interval", "otlp-endpoint", "propagate-traces", "run-id",
        "run-label",
        "slow-request", "max-request-names", "export-from", "switch", "run-record-unwritable",
    ]  # fmt: skip
    assert {p.where for p in problems[1:]} | {"--slo"} == FLAGS.keys() - {"--prometheus-web-config", "--otlp-protocol"}
    assert len(str(caught.value).splitlines()) == 14
    for problem in problems:
        assert problem.found.endswith(".")
        assert problem.remedy.endswith(".")


def test_the_slo_file_is_the_masters(tmp_path: Path) -> None:
    """A worker needs no SLO file, for its master judges; elsewhere one that is not there is refused."""
    missing = {"slo": str(tmp_path / "none.yaml"), "slo_abort": "true"}
    assert slugs(**missing) == ["slo-unreadable"]
    settings = resolve(None, missing, is_worker=True)
    assert (settings.slo, settings.slow_s) == (None, 5.0)
    assert resolve(None, {"slo_abort": True}, is_worker=True).slo is None
    assert slugs(slo_abort="true") == ["contradictory-flags"]


def test_slow_requests_of_the_slo_file(tmp_path: Path) -> None:
    """The file says what a slow request is, unless a flag does."""
    path = tmp_path / "slo.yaml"
    path.write_text("service: a\nslow_request: 1500ms\nobjectives: {a: {sli: mean, within: 1s}}\n", encoding="utf-8")
    assert of(slo=str(path)).slow_s == 1.5
    assert of(slo=str(path), slow_request="250ms").slow_s == 0.25


def test_contradictions(tmp_path: Path) -> None:
    """What needs the endpoint is refused together with an endpoint that is off, each by its name."""
    path = tmp_path / "web.yml"
    path.write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        resolve(None, {"prometheus_port": "off", "prometheus_web_config": str(path), "export_from": "workers"})
    assert [(p.where, p.slug) for p in caught.value.problems] == [
        ("--prometheus-web-config", "contradictory-flags"),
        ("--export-from workers", "contradictory-flags"),
    ]
    assert of(prometheus_port="off").port is None


def test_new_run_ids() -> None:
    """A new id is the start in UTC and four hex digits, one that can be given again, and never the same."""
    assert re.fullmatch(r"2026-11-22T07-17-03Z-[0-9a-f]{4}", new_run_id(datetime(2026, 11, 22, 7, 17, 3, tzinfo=UTC)))
    ids = {new_run_id() for _ in range(20)}
    assert len(ids) > 15
    for run_id in ids:
        assert of(run_id=run_id).run_id == run_id
