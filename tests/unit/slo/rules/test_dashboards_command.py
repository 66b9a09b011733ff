"""Tests of `locust-otel dashboards`: copies, and imports whose requests are recorded instead of sent."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from locust_otel import cli
from locust_otel.core import web
from locust_otel.slo.rules.dashboards_command import files

TOKEN = "glsa_abc123"
URL = "http://grafana:3000"
Requests = list[tuple[str, dict[str, Any], str]]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the token of Grafana."""
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Requests]:
    """Return a function that starts a fake Grafana, and returns its list of requests: URL, body, credentials."""

    def start(*replies: web.Reply) -> Requests:
        requests: Requests = []
        rest = iter(replies)

        def send(url: str, body: bytes, *, authorization: str, timeout_s: float) -> web.Reply:
            assert timeout_s > 0
            requests.append((url, json.loads(body), authorization))
            return next(rest)

        monkeypatch.setattr(web, "send", send)
        return requests

    return start


def accepted() -> list[web.Reply]:
    """Return Grafana's responses to all dashboards."""
    return [web.Reply(200, json.dumps({"url": f"/d/{file.stem}/x"}).encode()) for file in files()]


def test_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`-o` creates the folder, copies the six files unchanged, and prints their paths."""
    folder = tmp_path / "provisioning" / "dashboards"
    assert cli.main(["dashboards", "-o", str(folder)]) == 0
    copies = sorted(folder.iterdir())
    assert [copy.name for copy in copies] == [file.name for file in files()]
    assert [copy.read_bytes() for copy in copies] == [file.read_bytes() for file in files()]
    assert capsys.readouterr().out.splitlines() == [str(copy) for copy in copies]
    assert len(copies) == 6


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file instead of a folder is exit code 78."""
    (tmp_path / "taken").write_text("")
    assert cli.main(["dashboards", "-o", str(tmp_path / "taken")]) == 78
    assert "(dashboards-output)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "flags", "folder"),
    [(f"{URL}/", [], {}), (URL, ["--folder", "load-tests"], {"folderUid": "load-tests"}), (f"{URL}/grafana", [], {})],
)
def test_imports(
    grafana: Callable[..., Requests], capsys: pytest.CaptureFixture[str], url: str, flags: list[str], folder: Any
) -> None:
    """`--grafana` sends each dashboard with the token, replaces earlier ones, and prints the addresses in Grafana."""
    requests = grafana(*accepted())
    assert cli.main(["dashboards", "--grafana", url, *flags]) == 0
    dashboards = [json.loads(file.read_text("utf-8")) for file in files()]
    assert requests == [
        (
            f"{url.rstrip('/')}/api/dashboards/db",
            {"dashboard": dashboard, "overwrite": True, **folder},
            f"Bearer {TOKEN}",
        )
        for dashboard in dashboards
    ]
    assert capsys.readouterr().out.splitlines() == [f"{URL}/d/{file.stem}/x" for file in files()]


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (302, b"", "answers 302: no reason given. (grafana-refused)"),
        (401, b'{"message": "Invalid API key"}', "answers 401: Invalid API key. The token in GRAFANA_TOKEN is not"),
        (403, b'{"message": "no access"}', "answers 403: no access. The service account of the token may not write"),
        (404, b"<html>not\nhere</html>", "answers 404: <html>not here</html>. Is this the address of a Grafana"),
        (412, b'{"message": "managed"}', "answers 412: managed. Another dashboard has this name or uid"),
        (500, b"", "answers 500: no reason given. (grafana-refused)"),
        (200, b"<html>login</html>", "is not Grafana: its response has no JSON. (grafana-answer)"),
        (200, b"[]", "is not Grafana: its response has no url. (grafana-answer)"),
    ],
)
def test_a_refusal(
    grafana: Callable[..., Requests], capsys: pytest.CaptureFixture[str], status: int, body: bytes, problem: str
) -> None:
    """The error has Grafana's reason and a remedy, but no token; no other dashboard is sent."""
    requests = grafana(web.Reply(status, body))
    assert cli.main(["dashboards", "--grafana", URL]) == 1
    error = capsys.readouterr().err
    assert problem in error
    assert f"{URL}/api/dashboards/db" in error
    assert "Locust: compare runs" in error
    assert TOKEN not in error
    assert len(requests) == 1


def test_no_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that cannot be reached is reported with the cause."""

    def send(*_: object, **__: object) -> web.Reply:
        raise web.UnreachableError(ConnectionRefusedError(111, "Connection refused"))

    monkeypatch.setattr(web, "send", send)
    assert cli.main(["dashboards", "--grafana", URL]) == 1
    assert "Connection refused. (grafana-unreachable)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "token", "slug"),
    [
        ("localhost:3000", TOKEN, "grafana-url"),
        ("ftp://localhost", TOKEN, "grafana-url"),
        ("http://", TOKEN, "grafana-url"),
        ("http://admin:secret@localhost:3000", TOKEN, "grafana-secret-in-url"),
        ("http://localhost:3000", "", "grafana-token-missing"),
        ("http://localhost:3000", " \n", "grafana-token-missing"),
        ("http://localhost:3000", "tök\ten", "grafana-token"),
    ],
)
def test_refused_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, token: str, slug: str
) -> None:
    """A wrong address, or no usable token, is exit code 78; the error contains no password."""
    monkeypatch.setenv("GRAFANA_TOKEN", token)
    assert cli.main(["dashboards", "--grafana", url]) == 78
    error = capsys.readouterr().err
    assert f"({slug})" in error
    assert "secret@" not in error


@pytest.mark.parametrize("arguments", [[], ["-o", "x", "--grafana", "http://localhost"]])
def test_one_place_is_required(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Neither or both places is a usage error."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["dashboards", *arguments])
    assert ended.value.code == 2
    assert "--grafana" in capsys.readouterr().err


def test_the_package_ships_them() -> None:
    """The wheel contains each dashboard, and no other file, where an installed package looks for it."""
    root = Path(__file__).parents[4]
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    included = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    wanted = {f"dashboards/{file.name}": f"locust_otel/slo/rules/json/{file.name}" for file in files()}
    assert {source: to for source, to in included.items() if source.startswith("dashboards")} == wanted
