"""Tests of `locust-otel dashboards`: copies, and imports into a server that stands in for Grafana."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from locust_otel import cli
from locust_otel.slo.rules.dashboards_command import files
from tests.unit.otlp_sinks import HttpSink, reply

TOKEN = "glsa_abc123"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the token that Grafana is asked with, and no proxy."""
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def grafana() -> Iterator[HttpSink]:
    """Give a server that takes the dashboards as Grafana does."""
    with HttpSink(*(reply(200, json.dumps({"url": f"/d/{file.stem}/x"}).encode()) for file in files())) as server:
        yield server


def base(server: HttpSink) -> str:
    """Return the URL of a server."""
    return f"http://127.0.0.1:{server.port}"


def sent(server: HttpSink) -> list[dict[str, Any]]:
    """Return what a server was sent."""
    return [json.loads(request.body) for request in server.received]


def test_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`-o` makes the folder, copies the six files as they are, and prints where they are."""
    folder = tmp_path / "provisioning" / "dashboards"
    assert cli.main(["dashboards", "-o", str(folder)]) == 0
    copies = sorted(folder.iterdir())
    assert [copy.name for copy in copies] == [file.name for file in files()]
    assert [copy.read_bytes() for copy in copies] == [file.read_bytes() for file in files()]
    assert capsys.readouterr().out.splitlines() == [str(copy) for copy in copies]
    assert len(copies) == 6


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where the folder should be is told of, with exit code 78."""
    (tmp_path / "taken").write_text("")
    assert cli.main(["dashboards", "-o", str(tmp_path / "taken")]) == 78
    assert "(dashboards-output)" in capsys.readouterr().err


def test_imports(grafana: HttpSink, capsys: pytest.CaptureFixture[str]) -> None:
    """`--grafana` sends each dashboard with the token, to be replaced where it is there, and prints the addresses."""
    assert cli.main(["dashboards", "--grafana", f"{base(grafana)}/"]) == 0
    requests = [(request.path, request.headers["authorization"]) for request in grafana.received]
    assert requests == [("/api/dashboards/db", f"Bearer {TOKEN}")] * 6
    dashboards = [json.loads(file.read_text("utf-8")) for file in files()]
    assert sent(grafana) == [{"dashboard": dashboard, "overwrite": True} for dashboard in dashboards]
    assert capsys.readouterr().out.splitlines() == [f"{base(grafana)}/d/{file.stem}/x" for file in files()]


def test_imports_into_a_folder(grafana: HttpSink) -> None:
    """`--folder` names Grafana's folder by its uid."""
    assert cli.main(["dashboards", "--grafana", base(grafana), "--folder", "load-tests"]) == 0
    assert [body["folderUid"] for body in sent(grafana)] == ["load-tests"] * 6


def test_imports_under_a_path(grafana: HttpSink) -> None:
    """A Grafana that is served under a path is asked there."""
    assert cli.main(["dashboards", "--grafana", f"{base(grafana)}/grafana"]) == 0
    assert grafana.received[0].path == "/grafana/api/dashboards/db"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            401,
            b'{"message": "Invalid API key"}',
            "answers 401: Invalid API key. The token in GRAFANA_TOKEN is not",
        ),
        (403, b'{"message": "no access"}', "answers 403: no access. The service account of the token may not write"),
        (404, b"<html>not\nhere</html>", "answers 404: <html>not here</html>. Is the address that of a Grafana"),
        (412, b'{"message": "managed"}', "answers 412: managed. A dashboard of that name or uid is managed otherwise"),
        (500, b"", "answers 500: nothing more. (grafana-refused)"),
        (200, b"<html>login</html>", "is not Grafana: no JSON. (grafana-answer)"),
        (200, b"[]", "is not Grafana: no url in it. (grafana-answer)"),
    ],
)
def test_a_refusal(capsys: pytest.CaptureFixture[str], status: int, body: bytes, said: str) -> None:
    """What Grafana says is told, with what to do; the rest is not sent, and the token is in no message."""
    with HttpSink(reply(status, body)) as grafana:
        assert cli.main(["dashboards", "--grafana", base(grafana)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert f"{base(grafana)}/api/dashboards/db" in error
    assert "Locust: compare runs" in error
    assert TOKEN not in error
    assert len(grafana.received) == 1


def test_a_redirect_is_not_followed(capsys: pytest.CaptureFixture[str]) -> None:
    """The token goes to nobody but the address that was given."""
    with HttpSink(reply(302, Location="/login")) as grafana:
        assert cli.main(["dashboards", "--grafana", base(grafana)]) == 1
    assert "answers 302" in capsys.readouterr().err
    assert len(grafana.received) == 1


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody listens, that is what is said."""
    with socket.socket() as taken:  # bound, but listening to nobody
        taken.bind(("127.0.0.1", 0))
        assert cli.main(["dashboards", "--grafana", f"http://127.0.0.1:{taken.getsockname()[1]}"]) == 1
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
def test_what_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, token: str, slug: str
) -> None:
    """A wrong address or no token is exit code 78; a password is not repeated."""
    monkeypatch.setenv("GRAFANA_TOKEN", token)
    assert cli.main(["dashboards", "--grafana", url]) == 78
    error = capsys.readouterr().err
    assert f"({slug})" in error
    assert "secret@" not in error


def test_one_place_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither or both places is a usage error."""
    for arguments in (["dashboards"], ["dashboards", "-o", "x", "--grafana", "http://localhost"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 2
    assert "--grafana" in capsys.readouterr().err


def test_the_package_ships_them() -> None:
    """The wheel takes each dashboard, and none that is not there, to where an installed package looks for it."""
    root = Path(__file__).parents[4]
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    included = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    wanted = {f"dashboards/{file.name}": f"locust_otel/slo/rules/json/{file.name}" for file in files()}
    assert {source: to for source, to in included.items() if source.startswith("dashboards")} == wanted


def test_it_needs_neither_locust_nor_the_builders(tmp_path: Path) -> None:
    """The command loads nothing that patches sockets, and no library that only developers have."""
    code = (
        "import sys; from locust_otel import cli; code = cli.main(sys.argv[1:])\n"
        "sys.exit(code or [n for n in ('locust', 'gevent', 'grafana_foundation_sdk') if n in sys.modules] or 0)"
    )
    command = [sys.executable, "-c", code, "dashboards", "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 6
