"""Tests of the CI steps in `deploy/ci`: their schema, their flags and their exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from locust_otel.cli import _parser

CI = Path(__file__).parents[2] / "deploy" / "ci"
WORKFLOW, STEP = CI / "github-actions.yml", CI / "check.sh"


def test_the_workflow_is_one() -> None:
    """It satisfies the JSON Schema of GitHub's workflows."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(WORKFLOW)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_workflow_gates_and_keeps_the_results() -> None:
    """The verdict ends the job, and the results are always uploaded."""
    job = yaml.safe_load(WORKFLOW.read_text())["jobs"]["load-test"]
    steps = {step.get("name", step.get("uses", step.get("run"))): step for step in job["steps"]}
    gate = steps["Judge"]["run"].splitlines()[-1]
    assert gate.endswith("--format github")
    assert not any(step.get("continue-on-error") for step in steps.values())
    upload = next(step for name, step in steps.items() if name.startswith("actions/upload-artifact"))
    assert upload["if"] == "always()"


def _commands() -> list[str]:
    text = (STEP.read_text() + WORKFLOW.read_text()).replace("\\\n", " ")
    return re.findall(r"locust-otel (check [^|\n]*)", text)


def test_the_flags_exist() -> None:
    """Each `locust-otel check` in them parses."""
    commands = _commands()
    assert len(commands) == 3
    for command in commands:
        _parser().parse_args([word.strip('"') for word in command.split()])


def test_shell() -> None:
    """A POSIX shell can read it, and it can be executed."""
    result = subprocess.run(["/bin/sh", "-n", STEP], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert os.access(STEP, os.X_OK)


@pytest.mark.parametrize(
    ("ran", "checked", "code"),
    [(0, 0, 0), (3, 3, 3), (3, 0, 3), (0, 3, 3), (0, 4, 4), (5, 0, 5), (78, 0, 78), (2, 0, 2), (130, 0, 130)],
)
def test_the_exit_code_of_the_step(tmp_path: Path, ran: int, checked: int, code: int) -> None:
    """The run and the check must both pass; another exit code of the run is passed on without a check."""
    fake = tmp_path / "locust-otel"
    fake.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\n[ "$1" = run ] && exit {ran}\nexit {checked}\n')
    fake.chmod(0o755)
    result = subprocess.run(
        ["/bin/sh", STEP, "slo file.yaml", tmp_path / "results", "-f", "a b.py"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout=60, check=False, capture_output=True,
    )  # fmt: skip
    assert result.returncode == code
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == (["run", "check", "report"] if ran in {0, 3, 4, 5} else ["run"])


def test_the_step_needs_its_arguments() -> None:
    """Without them it prints its usage."""
    result = subprocess.run(["/bin/sh", STEP, "slo.yaml"], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 78
    assert "usage" in result.stderr
