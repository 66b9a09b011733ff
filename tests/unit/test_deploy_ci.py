"""Tests of the workflow and of the shell step for CI, without running them."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from locust_otel.cli import _parser

CI = Path(__file__).parents[2] / "deploy" / "ci"
WORKFLOW, STEP = CI / "github-actions.yml", CI / "check.sh"


def test_the_workflow_is_valid() -> None:
    """The workflow satisfies the JSON Schema of GitHub's workflows."""
    schema = get_builtin_schema("vendor.github-workflows")
    validator = jsonschema.validators.validator_for(schema)(schema)
    document = yaml.safe_load(WORKFLOW.read_text())
    document["on"] = document.pop(True)  # YAML 1.1 reads the key `on` as true
    validator.validate(document)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**document, "jobs": {}})


def test_the_workflow_gates_and_keeps_the_results() -> None:
    """The last command of the job is the check, and the results are uploaded in any case."""
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
    """The parser accepts each `locust-otel check` in both files."""
    commands = _commands()
    assert len(commands) == 3
    for command in commands:
        _parser().parse_args([word.strip('"') for word in command.split()])
