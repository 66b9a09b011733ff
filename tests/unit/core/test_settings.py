"""Tests of the values of the flags, and of what is refused."""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import DEFAULT_PORT, OPTIONS
from locust_otel.core.settings import Flags, duration, flags_of, new_run_id, values_of

DEFAULTS = Flags(
    port=9646, port_is_named=False, host="127.0.0.1", linger_s=None, run_id=None, run_labels={}, slow_s=None,
    max_names=200, from_workers=False, trace_ratio=None, slo_abort=False, gc_freeze=True, group_names=False,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the environment variables of this machine."""
    for option in OPTIONS:
        monkeypatch.delenv(option.env_var, raising=False)


def read(**given: object) -> Flags:
    """Return the flags with these values."""
    return flags_of(values_of(None, given))


def slugs(**given: object) -> list[str]:
    """Return the slugs of the problems of these values."""
    with pytest.raises(ConfigurationError) as caught:
        read(**given)
    return [problem.slug for problem in caught.value.problems]


@pytest.mark.parametrize("options", [None, Namespace(), Namespace(host="x")], ids=["none", "empty", "other options"])
def test_without_locusts_parser(monkeypatch: pytest.MonkeyPatch, options: Namespace | None) -> None:
    """A namespace without the options has the defaults, and the values of the environment variables."""
    assert flags_of(values_of(options)) == DEFAULTS
    for option in OPTIONS:
        monkeypatch.setenv(option.env_var, f"text of {option.dest}")
    expected: dict[str, Any] = {option.dest: f"text of {option.dest}" for option in OPTIONS}
    assert values_of(options) == expected | {"run_label": ["text of run_label"]}


@pytest.mark.parametrize("text", ["[team=shop,git_sha=3f9a]", "[team=shop, git_sha=3f9a]"])
def test_labels_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A list in a variable has the format of Locust's parser."""
    monkeypatch.setenv("LOCUST_OTEL_RUN_LABEL", text)
    assert read().run_labels == {"team": "shop", "git_sha": "3f9a"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *(({"prometheus_port": text}, {"port": port, "port_is_named": True}) for text, port in (
            ("0", 0), ("1", 1), ("65535", 65535), (" 9700 ", 9700), ("off", None), ("OFF", None), (9700, 9700), (0, 0),
        )),
        # An empty variable, which compose files leave behind, is not a chosen port.
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
        *(({"export_from": text}, {"from_workers": value}) for text, value in (
            ("master", False), ("workers", True), (" Workers ", True),
        )),
        *(({"propagate_traces": text}, {"trace_ratio": ratio}) for text, ratio in (
            ("0", 0.0), ("1", 1.0), ("0.25", 0.25), (1, 1.0),
        )),
        *(({"slo_abort": text}, {"slo_abort": value}) for text, value in (
            ("true", True), (True, True), (" On ", True), ("1", True), ("false", False), ("0", False), (False, False),
        )),
        *(({"group_names": text}, {"group_names": value}) for text, value in (("on", True), ("0", False))),
        *(({"no_gc_freeze": text}, {"gc_freeze": value}) for text, value in (("yes", False), ("no", True))),
    ],
    ids=lambda value: ascii(next(iter(value.items())))[:60],
)  # fmt: skip
def test_valid_values(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """A valid value sets its field and no other."""
    assert read(**given) == replace(DEFAULTS, **expected)


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
def test_invalid_values(dest: str, slug: str, texts: list[object]) -> None:
    """An invalid value is refused with the slug of its flag."""
    for text in texts:
        assert slugs(**{dest: text}) == [slug], text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5), ("1ms", 0.001), ("1100ms", 1.1), ("0.5", 0.5), (".5s", 0.5), ("5", 5.0), ("5 s", 5.0),
        ("2m", 120.0), ("1h", 3600.0), (2.5, 2.5), (7, 7.0), ("2675ms", 2.675), ("0.1ms", 0.0001),
        *((f"{ms}ms", ms / 1000) for ms in range(1, 10_000, 37)),
    ],
)  # fmt: skip
def test_durations(text: object, seconds: float) -> None:
    """A time is a number of seconds or has a unit, and becomes the nearest float."""
    assert duration(text, "--x") == seconds


@pytest.mark.parametrize("text", ["-1", "five", "5 years", "1e3", "5ss", "", "1,5", "0x5", "inf", "nan", None])
def test_invalid_durations(text: object) -> None:
    """Anything else is refused with the place of the value."""
    with pytest.raises(ConfigurationError) as caught:
        duration(text, "--slow-request")
    assert (caught.value.slug, caught.value.where) == ("time", "--slow-request")


@pytest.mark.parametrize(
    "name",
    ["job", "instance", "le", "quantile", "run_id", "host", "locustfile", "profile", "version", "__name__", "__x"],
)
def test_reserved_run_labels(name: str) -> None:
    """Labels that Prometheus or locust-otel sets are refused; the remedy is a valid name."""
    with pytest.raises(ConfigurationError) as caught:
        read(run_label=[f"{name}=x"])
    assert caught.value.slug == "run-label-reserved"
    proposed = re.search(r"(\w+)=\.\.\.", caught.value.remedy)
    assert proposed is not None
    assert read(run_label=[f"{proposed[1]}=x"]).run_labels == {proposed[1]: "x"}


def test_all_problems_at_once() -> None:
    """One error has all problems, in the order of the flags."""
    assert slugs(prometheus_port="x", run_id="-", slo_abort="x", max_request_names="0") == [
        "prometheus-port", "run-id", "max-request-names", "switch",
    ]  # fmt: skip


def test_new_run_ids() -> None:
    """A new id is the start in UTC and four random hex digits, and is valid for `--run-id`."""
    start = datetime(2026, 11, 22, 7, 17, 3, tzinfo=UTC)
    ids = {new_run_id(start) for _ in range(20)}
    assert len(ids) > 15
    for run_id in ids:
        assert re.fullmatch(r"2026-11-22T07-17-03Z-[0-9a-f]{4}", run_id)
        assert read(run_id=run_id).run_id == run_id
