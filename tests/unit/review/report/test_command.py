"""Tests of `locust-otel report`: files, standard output and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_otel.cli import main
from locust_otel.review.record.reader import NO_END
from tests.unit.tapes import small


def test_the_page_is_beside_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without -o the page gets the name of the record, and its path is printed."""
    path = small(tmp_path).path
    assert main(["report", str(path)]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == path.with_name(path.name.replace(".jsonl.gz", ".html"))
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_openmetrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Samples go into a file or to standard output, with labels of the record or of the flags."""
    tape = small(tmp_path)
    out = tmp_path / "run.om"
    command = ["report", str(tape.path), "--format", "openmetrics"]
    assert main([*command, "-o", str(out)]) == 0
    assert 'job="locust",instance="127.0.0.1:9700"' in out.read_text()
    assert capsys.readouterr().err == ""
    tape.path.write_bytes(tape.path.read_bytes()[:-30])
    assert main([*command, "--interval", "500ms", "--job", "j", "--instance", "a:1"]) == 0
    printed = capsys.readouterr()
    assert 'job="j",instance="a:1"' in printed.out
    assert printed.err == f"{NO_END}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "slug"),
    [
        (["run-1.jsonl.gz", "--interval", "0"], 78, "interval"), (["run-1.jsonl.gz", "-o", "."], 78, "output"),
        (["text"], 1, "record-damaged"), (["missing"], 1, "record-unreadable"),
    ],
)  # fmt: skip
def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, slug: str) -> None:
    """Bad flags end with 78, and files that are not a record with 1."""
    small(tmp_path)
    (tmp_path / "text").write_text("text")
    record, *flags = arguments
    assert main(["report", str(tmp_path / record), "--format", "openmetrics", *flags]) == code
    assert f"({slug})" in capsys.readouterr().err
