"""Tests of the formats of a verdict: parsed again, with hostile names too."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from locust_otel.core.errors import ExitCode
from locust_otel.review.check import formats
from locust_otel.review.check.assessments import Assessment, Assessments, counted, undecided
from locust_otel.review.check.formats import Report
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Match
from locust_otel.slo.verdict import Result, Status, Worst
from tests.unit.check_files import slo
from tests.unit.factories import ODD_TEXTS

HOSTILE = (
    *ODD_TEXTS, "::error title=x::injected", "\n::error::injected", "\r\n::set-output name=a::b", "]]>", "<b>&amp;</b>",
    "| a | b |", "`code`", "\x1b[31mred\x1b[0m", "\x00\x01\ufffe", "##[error]x", "%0A::error::x", "\u2028::error::x",
    "\n\n# heading", "[link](javascript:x)",
)  # fmt: skip

SLO = slo(
    "met: {sli: success, target: 99%}, missed: {sli: latency, target: 95%, within: 2s}, "
    "open: {sli: mean, within: 500ms}, broken: {sli: success, target: 99.9%}"
)


def assessment(number: int, **changes: object) -> Assessment:
    """Return an assessment by number: met, missed, undecided, invalid."""
    objective = SLO.objectives[number]
    made = (
        counted(SLO, objective, Counts(995, 5)),
        counted(SLO, objective, Counts(900, 100)),
        undecided(objective, "not decidable: a reason"),
        Assessment(Result(objective, Counts(1000, 0), Status.INVALID, note="too slow")),
    )[number]
    return replace(made, result=replace(made.result, **changes))  # type: ignore[arg-type]


def report(*assessments: Assessment, notes: tuple[str, ...] = ()) -> Report:
    """Return a report of assessments, by default of all four."""
    return Report(SLO, Assessments("run.json", assessments or tuple(map(assessment, range(4))), notes))


@pytest.mark.parametrize(
    ("numbers", "code", "verdict"),
    [
        ((0,), ExitCode.OK, "met"), ((0, 1), ExitCode.MISSED, "missed"), ((0, 2), ExitCode.UNDECIDED, "undecided"),
        ((1, 2), ExitCode.MISSED, "missed"), ((0, 2, 3), ExitCode.NOT_VALID, "invalid"),
        ((0, 1, 2, 3), ExitCode.MISSED, "missed"),
    ],
)  # fmt: skip
def test_the_worst_decides(numbers: tuple[int, ...], code: ExitCode, verdict: str) -> None:
    """Missed before invalid before undecided before met."""
    made = report(*map(assessment, numbers))
    assert (made.code, made.verdict.value) == (code, verdict)


def test_the_table() -> None:
    """The table has a line for each objective, the notes, and the verdict."""
    written = formats.table(report(notes=("A note.",)))
    for name, status in (("met", "met"), ("missed", "missed"), ("open", "undecided"), ("broken", "invalid")):
        assert any(line.startswith(name) and status in line for line in written.splitlines())
    assert "99.50 %" in written
    assert "not decidable: a reason" in written
    assert written.endswith("A note.\nshop: missed (1 met, 1 missed, 1 undecided, 1 invalid; exit code 3)\n")


def test_json() -> None:
    """The document has the keys of docs/ci.md, with null for unknown values."""
    document = json.loads(formats.as_json(report(notes=("A note.",))))
    assert {key: document[key] for key in document if key != "objectives"} == {
        "version": 1, "service": "shop", "slo_file": "slo.yaml", "source": "run.json", "baseline": None,
        "verdict": "missed", "exit_code": 3, "notes": ["A note."],
    }  # fmt: skip
    met, missed, undecided_, invalid = document["objectives"]
    assert met == {
        "name": "met", "asked": "99 % of requests succeed", "sli": "success", "target": 0.99, "within_s": None,
        "status": "met", "actual": "99.50 %", "requests": 1000, "good": 995, "bad": 5, "mean_s": None,
        "budget_spent": None, "worst": None, "regression": None, "note": "",
    }  # fmt: skip
    assert (missed["within_s"], missed["bad"], missed["status"]) == (2.0, 100, "missed")
    assert (undecided_["mean_s"], undecided_["good"], undecided_["note"]) == (None, None, "not decidable: a reason")
    assert (invalid["status"], invalid["note"]) == ("invalid", "too slow")


def test_json_of_a_percentile() -> None:
    """If only the number of requests is known, good and bad requests are null."""
    made = report(assessment(1, told="p95 2.10 s", counts=Counts(1000)))
    (objective,) = json.loads(formats.as_json(made))["objectives"]
    assert [objective[key] for key in ("actual", "requests", "good", "bad")] == ["p95 2.10 s", 1000, None, None]


def test_junit() -> None:
    """Each objective is a test case, a missed one a failure, and the counts agree."""
    root = ET.fromstring(formats.junit(report(notes=("A note.",))))  # noqa: S314
    suite = root.find("testsuite")
    assert suite is not None
    for element in (root, suite):
        assert {key: element.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
            "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
        }  # fmt: skip
    cases = {case.get("name"): [child.tag for child in case if child.tag != "system-out"] for case in suite}
    assert cases == {"met": [], "missed": ["failure"], "open": ["skipped"], "broken": ["error"], None: []}
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == ("missed: 95 % of requests answer within 2 s; actual 90.00 % of 1,000 requests")


def test_github() -> None:
    """An objective is an error if it is not met, else a notice; commands are stopped around the table."""
    lines = formats.github(report(notes=("A note.",))).splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert len(token) == 32
    assert [line.split("::")[1] for line in lines[lines.index(f"::{token}::") + 1 :]] == [
        "notice title=shop%3A met", "error title=shop%3A missed", "error title=shop%3A open",
        "error title=shop%3A broken", "notice title=shop",
    ]  # fmt: skip
    assert formats.github(report()).splitlines()[0] != lines[0]


def hostile(text: str) -> Report:
    """Return a report with a text in each place for a text of others."""
    made = assessment(1, note=text, worst=Worst(text, text, Counts(9, 1), 0.1))
    match = Match(names=(text,), methods=(text,))
    result: Result = replace(made.result, objective=replace(made.result.objective, match=match))
    return Report(SLO, Assessments(text, (replace(made, result=result),), (text,)), text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts(text: str) -> None:
    """A hostile text is only a text in each format."""
    made = hostile(text)
    document = json.loads(formats.as_json(made))
    assert (document["source"], document["objectives"][0]["worst"]["name"]) == (text, text)

    case = ET.fromstring(formats.junit(made)).find("testsuite/testcase")  # noqa: S314
    assert case is not None
    assert [child.tag for child in case] == ["failure", "system-out"]

    table = formats.table(made)
    assert all(c.isprintable() or c == "\n" for c in table)

    written = formats.github(made)
    token = written.split("\n")[0].removeprefix("::stop-commands::")
    commands = written.split(f"\n::{token}::\n")[1]
    assert [line.split(" ")[0] for line in commands.splitlines() if line] == ["::error", "::notice"] or "\u2028" in text
    assert commands.count("\n") == 2
    assert "\r" not in commands

    markdown = formats.markdown(made)
    row = next(line for line in markdown.split("\n") if line.startswith("| missed"))
    assert row.replace("\\|", "").count("|") == 7
    assert "<b>" not in markdown
    assert not any(line.startswith("# ") for line in markdown.splitlines())


def test_markdown() -> None:
    """A heading with the verdict, and a table with a row for each objective."""
    lines = formats.markdown(report(notes=("A note.",))).splitlines()
    assert lines[0].startswith("### ❌ shop: missed")
    assert [line.split(" | ")[0] for line in lines[4:8]] == ["| met", "| missed", "| open", "| broken"]
    assert Status.MET.value in lines[4]
    assert lines[9] == "- A note."
