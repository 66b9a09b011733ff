"""Tests of an analysis as text and as JSON."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from locust_otel.review.analysis import finding
from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Analysis, Finding, Note, Pattern
from tests.unit.timelines import Latency, capped, drifting, flat, late, made, saturated, stairs, stalled


@pytest.mark.parametrize("latency", [saturated, capped, stalled, drifting, late, flat()])
def test_each_analysis_has_two_formats(latency: Latency) -> None:
    """Text and JSON have the pattern, the main finding and the endpoints."""
    analysis = analyze(made(stairs(400), {"/a": latency, "/b": flat(0.03)}))
    console = Console(width=200, record=True, file=io.StringIO())
    finding.print_to(analysis, console)
    text, main = console.export_text(), analysis.main
    document = json.loads(finding.written(analysis))
    assert main.pattern.value.upper() in text
    assert document["pattern"] == document["findings"][0]["pattern"] == main.pattern.value
    for sentence in (main.summary, *main.evidence, main.fixes, *(note.text for note in analysis.notes)):
        assert sentence in text
        assert sentence in json.dumps(document, ensure_ascii=False)
    assert "GET /a" in text
    assert [endpoint["endpoint"] for endpoint in document["endpoints"]] == ["GET /a", "GET /b"]
    assert document["knee"] == (None if main.pattern is not Pattern.CLIFF else {
        name: pytest.approx(value, rel=1e-3) for name, value in analysis.knee.items()
    })  # fmt: skip


def test_json_of_numbers() -> None:
    """Floats have four digits, NaN and infinity are null, and numbers of numpy are numbers."""
    figures = {"a": 1 / 3, "b": float("inf"), "c": [np.float64(12345.678), np.nan], "d": 123456, "e": None, "f": True}
    main = Finding(Pattern.NONE, "s", ("e",), 0.846, figures=figures)
    document = json.loads(finding.written(Analysis("run.gz", "r1", (main,), notes=(Note("slug", "text"),))))
    assert document == {
        "version": 1, "source": "run.gz", "run_id": "r1", "pattern": "none", "summary": "s", "endpoints": [],
        "findings": [{
            "pattern": "none", "summary": "s", "endpoint": None, "since_s": None, "confidence": 0.85,
            "confidence_word": "high", "evidence": ["e"], "fixes": None,
            "figures": {"a": 0.3333, "b": None, "c": [12350.0, None], "d": 123456, "e": None, "f": True},
        }],
        "notes": [{"note": "slug", "text": "text", "figures": {}}], "knee": None,
    }  # fmt: skip
