"""Tests of `locust-otel analyze`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locust_otel.cli import main
from locust_otel.core.web import UnreachableError
from locust_otel.review.record.reader import NO_END
from tests.unit.tapes import small


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        ([], "analyze-source"),
        (["record", "--prometheus", "http://x"], "analyze-source"),
        (["--prometheus", "http://x"], "analyze-run-id"),
        (["record", "--run-id", "x"], "analyze-run-id"),
        (["--prometheus", "http://x", "--run-id", "x"], "check-prometheus-unreachable"),
    ],
)
def test_sources(
    arguments: list[str], slug: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command needs a record, or a Prometheus and a run in it."""

    def send(*_: object, **__: object) -> None:
        raise UnreachableError(OSError("no"))

    monkeypatch.setattr("locust_otel.core.web.send", send)
    assert main(["analyze", *arguments]) == 78
    assert f"({slug})" in capsys.readouterr().err


def test_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text and JSON have the same pattern; a record that was cut off is analyzed, with a warning."""
    path = small(tmp_path).path
    assert main(["analyze", str(path)]) == 0
    text, warning = capsys.readouterr()
    assert warning == ""
    path.write_bytes(path.read_bytes()[:-30])
    assert main(["analyze", str(path), "--format", "json"]) == 0
    document, warning = capsys.readouterr()
    assert json.loads(document)["pattern"].upper() in text
    assert json.loads(document)["source"] == path.name
    assert warning == f"{NO_END}\n"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without numpy the command says what to install."""
    monkeypatch.setattr("locust_otel.review.analysis.command.find_spec", lambda _name: None)
    assert main(["analyze", "run.jsonl.gz"]) == 78
    assert "pip install 'locust-otel[analysis]'" in capsys.readouterr().err
