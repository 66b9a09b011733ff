"""The report as Markdown, for the comment on a pull request, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from locust_otel.review.record.reader import load
from locust_otel.review.report import story
from locust_otel.review.report.story import duration
from locust_otel.review.report.summary import Summary, document, summary
from locust_otel.slo.text import actual

_MOST_ROWS = 30
_SIGNS = {"met": "✅", "missed": "❌", "undecided": "❔", "invalid": "⚠️"}


def markdown(path: Path, baseline: Path | None = None) -> tuple[str, bool]:
    """Return the report of a record, and whether the record is complete."""
    record = load(path)
    found = summary(record)
    before = None if baseline is None else summary(load(baseline))
    return "\n".join(_lines(found, story.analysis(record), before)) + "\n", record.is_complete


def as_json(path: Path, baseline: Path | None = None) -> tuple[str, bool]:
    """Return the same as a JSON document."""
    record = load(path)
    analyzed = story.analysis(record)
    told: dict[str, Any] = {"version": 1, **document(summary(record)), "analysis": None, "baseline": None}
    if analyzed is not None:
        from locust_otel.review.analysis.rendering import document as of_analysis  # noqa: PLC0415  # an extra

        told["analysis"] = of_analysis(analyzed)
    if baseline is not None:
        told["baseline"] = document(summary(load(baseline)))
    return json.dumps(told, indent=2, allow_nan=False) + "\n", record.is_complete


def _lines(found: Summary, analyzed: Any, before: Summary | None) -> Iterator[str]:
    yield f"### {_SIGNS.get(found.verdict, '')} Load test {_text(found.run_id)}: {found.verdict}".replace(
        "###  ", "### "
    )
    yield ""
    yield from (f"{_text(sentence)}  " for sentence in story.sentences(found, analyzed))
    if analyzed is None:
        yield _text(story.MISSING)
    if not found.is_complete:
        yield "The record has no end: its run was cut off there, or goes on."
    if found.results:
        yield from ("", "| objective | asked for | actual | status |", "| --- | --- | ---: | --- |")
        for each in found.results:
            name, asked = _text(each.objective.name), _text(each.objective.sentence)
            yield f"| {name} | {asked} | {actual(each)} | {_SIGNS[each.status.value]} {each.status.value} |"
    old = {} if before is None else {row.label: row for row in (*before.endpoints, before.whole)}
    more = " before |" if before is not None else ""
    yield from ("", "<details><summary>Endpoints</summary>", "")
    yield f"| endpoint | requests | failed | p50 | p95 |{' p95' + more if more else ''} p99 |"
    yield f"| --- | ---: | ---: | ---: | ---: |{' ---: |' if more else ''} ---: |"
    for row in (*found.endpoints[:_MOST_ROWS], found.whole):
        was = f" {duration(old[row.label].p95_s) if row.label in old else '–'} |" if more else ""
        times = f"{duration(row.p50_s)} | {duration(row.p95_s)} |{was} {duration(row.p99_s)}"
        yield f"| {_text(row.label)} | {row.requests:,} | {row.failures:,} | {times} |"
    yield from ("", "</details>")
    if found.errors:
        yield from ("", "| endpoint | error | count |", "| --- | --- | ---: |")
        yield from (f"| {_text(e)} | {_text(kind)} | {n:,} |" for e, kind, n in found.errors[:_MOST_ROWS])


def _text(text: str) -> str:
    """Return a text that is only text in Markdown."""
    plain = " ".join(text.split())
    for sign in "\\`*_[]<>|#@":
        plain = plain.replace(sign, f"\\{sign}")
    return plain
