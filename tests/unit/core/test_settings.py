"""Tests of the flags: through Locust's real parser, from the command line, environment variables and files."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import pytest
from locust import argument_parser, events

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import DEFAULT_PORT, OPTIONS, add_arguments
from locust_otel.core.settings import Flags, duration, flags_of, new_run_id, values_of

FLAGS = {
    "--prometheus-port": "9700", "--prometheus-host": "0.0.0.0", "--prometheus-web-config": "web.yml",
    "--prometheus-linger": "3s", "--run-id": "nightly", "--run-label": "team=shop", "--slow-request": "250ms",
    "--max-request-names": "17", "--export-from": "workers", "--otlp-endpoint": "http://127.0.0.1:4317",
    "--otlp-protocol": "grpc", "--otlp-interval": "2s", "--propagate-traces": "0.1", "--slo": "slo.yaml",
    "--run-record": "runs", "--slo-abort": "true", "--no-gc-freeze": "true", "--group-names": "true",
}  # fmt: skip
DESTS = {flag: flag[2:].replace("-", "_") for flag in FLAGS}
SWITCHES = {option.flag for option in OPTIONS if option.is_switch}
ALL = tuple(text for item in FLAGS.items() for text in item[: 1 if item[0] in SWITCHES else 2])
"""The command line with each flag."""

DEFAULTS = Flags(
    port=9646, port_is_named=False, host="127.0.0.1", linger_s=None, run_id=None, run_labels={}, slow_s=None,
    max_names=200, from_workers=False, trace_ratio=None, slo_abort=False, gc_freeze=True, group_names=False,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the environment and the configuration files of this machine out."""
    for name in [option.env_var for option in OPTIONS]:
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


def read(options: object, given: dict[str, object] | None = None) -> Flags:
    """Return the flags that a namespace of Locust holds."""
    return flags_of(values_of(options, given))


def of(**given: object) -> Flags:
    """Return flags that differ from the defaults by these."""
    return read(None, given)


def slugs(**given: object) -> list[str]:
    """Return the slugs of the problems of these flags."""
    with pytest.raises(ConfigurationError) as caught:
        of(**given)
    return [problem.slug for problem in caught.value.problems]


# ------------------------------------------------------------------------------------------------- Locust's parser


@pytest.mark.usefixtures("ours")
def test_defaults() -> None:
    """Without a flag everything is as the design says, with Locust's options as with none at all."""
    assert read(parse()) == read(None) == read(Namespace()) == DEFAULTS


def test_every_option_is_tried() -> None:
    """The flags that these tests give are all there are."""
    assert {option.flag: option.dest for option in OPTIONS} == DESTS


def _check_all(options: Namespace) -> None:
    assert read(options) == Flags(
        port=9700, port_is_named=True, host="0.0.0.0", linger_s=3.0, run_id="nightly",
        run_labels={"team": "shop"}, slow_s=0.25, max_names=17, from_workers=True, trace_ratio=0.1, slo_abort=True,
        gc_freeze=False, group_names=True,
    )  # fmt: skip
    rest = {"prometheus_web_config", "otlp_endpoint", "otlp_protocol", "otlp_interval", "slo", "run_record"}
    values = values_of(options)
    assert {name: values[name] for name in rest} == {dest: FLAGS[f] for f, dest in DESTS.items() if dest in rest}


@pytest.mark.usefixtures("ours")
def test_flags() -> None:
    """Each flag reaches its value."""
    _check_all(parse(*ALL))


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("by", ["parser", "no options", "other options"])
def test_environment_variables(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Each flag has an environment variable, read by Locust's parser, and by us where nobody parsed."""
    for flag, value in FLAGS.items():
        monkeypatch.setenv("LOCUST_OTEL_" + DESTS[flag].upper(), value)
    namespaces = {"parser": parse(), "no options": Namespace(), "other options": Namespace(host="x")}
    _check_all(namespaces[by])


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("text", ["[team=shop,git_sha=3f9a]", "[team=shop, git_sha=3f9a]"])
def test_several_labels_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A list in a variable is written as Locust's parser wants it, and read the same without it."""
    monkeypatch.setenv("LOCUST_OTEL_RUN_LABEL", text)
    expected = {"team": "shop", "git_sha": "3f9a"}
    assert read(parse()).run_labels == read(None).run_labels == expected


@pytest.mark.usefixtures("ours")
def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands on the command line wins, and what a program gives wins over all."""
    monkeypatch.setenv("LOCUST_OTEL_PROMETHEUS_PORT", "9701")
    assert read(parse()).port == 9701
    assert read(parse("--prometheus-port", "9702")).port == 9702
    assert read(parse("--prometheus-port", "9702"), {"prometheus_port": 9703}).port == 9703


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("name", ["locust.conf", "locust.toml"])
def test_configuration_files(tmp_path: Path, name: str) -> None:
    """Each option can stand in Locust's configuration files."""
    toml = name.endswith("toml")
    lines = ["[tool.locust]"] if toml else []
    for flag, value in FLAGS.items():
        text = f'["{value}"]' if toml and flag == "--run-label" else f'"{value}"' if toml else value
        lines.append(f"{flag[2:]} = {text}")
    path = tmp_path / name
    path.write_text("\n".join(lines), encoding="utf-8")
    _check_all(parse("--config", str(path)))


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("given", [(), ALL], ids=["none", "all"])
def test_options_are_plain(given: tuple[str, ...]) -> None:
    """In Locust's namespace, which msgpack carries to workers, our options are text, lists of text, and switches."""
    options = {dest: getattr(parse(*given), dest) for dest in DESTS.values()}
    for value in options.values():
        texts = value if type(value) is list else [value]
        assert value is None or type(value) is bool or all(type(text) is str for text in texts)
    assert msgpack.unpackb(msgpack.packb(options)) == options


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
    ("given", "expected"),
    [
        *(({"prometheus_port": text}, {"port": port, "port_is_named": True}) for text, port in (
            ("0", 0), ("1", 1), ("65535", 65535), (" 9700 ", 9700), ("off", None), ("OFF", None), (9700, 9700), (0, 0),
        )),
        # An empty variable, as compose files leave behind, is no port that was named.
        *(({"prometheus_port": text}, {"port": DEFAULT_PORT, "port_is_named": False}) for text in ("", None)),
        *(({"prometheus_host": text}, {"host": text.strip()}) for text in (
            "127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "my-host.example", "host\n",
        )),
        *(({"prometheus_linger": text}, {"linger_s": limit_s}) for text, limit_s in (
            ("auto", None), ("AUTO", None), ("0", 0.0), ("off", 0.0), ("10s", 10.0), ("1.5m", 90.0), (3, 3.0),
        )),
        *(({"run_id": text}, {"run_id": text}) for text in (
            "nightly", "2026-11-22T07-17-03Z-3f9a", "a", "7", "v1.2_x:y+z-", "x" * 100,
        )),
        *(({"run_label": labels}, {"run_labels": expected}) for labels, expected in (
            (["git_sha=3f9a", "team=shop"], {"git_sha": "3f9a", "team": "shop"}), (["a=b=c"], {"a": "b=c"}),
            (["a="], {"a": ""}), (['a="q" ü'], {"a": '"q" ü'}), ({"a": 1, "b": "x=y"}, {"a": "1", "b": "x=y"}),
            (["_a1=x"], {"_a1": "x"}), ([], {}), ({}, {}),
        )),
        *(({"max_request_names": text}, {"max_names": number}) for text, number in (
            ("1", 1), ("200", 200), ("100000", 100_000), (50, 50),
        )),
        *(({"export_from": text}, {"from_workers": is_so}) for text, is_so in (
            ("master", False), ("workers", True), (" Workers ", True),
        )),
        *(({"propagate_traces": text}, {"trace_ratio": ratio}) for text, ratio in (
            ("0", 0.0), ("1", 1.0), ("0.25", 0.25), (1, 1.0),
        )),
        *(({"slo_abort": text}, {"slo_abort": is_so}) for text, is_so in (
            ("true", True), (True, True), (" On ", True), ("1", True), ("false", False), ("0", False), (False, False),
        )),
        *(({"group_names": text}, {"group_names": is_so}) for text, is_so in (("on", True), ("0", False))),
        *(({"no_gc_freeze": text}, {"gc_freeze": is_so}) for text, is_so in (("yes", False), ("no", True))),
    ],
    ids=lambda value: ascii(next(iter(value.items())))[:60],
)  # fmt: skip
def test_values(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """A value that makes sense is taken, and changes nothing else."""
    assert of(**given) == replace(DEFAULTS, **expected)


@pytest.mark.parametrize(
    ("dest", "slug", "texts"),
    [
        ("prometheus_port", "prometheus-port", ["65536", "-1", "9646.0", "none", "٩", "1e3", "0x10", "9" * 30, True]),
        ("prometheus_host", "prometheus-host", ["http://x", "a b", "x/y", "[::1]"]),
        ("prometheus_linger", "time", ["-1", "soon", "1d", "inf", "nan"]),
        ("slow_request", "slow-request", ["0", "0s", "0.0000000001", "9" * 400]),
        ("run_id", "run-id", ["-x", "_x", "a b", "a/b", 'a"', "x" * 101, "ü", "a\n"]),
        ("run_label", "run-label", [["novalue"], ["=x"], ["1a=x"], ["a-b=x"], ["a.b=x"], ["a b=x"], ["ü=x"], [""]]),
        ("run_label", "run-label-twice", [["a=1", "a=1"]]),
        ("max_request_names", "max-request-names", ["0", "-1", "1.5", "100001", "many", "٣"]),
        ("export_from", "export-from", ["worker", "both", "1"]),
        ("propagate_traces", "propagate-traces", ["-0.1", "1.01", "nan", "half"]),
        ("slo_abort", "switch", ["maybe", "2"]),
        ("no_gc_freeze", "switch", ["maybe"]),
        ("group_names", "switch", ["ids"]),
    ],
)  # fmt: skip
def test_values_that_are_none(dest: str, slug: str, texts: list[object]) -> None:
    """Anything else is refused."""
    for text in texts:
        assert slugs(**{dest: text}) == [slug], text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5), ("1ms", 0.001), ("1100ms", 1.1), ("0.5", 0.5), (".5s", 0.5), ("5", 5.0), ("5 s", 5.0),
        ("2m", 120.0), ("1h", 3600.0), (2.5, 2.5), (7, 7.0), ("2675ms", 2.675), ("0.1ms", 0.0001),
    ],
)  # fmt: skip
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


@pytest.mark.parametrize(
    "name",
    ["job", "instance", "le", "quantile", "run_id", "host", "locustfile", "profile", "version", "__name__", "__x"],
)
def test_reserved_run_labels(name: str) -> None:
    """Labels that Prometheus or this bridge sets are refused, with another name to choose."""
    with pytest.raises(ConfigurationError) as caught:
        of(run_label=[f"{name}=x"])
    assert caught.value.slug == "run-label-reserved"
    proposed = re.search(r"(\w+)=\.\.\.", caught.value.remedy)
    assert proposed is not None
    assert of(run_label=[f"{proposed[1]}=x"]).run_labels == {proposed[1]: "x"}


def test_all_problems_at_once() -> None:
    """Every problem is in one error, in the order of the flags."""
    assert slugs(prometheus_port="x", run_id="-", slo_abort="x", max_request_names="0") == [
        "prometheus-port", "run-id", "max-request-names", "switch",
    ]  # fmt: skip


def test_new_run_ids() -> None:
    """A new id is the start in UTC and four hex digits, one that can be given again, and never the same."""
    assert re.fullmatch(r"2026-11-22T07-17-03Z-[0-9a-f]{4}", new_run_id(datetime(2026, 11, 22, 7, 17, 3, tzinfo=UTC)))
    ids = {new_run_id() for _ in range(20)}
    assert len(ids) > 15
    for run_id in ids:
        assert of(run_id=run_id).run_id == run_id
