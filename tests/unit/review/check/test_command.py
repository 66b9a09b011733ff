"""Tests of the command: flags, exit codes, files, and the comparison with a baseline."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from locust_otel import cli
from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check.command import FORMATS, regression
from locust_otel.review.check.formats import FORMATS as WRITERS
from tests.unit.check_files import EXAMPLE, GOLDEN, csv_file, json_file, row

SLO = """
service: shop
period: 30m
min_requests: 100
objectives:
  availability: {sli: success, target: 99%}
  latency-p95: {sli: latency, target: 95%, within: 2s}
  latency-mean: {sli: mean, within: 500ms}
"""


@pytest.fixture(autouse=True)
def _no_github(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def check(tmp_path: Path, *arguments: str) -> int:
    """Run the command with the SLO file above."""
    (tmp_path / "slo.yaml").write_text(SLO)
    return cli.main(["check", "--slo", str(tmp_path / "slo.yaml"), *arguments])


def objectives(tmp_path: Path, *arguments: str) -> dict[str, dict[str, object]]:
    """Run the command and return its objectives by name."""
    code = check(tmp_path, *arguments, "--format", "json", "--output", str(tmp_path / "out.json"))
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["exit_code"] == code
    return {each["name"]: each for each in document["objectives"]}


@pytest.mark.parametrize(("name", "code"), [("healthy", 0), ("failing", 3)])
@pytest.mark.parametrize("flag", ["--csv", "--json-file"])
def test_real_runs(capsys: pytest.CaptureFixture[str], flag: str, name: str, code: int) -> None:
    """A healthy run ends with 0 and a failing one with 3, from either file."""
    assert cli.main(["check", "--slo", str(EXAMPLE), flag, str(GOLDEN / name)]) == code
    assert f"exit code {code})" in capsys.readouterr().out


def test_nothing_to_judge(tmp_path: Path) -> None:
    """An empty run ends with 4."""
    (tmp_path / "run.json").write_text("[]")
    assert check(tmp_path, "--json-file", str(tmp_path / "run")) == 4


def test_every_format_can_be_chosen() -> None:
    """The flags name what can be written."""
    assert tuple(WRITERS) == FORMATS


def test_a_format_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to the file, and the table to standard output."""
    output = tmp_path / "junit.xml"
    assert check(tmp_path, "--csv", str(GOLDEN / "failing"), "--format", "junit", "--output", str(output)) == 3
    assert ET.parse(output).getroot().get("failures") == "1"  # noqa: S314
    assert "availability" in capsys.readouterr().out


def test_the_summary_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is appended to, and only for GitHub; one that cannot be written does not change the verdict."""
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert check(tmp_path, "--csv", str(GOLDEN / "healthy")) == 0
    assert summary.read_text() == "# before\n"
    assert check(tmp_path, "--csv", str(GOLDEN / "healthy"), "--format", "github") == 0
    assert summary.read_text().startswith("# before\n### ✅ shop: met")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert check(tmp_path, "--csv", str(GOLDEN / "healthy"), "--format", "github") == 0


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        ([], "check-source"),
        (["--csv", "a", "--json-file", "b"], "check-source"),
        (["--csv", "a", "--run-id", "b"], "check-run-id"),
        (["--prometheus", "http://127.0.0.1:1"], "check-run-id"),
        (["--csv", "a", "--lookback", "1d"], "check-lookback"),
        (["--prometheus", "http://127.0.0.1:1", "--run-id", "a", "--lookback", "long"], "check-lookback"),
        (["--prometheus", "127.0.0.1:1", "--run-id", "a"], "check-prometheus-url"),
        (["--prometheus", "http://127.0.0.1:1", "--run-id", "a"], "check-prometheus-unreachable"),
        (["--csv", str(GOLDEN / "healthy"), "--max-regression", "5%"], "check-max-regression-alone"),
        (["--csv", str(GOLDEN / "healthy"), "--baseline", "none", "--max-regression=-5%"], "check-max-regression"),
        (["--csv", str(GOLDEN / "healthy"), "--baseline", "none"], "check-csv-unreadable"),
        (["--csv", str(GOLDEN / "healthy"), "--output", "/nowhere/at/all"], "check-output"),
        (["--csv", "nowhere"], "check-csv-unreadable"),
        (["--json-file", "nowhere"], "check-json-unreadable"),
    ],
)
def test_bad_configurations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], slug: str
) -> None:
    """Each ends with 78 and says why."""
    monkeypatch.setenv("no_proxy", "*")
    assert check(tmp_path, *arguments) == 78
    assert f"({slug})" in capsys.readouterr().err


def test_a_bad_slo_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All its problems are told."""
    (tmp_path / "bad.yaml").write_text("service: shop\nperiod: 30m\nobjectives: {a: {sli: success}, b: {sli: mean}}\n")
    assert cli.main(["check", "--slo", str(tmp_path / "bad.yaml"), "--csv", str(GOLDEN / "healthy")]) == 78
    assert capsys.readouterr().err.count("(slo-missing)") == 2


@pytest.mark.parametrize(("written", "share"), [("10%", "0.1"), ("0.1", "0.1"), ("12.5 %", "0.125"), ("0", "0")])
def test_a_regression_in_words(written: str, share: str) -> None:
    """A percentage or a ratio."""
    assert str(regression(written).normalize()) == share


@pytest.mark.parametrize("written", ["", "ten", "-1%", "1e3", "nan", "10%%"])
def test_no_regression(written: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ConfigurationError):
        regression(written)


def lines(tmp_path: Path, name: str, **values: object) -> str:
    """Write a CSV of one endpoint and return its prefix."""
    rows = (row("/a", "GET", **values), row(**values))  # type: ignore[arg-type]
    (tmp_path / f"{name}_stats.csv").write_text(csv_file(*rows))
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("before", "now", "worse"),
    [
        ({"requests": 5000, "failures": 0}, {"requests": 5000, "failures": 1}, ""),
        ({"requests": 5000, "failures": 0}, {"requests": 5000, "failures": 5}, ""),  # a tenth of the budget of 50
        ({"requests": 5000, "failures": 0}, {"requests": 5000, "failures": 6}, "availability"),
        ({"requests": 5000, "failures": 40}, {"requests": 5000, "failures": 45}, ""),
        ({"requests": 5000, "failures": 40}, {"requests": 5000, "failures": 46}, "availability"),
        ({"mean": 300.0}, {"mean": 330.0}, ""),
        ({"mean": 300.0}, {"mean": 330.1}, "latency-mean"),
        ({"mean": 300.0}, {"mean": 100.0}, ""),
        ({"p95": 1000}, {"p95": 1100}, ""),
        ({"p95": 1000}, {"p95": 1200}, "latency-p95"),
    ],
)
def test_a_regression(tmp_path: Path, before: dict[str, object], now: dict[str, object], worse: str) -> None:
    """What is worse by more than a tenth is missed, and just a tenth is not."""
    prefix = lines(tmp_path, "now", **now)
    found = objectives(tmp_path, "--csv", prefix, "--baseline", lines(tmp_path, "before", **before))
    assert [name for name, each in found.items() if each["status"] == "missed"] == ([worse] if worse else [])
    assert [name for name, each in found.items() if each["regression"]] == ([worse] if worse else [])
    assert {each["status"] for each in found.values()} <= {"met", "missed"}


def test_a_regression_is_named_in_all_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table, JSON, XML and annotations say what is worse than what."""
    arguments = ["--csv", lines(tmp_path, "now", mean=450.0), "--baseline", lines(tmp_path, "before", mean=300.0)]
    for name in FORMATS:
        assert check(tmp_path, *arguments, "--format", name) == 3
        written = capsys.readouterr().out
        # A table may break the line.
        assert ("worse than the" if name == "table" else "worse than the baseline: 450 ms, was 300 ms") in written


def test_a_regression_of_slow_requests(tmp_path: Path) -> None:
    """From JSON files it is the share of slow requests that is compared, against the budget of 5 %."""
    for name, slow in (("before", 0), ("same", 5), ("worse", 6)):
        times = [100.0] * (1000 - slow) + [3000.0] * slow
        (tmp_path / f"{name}.json").write_text(json_file(("GET", "/a", times, 0)))
    for name, status in (("same", "met"), ("worse", "missed")):
        found = objectives(
            tmp_path, "--json-file", str(tmp_path / name), "--baseline", str(tmp_path / "before"),
            "--max-regression", "10%",
        )["latency-p95"]  # fmt: skip
        assert found["status"] == status


def test_a_baseline_that_says_nothing(tmp_path: Path) -> None:
    """Too few requests, or no times, leave what was met undecided, and what was missed missed."""
    few = lines(tmp_path, "few", requests=99)
    found = objectives(tmp_path, "--csv", lines(tmp_path, "now", failures=500), "--baseline", few)
    assert {name: each["status"] for name, each in found.items()} == {
        "availability": "missed", "latency-p95": "undecided", "latency-mean": "undecided",
    }  # fmt: skip
    assert "99 of the 100 requests" in str(found["latency-p95"]["note"])
