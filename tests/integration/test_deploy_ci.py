"""Tests of the shell step for CI, with a fake `locust-otel`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_deploy_ci import STEP


def test_shell() -> None:
    """A POSIX shell can parse the step, and the file is executable."""
    result = subprocess.run(["/bin/sh", "-n", STEP], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert os.access(STEP, os.X_OK)


@pytest.mark.parametrize(
    ("run_code", "check_code", "code"),
    [(0, 0, 0), (3, 3, 3), (3, 0, 3), (0, 3, 3), (0, 4, 4), (5, 0, 5), (78, 0, 78), (2, 0, 2), (130, 0, 130)],
)
def test_the_exit_code_of_the_step(tmp_path: Path, run_code: int, check_code: int, code: int) -> None:
    """The step fails if the run or the check fails; a run without a verdict is not checked."""
    fake = tmp_path / "locust-otel"
    log = tmp_path / "log"
    fake.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\n[ "$1" = run ] && exit {run_code}\nexit {check_code}\n')
    fake.chmod(0o755)
    result = subprocess.run(
        ["/bin/sh", STEP, "slo file.yaml", tmp_path / "results", "-f", "a b.py"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout=60, check=False, capture_output=True,
    )  # fmt: skip
    assert result.returncode == code
    commands = [line.split()[0] for line in log.read_text().splitlines()]
    assert commands == (["run", "check", "report"] if run_code in {0, 3, 4, 5} else ["run"])


def test_the_step_needs_its_arguments() -> None:
    """Without its arguments the step shows its usage."""
    result = subprocess.run(["/bin/sh", STEP, "slo.yaml"], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 78
    assert "usage" in result.stderr
