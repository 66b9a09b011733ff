"""Tests of the errors: their text, and one error for several problems."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from locust_otel.core.errors import ConfigurationError, ExitCode, writing


def problem(slug: str) -> ConfigurationError:
    """Return a problem."""
    return ConfigurationError(f"--{slug}", "7 is wrong.", "Write 8.", slug=slug)


def test_one_problem() -> None:
    """The text has place, finding, remedy and slug; one problem is not wrapped."""
    port = problem("port")
    assert str(port) == "--port: 7 is wrong. Write 8. (port)"
    assert port.problems == (port,)
    assert ConfigurationError.of([port]) is port


def test_several_problems() -> None:
    """Problems of problems are in one flat list, in order, one on each line."""
    nested = ConfigurationError.of([ConfigurationError.of([problem("a"), problem("b")]), problem("c")])
    assert [part.slug for part in nested.problems] == ["a", "b", "c"]
    assert str(nested).splitlines() == [f"--{slug}: 7 is wrong. Write 8. ({slug})" for slug in "abc"]
    assert (nested.where, nested.slug) == ("--a", "a")


def test_pickling() -> None:
    """An error keeps all its problems on the way to another process."""
    several = ConfigurationError.of([problem("a"), problem("b")])
    copy = pickle.loads(pickle.dumps(several))  # noqa: S301  # our own
    assert (str(copy), copy.fields, copy.slug) == (str(several), several.fields, "a")
    assert copy.fields[1] == ("--b", "7 is wrong.", "Write 8.", "b")


def test_exit_codes() -> None:
    """Exit codes are as documented; 78 is EX_CONFIG of `sysexits.h`."""
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0, "MISSED": 3, "UNDECIDED": 4, "NOT_VALID": 5, "BAD_CONFIGURATION": 78,
    }  # fmt: skip


def test_writing(tmp_path: Path) -> None:
    """A path that cannot be written to is an error of the flag that names it; other errors pass."""
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "no" / "a", "No such file"), ("a\0b", "not a path")):
        with (
            pytest.raises(ConfigurationError, match=rf"--output: .* cannot be written to: {reason}.*\(slug\)"),
            writing("--output", path, "Name a file.", slug="slug"),
        ):
            Path(path).write_text("")
    with pytest.raises(KeyError), writing("--output", "a", "Name a file.", slug="slug"):
        raise KeyError
