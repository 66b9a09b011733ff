"""Formats of a verdict: a table for people, JSON, JUnit's XML, and the workflow commands of GitHub."""

from __future__ import annotations

import json
import re
import secrets
import xml.etree.ElementTree as ET  # for writing only
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from locust_otel.core.errors import ExitCode
from locust_otel.core.words import SIGNS
from locust_otel.review.check.assessments import Assessment, Assessments
from locust_otel.slo import text
from locust_otel.slo.objectives import Match, Slo
from locust_otel.slo.verdict import EXIT_CODES, Result, Status, overall


class Report(NamedTuple):
    """Assessments of a run; `baseline` is empty without one."""

    slo: Slo
    judged: Assessments
    baseline: str = ""

    @property
    def code(self) -> ExitCode:
        """Exit code of the verdict."""
        return EXIT_CODES[self.verdict]

    @property
    def verdict(self) -> Status:
        """Verdict on the run."""
        return overall(self.judged.results, is_aborted=self.judged.is_aborted)

    @property
    def headline(self) -> str:
        """Verdict in one line."""
        statuses = [result.status for result in self.judged.results]
        counts = ", ".join(f"{statuses.count(status)} {status.value}" for status in Status if status in statuses)
        return f"{self.slo.service}: {self.verdict.value} ({counts}; exit code {int(self.code)})"


def table(report: Report) -> str:
    """Return the report for people."""
    results = [_printable_result(result) for result in report.judged.results]
    title = f"objectives of {report.slo.service} ({report.slo.source}) by {_printable(report.judged.source)}"
    written = text.written(text.table(results, has_worst=any(result.worst for result in results)))
    notes = "".join(f"{_printable(note)}\n" for note in report.judged.notes)
    return f"{title}\n\n{written}\n\n{notes}{report.headline}\n"


def _printable(written: str) -> str:
    """Return a text with control characters and line breaks escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in written)


def _printable_result(result: Result) -> Result:
    worst, match = result.worst, result.objective.match
    if worst is not None:
        worst = replace(worst, method=_printable(worst.method), name=_printable(worst.name))
    objective = replace(result.objective, match=_printable_match(match))
    return replace(result, objective=objective, worst=worst, note=_printable(result.note))


def _printable_match(match: Match) -> Match:
    names = {key: tuple(map(_printable, getattr(match, key))) for key in ("methods", "names", "user_classes")}
    return replace(match, **names, exclude=match.exclude and _printable_match(match.exclude))


def as_json(report: Report) -> str:
    """Return the report as JSON; docs/ci.md explains the keys."""
    document = {
        "version": 1,
        "service": report.slo.service,
        "slo_file": report.slo.source,
        "source": report.judged.source,
        "baseline": report.baseline or None,
        "verdict": report.verdict.value,
        "exit_code": int(report.code),
        "notes": list(report.judged.notes),
        "objectives": [_objective(assessment) for assessment in report.judged.assessments],
    }
    return json.dumps(document, indent=2) + "\n"


def _objective(assessment: Assessment) -> dict[str, Any]:
    result, objective = assessment.result, assessment.result.objective
    counts, worst = result.counts, result.worst
    is_split = objective.target is not None and not result.told
    return {
        "name": objective.name,
        "asked": objective.sentence,
        "sli": objective.sli.value,
        "target": None if objective.target is None else float(objective.target),
        "within_s": None if objective.within_s is None else float(objective.within_s),
        "status": result.status.value,
        "actual": text.actual(result),
        "requests": counts.total,
        "good": counts.good if is_split else None,
        "bad": counts.bad if is_split else None,
        "mean_s": result.actual if objective.target is None and not result.told else None,
        "budget_spent": result.budget_spent,
        "worst": None if worst is None else {"method": worst.method, "name": worst.name, "value": worst.value},
        "regression": assessment.regression or None,
        "note": result.note,
    }


_JUNIT = {Status.MISSED: "failure", Status.UNDECIDED: "skipped", Status.INVALID: "error"}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report) -> str:
    """Return the report as JUnit's XML, with one test case for each objective."""

    def clean(written: str) -> str:
        return _NOT_XML.sub("\ufffd", written)

    statuses = [result.status for result in report.judged.results]
    counts = {"tests": str(len(statuses))}
    for name, status in (("failures", Status.MISSED), ("errors", Status.INVALID), ("skipped", Status.UNDECIDED)):
        counts[name] = str(statuses.count(status))
    service = clean(report.slo.service)
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": service, **counts})
    for result in report.judged.results:
        case = ET.SubElement(suite, "testcase", classname=service, name=clean(result.objective.name))
        message = clean(_sentence(result))
        if result.status in _JUNIT:
            ET.SubElement(case, _JUNIT[result.status], message=message, type=result.status.value)
        ET.SubElement(case, "system-out").text = message
    if report.judged.notes:
        ET.SubElement(suite, "system-out").text = clean("\n".join(report.judged.notes))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _sentence(result: Result) -> str:
    sentence = f"{result.status.value}: {result.objective.sentence}; actual {text.actual(result)}"
    sentence += f" of {result.counts.total:,} requests" if result.counts.total else ""
    return sentence + (f" ({result.note})" if result.note else "")


def github(report: Report) -> str:
    """Return the table, and a workflow command for each objective and note.

    A request name in the table could be read as a command: commands are stopped around the table.
    https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
    """
    token = secrets.token_hex(16)
    lines = [f"::stop-commands::{token}", table(report).rstrip("\n"), f"::{token}::"]
    for result in report.judged.results:
        title = _property(f"{report.slo.service}: {result.objective.name}")
        command = "notice" if result.status is Status.MET else "error"
        lines.append(f"::{command} title={title}::{_data(_sentence(result))}")
    lines += (f"::notice title={_property(report.slo.service)}::{_data(note)}" for note in report.judged.notes)
    return "\n".join(lines) + "\n"


def _data(written: str) -> str:
    return written.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(written: str) -> str:
    return _data(written).replace(":", "%3A").replace(",", "%2C")


def markdown(report: Report) -> str:
    """Return the report in Markdown, for the summary of a GitHub job."""
    lines = [
        f"### {SIGNS[report.verdict]} {_cell(report.headline)}",
        "",
        "| objective | asked for | actual | requests | status | |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for result in report.judged.results:
        asked, status = result.objective.sentence, f"{SIGNS[result.status]} {result.status.value}"
        requests = f"{result.counts.total:,}"
        cells = (result.objective.name, asked, text.actual(result), requests, status, result.note)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    lines += ["", *(f"- {_cell(note)}" for note in report.judged.notes)]
    return "\n".join(lines) + "\n\n"


def _cell(written: str) -> str:
    """Return a text with the characters of Markdown escaped."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~@&])", r"\\\1", _printable(written))


FORMATS: dict[str, Callable[[Report], str]] = {"table": table, "json": as_json, "junit": junit, "github": github}
"""Writers by value of `--format`."""
