"""Tests of when the numbers of a run could not be believed."""

from __future__ import annotations

import pytest

from locust_otel.slo.validity import Validity

START = 1_764_000_000.0
"""16:00:00 UTC."""


def noted(*looks: tuple[float, str], from_s: float = 0.0) -> Validity:
    """Return what these looks at a run have found: seconds, and reasons separated by blanks."""
    validity = Validity(START, from_s)
    for elapsed_s, reasons in looks:
        validity.note(elapsed_s, reasons.split())
    return validity


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        (
            [(1, ""), (2, "cpu"), (3, "")],
            "generator saturated (no CPU left) from 16:00:01 to 16:00:02 UTC: 1 of 9 s, where 10% may be",
        ),
        (
            [(1, "lag"), (2, "lag cpu"), (9, "")],
            "generator saturated (no CPU left) and generator saturated (its event loop late) from 16:00:00 to 16:00:02 "
            "UTC: 2 of 9 s, where 10% may be",
        ),
        (
            [(1, "workers"), (2, ""), (5, "workers"), (6, "")],
            "workers missing from 16:00:02 to 16:00:05 UTC, and 1 more time: 4 of 9 s, where 10% may be",
        ),
        (
            [(1, "cpu"), (2, ""), (3, "cpu"), (4, ""), (6, "lag")],
            "generator saturated (its event loop late) from 16:00:04 to 16:00:06 UTC, and 2 more times: 4 of 9 s, "
            "where 10% may be",
        ),
    ],
)
def test_what_is_said(looks: list[tuple[float, str]], said: str) -> None:
    """The longest stretch is named with its clock times and reasons, and how many others there were."""
    assert noted(*looks).invalid(9) == said


@pytest.mark.parametrize(("judged_s", "is_valid"), [(20, True), (19.9, False)])
def test_a_tenth_is_forgiven(judged_s: float, is_valid: bool) -> None:
    """Two seconds of twenty are a tenth, and no more than that is forgiven."""
    assert (noted((5, ""), (7, "cpu"), (8, "")).invalid(judged_s) == "") is is_valid


def test_before_the_judged_time_nothing_matters() -> None:
    """A look within the warm-up is none, and the first one after it reaches back to its end only."""
    validity = noted((5, "cpu"), (10, "cpu"), (12, "cpu"), from_s=11)
    assert [(span.start_s, span.end_s) for span in validity.spans] == [(11, 12)]


def test_spans_are_bounded() -> None:
    """A run that flickers for days keeps a thousand stretches; the time is counted on."""
    looks = [(float(second), "lag" if second % 2 else "") for second in range(1, 3001)]
    validity = noted(*looks)
    assert len(validity.spans) == 1000
    assert sum(span.end_s - span.start_s for span in validity.spans) >= 1500


def test_a_clock_that_stands_still_adds_nothing() -> None:
    """Two looks at the same moment, or one back, are of no length."""
    assert noted((5, ""), (5, "cpu"), (4, "cpu")).spans == []
