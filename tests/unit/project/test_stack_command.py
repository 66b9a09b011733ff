"""Tests of `locust-otel stack` up to the start of its servers."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from locust_otel import cli
from locust_otel.project import stack_command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project, on a machine with programs that have the names of the servers, and all ports free."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("prometheus", "alertmanager"):
        (binaries / name).write_text("#!/bin/sh\nexit 1\n")
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(binaries))
    monkeypatch.setattr("locust_otel.project.stack_command.socket.create_server", lambda _: nullcontext())
    assert cli.main(["init", str(tmp_path / "shop"), "--yes"]) == 0
    return tmp_path / "shop"


def test_missing_files_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says which file is missing and what writes it."""
    (project / "alertmanager.yml").unlink()
    assert cli.main(["stack", str(project), "--prometheus-port", "1"]) == 78
    err = capsys.readouterr().err
    assert f"alertmanager.yml not found in {project}. Write them with `locust-otel init`. (stack-files)" in err


def test_ports_that_are_taken_are_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The errors name flag and port, and no folder was created."""

    def refuse(address: tuple[str, int]) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr("locust_otel.project.stack_command.socket.create_server", refuse)
    assert cli.main(["stack", str(project), "--alertmanager-port", "1"]) == 78
    err = capsys.readouterr().err
    assert "--alertmanager-port: Port 1 of 127.0.0.1 cannot be used: Address already in use." in err
    assert "--prometheus-port: Port 9090 of" in err
    assert not (project / ".locust-otel").exists()


def test_a_folder_that_cannot_be_written_to(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file with the name of the data folder is reported, with exit code 78."""
    (project / ".locust-otel").write_text("mine")
    assert cli.main(["stack", str(project)]) == 78
    assert "(stack-folder)" in capsys.readouterr().err


def test_prometheus_reads_the_file_itself(project: Path) -> None:
    """With the usual port of Alertmanager no copy is made."""
    file = project / "prometheus.yml"
    assert stack_command._prometheus_file(file, project, "127.0.0.1:9093") == file


def test_another_port_of_alertmanager_makes_a_copy(project: Path, tmp_path: Path) -> None:
    """The copy has that port and the rules by their full path, and is the same otherwise."""
    file = project / "prometheus.yml"
    copy = stack_command._prometheus_file(file, tmp_path, "127.0.0.1:19093")
    changed, original = yaml.safe_load(copy.read_text()), yaml.safe_load(file.read_text())
    assert changed["alerting"] == {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:19093"]}]}]}
    assert changed["rule_files"] == [str(project / "rules" / "*.yaml")]
    assert {key: changed[key] for key in ("global", "scrape_configs")} == {
        key: original[key] for key in ("global", "scrape_configs")
    }


@pytest.mark.parametrize("text", ["", "alerting: {}", "alerting: [a]", "{", "alerting: {alertmanagers: [a]}"])
def test_a_configuration_of_another_shape_is_left_to_prometheus(tmp_path: Path, text: str) -> None:
    """No copy is made: Prometheus reports errors."""
    file = tmp_path / "prometheus.yml"
    file.write_text(text)
    assert stack_command._prometheus_file(file, tmp_path / "data", "127.0.0.1:19093") == file


@pytest.mark.parametrize("value", ["0", "65536", "x"])
def test_other_values_are_not_ports(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The parser refuses them."""
    with pytest.raises(SystemExit):
        cli.main(["stack", "--grafana-port", value])
    assert "--grafana-port" in capsys.readouterr().err
