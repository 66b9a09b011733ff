"""The formats of `locust-otel report`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from locust_otel.review.report import html, markdown, openmetrics


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a format may be told; each reads what concerns it.

    Attributes:
        job: Label of back-filled series.
        instance: Likewise.
        interval_s: Seconds between two back-filled samples.
        baseline: Record of a run to compare with.
    """

    job: str | None = None
    instance: str | None = None
    interval_s: float | None = None
    baseline: Path | None = None


Write = Callable[[Path, TextIO, ReportOptions], bool]
"""Writes the report of a record, and returns whether the record is complete."""


def _openmetrics(path: Path, out: TextIO, options: ReportOptions) -> bool:
    return openmetrics.write(path, out, job=options.job, instance=options.instance, interval_s=options.interval_s)


def _of(made: Callable[[Path, Path | None], tuple[str, bool]]) -> Write:
    def write(path: Path, out: TextIO, options: ReportOptions) -> bool:
        text, is_complete = made(path, options.baseline)
        out.write(text)
        return is_complete

    return write


FORMATS: Mapping[str, Write] = {
    "html": _of(html.page),
    "markdown": _of(markdown.markdown),
    "json": _of(markdown.as_json),
    "openmetrics": _openmetrics,
}
"""Each format by the name that `--format` has for it."""
