"""Tests of `locust-otel init`: the files that it writes and keeps, and its questions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_otel import cli
from locust_otel.slo.file import load
from locust_otel.slo.rules.dashboards_command import files as dashboards

OWN_SLO = "service: own\nperiod: 1h\nscrape_interval: 15s\nobjectives:\n  all: {sli: success, target: 99%}\n"


def written(folder: Path) -> dict[str, str]:
    """Return the files of a folder by their path in it."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def read(path: Path) -> Any:
    """Return a YAML file."""
    return yaml.safe_load(path.read_text())


def test_all_files_are_written_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file is written and has a line; the last lines are the next two commands."""
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
    assert "locustfile.py does not exist yet" in lines[-6]
    assert "fill in its receivers" in lines[-5]
    assert "check its env" in lines[-4]


def test_existing_files_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each existing file stays as it is and is reported, even a dangling link; a missing one is written."""
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


def test_an_existing_slo_file_is_used(tmp_path: Path) -> None:
    """Rules and intervals are those of the file, which stays as it is."""
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
    """A file with the name of a folder is reported, with exit code 78, and stays."""
    taken = tmp_path / "project" / name
    taken.parent.mkdir(parents=True, exist_ok=True)
    taken.write_text("mine")
    assert cli.main(["init", str(tmp_path / "project"), "--yes"]) == 78
    assert "(init-folder)" in capsys.readouterr().err
    assert taken.read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "error"),
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
def test_answers_that_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], error: str
) -> None:
    """A wrong answer is an error with the name of its flag, and nothing is written."""
    assert cli.main(["init", str(tmp_path), *flags, "--yes"]) == 78
    assert error in capsys.readouterr().err
    assert written(tmp_path) == {}


class Terminal:
    """A terminal that answers questions; exceptions are raised."""

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
    """Service, locustfile and host are asked for with their defaults; an empty answer means the default."""
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


def test_known_answers_are_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag answers its question, an existing SLO file that of the service, and `--yes` all questions."""
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
