"""Tests of the account of our own exports."""

from __future__ import annotations

from time import time

from locust_otel.core.snapshot import ExportCount
from locust_otel.exporter.exports import Ledger


def test_empty() -> None:
    """Before anything was declared there is nothing."""
    ledger = Ledger()
    assert (ledger.counts(), ledger.last_success, ledger.rejected) == ((), {}, {})


def test_declare() -> None:
    """A declared exporter is there with both outcomes at 0, and to declare it again changes nothing."""
    ledger = Ledger()
    ledger.declare("otlp_logs")
    ledger.note("otlp_logs", ok=True, seconds=0.5, rejected=2)
    ledger.declare("otlp_logs")
    assert set(ledger.counts()) == {
        ExportCount("otlp_logs", "success", 1, 0.5),
        ExportCount("otlp_logs", "failure", 0, 0.0),
    }
    assert ledger.rejected == {"otlp_logs": 2}
    ledger.declare("prometheus")
    assert ledger.rejected["prometheus"] == 0
    assert "prometheus" not in ledger.last_success


def test_note() -> None:
    """Exports, their seconds and what was rejected add up by exporter and outcome."""
    ledger = Ledger()
    for name, ok, seconds, rejected in (
        ("a", True, 0.25, 0),
        ("a", True, 0.5, 3),
        ("a", False, 2.0, 0),
        ("b", False, 1.0, 0),
        ("a", True, 0.0, 4),
    ):
        ledger.note(name, ok=ok, seconds=seconds, rejected=rejected)
    assert set(ledger.counts()) == {
        ExportCount("a", "success", 3, 0.75),
        ExportCount("a", "failure", 1, 2.0),
        ExportCount("b", "failure", 1, 1.0),
    }
    assert ledger.rejected == {"a": 7}


def test_last_success() -> None:
    """Only a success is remembered as the last one."""
    ledger = Ledger()
    ledger.note("a", ok=False, seconds=1.0)
    assert ledger.last_success == {}
    before = time()
    ledger.note("a", ok=True, seconds=1.0)
    last = ledger.last_success["a"]
    assert before <= last <= time()
    ledger.note("a", ok=False, seconds=1.0)
    assert ledger.last_success == {"a": last}


def test_counts_do_not_change() -> None:
    """What was returned once stays as it was."""
    ledger = Ledger()
    ledger.note("a", ok=True, seconds=1.0)
    counts = ledger.counts()
    ledger.note("a", ok=True, seconds=1.0)
    assert counts == (ExportCount("a", "success", 1, 1.0),)
