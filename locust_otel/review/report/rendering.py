"""Formats of the report of a run, with its analysis and an earlier run if there are: HTML, Markdown, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from locust_otel.core.words import SIGNS, duration, length
from locust_otel.review.analysis import finding
from locust_otel.review.analysis.finding import Analysis
from locust_otel.review.record.reader import NO_END
from locust_otel.review.report.summary import MISSING, EndpointRow, Summary, document, story
from locust_otel.slo.text import actual
from locust_otel.slo.verdict import Result

_VERDICTS = {
    "met": "All objectives are met",
    "missed": "Objectives are missed",
    "undecided": "Not decided",
    "invalid": "Not valid",
    "no objectives": "No objectives were set",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_MOST_ROWS = 200
_MOST_ROWS_OF_MARKDOWN = 30
_LABELS = ("host", "locustfile", "profile")
_KINDS = {"endpoint": "wide", "asked for": "wide text", "note": "wide text", "error": "wide text", "pattern": "text"}
"""Style of cells by the title of their column."""
_STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
"""Style for dark and light, wide and narrow screens, and for paper."""


def page(run: Summary, analysis: Analysis | None, before: Summary | None) -> str:
    """Return the report as one HTML file that needs no other file, no network and no script."""
    run_id = escape(run.record.run_id)
    parts = [*_head(run, analysis), *_pictures(run, analysis, before), *_tables(run, analysis)]
    parts += _beside(run, before) if before is not None else ()
    parts.append(_foot(run))
    head = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{run_id} – load test'
        f'</title>\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<style>\n{_STYLE}</style>\n</head>\n<body>\n'
    )
    return head + "\n".join(parts) + "\n</body>\n</html>\n"


def _head(run: Summary, analysis: Analysis | None) -> Iterator[str]:
    labels = (f"{key} {value}" for key, value in run.record.info.items() if value and key in _LABELS)
    about = escape(" · ".join((run.started.strftime("%Y-%m-%d %H:%M UTC"), *labels)))
    yield f'<header><h1>Run {escape(run.record.run_id)}</h1><p class="dim small">{about}</p></header>\n<main>'
    ended = "" if run.record.is_complete else f" {NO_END}"
    ended += " --slo-abort ended the run." if run.record.is_aborted else ""
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in story(run, analysis))
    kind, verdict = run.verdict.replace(" ", "-"), _VERDICTS[run.verdict]
    yield f'<section class="verdict {kind}"><strong>{verdict}.</strong>{escape(ended)}{sentences}</section>'
    yield _tiles(run)
    if run.results:
        yield "<h2>Objectives</h2>"
        has_notes = any(result.note for result in run.results)
        titles = ("objective", "asked for", "actual", "budget spent", "status", *(("note",) if has_notes else ()))
        yield _table(titles, map(_objective, run.results))
    yield from _findings(analysis)


def _objective(result: Result) -> tuple[str, ...]:
    objective, spent = result.objective, "–" if result.budget_spent is None else f"{result.budget_spent:.0%}"
    return objective.name, objective.sentence, actual(result), spent, result.status.value, result.note


def _findings(analysis: Analysis | None) -> Iterator[str]:
    yield "<h2>Findings</h2>"
    if analysis is None:
        yield f'<p class="finding">{escape(MISSING)}</p>'
        return
    for result in analysis.findings:
        is_sure = result.pattern != "cannot-tell"
        sure = f' <span class="dim">({result.confidence_word} confidence)</span>' if is_sure else ""
        fixes = escape(result.fixes)
        advice = f'<p class="small"><b>To consider:</b> {fixes}</p>' if fixes else ""
        yield f'<div class="finding"><h3>{escape(result.summary)}{sure}</h3>{_points(result.evidence)}{advice}</div>'
    if analysis.notes:
        yield _points(note.text for note in analysis.notes)


def _points(texts: Iterable[str], tag: str = "ul") -> str:
    points = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<{tag} class="small">{points}</{tag}>'


def _pictures(run: Summary, analysis: Analysis | None, before: Summary | None) -> Iterator[str]:
    if analysis is None:
        return
    from locust_otel.review.analysis.readers import from_record  # noqa: PLC0415  # an extra
    from locust_otel.review.report.pictures import pictures  # noqa: PLC0415  # likewise

    record, second = run.record, from_record(before.record) if before is not None else None
    for picture in pictures(record, from_record(record), analysis, second):
        title = escape(picture.title)
        yield f'<h2 id="{picture.slug}">{title}</h2>'
        yield f'<figure><div class="scroll" tabindex="0" role="group" aria-label="{title}">{picture.markup}'
        yield f"</div><figcaption>{escape(picture.caption)}</figcaption></figure>"
        if picture.slug == "time" and record.marks:
            yield _points((f"{mark.time_s:.0f} s: {mark.mark} ({mark.kind})" for mark in record.marks), "ol")


def _tables(run: Summary, analysis: Analysis | None) -> Iterator[str]:
    patterns = {} if analysis is None else {row.endpoint: row.pattern.value for row in analysis.endpoints}
    yield "<h2>Endpoints</h2>"
    titles = ("endpoint", "requests", "failed", "mean", "p50", "p95", "p99", "share of time", "pattern")
    rows = []
    for row in (*run.endpoints[:_MOST_ROWS], run.whole):
        times = map(duration, (row.mean_s, row.p50_s, row.p95_s, row.p99_s))
        counts = (f"{row.requests:,}", f"{row.failures:,}")
        rows.append((row.label, *counts, *times, f"{row.share:.0%}", patterns.get(row.label, "")))
    yield _table(titles if patterns else titles[:-1], rows)
    yield "<h2>Errors</h2>"
    if not run.errors:
        yield "<p>No request failed.</p>"
        return
    errors = ((endpoint, kind, f"{count:,}") for endpoint, kind, count in run.errors[:_MOST_ROWS])
    yield _table(("endpoint", "error", "count"), errors)


def _beside(run: Summary, other: Summary) -> Iterator[str]:
    yield f"<h2>Endpoints and the baseline {escape(other.record.run_id)}</h2>"
    before = {row.label: row for row in (*other.endpoints, other.whole)}
    rows = []
    for row in (*run.endpoints[:_MOST_ROWS], run.whole):
        old, cells = before.get(row.label), [row.label]
        for name in ("p50_s", "p95_s"):
            old_s, new_s = getattr(old, name, None), getattr(row, name)
            cells += [duration(old_s), duration(new_s), f"{new_s / old_s - 1:+.0%}" if new_s and old_s else "–"]
        rows.append([*cells, _share(old), _share(row)])
    titles = ("endpoint", "p50 before", "now", "change", "p95 before", "now", "change", "failed before", "now")
    yield _table(titles, rows)


def _share(row: EndpointRow | None) -> str:
    return "–" if row is None or not row.requests else f"{row.failures / row.requests:.2%}"


def _tiles(run: Summary) -> str:
    whole = run.whole
    tiles = (
        ("requests", f"{whole.requests:,}"), ("failed", _share(whole)), ("p50", duration(whole.p50_s)),
        ("p95", duration(whole.p95_s)), ("p99", duration(whole.p99_s)), ("peak users", f"{run.peak_users:,}"),
        ("peak requests/s", f"{run.peak_rps:,.0f}"), ("length", length(run.record.elapsed_s)),
    )  # fmt: skip
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{v}</b>{k}</div>' for k, v in tiles) + "</div>"


def _foot(run: Summary) -> str:
    behind = f"The load generator was behind in {run.behind:.0%} of the run." if run.behind else ""
    versions = ", ".join(f"{key} {value}" for key, value in run.record.versions.items())
    return f'</main><footer class="dim small"><p>{behind} Made by locust-otel report; {escape(versions)}.</p></footer>'


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, without cells beyond the titles."""
    aligned = (' class="text"' if "text" in _KINDS.get(title, "") else "" for title in titles)
    head = "".join(f'<th scope="col"{text}>{escape(title)}</th>' for title, text in zip(titles, aligned, strict=True))
    body = "\n".join(f"<tr>{''.join(map(_cell, titles, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )


def _cell(title: str, text: str) -> str:
    kind = f"status {text}" if title == "status" else _KINDS.get(title)
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def markdown(run: Summary, analysis: Analysis | None, before: Summary | None) -> str:
    """Return the report in Markdown, for a comment on a pull request."""
    return "".join(f"{line}\n" for line in _lines(run, analysis, before))


def as_json(run: Summary, analysis: Analysis | None, before: Summary | None) -> str:
    """Return the report as a JSON document."""
    values: dict[str, Any] = {"version": 1, **document(run), "analysis": None, "baseline": None}
    if analysis is not None:
        values["analysis"] = finding.document(analysis)
    if before is not None:
        values["baseline"] = document(before)
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _lines(run: Summary, analysis: Analysis | None, before: Summary | None) -> Iterator[str]:
    sign = f"{SIGNS[run.verdict]} " if run.verdict in SIGNS else ""
    yield f"### {sign}Load test {_text(run.record.run_id)}: {run.verdict}"
    yield ""
    yield from (f"{_text(sentence)}  " for sentence in story(run, analysis))
    if analysis is None:
        yield _text(MISSING)
    if not run.record.is_complete:
        yield NO_END
    if run.results:
        yield from ("", "| objective | asked for | actual | status |", "| --- | --- | ---: | --- |")
        for result in run.results:
            name, asked, status = _text(result.objective.name), _text(result.objective.sentence), result.status.value
            yield f"| {name} | {asked} | {actual(result)} | {SIGNS[status]} {status} |"
    yield from ("", "<details><summary>Endpoints</summary>", "")
    yield from _endpoint_lines(run, before)
    yield from ("", "</details>")
    if run.errors:
        yield from ("", "| endpoint | error | count |", "| --- | --- | ---: |")
        yield from (
            f"| {_text(name)} | {_text(kind)} | {n:,} |" for name, kind, n in run.errors[:_MOST_ROWS_OF_MARKDOWN]
        )


def _endpoint_lines(run: Summary, before: Summary | None) -> Iterator[str]:
    old = {} if before is None else {row.label: row.p95_s for row in (*before.endpoints, before.whole)}
    titles = ["requests", "failed", "p50", "p95", *([] if before is None else ["p95 before"]), "p99"]
    yield f"| endpoint | {' | '.join(titles)} |"
    yield f"| --- |{' ---: |' * len(titles)}"
    for row in (*run.endpoints[:_MOST_ROWS_OF_MARKDOWN], run.whole):
        times = [row.p50_s, row.p95_s, *([] if before is None else [old.get(row.label)]), row.p99_s]
        yield f"| {_text(row.label)} | {row.requests:,} | {row.failures:,} | {' | '.join(map(duration, times))} |"


def _text(text: str) -> str:
    """Return a text in one line, with the characters of Markdown escaped."""
    return re.sub(r"([\\`*_\[\]<>|#@])", r"\\\1", " ".join(text.split()))
