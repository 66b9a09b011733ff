"""Tests of the start of the exporter process."""

from __future__ import annotations

import os

import pytest

from locust_otel.exporter.__main__ import nice_if_alone


@pytest.mark.parametrize(("cores", "steps"), [({0}, [5]), ({0, 1}, [])])
def test_priority_on_the_only_core(monkeypatch: pytest.MonkeyPatch, cores: set[int], steps: list[int]) -> None:
    """The exporter lowers its priority if it shares the only core with Locust."""
    calls: list[int] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    monkeypatch.setattr(os, "nice", calls.append)
    nice_if_alone()
    assert calls == steps
