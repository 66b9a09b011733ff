"""Tests of finding servers and of the commands that run them, without a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.project import servers


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the one folder of PATH, with nothing in it; no other place has a server."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(servers, "__file__", str(tmp_path / "a" / "b" / "servers.py"))
    return tmp_path


def program(file: Path) -> Path:
    """Make an executable file and return it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_missing_servers_are_named(path: Path) -> None:
    """The error says which server is missing and how to get it; Grafana is not needed."""
    program(path / "prometheus")
    with pytest.raises(ConfigurationError, match=r"--stack: alertmanager not found .* `make backends`") as caught:
        servers.find("--stack")
    assert caught.value.slug == "stack-missing"


def test_what_was_fetched_is_found(path: Path) -> None:
    """Servers in `.backends/bin` are found, behind those on PATH, and Debian's name of Alertmanager is known."""
    fetched = path / ".backends" / "bin"
    for name in ("prometheus", "prometheus-alertmanager"):
        program(fetched / name)
    program(path / "prometheus")
    assert servers.find("stack") == {
        "prometheus": path / "prometheus",
        "alertmanager": fetched / "prometheus-alertmanager",
    }
    program(path / "grafana-server")
    assert servers.find("stack")["grafana"] == path / "grafana-server"


@pytest.mark.parametrize(
    ("binary", "home", "command"),
    [
        ("opt/bin/grafana", "opt", ["opt/bin/grafana", "server", "--homepath=opt"]),
        ("opt/bin/grafana-server", "opt", ["opt/bin/grafana-server", "--homepath=opt"]),
        ("brew/bin/grafana", "brew/share/grafana", ["brew/bin/grafana", "server", "--homepath=brew/share/grafana"]),
    ],
)
def test_grafana_gets_its_home(tmp_path: Path, binary: str, home: str, command: list[str]) -> None:
    """The folder with its defaults is found from the place of the binary; an old release has no `server` command."""
    found = program(tmp_path / binary)
    (tmp_path / home / "conf").mkdir(parents=True)
    (tmp_path / home / "conf" / "defaults.ini").touch()
    relative = [
        part.replace(f"{tmp_path.resolve()}/", "").replace(f"{tmp_path}/", "") for part in servers.grafana(found)
    ]
    assert relative == command


def test_the_script_of_a_package_is_not_used(tmp_path: Path) -> None:
    """Beside Grafana's defaults lies the real binary, which is run instead of the package's script."""
    script, real = program(tmp_path / "bin" / "grafana-server"), program(tmp_path / "share/grafana/bin/grafana")
    (tmp_path / "share/grafana/conf").mkdir()
    (tmp_path / "share/grafana/conf/defaults.ini").touch()
    assert servers.grafana(script)[:2] == [str(real), "server"]
