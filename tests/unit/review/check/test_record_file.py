"""Tests of the source for a run record: the verdict is exactly that of the run itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from locust_otel import cli
from locust_otel.core.errors import ExitCode
from locust_otel.slo.file import parse
from tests.unit.tapes import SLO_TEXT, lines, packed, small

SLO = parse(SLO_TEXT.encode(), "slo.yaml")


def check(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, tuple[Any, ...]]]:
    """Return the exit code, and status, requests and note of each objective."""
    out = tmp_path / "out.json"
    code = cli.main(["check", *arguments, "--format", "json", "--output", str(out)])
    document = json.loads(out.read_text())
    assert document["exit_code"] == code
    keys = ("status", "requests", "note")
    return code, {entry["name"]: tuple(entry[key] for key in keys) for entry in document["objectives"]}


def test_the_verdict_of_the_run(tmp_path: Path) -> None:
    """A run is judged without its warm-up, by its own SLO file or by another one."""
    tape = small(tmp_path, SLO)
    code, objectives = check(tmp_path, str(tape.path))
    assert (code, {name: status for name, (status, _, _) in objectives.items()}) == (
        ExitCode.MISSED, dict.fromkeys(("works", "fast", "mean"), "missed"),
    )  # fmt: skip
    assert [requests for _, requests, _ in objectives.values()] == [8, 8, 8]
    easy = tmp_path / "easy.yaml"
    easy.write_text(SLO_TEXT.replace("90%", "50%").replace("100ms", "10s"))
    code, objectives = check(tmp_path, str(tape.path), "--slo", str(easy))
    assert (code, {status for status, _, _ in objectives.values()}) == (ExitCode.OK, {"met"})


def test_a_run_that_was_aborted(tmp_path: Path) -> None:
    """A run that --slo-abort ended is missed, even if all objectives are met."""
    easy = parse(SLO_TEXT.replace("90%", "50%").replace("100ms", "10s").encode(), "slo.yaml")
    tape = small(tmp_path, easy)
    entries = lines(tape.path)
    entries[-1]["is_aborted"] = True
    code, objectives = check(tmp_path, str(packed(tape.path, entries)))
    assert (code, {status for status, _, _ in objectives.values()}) == (ExitCode.MISSED, {"met"})


@pytest.mark.parametrize("end", ["cut", "lost"])
def test_a_run_without_an_end(tmp_path: Path, end: str) -> None:
    """If Locust was killed, or the record was cut off, nothing is decided."""
    tape = small(tmp_path, SLO)
    entries = lines(tape.path)
    if end == "cut":
        del entries[-1]
    else:
        entries[-1]["state"] = "lost"
    code, objectives = check(tmp_path, str(packed(tape.path, entries)))
    assert code == ExitCode.UNDECIDED
    assert all(note.startswith("not decidable: Locust ended before") for _, _, note in objectives.values())


def test_a_baseline(tmp_path: Path) -> None:
    """The baseline can be another record; requests that are not slower are no regression."""
    easy = parse(SLO_TEXT.replace("90%", "50%").replace("100ms", "10s").encode(), "slo.yaml")
    (tmp_path / "before").mkdir()
    before = str(small(tmp_path / "before", easy).path)
    code, objectives = check(tmp_path, str(small(tmp_path, easy).path), "--baseline", before)
    assert (code, {status for status, _, _ in objectives.values()}) == (ExitCode.OK, {"met"})


def test_records_that_cannot_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run without an SLO file needs one, as other sources do; a file that is not a record is refused."""
    (tmp_path / "no.gz").write_bytes(b"no")
    for arguments, slug in (
        ([str(small(tmp_path).path)], "check-record-slo"), (["--csv", "run"], "check-slo"),
        ([str(tmp_path / "no.gz")], "check-record"),
    ):  # fmt: skip
        assert cli.main(["check", *arguments]) == ExitCode.BAD_CONFIGURATION
        assert f"({slug})" in capsys.readouterr().err
