"""The report as one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from locust_otel.review.record.reader import Record, load
from locust_otel.review.report import story
from locust_otel.review.report.story import duration
from locust_otel.review.report.style import STYLE
from locust_otel.review.report.summary import EndpointRow, Summary, summary
from locust_otel.slo.text import actual

_VERDICTS = {
    "met": "All objectives are met",
    "missed": "Objectives are missed",
    "undecided": "Not decided",
    "invalid": "Not valid",
    "no objectives": "No objectives were set",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_MOST_ROWS = 200


def page(path: Path, baseline: Path | None = None) -> tuple[str, bool]:
    """Return the report of a record, and whether the record is complete.

    Raises:
        RecordError: A record cannot be read.
    """
    record = load(path)
    other = load(baseline) if baseline is not None else None
    found = summary(record)
    analyzed = story.analysis(record)
    parts = [*_head(found, analyzed), *_pictures(record, analyzed, other), *_tables(found, analyzed)]
    if other is not None:
        parts += _beside(found, summary(other))
    parts += _foot(found)
    head = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(found.run_id)} – load test'
        f'</title>\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<style>{STYLE}</style>\n</head>\n<body>\n'
    )
    return head + "\n".join(parts) + "\n</body>\n</html>\n", record.is_complete


def _head(found: Summary, analyzed: Any) -> Iterator[str]:
    yield f'<header><h1>Run {escape(found.run_id)}</h1><p class="dim small">{_about(found)}</p></header>\n<main>'
    verdict = _VERDICTS[found.verdict]
    ended = "" if found.is_complete else " The record has no end: the run was cut off there, or goes on."
    ended += " The run was aborted over its budget." if found.is_aborted else ""
    told = "".join(f"<p>{escape(each)}</p>" for each in story.sentences(found, analyzed))
    kind = found.verdict.replace(" ", "-")
    yield f'<section class="verdict {kind}"><strong>{verdict}.</strong>{escape(ended)}{told}</section>'
    yield _tiles(found)
    if found.results:
        yield "<h2>Objectives</h2>"
        columns = 6 if any(each.note for each in found.results) else 5
        yield _table(
            ("objective", "asked for", "actual", "budget spent", "status", "note")[:columns],
            (
                (
                    _cell(each.objective.name), _cell(each.objective.sentence, "wide text"), _cell(actual(each)),
                    _cell("–" if each.budget_spent is None else f"{each.budget_spent:.0%}"),
                    _cell(each.status.value, f"status {each.status.value}"), _cell(each.note, "wide text"),
                )[:columns]
                for each in found.results
            ),
        )  # fmt: skip
    yield from _findings(analyzed)


def _findings(analyzed: Any) -> Iterator[str]:
    yield "<h2>What the run shows</h2>"
    if analyzed is None:
        yield f'<p class="finding">{escape(story.MISSING)}</p>'
        return
    for each in analyzed.findings:
        sure = "" if each.pattern == "cannot-tell" else f' <span class="dim">({each.confidence_word} confidence)</span>'
        points = "".join(f"<li>{escape(sentence)}</li>" for sentence in each.evidence)
        fixes = each.figures.get("fixes")
        more = f'<p class="small"><b>To consider:</b> {escape(str(fixes))}</p>' if fixes else ""
        summary_text = escape(each.summary)
        yield f'<div class="finding"><h3>{summary_text}{sure}</h3><ul class="small">{points}</ul>{more}</div>'
    if analyzed.notes:
        yield '<ul class="small">' + "".join(f"<li>{escape(note.text)}</li>" for note in analyzed.notes) + "</ul>"


def _pictures(record: Record, analyzed: Any, other: Record | None) -> Iterator[str]:
    if analyzed is None:
        return
    from locust_otel.review.analysis.from_record import timeline  # noqa: PLC0415  # an extra
    from locust_otel.review.report.pictures import pictures  # noqa: PLC0415  # likewise

    second = timeline(other) if other is not None else None
    for each in pictures(record, timeline(record), analyzed, second):
        yield f'<h2 id="{each.slug}">{escape(each.title)}</h2>'
        yield f'<figure><div class="scroll" tabindex="0" role="group" aria-label="{escape(each.title)}">{each.markup}'
        yield f"</div><figcaption>{escape(each.caption)}</figcaption></figure>"
        if each.slug == "time" and record.marks:
            marks = "".join(f"<li>{m.time_s:.0f} s: {escape(m.mark)} ({escape(m.kind)})</li>" for m in record.marks)
            yield f'<ol class="small">{marks}</ol>'


def _tables(found: Summary, analyzed: Any) -> Iterator[str]:
    patterns = {} if analyzed is None else {each.endpoint: each.pattern.value for each in analyzed.endpoints}
    yield "<h2>Endpoints</h2>"
    titles = ("endpoint", "requests", "failed", "mean", "p50", "p95", "p99", "share of time", "pattern")
    rows = [*found.endpoints[:_MOST_ROWS], found.whole]
    yield _table(titles if patterns else titles[:-1], (_endpoint(row, patterns) for row in rows))
    yield "<h2>Errors</h2>"
    if not found.errors:
        yield "<p>No request failed.</p>"
        return
    yield _table(
        ("endpoint", "error", "count"),
        (
            (_cell(e, "wide text"), _cell(kind, "wide text"), _cell(f"{n:,}"))
            for e, kind, n in found.errors[:_MOST_ROWS]
        ),
    )


def _endpoint(row: EndpointRow, patterns: dict[str, str]) -> list[str]:
    times = [_cell(duration(value)) for value in (row.mean_s, row.p50_s, row.p95_s, row.p99_s)]
    cells = [_cell(row.label, "wide"), _cell(f"{row.requests:,}"), _cell(f"{row.failures:,}"), *times]
    cells.append(_cell(f"{row.share:.0%}"))
    return cells + ([_cell(patterns.get(row.label, ""), "text")] if patterns else [])


def _beside(found: Summary, other: Summary) -> Iterator[str]:
    yield f"<h2>Against the baseline {escape(other.run_id)}</h2>"
    before = {row.label: row for row in (*other.endpoints, other.whole)}
    rows = []
    for row in (*found.endpoints[:_MOST_ROWS], found.whole):
        old = before.get(row.label)
        cells = [_cell(row.label, "wide")]
        for name in ("p50_s", "p95_s"):
            new_s, old_s = getattr(row, name), None if old is None else getattr(old, name)
            change = f"{new_s / old_s - 1:+.0%}" if new_s and old_s else "–"
            cells += [_cell(duration(old_s)), _cell(duration(new_s)), _cell(change)]
        cells += [_cell(_share(old)), _cell(_share(row))]
        rows.append(cells)
    titles = ["endpoint"]
    for name in ("p50", "p95"):
        titles += [f"{name} before", "now", "change"]
    yield _table([*titles, "failed before", "now"], rows)


def _share(row: EndpointRow | None) -> str:
    return "–" if row is None or not row.requests else f"{row.failures / row.requests:.2%}"


def _tiles(found: Summary) -> str:
    whole = found.whole
    tiles = (
        ("requests", f"{whole.requests:,}"), ("failed", _share(whole)), ("p50", duration(whole.p50_s)),
        ("p95", duration(whole.p95_s)), ("p99", duration(whole.p99_s)), ("peak users", f"{found.peak_users:,}"),
        ("peak requests/s", f"{found.peak_rps:,.0f}"), ("length", story.length(found.length_s)),
    )  # fmt: skip
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{v}</b>{k}</div>' for k, v in tiles) + "</div>"


def _about(found: Summary) -> str:
    about = [found.started.strftime("%Y-%m-%d %H:%M UTC")]
    about += [
        f"{key} {value}" for key, value in found.info.items() if value and key in ("host", "locustfile", "profile")
    ]
    return escape(" · ".join(about))


def _foot(found: Summary) -> Iterator[str]:
    behind = f"The load generator fell behind in {found.behind:.0%} of the run." if found.behind else ""
    versions = ", ".join(f"{key} {value}" for key, value in found.versions.items())
    yield f'</main><footer class="dim small"><p>{behind} Made by locust-otel report; {escape(versions)}.</p></footer>'


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _aligned(title: str) -> str:
    return ' class="text"' if title in ("asked for", "note", "error", "pattern") else ""


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col"{_aligned(title)}>{escape(title)}</th>' for title in titles)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )
