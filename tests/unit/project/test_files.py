"""Tests of the files of a project: each fits its schema and the shipped one, and has the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from locust_otel.project.files import Answers, project_files, slo_file
from locust_otel.slo.file import load, parse
from locust_otel.slo.rules.dashboards_command import files as dashboards
from locust_otel.slo.rules.printer import rule_files
from locust_otel.slo.schema import json_schema
from tests import deploy
from tests.deploy import DEPLOY

ANSWERS = Answers("web shop", "load tests/shop.py", "https://shop.example.com:8443/v1", 200, 3600)


def read(path: Path) -> Any:
    """Return a YAML file."""
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of a project."""
    folder = tmp_path_factory.mktemp("project")
    text = slo_file(ANSWERS)
    for name, content in {"slo.yaml": text, **project_files(ANSWERS, parse(text.encode(), "slo.yaml"))}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_the_slo_file(project: Path) -> None:
    """It can be loaded, has the answers, and fits the schema beside it."""
    text = (project / "slo.yaml").read_text()
    assert text.splitlines()[0] == "# yaml-language-server: $schema=slo.schema.json"
    slo = load(str(project / "slo.yaml"))
    assert slo.service == "web shop"
    assert [slo.period_s, slo.scrape_interval_s] == [3600, 5]
    assert [objective.name for objective in slo.objectives] == ["availability", "latency-p95"]
    assert [window.severity for window in slo.windows] == ["critical", "warning"]
    schema = json.loads((project / "slo.schema.json").read_text())
    assert schema == json_schema()
    jsonschema.validate(read(project / "slo.yaml"), schema)
    uncommented = text.replace("  # checkout-p99", "  checkout-p99")
    jsonschema.validate(yaml.safe_load(uncommented), schema)


def test_the_rules_are_those_of_the_slo_file(project: Path) -> None:
    """They are those of `locust-otel rules slo.yaml`."""
    assert {path.name: path.read_text() for path in (project / "rules").iterdir()} == rule_files(
        load(str(project / "slo.yaml"))
    )


def test_prometheus_has_the_shipped_configuration(project: Path) -> None:
    """It differs from the shipped one by the rules only, and has no path of this repository."""
    written, shipped = read(project / "prometheus.yml"), read(DEPLOY / "prometheus" / "prometheus.yml")
    assert written.pop("rule_files") == ["rules/*.yaml"]
    assert shipped.pop("rule_files")
    assert written == shipped
    assert "deploy/" not in (project / "prometheus.yml").read_text()


def test_alertmanager_has_receivers_to_fill_in(project: Path) -> None:
    """It differs from the shipped one by the receivers only, which are marked and send nothing yet."""
    text = (project / "alertmanager.yml").read_text()
    written, shipped = yaml.safe_load(text), read(DEPLOY / "alertmanager" / "alertmanager.yml")
    assert written.pop("receivers") == [{"name": receiver["name"]} for receiver in shipped.pop("receivers")]
    assert written == shipped
    assert text.count("# FILL IN:") == 1
    assert "deploy/" not in text


def test_grafana_finds_dashboards_and_servers(project: Path) -> None:
    """The dashboards are the shipped ones; folder and addresses come from Grafana's environment."""
    copies = {path.name: path.read_bytes() for path in (project / "dashboards").iterdir()}
    assert copies == {path.name: path.read_bytes() for path in dashboards()}
    (provider,) = read(project / "provisioning/dashboards/locust-otel.yaml")["providers"]
    assert provider["options"] == {"path": "${DASHBOARDS}"}
    sources = read(project / "provisioning/datasources/locust-otel.yaml")
    assert sources == read(DEPLOY / "grafana/provisioning/datasources/locust-otel.yaml")


def test_the_compose_file_fits_the_files(project: Path) -> None:
    """It fits its schema; its mounts exist, its images are the shipped ones, its addresses are loopback."""
    compose = read(project / "compose.yaml")
    schema = get_builtin_schema("vendor.compose-spec")
    jsonschema.validators.validator_for(schema)(schema).validate(compose)
    services, shipped = compose["services"], deploy.compose()["services"]
    assert set(services) == {"prometheus", "alertmanager", "grafana"}
    for name, service in services.items():
        assert service["image"] == shipped[name]["image"]
        assert service["network_mode"] == "host"
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (project / source).exists(), volume
    for name, port in (("prometheus", 9090), ("alertmanager", 9093)):
        assert f"--web.listen-address=127.0.0.1:{port}" in services[name]["command"]
    environment = services["grafana"]["environment"]
    assert environment["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert f"./dashboards:{environment['DASHBOARDS']}:ro" in services["grafana"]["volumes"]
    assert {"PROMETHEUS_URL", "ALERTMANAGER_URL"} <= set(environment)


def test_the_workflow_has_the_answers(project: Path) -> None:
    """It fits GitHub's schema, differs from the shipped one by the answers, and has time for the run."""
    path = project / ".github/workflows/load-test.yml"
    schema = get_builtin_schema("vendor.github-workflows")
    workflow = read(path)
    workflow["on"] = workflow.pop(True)  # YAML 1.1 reads the key as a boolean
    jsonschema.validators.validator_for(schema)(schema).validate(workflow)
    written, shipped = read(path), read(DEPLOY / "ci" / "github-actions.yml")
    assert written["env"] == shipped["env"] | {
        "LOCUSTFILE": "load tests/shop.py",
        "TARGET": "https://shop.example.com:8443/v1",
        "USERS": "200",
        "RUN_TIME": "1h",
    }
    assert written["jobs"]["load-test"].pop("timeout-minutes") == 90
    shipped["jobs"]["load-test"].pop("timeout-minutes")
    assert written["jobs"] == shipped["jobs"]
    assert "Copy it" not in path.read_text()


def test_locust_understands_a_run_of_days() -> None:
    """Locust has no unit for days, and the SLO file has."""
    answers = ANSWERS._replace(run_time_s=172_800)
    slo = parse(slo_file(answers).encode(), "slo.yaml")
    assert slo.period_s == 172_800
    workflow = yaml.safe_load(project_files(answers, slo)[".github/workflows/load-test.yml"])
    assert workflow["env"]["RUN_TIME"] == "172800s"
