"""Tests of the SLO file read in a child process."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.exporter import slo_file
from locust_otel.slo.file import load


def test_read(tmp_path: Path) -> None:
    """A child may begin to read before the answer is needed; the next read takes the changed file."""
    path = tmp_path / "slo.yaml"
    for service in ("a", "b"):
        path.write_text(f"service: {service}\nobjectives: {{a: {{sli: mean, within: 1s}}}}\n", encoding="utf-8")
        child = slo_file.begin(str(path))
        assert slo_file.begin(str(path)) == child
        assert slo_file.read(str(path)) == load(str(path))


def test_a_missing_file(tmp_path: Path) -> None:
    """The error of the child is raised here."""
    with pytest.raises(ConfigurationError, match="slo-unreadable"):
        slo_file.read(str(tmp_path / "none.yaml"))
