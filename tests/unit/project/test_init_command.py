"""Tests of `locust-otel init`: what it writes, what it asks, and that it leaves alone what is there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from locust_otel import cli
from locust_otel.slo.file import load
from locust_otel.slo.rules.dashboards_command import files as dashboards
from locust_otel.slo.rules.printer import rule_files
from locust_otel.slo.schema import json_schema
from tests import deploy
from tests.deploy import DEPLOY

OWN_SLO = "service: own\nperiod: 1h\nscrape_interval: 15s\nobjectives:\n  all: {sli: success, target: 99%}\n"


def written(folder: Path) -> dict[str, str]:
    """Return the files of a folder by their path in it."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a project with answers by flags."""
    folder = tmp_path_factory.mktemp("init") / "shop"
    flags = [
        "--service",
        "web shop",
        "--locustfile",
        "load tests/shop.py",
        "--host",
        "https://shop.example.com:8443/v1",
    ]
    assert cli.main(["init", str(folder), *flags, "--users", "200", "--run-time", "1h", "--yes"]) == 0
    return folder


def read(path: Path) -> Any:
    """Return a YAML file."""
    return yaml.safe_load(path.read_text())


def test_all_files_are_written_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file is there and has a line; at the end stand the two next commands."""
    folder = tmp_path / "My Shop!"
    assert cli.main(["init", str(folder), "--yes"]) == 0
    assert set(written(folder)) == {
        "slo.yaml",
        "slo.schema.json",
        "prometheus.yml",
        "alertmanager.yml",
        "rules/locust-slo-My-Shop.yaml",
        "rules/locust.yaml",
        *(f"dashboards/{path.name}" for path in dashboards()),
        "provisioning/dashboards/locust-otel.yaml",
        "provisioning/datasources/locust-otel.yaml",
        "compose.yaml",
        ".github/workflows/load-test.yml",
    }
    lines = capsys.readouterr().out.splitlines()
    assert {line for line in lines if line.startswith("written")} == {
        f"written  {folder / name}" for name in written(folder)
    }
    assert lines[-3:] == [
        f"Next, in {folder}:",
        "  locust-otel run -f locustfile.py --slo slo.yaml --open --host https://staging.example.com",
        "  locust-otel stack",
    ]
    assert "locustfile.py is not there yet" in lines[-6]
    assert "fill in its receivers" in lines[-5]
    assert "look at its env" in lines[-4]


def test_nothing_that_is_there_is_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file is left as it is and reported; one that is missing is written, and a link to nowhere is kept too."""
    cli.main(["init", str(tmp_path), "--yes"])
    for name in written(tmp_path):
        if name != "slo.yaml":
            (tmp_path / name).write_text("mine")
    (tmp_path / "compose.yaml").unlink()
    (tmp_path / "prometheus.yml").unlink()
    (tmp_path / "prometheus.yml").symlink_to(tmp_path / "elsewhere")
    before = written(tmp_path)
    capsys.readouterr()
    assert cli.main(["init", str(tmp_path), "--yes", "--users", "7"]) == 0
    after = written(tmp_path)
    assert after.pop("compose.yaml").startswith("# Prometheus, Alertmanager and Grafana")
    assert after == before
    reported = capsys.readouterr().out
    assert reported.count("written ") == 1
    assert reported.count("kept ") == len(before) + 1
    assert f"kept     {tmp_path / 'prometheus.yml'}" in reported
    assert "receivers" not in reported


def test_an_slo_file_that_is_there_is_used(tmp_path: Path) -> None:
    """Rules and intervals come from it, and it stays as it is."""
    (tmp_path / "slo.yaml").write_text(OWN_SLO)
    assert cli.main(["init", str(tmp_path), "--service", "other", "--yes"]) == 0
    files = written(tmp_path)
    assert files["slo.yaml"] == OWN_SLO
    assert {name.partition("/")[2] for name in files if name.startswith("rules/")} == {
        "locust-slo-own.yaml",
        "locust.yaml",
    }
    assert read(tmp_path / "prometheus.yml")["global"] == {"scrape_interval": "15s", "evaluation_interval": "15s"}
    assert '"timeInterval": "15s"' in json.dumps(read(tmp_path / "provisioning/datasources/locust-otel.yaml"))


def test_an_slo_file_with_a_mistake_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mistake is reported with its line, and nothing is written."""
    (tmp_path / "slo.yaml").write_text(OWN_SLO.replace("99%", "99"))
    assert cli.main(["init", str(tmp_path), "--yes"]) == 78
    assert "slo.yaml:5" in capsys.readouterr().err
    assert list(written(tmp_path)) == ["slo.yaml"]


@pytest.mark.parametrize("name", ["", "rules", ".github/workflows"])
def test_a_folder_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A file where a folder should be is reported, with exit code 78, and stays."""
    taken = tmp_path / "project" / name
    taken.parent.mkdir(parents=True, exist_ok=True)
    taken.write_text("mine")
    assert cli.main(["init", str(tmp_path / "project"), "--yes"]) == 78
    assert "(init-folder)" in capsys.readouterr().err
    assert taken.read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--service", "a: b"], "--service: 'a: b' cannot be a name."),
        (["--host", "staging"], "(init-host)"),
        (["--host", "https://a b"], "(init-host)"),
        (["--locustfile", "a\nb"], "(init-locustfile)"),
        (["--run-time", "500ms"], "(init-run-time)"),
        (["--run-time", "soon"], "--run-time: 'soon' is not a time."),
        (["--run-time", "9000h"], "--run-time: "),
    ],
)
def test_answers_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    """An answer that no file can have is refused by the name of its flag, and nothing is written."""
    assert cli.main(["init", str(tmp_path), *flags, "--yes"]) == 78
    assert said in capsys.readouterr().err
    assert written(tmp_path) == {}


class Terminal:
    """A terminal that answers questions; an answer that is an exception is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str | type[BaseException]) -> None:
        self.questions: list[str] = []
        self._answers: Iterator[str | type[BaseException]] = iter(answers)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", self._input)

    def _input(self, question: str) -> str:
        self.questions.append(question)
        answer = next(self._answers)
        if isinstance(answer, str):
            return answer
        raise answer


def test_a_terminal_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Service, locustfile and host are asked for with their defaults; an empty answer takes the default."""
    terminal = Terminal(monkeypatch, "checkout", "", "http://127.0.0.1:8000")
    assert cli.main(["init", str(tmp_path / "shop")]) == 0
    assert terminal.questions == [
        "Name of the service under test [shop]: ",
        "Locustfile [locustfile.py]: ",
        "Address of the service [https://staging.example.com]: ",
    ]
    assert load(str(tmp_path / "shop" / "slo.yaml")).service == "checkout"
    run = "locust-otel run -f locustfile.py --slo slo.yaml --open --host http://127.0.0.1:8000"
    assert run in capsys.readouterr().out


def test_what_is_known_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag answers its question, an SLO file that is there the one for the service, and `--yes` all of them."""
    terminal = Terminal(monkeypatch, EOFError)
    (tmp_path / "slo.yaml").write_text(OWN_SLO)
    assert cli.main(["init", str(tmp_path), "--host", "http://127.0.0.1:1"]) == 0
    assert terminal.questions == ["Locustfile [locustfile.py]: "]
    assert cli.main(["init", str(tmp_path), "--yes"]) == 0
    assert len(terminal.questions) == 1


def test_ctrl_c_at_a_question_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is that of an interrupt."""
    Terminal(monkeypatch, "checkout", KeyboardInterrupt)
    assert cli.main(["init", str(tmp_path / "shop")]) == 130
    assert not (tmp_path / "shop").exists()


def test_the_slo_file_is_one(project: Path) -> None:
    """It loads, has the answers, and its editor's schema beside it accepts it."""
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
    """They are what `locust-otel rules slo.yaml` makes."""
    assert {path.name: path.read_text() for path in (project / "rules").iterdir()} == rule_files(
        load(str(project / "slo.yaml"))
    )


def test_prometheus_has_the_shipped_configuration(project: Path) -> None:
    """It differs from the shipped one by the rules, and names no path of another project."""
    own, shipped = read(project / "prometheus.yml"), read(DEPLOY / "prometheus" / "prometheus.yml")
    assert own.pop("rule_files") == ["rules/*.yaml"]
    assert shipped.pop("rule_files")
    assert own == shipped
    assert "deploy/" not in (project / "prometheus.yml").read_text()


def test_alertmanager_has_receivers_to_fill_in(project: Path) -> None:
    """It differs from the shipped one by the receivers, which are marked and send nothing yet."""
    text = (project / "alertmanager.yml").read_text()
    own, shipped = yaml.safe_load(text), read(DEPLOY / "alertmanager" / "alertmanager.yml")
    assert own.pop("receivers") == [{"name": receiver["name"]} for receiver in shipped.pop("receivers")]
    assert own == shipped
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
    """It keeps to its schema; what it mounts is there, its images are those we ship, its addresses are loopback."""
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
    """It keeps to GitHub's schema, differs from the shipped one by the answers, and has time for the run."""
    path = project / ".github/workflows/load-test.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    own, shipped = read(path), read(DEPLOY / "ci" / "github-actions.yml")
    assert own["env"] == shipped["env"] | {
        "LOCUSTFILE": "load tests/shop.py",
        "TARGET": "https://shop.example.com:8443/v1",
        "USERS": "200",
        "RUN_TIME": "1h",
    }
    assert own["jobs"]["load-test"].pop("timeout-minutes") == 90
    shipped["jobs"]["load-test"].pop("timeout-minutes")
    assert own["jobs"] == shipped["jobs"]
    assert "Copy it" not in path.read_text()


def test_locust_understands_a_run_of_days(tmp_path: Path) -> None:
    """Locust has no unit for a day, which the SLO file has."""
    assert cli.main(["init", str(tmp_path), "--run-time", "48h", "--yes"]) == 0
    assert read(tmp_path / ".github/workflows/load-test.yml")["env"]["RUN_TIME"] == "172800s"
    assert load(str(tmp_path / "slo.yaml")).period_s == 172_800
