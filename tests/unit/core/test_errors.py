"""Tests of the errors: what they say, and how several become one."""

from __future__ import annotations

import pickle

import pytest

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError


def _problem(slug: str) -> ConfigurationError:
    return ConfigurationError(f"--{slug}", "7 is wrong.", "Write 8.", slug=slug)


def test_text_of_one() -> None:
    """An error says where, what was found, what would be right, and its slug."""
    problem = _problem("port")
    assert str(problem) == "--port: 7 is wrong. Write 8. (port)"
    assert problem.problems == (problem,)
    assert isinstance(problem, LocustOtelError)


def test_one_of_one_is_itself() -> None:
    """One problem is not wrapped."""
    problem = _problem("port")
    assert ConfigurationError.of([problem]) is problem


def test_several_of_several_are_flat() -> None:
    """Problems within problems are told one a line, in order, and once."""
    several = ConfigurationError.of([_problem("a"), _problem("b")])
    all_of_them = ConfigurationError.of([several, _problem("c")])
    assert [problem.slug for problem in all_of_them.problems] == ["a", "b", "c"]
    assert str(all_of_them).splitlines() == [f"--{slug}: 7 is wrong. Write 8. ({slug})" for slug in "abc"]
    assert (all_of_them.where, all_of_them.slug) == ("--a", "a")


def test_from_process_to_process() -> None:
    """An error is the same after pickling, with all its problems."""
    several = ConfigurationError.of([_problem("a"), _problem("b")])
    copy = pickle.loads(pickle.dumps(several))  # noqa: S301  # our own
    assert (str(copy), copy.fields, copy.slug) == (str(several), several.fields, "a")


def test_none_at_all_is_a_mistake() -> None:
    """There is no error without a problem."""
    with pytest.raises(IndexError):
        ConfigurationError.of([])


def test_exit_codes() -> None:
    """The code of a bad configuration is that of `sysexits.h`."""
    assert (ExitCode.OK, ExitCode.BAD_CONFIGURATION) == (0, 78)
