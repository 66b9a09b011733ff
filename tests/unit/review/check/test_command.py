"""Tests of `locust-otel check`: flags, exit codes, files, and the comparison with a baseline."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from locust_otel import cli
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.web import UnreachableError
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
    """Run the command and return the objectives in its JSON by name."""
    code = check(tmp_path, *arguments, "--format", "json", "--output", str(tmp_path / "out.json"))
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["exit_code"] == code
    return {objective["name"]: objective for objective in document["objectives"]}


@pytest.mark.parametrize(("name", "code"), [("healthy", 0), ("failing", 3)])
@pytest.mark.parametrize("flag", ["--csv", "--json-file"])
def test_real_runs(capsys: pytest.CaptureFixture[str], flag: str, name: str, code: int) -> None:
    """A healthy run ends with 0 and a failing run with 3, from either file of Locust."""
    assert cli.main(["check", "--slo", str(EXAMPLE), flag, str(GOLDEN / name)]) == code
    assert f"exit code {code})" in capsys.readouterr().out


def test_nothing_to_judge(tmp_path: Path) -> None:
    """An empty run ends with 4."""
    (tmp_path / "run.json").write_text("[]")
    assert check(tmp_path, "--json-file", str(tmp_path / "run")) == 4


def test_every_format_can_be_chosen() -> None:
    """The flag has the names of all formats."""
    assert tuple(WRITERS) == FORMATS


def test_a_format_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The format is written into the file, and the table to standard output."""
    output = tmp_path / "junit.xml"
    assert check(tmp_path, "--csv", str(GOLDEN / "failing"), "--format", "junit", "--output", str(output)) == 3
    assert ET.parse(output).getroot().get("failures") == "1"  # noqa: S314
    assert "availability" in capsys.readouterr().out


def test_the_summary_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary gets a report for GitHub only, at its end. If it cannot be written, the exit code is the same."""
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
    """Each ends with 78 and the slug of its error."""

    def send(*_: object, **__: object) -> None:
        raise UnreachableError(OSError("no"))

    monkeypatch.setattr("locust_otel.core.web.send", send)
    assert check(tmp_path, *arguments) == 78
    assert f"({slug})" in capsys.readouterr().err


def test_a_bad_slo_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All problems of the file are reported."""
    (tmp_path / "bad.yaml").write_text("service: shop\nperiod: 30m\nobjectives: {a: {sli: success}, b: {sli: mean}}\n")
    assert cli.main(["check", "--slo", str(tmp_path / "bad.yaml"), "--csv", str(GOLDEN / "healthy")]) == 78
    assert capsys.readouterr().err.count("(slo-missing)") == 2


@pytest.mark.parametrize(("written", "share"), [("10%", "0.1"), ("0.1", "0.1"), ("12.5 %", "0.125"), ("0", "0")])
def test_shares(written: str, share: str) -> None:
    """A share is a percentage or a ratio."""
    assert str(regression(written).normalize()) == share


@pytest.mark.parametrize("written", ["", "ten", "-1%", "1e3", "nan", "10%%"])
def test_other_texts_are_no_shares(written: str) -> None:
    """Other texts are refused."""
    with pytest.raises(ConfigurationError, match=r"\(check-max-regression\)"):
        regression(written)


def lines(tmp_path: Path, name: str, **values: object) -> str:
    """Write a CSV of one endpoint and return its prefix."""
    rows = (row("/a", "GET", **values), row(**values))  # type: ignore[arg-type]
    (tmp_path / f"{name}_stats.csv").write_text(csv_file(*rows))
    return str(tmp_path / name)


@pytest.mark.parametrize(("p95", "status"), [(1100, "met"), (1200, "missed")])
def test_a_regression_of_a_percentile(tmp_path: Path, p95: int, status: str) -> None:
    """From CSV files percentiles are compared."""
    arguments = ["--csv", lines(tmp_path, "now", p95=p95), "--baseline", lines(tmp_path, "before", p95=1000)]
    latency = objectives(tmp_path, *arguments)["latency-p95"]
    assert (latency["status"], bool(latency["regression"])) == (status, status == "missed")


def test_a_regression_is_named_in_all_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each format has the values of the run and of the baseline."""
    arguments = ["--csv", lines(tmp_path, "now", mean=450.0), "--baseline", lines(tmp_path, "before", mean=300.0)]
    for name in FORMATS:
        assert check(tmp_path, *arguments, "--format", name) == 3
        written = capsys.readouterr().out
        # A table may break the line.
        assert ("worse than the" if name == "table" else "worse than the baseline: 450 ms, was 300 ms") in written


def test_a_regression_of_slow_requests(tmp_path: Path) -> None:
    """From JSON files the share of slow requests is compared, with a tenth of the budget of 5 %."""
    for name, slow in (("before", 0), ("same", 5), ("worse", 6)):
        times = [100.0] * (1000 - slow) + [3000.0] * slow
        (tmp_path / f"{name}.json").write_text(json_file(("GET", "/a", times, 0)))
    for name, status in (("same", "met"), ("worse", "missed")):
        arguments = ("--json-file", str(tmp_path / name), "--baseline", str(tmp_path / "before"))
        assert objectives(tmp_path, *arguments, "--max-regression", "10%")["latency-p95"]["status"] == status
