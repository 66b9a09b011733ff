"""Tests of random SLO files: Prometheus accepts their rules."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from locust_otel.slo.file import parse
from locust_otel.slo.rules.alerting_rules import Links, run_alerts, slo_alerts
from locust_otel.slo.rules.printer import rule_text
from locust_otel.slo.rules.recording_rules import recording_rules
from tests.backends.servers import promtool
from tests.unit.slo_files import dumped, valid_file


@pytest.mark.parametrize("batch", range(10))
def test_promtool_accepts_the_rules_of_any_file(tmp_path: Path, batch: int) -> None:
    """Promtool accepts the rules of a hundred files in each call, those of the first as printed text."""
    random, files = Random(batch), []
    for number in range(100):
        slo = parse(dumped(valid_file(random)[0]), "slo.yaml")
        file = tmp_path / f"{number}.yaml"
        if number:
            groups = [list(recording_rules(slo)) + list(slo_alerts(slo, Links())), list(run_alerts(slo, Links()))]
            named = [{"name": str(index), "rules": rules} for index, rules in enumerate(groups)]
            file.write_text(json.dumps({"groups": named}))  # JSON is YAML, and faster
        else:
            file.write_text(rule_text(slo))
        files.append(file)
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", *files)
    assert checked.returncode == 0, (checked.stdout + checked.stderr)[:4000]
