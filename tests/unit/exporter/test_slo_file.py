"""Tests of the answer of the child that reads the SLO file; `tests/integration/test_slo_file.py` starts the child."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from locust_otel.core.errors import ConfigurationError
from locust_otel.exporter.slo_file import _loaded
from locust_otel.slo.file import load

SLO = "service: a\nobjectives: {a: {sli: mean, within: 1s}}\n"


def sent(path: Path) -> Any:
    """Return the answer of the child, as it arrives."""
    return pickle.loads(pickle.dumps(_loaded(str(path))))  # noqa: S301  # our own


def test_objectives(tmp_path: Path) -> None:
    """The answer has the objectives of the file."""
    path = tmp_path / "slo.yaml"
    path.write_text(SLO, encoding="utf-8")
    assert sent(path) == load(str(path))


def test_problems(tmp_path: Path) -> None:
    """The answer has all problems of the file, each with its parts."""
    path = tmp_path / "slo.yaml"
    path.write_text(SLO.replace("1s", "soon").replace("service: a\n", ""), encoding="utf-8")
    answer = sent(path)
    assert isinstance(answer, ConfigurationError)
    assert len(answer.problems) == 2
    original = _loaded(str(path))
    assert isinstance(original, ConfigurationError)
    assert answer.fields == original.fields
