"""Tests of the SLO file: exact values, and all problems at once, each with its line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.errors import ConfigurationError
from locust_otel.slo.file import load, parse
from locust_otel.slo.objectives import Match, Objective, Sli, Slo, Window
from locust_otel.slo.rules.recording_rules import recording_rules
from locust_otel.slo.schema import MAX_OBJECTIVES, MAX_WINDOWS
from tests.unit.slo_files import BROKEN, MINIMAL, VALID, dumped

_THOUSAND = settings(max_examples=1000, deadline=None)
OBJECTIVE = "objectives: {a: {sli: success, target: 99%}}\n"


def parsed(text: str) -> Slo:
    """Return the objectives of a file."""
    return parse(text.encode(), "slo.yaml")


def problems(text: str | bytes, name: str = "slo.yaml") -> list[tuple[int, str]]:
    """Return line and slug of each problem, in their order."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text.encode() if isinstance(text, str) else text, name)
    errors = caught.value.problems
    assert all(error.where.startswith(f"{name}:") for error in errors)
    assert all(error.found and error.remedy and "\n" not in str(error) for error in errors)
    return [(int(error.where[len(name) + 1 :].partition(":")[0]), error.slug) for error in errors]


def test_all_keys() -> None:
    """Each key has its place; ratios and times are exact decimals."""
    slo = parsed("""
service: webshop
period: 4h
scrape_interval: 1500ms
warmup: 1m30s
min_requests: 250
slow_request: 2.5 s
objectives:
  availability: {sli: success, target: 99.95%}
  p95: {sli: latency, target: 0.95, within: 2 s, only: success}
  mean: {sli: mean, within: 500ms, match: {name: /api/orders, method: [POST, PUT, POST], user_class: Shopper}}
windows:
  - {severity: critical, long: 5m, short: 1m, budget: 10%}
  - {severity: warning, long: 80m, short: 15m, budget: 0.5}
""")
    assert slo == Slo(
        service="webshop", period_s=Decimal(14400), scrape_interval_s=Decimal("1.5"), warmup_s=Decimal(90),
        min_requests=250, slow_s=Decimal("2.5"), source="slo.yaml",
        objectives=(
            Objective("availability", Sli.SUCCESS, Decimal("0.9995")),
            Objective("p95", Sli.LATENCY, Decimal("0.95"), Decimal(2), only_success=True),
            Objective("mean", Sli.MEAN, None, Decimal("0.5"), Match(("POST", "PUT"), ("/api/orders",), ("Shopper",))),
        ),
        windows=(
            Window("critical", Decimal(300), Decimal(60), Decimal("0.1")),
            Window("warning", Decimal(4800), Decimal(900), Decimal("0.5")),
        ),
    )  # fmt: skip
    assert str(slo.objectives[0].budget) == "0.0005"
    assert slo.names == {"/api/orders"}
    assert slo.thresholds_s == (2.0,)


def test_defaults() -> None:
    """Service and objectives are enough; a period of half an hour has default windows."""
    slo = parsed(MINIMAL)
    times = (slo.period_s, slo.scrape_interval_s, slo.warmup_s, slo.slow_s)
    assert [*map(str, times), slo.min_requests] == ["1800", "5", "0", "5", 100]
    assert [(w.severity, str(w.long_s), str(w.short_s), str(w.budget)) for w in slo.windows] == [
        ("critical", "120", "30", "0.2"), ("warning", "600", "150", "0.5"),
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(Path("locustfiles").glob("slo*.yaml")), ids=lambda path: path.name)
def test_shipped_files(path: Path) -> None:
    """The files beside the locustfiles are valid, and have the same objectives."""
    slo = load(str(path))
    assert [(o.name, o.target, o.within_s) for o in slo.objectives] == [
        ("availability", Decimal("0.99"), None), ("latency-p95", Decimal("0.95"), 2),
        ("latency-mean", None, Decimal("0.5")),
    ]  # fmt: skip
    assert slo.windows
    assert slo.source == path.name


def test_times_with_blanks() -> None:
    """Blanks between number and unit, or between parts, are allowed."""
    times = {"30 s": 30, "1m 30s": 90, "1 m 30 s": 90, "' 20s '": 20, "0.5 m": 30, "250 ms": 0.25}
    for text, seconds in times.items():
        assert parsed(f"{MINIMAL}warmup: {text}\n").warmup_s == Decimal(str(seconds)), text


def test_texts_of_a_match() -> None:
    """The name of a request may have any characters, and blanks at its ends."""
    names = (" blank ", "ünïcödé 🦗", "100%", "/a b", '{"x": 1}')
    listed = ", ".join(f"'{name}'" for name in names)
    slo = parsed(f"service: a\nobjectives: {{a: {{sli: success, target: 99%, match: {{name: [{listed}]}}}}}}\n")
    assert slo.objectives[0].match.names == names


# ------------------------------------------------------------------------------------------------------ problems


@pytest.mark.parametrize(
    ("line", "slug"),
    [
        ("periode: 4h", "slo-unknown-key"), ("x: 1", "slo-unknown-key"), ("? [a, b]\n: 1", "slo-unknown-key"),
        ("service: again", "slo-duplicate-key"), ("period: 30", "slo-duration-unit"), ("period: ''", "slo-duration"),
        ("period: half an hour", "slo-duration"), ("period: -5m", "slo-duration"), ("period: 1:30", "slo-duration"),
        ("period: 1 0s", "slo-duration"), ("period: ²s", "slo-duration"), ("period: 5M", "slo-duration"),
        ("period: 400d", "slo-duration-long"), ("period: 0s", "slo-duration-zero"), ("period: 0", "slo-duration-zero"),
        ("period: 90500ms", "slo-duration-whole"), ("slow_request: 0.5ms", "slo-duration-fine"),
        ("period:", "slo-type"), ("period: null", "slo-type"),
        ("period: [5m]", "slo-type"), ("period: {a: b}", "slo-type"),
        ("warmup: 30m", "slo-warmup"), ("warmup: 1d", "slo-warmup"), ("period: 39s", "slo-period-short"),
        ("scrape_interval: 226s", "slo-period-short"), ("scrape_interval: 0", "slo-duration-zero"),
        ("min_requests: 0", "slo-count"), ("min_requests: -1", "slo-count"), ("min_requests: 1.5", "slo-count"),
        ("min_requests: many", "slo-count"), ("min_requests: 10000000000", "slo-count"), ("min_requests:", "slo-type"),
        ("min_requests: ²", "slo-count"), ("min_requests: true", "slo-count"), ("slow_request: 0", "slo-duration-zero"),
        ("windows: []", "slo-empty"), ("windows:", "slo-type"), ("windows: {severity: critical}", "slo-type"),
        ("windows: [a]", "slo-type"), ("windows: [[]]", "slo-type"), ("windows: x", "slo-type"),
        ("windows: [{severity: warning, long: 2m, short: 30s}]", "slo-missing"),
        ("windows: [{severity: page, long: 2m, short: 30s, budget: 20%}]", "slo-choice"),
        ("windows: [{severity: warning, long: 2m, short: 30s, budget: 20%, x: y}]", "slo-unknown-key"),
        ("windows: [{severity: warning, long: 2m, short: 19s, budget: 20%}]", "slo-window-short"),
        ("windows: [{severity: warning, long: 2m, short: 2m, budget: 20%}]", "slo-window-order"),
        ("windows: [{severity: warning, long: 31m, short: 2m, budget: 20%}]", "slo-window-long"),
        ("windows: [{severity: warning, long: 20s, short: 1500ms, budget: 20%}]", "slo-duration-whole"),
        ("windows: [{severity: warning, long: 2m, short: 30s, budget: 20}]", "slo-target-range"),
        ("windows: [{severity: warning, long: 2m, short: 30s, budget: 0%}]", "slo-target-range"),
        ("windows: [{severity: warning, long: 2m, short: 30s, budget: a}]", "slo-ratio"),
    ],
)  # fmt: skip
def test_keys_of_the_file(line: str, slug: str) -> None:
    """A wrong key of the file is one problem, with its line."""
    assert problems(MINIMAL + line + "\n") == [(4, slug)]


@pytest.mark.parametrize(
    ("value", "slug"),
    [
        ("{sli: success}", "slo-missing"), ("{target: 99%}", "slo-missing"),
        ("{sli: latency, target: 99%}", "slo-missing"),
        ("{sli: latency, within: 2s}", "slo-missing"), ("{sli: mean}", "slo-missing"), ("{sli: p99}", "slo-choice"),
        ("{sli: Success, target: 99%}", "slo-choice"), ("{sli: [success], target: 99%}", "slo-type"),
        ("{sli: success, target: 99}", "slo-target-range"), ("{sli: success, target: 99.9}", "slo-target-range"),
        ("{sli: success, target: 100%}", "slo-target-no-budget"), ("{sli: success, target: 1}", "slo-target-no-budget"),
        ("{sli: success, target: 1.0}", "slo-target-no-budget"), ("{sli: success, target: 0}", "slo-target-range"),
        ("{sli: success, target: 0%}", "slo-target-range"), ("{sli: success, target: 101%}", "slo-target-range"),
        ("{sli: success, target: 500}", "slo-target-range"), ("{sli: success, target: 99.99999%}", "slo-target-fine"),
        ("{sli: success, target: 99 percent}", "slo-ratio"), ("{sli: success, target: -1%}", "slo-ratio"),
        ("{sli: success, target: ٩٩%}", "slo-ratio"), ("{sli: success, target: .99}", "slo-ratio"),
        ("{sli: success, target: 9.9e-1}", "slo-ratio"), ("{sli: success, target: '%'}", "slo-ratio"),
        ("{sli: success, target: .nan}", "slo-ratio"), ("{sli: success, target: }", "slo-type"),
        ("{sli: success, target: [99%]}", "slo-type"), ("{sli: success, target: {a: 1}}", "slo-type"),
        ("{sli: success, target: 99%, within: 2s}", "slo-contradiction"),
        ("{sli: success, target: 99%, only: success}", "slo-contradiction"),
        ("{sli: mean, within: 2s, target: 99%}", "slo-contradiction"), ("{sli: mean, within: 2}", "slo-duration-unit"),
        ("{sli: mean, within: 2s, only: failure}", "slo-choice"), ("{sli: mean, within: 2s, only: }", "slo-type"),
        ("{sli: mean, within: 2s, name: /}", "slo-unknown-key"), ("{sli: mean, within: 2s, match: }", "slo-type"),
        ("{sli: mean, within: 2s, match: /}", "slo-type"), ("{sli: mean, within: 2s, match: [/]}", "slo-type"),
        ("{sli: mean, within: 2s, match: {}}", "slo-match-empty"),
        ("{sli: mean, within: 2s, match: {name: }}", "slo-type"),
        ("{sli: mean, within: 2s, match: {name: []}}", "slo-match-empty"),
        ("{sli: mean, within: 2s, match: {name: ''}}", "slo-match-empty"),
        ("{sli: mean, within: 2s, match: {name: ' '}}", "slo-match-empty"),
        ("{sli: mean, within: 2s, match: {name: [a, '']}}", "slo-match-empty"),
        ("{sli: mean, within: 2s, match: {name: [a, null]}}", "slo-type"),
        ("{sli: mean, within: 2s, match: {name: {a: b}}}", "slo-type"),
        ("{sli: mean, within: 2s, match: {name: " + "x" * 1025 + "}}", "slo-match-long"),
        ("{sli: mean, within: 2s, match: {not: {}}}", "slo-match-empty"),
        ("{sli: mean, within: 2s, match: {not: /}}", "slo-type"),
        ("{sli: mean, within: 2s, match: {not: {not: {name: /}}}}", "slo-unknown-key"),
        ("{sli: mean, within: 2s, match: {exclude: {name: /}}}", "slo-unknown-key"),
        ("{sli: mean, within: 2s, match: {names: /}}", "slo-unknown-key"),
        ("null", "slo-type"), ("[]", "slo-type"), ("99%", "slo-type"),
    ],
)  # fmt: skip
def test_objectives(value: str, slug: str) -> None:
    """A wrong objective is one problem, with its line."""
    assert problems(f"service: a\nobjectives:\n  good: {{sli: mean, within: 1s}}\n  a: {value}\n") == [(4, slug)]


@pytest.mark.parametrize("name", ["''", "é", "a:b", "-a", "a-", "' a'", "a/b", "🦗", '"a\\nb"', "x" * 101])
def test_names(name: str) -> None:
    """Names of services and objectives have letters, digits, and . _ - or blanks between them."""
    assert problems(f"objectives: {{a: {{sli: mean, within: 1s}}}}\nservice: {name}\n")[0] in {
        (2, "slo-name"),
        (2, "slo-type"),
    }
    assert problems(f"service: a\nobjectives:\n  ? {name}\n  : {{sli: mean, within: 1s}}\n") == [(3, "slo-name")]


def test_duplicates() -> None:
    """A duplicate objective, or key of an objective, is reported with both lines."""
    text = "service: a\nobjectives:\n  a: {sli: success, target: 99%}\n  b: {sli: mean, within: 1s}\n  a: {sli: mean}\n"
    with pytest.raises(ConfigurationError, match=r"slo.yaml:5: objectives.a: This key is a duplicate of line 3"):
        parsed(text)
    assert problems("service: a\nobjectives:\n  a:\n    sli: mean\n    within: 1s\n    within: 2s\n") == [
        (6, "slo-duplicate-key")
    ]
    # A reader that strips blanks would take both for one objective.
    text = "service: a\nobjectives:\n  'a ': {sli: mean, within: 1s}\n  a: {sli: mean, within: 2s}\n"
    assert problems(text) == [(3, "slo-name")]


def test_a_pair_of_windows_twice() -> None:
    """Two pairs must not have the same severity and length; another severity is another pair."""
    pair = "  - {severity: %s, long: 2m, short: %s, budget: 20%%}\n"
    windows = "windows:\n" + pair % ("warning", "30s") + pair % ("critical", "30s")
    assert len(parsed(MINIMAL + windows).windows) == 2
    assert problems(MINIMAL + windows + pair % ("warning", "20s")) == [(7, "slo-window-twice")]


@pytest.mark.parametrize(
    ("target", "budget", "is_reachable"),
    [
        ("50%", "13.4%", False), ("50%", "13.3%", True), ("90%", "66.7%", False), ("90%", "66.6%", True),
        ("99%", "100%", True),
    ],
)  # fmt: skip
def test_a_burn_rate_that_can_never_be_reached(target: str, budget: str, is_reachable: bool) -> None:
    """The highest burn rate is 1 / (1 - target): the limit of an alert must be below."""
    text = f"service: a\nobjectives: {{a: {{sli: success, target: {target}}}}}\n"
    text += f"windows:\n  - {{severity: warning, long: 2m, short: 30s, budget: {budget}}}\n"
    if is_reachable:
        assert parsed(text).windows[0].factor(Decimal(1800)) < 1 / (1 - Decimal(target[:-1]) / 100)
    else:
        assert problems(text) == [(4, "slo-window-unreachable")]


def test_the_remedy_for_an_unreachable_burn_rate() -> None:
    """The remedy is a reachable budget, and the error has the numbers."""
    text = MINIMAL + "period: 4h\nwindows: [{severity: warning, long: 1m, short: 20s, budget: 42%}]\n"
    with pytest.raises(ConfigurationError) as caught:
        parsed(text)
    assert (
        "42 % of 4h in 1m is a burn rate of 100.8; with all requests bad, availability burns at 100:"
        in caught.value.found
    )
    assert "less than 41.67 %" in caught.value.remedy
    parsed(text.replace("42%", "41.66%"))


def test_all_problems_at_once_in_the_order_of_lines() -> None:
    """All problems of a file are reported at once, from top to bottom."""
    text = """
service: a
perod: 4h
warmup: 5
objectives:
  a: {sli: success, target: 100%}
  b: {sli: latency, target: 99%}
  c: {sli: mean, within: 1s, within: 2s}
  d: {sli: success, target: 99%, match: {}}
windows:
  - {severity: critical, long: 5s, short: 30s, budget: 20%}
  - {severity: critical, long: 2m, short: 30s, budgets: 20%}
"""
    expected = [
        (3, "slo-unknown-key"), (4, "slo-duration-unit"), (6, "slo-target-no-budget"), (7, "slo-missing"),
        (8, "slo-duplicate-key"), (9, "slo-match-empty"), (11, "slo-window-order"), (11, "slo-window-short"),
        (12, "slo-missing"), (12, "slo-unknown-key"),
    ]  # fmt: skip
    lines = [line for line, _ in problems(text)]
    assert lines == sorted(lines)
    assert sorted(problems(text)) == expected
    assert sorted(problems(text, "C: a:b/s: 3.yaml")) == expected


@pytest.mark.parametrize(
    "text",
    [
        "period: x\nwarmup: 31m\n" + "service: a\n" + OBJECTIVE,
        "scrape_interval: x\nperiod: 39s\nservice: a\n" + OBJECTIVE,
        "period: x\nservice: a\n" + OBJECTIVE + "windows: [{severity: warning, long: 2h, short: 1h, budget: 99%}]\n",
        "objectives: {a: {sli: x}}\nservice: a\nperiod: 4h\n"
        "windows: [{severity: warning, long: 1m, short: 20s, budget: 100%}]\n",
        "windows:\n- {severity: warning, long: 2s, short: 1s}\n- {severity: warning, long: 2s, short: 1s, budget: 9%}\n"
        "scrape_interval: 250ms\nservice: a\n" + OBJECTIVE,
    ],
    ids=["warmup", "period", "windows", "objectives", "window"],
)
def test_a_refused_value_has_one_problem(text: str) -> None:
    """The placeholder of a refused value causes no other problem."""
    assert len(problems(text)) == 1


def test_too_many() -> None:
    """Up to 50 objectives and 20 windows are allowed; thousands are refused without a look at each."""
    line = "  a{}: {{sli: success, target: 99%}}\n"
    most = "service: a\nobjectives:\n" + "".join(map(line.format, range(MAX_OBJECTIVES)))
    assert len(parsed(most).objectives) == MAX_OBJECTIVES
    assert problems(most + line.format("x")) == [(2, "slo-too-many")]
    pair = "  - {{severity: warning, long: {}s, short: 20s, budget: 20%}}\n"
    windows = MINIMAL + "windows:\n" + "".join(pair.format(100 + n) for n in range(MAX_WINDOWS))
    assert len(parsed(windows).windows) == MAX_WINDOWS
    assert problems(windows + pair.format(30)) == [(4, "slo-too-many")]
    assert problems(MINIMAL + "windows: [" + "x," * 5_000 + "]\n") == [(4, "slo-too-many")]
    many = ",".join(f"a{n}: x" for n in range(5_000))
    assert problems("service: a\nobjectives: {" + many + "}\n") == [(2, "slo-too-many")]


def test_an_objective_may_have_any_good_name() -> None:
    """Names of keys are not special as names of objectives."""
    with pytest.raises(ConfigurationError, match="Did you mean within"):
        parsed("service: a\nobjectives: {match: {sli: mean, within: 1s, witin: 2s}}\n")
    assert parsed("service: a\nobjectives: {objectives: {sli: mean, within: 1s}}\n").objectives[0].name == "objectives"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", (1, "slo-empty")), (b"# nothing\n", (1, "slo-empty")), (b"---\n", (1, "slo-empty")),
        (b"~", (1, "slo-empty")),
        (b"[]", (1, "slo-type")), (b"text", (1, "slo-type")), (MINIMAL.encode() + b"\xff", (4, "slo-syntax")),
        (MINIMAL.encode() + b"---\n" + MINIMAL.encode(), (4, "slo-syntax")),
        (b"a: &x b\nc: *x\n", (1, "slo-not-plain")), (b"service: !!python/object:os.system x\n", (1, "slo-not-plain")),
    ],
)  # fmt: skip
def test_no_mapping(data: bytes, problem: tuple[int, str]) -> None:
    """A file that is not one document of plain YAML with a mapping is refused."""
    assert problems(data) == [problem]


def test_exclusion() -> None:
    """`not` has the same keys as a match; a name with `*` needs no series of its own."""
    match = "{name: [/a, /b*], not: {method: TXN, name: [/b/[id]]}}".replace("[id]]", "[id]']").replace("[/b/", "['/b/")
    slo = parsed(f"service: a\nobjectives: {{a: {{sli: success, target: 99%, match: {match}}}}}\n")
    assert slo.objectives[0].match == Match(names=("/a", "/b*"), exclude=Match(("TXN",), ("/b/[id]",)))
    assert slo.names == {"/a", "/b/[id]"}


def test_missing_keys() -> None:
    """A file needs a service and at least one objective."""
    assert problems("service: a\n") == [(1, "slo-missing")]
    assert problems("\n\n" + OBJECTIVE) == [(1, "slo-missing")]
    assert problems("service: a\nobjectives: {}\n") == [(2, "slo-empty")]
    assert problems("service: a\nobjectives:\n") == [(2, "slo-type")]
    assert problems("service: a\nobjectives: [a]\n") == [(2, "slo-type")]


def test_reading_the_file(tmp_path: Path) -> None:
    """A file that does not exist, or is too large, is refused."""
    with pytest.raises(ConfigurationError, match=r"slo-unreadable"):
        load(str(tmp_path / "none.yaml"))
    large = tmp_path / "large.yaml"
    large.write_bytes(MINIMAL.encode() + b"#" * 10_000_000)
    with pytest.raises(ConfigurationError, match=r"large.yaml.*slo-too-large"):
        load(str(large))


# --------------------------------------------------------------------------------------------------------- any file


@_THOUSAND
@given(VALID)
def test_any_valid_file_keeps_its_values(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Each value of a valid file is exact."""
    written, meant = both
    slo = parse(dumped(written), "slo.yaml")
    assert (slo.service, slo.min_requests) == (meant["service"], meant["min_requests"])
    assert (slo.period_s, slo.scrape_interval_s, slo.warmup_s, slo.slow_s) == (
        meant["period"], meant["scrape_interval"], meant["warmup"], meant["slow_request"],
    )  # fmt: skip
    assert {o.name: o for o in slo.objectives} == {
        name: Objective(
            name, Sli(values["sli"]), values["target"], values["within"],
            Match(*(values["match"].get(key, ()) for key in ("method", "name", "user_class"))), values["only"],
        )
        for name, values in meant["objectives"].items()
    }  # fmt: skip
    if meant["windows"] is not None:
        assert [(w.severity, w.long_s, w.short_s, w.budget) for w in slo.windows] == meant["windows"]
    for window in slo.windows:
        assert window.short_s < window.long_s <= slo.period_s
        factor = window.factor(slo.period_s)
        assert all(factor < 1 / (1 - o.target) for o in slo.objectives if o.target is not None)


@_THOUSAND
@given(BROKEN | st.binary(max_size=200))
def test_any_broken_file_is_refused_in_words(data: bytes) -> None:
    """Any content has rules, or is refused with lines and slugs; no other error is raised."""
    try:
        slo = parse(data, "slo.yaml")
    except ConfigurationError as error:
        for problem in error.problems:
            assert problem.slug.startswith("slo-")
            line = int(problem.where.removeprefix("slo.yaml:").partition(":")[0])
            assert 1 <= line <= data.count(b"\n") + data.count(b"\r") + 1
            assert "Traceback" not in str(problem)
    else:
        assert list(recording_rules(slo))
