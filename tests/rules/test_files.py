"""Tests of the shipped files with the programs that read them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from locust_otel.slo.file import parse
from locust_otel.slo.rules.printer import rule_files
from tests.backends.servers import find, promtool
from tests.rules.scenarios import SHIPPED, TOP
from tests.unit.test_runbooks import QUERIES


@pytest.mark.parametrize("path", sorted(TOP.glob("deploy/prometheus/rules/*/*.yaml")), ids=lambda path: str(path)[-30:])
def test_promtool_accepts_the_rules(path: Path) -> None:
    """Promtool's linter has no complaints."""
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_promtool_accepts_the_configuration() -> None:
    """Promtool accepts the configuration and the rule files in it."""
    checked = promtool("check", "config", "--lint=all", "--lint-fatal", TOP / "deploy/prometheus/prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("rules found") == 2


def test_amtool_accepts_the_configuration() -> None:
    """Amtool accepts the configuration of Alertmanager."""
    file = TOP / "deploy/alertmanager/alertmanager.yml"
    checked = subprocess.run([find("amtool"), "check-config", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "3 inhibit rules" in checked.stdout


def test_rules_of_two_services_load_together(tmp_path: Path) -> None:
    """A file for another service, with unusual characters in its name, loads together with the shipped one."""
    slo = parse(b"service: Check out.v2\nobjectives:\n  fast: {sli: latency, target: 90%, within: 1s}\n", "slo.yaml")
    for name, text in rule_files(slo).items():
        (tmp_path / name).write_text(text)
    files = [*tmp_path.glob("locust-slo-*.yaml"), *SHIPPED["30m"].glob("*.yaml")]
    assert len(files) == 3
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", *files)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_queries_of_the_runbooks_parse(tmp_path: Path) -> None:
    """Each query of the runbooks is valid PromQL."""
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(QUERIES)]
    assert len(rules) >= 13
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    checked = promtool("check", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr
