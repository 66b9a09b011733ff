"""Tests of the outcome of a push."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from locust_otel.exporter.otlp.outcome import Outcome, partial_outcome


@pytest.mark.parametrize("field", ["rejected_data_points", "rejected_log_records"])
def test_a_partial_success(field: str) -> None:
    """Rejected points or records are counted, with the printable part of the reason; they would be rejected again."""
    partial = SimpleNamespace(**{field: 3}, error_message="too\nold \x1b" + "x" * 300)
    reason = "tooold " + "x" * 191
    assert partial_outcome(partial) == Outcome(ok=True, rejected=3, reason=reason, is_permanent=True)


def test_a_complete_success() -> None:
    """Without rejected points the text of the receiver is not a reason."""
    partial = SimpleNamespace(rejected_data_points=0, rejected_log_records=0, error_message="a warning")
    assert partial_outcome(partial) == Outcome(ok=True)
