"""Tests of `locust-otel mark` without a server and without a command that runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from locust_otel import cli
from locust_otel.core.marks import TOKEN_VARIABLE, Marked
from locust_otel.gameday import mark_client, mark_command
from locust_otel.gameday.mark_client import NotMarkedError

URL = "http://127.0.0.1:9650"


class FakeClient:
    """A load test that is found; with `limit` marks the run ends."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, str, str, str]] = []
        self.limit = 2

    def post(self, base: str, text: str, kind: str, *, token: str) -> Marked:
        """Keep a mark."""
        if len(self.marks) == self.limit:
            raise NotMarkedError("No run is in progress.")
        self.marks.append((base, text, kind, token))
        return Marked("run-1", 1_764_000_001.5)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """Give a load test, and a token in the environment."""
    client = FakeClient()
    monkeypatch.setattr(mark_client, "find", lambda: URL)
    monkeypatch.setattr(mark_client, "post", client.post)
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    return client


def test_a_mark(client: FakeClient, capfd: pytest.CaptureFixture[str]) -> None:
    """The load test that is found is marked without the token, and the mark is printed."""
    assert cli.main(["mark", "db primary killed", "--kind", "fault"]) == 0
    assert client.marks == [(URL, "db primary killed", "fault", "")]
    assert capfd.readouterr() == ("", "Marked in run run-1 at 16:00:01 UTC (fault): db primary killed\n")


def test_a_url(client: FakeClient) -> None:
    """The token is sent to a URL that the user has named."""
    assert cli.main(["mark", "lunch", "--url", "http://load.example.com:1/metrics"]) == 0
    assert client.marks == [("http://load.example.com:1", "lunch", "mark", "secret")]


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        (["", "--kind", "fault"], "mark"),
        (["db", "--kind", "Two Words"], "mark"),
        (["db", "--kind", "x" * 27, "--", "true"], "mark"),
        (["db", "--url", "http://me:secret@127.0.0.1:9646"], "mark-url-password"),
    ],
)
def test_bad_configuration(
    client: FakeClient, capfd: pytest.CaptureFixture[str], arguments: list[str], slug: str
) -> None:
    """A mark or a URL that cannot be used ends with 78 before anything is sent, without a password in the error."""
    assert cli.main(["mark", *arguments]) == 78
    err = capfd.readouterr().err
    assert f"({slug})" in err
    assert "secret" not in err
    assert client.marks == []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace the run of a command, which ends with 7, and give the commands."""
    commands: list[list[str]] = []

    def run(command: list[str], end: Callable[[], None]) -> int:
        commands.append(command)
        end()
        return 7

    monkeypatch.setattr(mark_command, "_run", run)
    return commands


@pytest.mark.parametrize(
    ("limit", "code", "kinds"), [(2, 7, ["fault-start", "fault-end"]), (1, 7, ["fault-start"]), (0, 1, [])]
)
def test_a_command(  # noqa: PLR0917  # fixtures
    client: FakeClient, run: list[list[str]], capfd: pytest.CaptureFixture[str], limit: int, code: int, kinds: list[str]
) -> None:
    """Start and end are marked, and the exit code is the command's; it is not run if its start cannot be marked."""
    client.limit = limit
    assert cli.main(["mark", "restart db", "--kind", "fault", "--", "sh", "-c", "echo --kind"]) == code
    assert [kind for _, _, kind, _ in client.marks] == kinds
    assert run == ([["sh", "-c", "echo --kind"]] if kinds else [])
    assert ("the end was not marked" in capfd.readouterr().err) == (limit == 1)


@pytest.mark.parametrize(("name", "code"), [("no-such-command", 127), ("not-executable", 126)])
def test_a_command_that_cannot_be_run(
    client: FakeClient, run: list[list[str]], tmp_path: Path, name: str, code: int
) -> None:
    """It is not marked, and the exit code is that of a shell."""
    (tmp_path / "not-executable").touch(0o600)
    assert cli.main(["mark", "restart db", "--", os.fspath(tmp_path / name)]) == code
    assert client.marks == []
    assert run == []
