"""Tests of `locust-otel rules`: what it prints and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from locust_otel import cli
from tests.unit.slo_files import MINIMAL


@pytest.fixture
def slo(tmp_path: Path) -> str:
    """Return the path of an SLO file."""
    path = tmp_path / "slo.yaml"
    path.write_text(MINIMAL)
    return str(path)


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("prometheus", ["locust-slo-shop.yaml", "locust.yaml"]),
        ("prometheusrule", ["prometheusrule.yaml"]),
        ("openslo", ["openslo.yaml"]),
        ("sloth", ["sloth.yaml"]),
    ],
)
def test_files(slo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, files: list[str]) -> None:
    """`-o` writes the files of a format and prints their paths; losses go to the standard error output."""
    folder = tmp_path / "new" / "rules"
    assert cli.main(["rules", "--format", form, "-o", str(folder), slo]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(folder / name) for name in files]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert all(line.startswith("lost: ") for line in printed.err.splitlines())
    assert bool(printed.err) == (form in {"openslo", "sloth"})


def test_printed_rules(slo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `-o` one file is printed, with the addresses of the flags."""
    assert cli.main(["rules", "--runbook-url", "https://r", "--dashboard-url", "https://d", slo]) == 0
    groups = yaml.safe_load(capsys.readouterr().out)["groups"]
    annotations = [rule["annotations"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(annotations) == 13
    assert all(a["runbook_url"].startswith("https://r#") for a in annotations)
    assert all(a["dashboard_url"].startswith("https://d/locust-otel-") for a in annotations)


def test_a_folder_that_cannot_be_written_to(slo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file instead of a folder is exit code 78."""
    assert cli.main(["rules", "-o", slo, slo]) == 78
    assert "slo.yaml' cannot be written to: File exists. Name a folder. (output)" in capsys.readouterr().err
