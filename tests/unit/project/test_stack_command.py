"""Tests of `locust-otel stack` up to the start of its servers."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from locust_otel import cli
from locust_otel.project import stack_command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project, on a machine with programs of the names of the servers."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("prometheus", "alertmanager"):
        (binaries / name).write_text("#!/bin/sh\nexit 1\n")
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(binaries))
    assert cli.main(["init", str(tmp_path / "shop"), "--yes"]) == 0
    return tmp_path / "shop"


def test_missing_files_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says which file is missing and what writes it."""
    (project / "alertmanager.yml").unlink()
    assert cli.main(["stack", str(project), "--prometheus-port", "1"]) == 78
    said = capsys.readouterr().err
    assert f"alertmanager.yml not found in {project}. Write them with `locust-otel init`. (stack-files)" in said


def test_a_port_that_is_taken_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names flag and port, and nothing has been made."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        number = str(taken.getsockname()[1])
        assert cli.main(["stack", str(project), "--alertmanager-port", number, "--prometheus-port", number]) == 78
    said = capsys.readouterr().err
    assert f"--alertmanager-port: Port {number} of 127.0.0.1 cannot be had: Address already in use." in said
    assert f"--prometheus-port: Port {number}" in said
    assert not (project / ".locust-otel").exists()


def test_a_folder_that_cannot_be_written_to(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where the data should be is reported, with exit code 78."""
    (project / ".locust-otel").write_text("mine")
    assert cli.main(["stack", str(project), *free_ports()]) == 78
    assert "(stack-folder)" in capsys.readouterr().err


def free_ports() -> list[str]:
    """Return flags with free ports."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        numbers = [str(server.getsockname()[1]) for server in (one, other)]
    return ["--prometheus-port", numbers[0], "--alertmanager-port", numbers[1]]


def test_prometheus_reads_the_file_itself(project: Path) -> None:
    """With the usual port of Alertmanager no copy is made."""
    file = project / "prometheus.yml"
    assert stack_command._prometheus_file(file, project, "127.0.0.1:9093") == file


def test_another_port_of_alertmanager_makes_a_copy(project: Path, tmp_path: Path) -> None:
    """The copy sends alerts to that port, has the rules by their full path, and is else the same."""
    file = project / "prometheus.yml"
    copy = stack_command._prometheus_file(file, tmp_path, "127.0.0.1:19093")
    own, original = yaml.safe_load(copy.read_text()), yaml.safe_load(file.read_text())
    assert own["alerting"] == {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:19093"]}]}]}
    assert own["rule_files"] == [str(project / "rules" / "*.yaml")]
    assert {key: own[key] for key in ("global", "scrape_configs")} == {
        key: original[key] for key in ("global", "scrape_configs")
    }


@pytest.mark.parametrize("text", ["", "alerting: {}", "alerting: [a]", "{", "alerting: {alertmanagers: [a]}"])
def test_a_configuration_of_another_shape_is_left_to_prometheus(tmp_path: Path, text: str) -> None:
    """It is read as it is: Prometheus says what is wrong, where anything is."""
    file = tmp_path / "prometheus.yml"
    file.write_text(text)
    assert stack_command._prometheus_file(file, tmp_path / "data", "127.0.0.1:19093") == file


@pytest.mark.parametrize("value", ["0", "65536", "x"])
def test_what_is_no_port_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The parser refuses it."""
    with pytest.raises(SystemExit):
        cli.main(["stack", "--grafana-port", value])
    assert "--grafana-port" in capsys.readouterr().err
