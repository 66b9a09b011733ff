"""Tests of the check of a run record: what the run itself said, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locust_otel import cli
from locust_otel.core.errors import ConfigurationError, ExitCode
from locust_otel.slo.file import parse
from tests.unit.tapes import SLO_TEXT, Tape, lines, packed, small

SLO = parse(SLO_TEXT.encode(), "slo.yaml")


def check(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, tuple[str, int, str]]]:
    """Return the exit code, and status, requests and note of each objective."""
    out = tmp_path / "out.json"
    code = cli.main(["check", *arguments, "--format", "json", "--output", str(out)])
    document = json.loads(out.read_text())
    assert document["exit_code"] == code
    return code, {each["name"]: (each["status"], each["requests"], each["note"]) for each in document["objectives"]}


def aborted(tape: Tape) -> Path:
    """Return the record as --slo-abort would have ended it."""
    entries = lines(tape.path)
    entries[-1]["is_aborted"] = True
    return packed(tape.path, entries)


def test_the_verdict_of_the_run(tmp_path: Path) -> None:
    """It is judged by its own SLO file, with the warm-up left out, and by another one that is named."""
    tape = small(tmp_path, SLO)
    code, found = check(tmp_path, str(tape.path))
    assert (code, {name: status for name, (status, _, _) in found.items()}) == (
        ExitCode.MISSED, dict.fromkeys(("works", "fast", "mean"), "missed"),
    )  # fmt: skip
    assert [requests for _, requests, _ in found.values()] == [8, 8, 8]
    easy = tmp_path / "easy.yaml"
    easy.write_text(SLO_TEXT.replace("90%", "50%").replace("100ms", "10s"))
    code, found = check(tmp_path, str(tape.path), "--slo", str(easy))
    assert (code, {status for status, _, _ in found.values()}) == (ExitCode.OK, {"met"})


def test_a_run_that_was_aborted(tmp_path: Path) -> None:
    """It is missed, whatever its objectives are."""
    easy = parse(SLO_TEXT.replace("90%", "50%").replace("100ms", "10s").encode(), "slo.yaml")
    assert check(tmp_path, str(aborted(small(tmp_path, easy))))[0] == ExitCode.MISSED


@pytest.mark.parametrize("end", ["cut", "lost"])
def test_a_run_without_an_end(tmp_path: Path, end: str) -> None:
    """Where Locust was killed, or the record cut off, nothing is decided."""
    tape = small(tmp_path, SLO)
    entries = lines(tape.path)
    if end == "cut":
        del entries[-1]
    else:
        entries[-1]["state"] = "lost"
    code, found = check(tmp_path, str(packed(tape.path, entries)))
    assert code == ExitCode.UNDECIDED
    assert all(note.startswith("not decidable: Locust ended before") for _, _, note in found.values())


def test_a_baseline(tmp_path: Path) -> None:
    """Another record is one."""
    tape = small(tmp_path, SLO)
    (tmp_path / "before").mkdir()
    before = small(tmp_path / "before", SLO)
    _, found = check(tmp_path, str(tape.path), "--baseline", str(before.path))
    assert [status for status, _, _ in found.values()] == ["missed"] * 3


def test_what_cannot_be_judged(tmp_path: Path) -> None:
    """A run without an SLO file needs one, what is no record is refused, and a source is needed."""
    with pytest.raises(ConfigurationError, match=r"The run was made without --slo\. Add --slo FILE"):
        cli_check(str(small(tmp_path).path))
    with pytest.raises(ConfigurationError, match="There is no SLO file"):
        cli_check("--csv", "run")
    (tmp_path / "no.gz").write_bytes(b"no")
    assert cli.main(["check", str(tmp_path / "no.gz")]) == ExitCode.BAD_CONFIGURATION


def cli_check(*arguments: str) -> None:
    """Run the command without the words that the command line makes of errors."""
    options = cli._parser().parse_args(["check", *arguments])
    options.command(options)
