"""Tests of `locust-otel mark`: what it finds, what it sends, and what it makes of a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from locust_otel import cli
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.marks import TOKEN_VARIABLE
from locust_otel.gameday import mark_client
from tests.unit.mark_servers import Marks
from tests.unit.otlp_sinks import HttpSink, reply

TOKEN = "s3same öffne dich"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Marks]:
    """Start a server that takes marks, at the only port that is looked at."""
    made = Marks().start()
    monkeypatch.setattr(mark_client, "PORTS", range(made.port, made.port + 1))
    monkeypatch.setattr(mark_client.find, "__defaults__", (mark_client.PORTS,))
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    yield made
    made.stop()


def test_a_mark(marks: Marks, capfd: pytest.CaptureFixture[str]) -> None:
    """The load test that answers is marked, and what was marked is said."""
    assert cli.main(["mark", "db primary killed", "--kind", "fault"]) == 0
    assert marks.made == [("db primary killed", "fault")]
    assert capfd.readouterr() == ("", "Marked in run run-1 at 16:00:01 UTC (fault): db primary killed\n")


@pytest.mark.parametrize("path", ["", "/", "/metrics"])
def test_a_url(marks: Marks, path: str) -> None:
    """The URL may be that of the metrics."""
    assert cli.main(["mark", "lunch", "--url", f"http://localhost:{marks.port}{path}"]) == 0
    assert marks.made == [("lunch", "mark")]


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        (["", "--kind", "fault"], "mark"),
        (["db", "--kind", "Two Words"], "mark"),
        (["db", "--kind", "x" * 27, "--", "true"], "mark"),
        (["db", "--url", "127.0.0.1:9646"], "mark-url"),
        (["db", "--url", "ftp://127.0.0.1"], "mark-url"),
        (["db", "--url", "http://127.0.0.1:99999"], "mark-url"),
        (["db", "--url", "http://me:secret@127.0.0.1:9646"], "mark-url-password"),
    ],
)
def test_bad_configuration(marks: Marks, capfd: pytest.CaptureFixture[str], arguments: list[str], slug: str) -> None:
    """What cannot be marked, and where nothing can be, is a 78 before anything is sent, and tells no password."""
    assert cli.main(["mark", *arguments]) == 78
    told = capfd.readouterr().err
    assert f"({slug})" in told
    assert "secret" not in told
    assert marks.made == []


def test_no_run(marks: Marks, capfd: pytest.CaptureFixture[str]) -> None:
    """A load test without a run is a 1."""
    marks.run_id = None
    assert cli.main(["mark", "db"]) == 1
    assert "No run is active." in capfd.readouterr().err


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Where nothing answers that is ours, that is a 1, with what to do; others that answer are left alone."""
    with HttpSink(reply(404, b"<h1>something else</h1>")) as other:
        port = int(other.url.rsplit(":", 1)[1].partition("/")[0])
        monkeypatch.setattr(mark_client.find, "__defaults__", (range(port, port + 1),))
        assert cli.main(["mark", "db"]) == 1
        assert "No load test answers on this machine" in capfd.readouterr().err
        assert cli.main(["mark", "db", "--url", f"http://127.0.0.1:{port}"]) == 78
        assert "it answers with status 404" in capfd.readouterr().err
    assert cli.main(["mark", "db", "--url", f"http://127.0.0.1:{port}"]) == 1
    said = f"http://127.0.0.1:{port}/-/mark cannot be reached: Connection refused."
    assert said in capfd.readouterr().err


def test_several_answer(marks: Marks) -> None:
    """Two load tests are told by their runs, and the user has to choose; two processes of one run are one."""
    other = Marks().start()
    try:
        ports = [marks.port, other.port]
        assert mark_client.find(ports) == f"http://127.0.0.1:{marks.port}"
        other.run_id = "run-2"
        with pytest.raises(ConfigurationError, match=r"\(run-1\), .*\(run-2\)\. Choose one with --url"):
            mark_client.find(ports)
        marks.run_id = other.run_id = None
        with pytest.raises(ConfigurationError, match="several load tests answer"):
            mark_client.find(ports)
    finally:
        other.stop()


def test_the_token(marks: Marks, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The token is shown to whom the user has named, and to nobody that is merely found."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    guarded = Marks().start(token=TOKEN)
    try:
        url = f"http://127.0.0.1:{guarded.port}"
        assert cli.main(["mark", "one", "--url", url]) == 0
        monkeypatch.setenv(TOKEN_VARIABLE, "wrong")
        assert cli.main(["mark", "two", "--url", url]) == 78
        assert cli.main(["mark", "three"]) == 0
    finally:
        guarded.stop()
    told = capfd.readouterr().err
    assert "Set LOCUST_OTEL_MARK_TOKEN to the same token" in told
    assert TOKEN not in told
    assert (guarded.made, marks.made) == ([("one", "mark")], [("three", "mark")])


# -------------------------------------------------------------------------------------------------------- commands


def test_a_command(marks: Marks, capfd: pytest.CaptureFixture[str]) -> None:
    """Its start and its end are marked, its output and its exit code are passed on, and its options are its own."""
    code = cli.main(["mark", "restart db", "--kind", "fault", "--", "sh", "-c", "echo --kind; exit 7"])
    assert code == 7
    assert marks.made == [("restart db", "fault-start"), ("restart db", "fault-end")]
    assert capfd.readouterr().out == "--kind\n"


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("/etc/passwd", 126)])
def test_a_command_that_is_none(marks: Marks, capfd: pytest.CaptureFixture[str], command: str, code: int) -> None:
    """What cannot be run marks nothing, and ends as a shell has it."""
    assert cli.main(["mark", "restart db", "--", command]) == code
    assert command in capfd.readouterr().err
    assert marks.made == []


def test_a_command_is_not_run_where_nothing_can_be_marked(marks: Marks, tmp_path: Path) -> None:
    """A fault that nobody would see in the curves is not injected."""
    marks.run_id = None
    assert cli.main(["mark", "restart db", "--", "touch", str(tmp_path / "ran")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_end_that_cannot_be_marked(
    marks: Marks, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the run is over before the command, the exit code stands, and it is said."""
    take = marks.mark

    def once(text: object, kind: object) -> object:
        if marks.made:
            marks.run_id = None
        return take(text, kind)

    monkeypatch.setattr(marks.marking, "_mark", once)
    assert cli.main(["mark", "restart db", "--", "sh", "-c", "exit 3"]) == 3
    assert "the end is not marked" in capfd.readouterr().err
    assert marks.made == [("restart db", "mark-start")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(("trap", "code"), [("", None), ("trap 'exit 9' TERM INT HUP; ", 9)], ids=["dies", "traps"])
def test_signals(marks: Marks, tmp_path: Path, number: signal.Signals, trap: str, code: int | None) -> None:
    """A signal goes to the command, whose end is marked and whose exit code is passed on, 128 and more for a signal."""
    ready = tmp_path / "ready"
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # which nohup would have ignored
    script += f"import sys; sys.argv[1:] = {['mark', 'x', '--url', f'http://127.0.0.1:{marks.port}', '--']!r}"
    script += f" + ['sh', '-c', {trap + f'touch {ready}; while :; do sleep 0.05; done'!r}]\n"
    script += "from locust_otel.cli import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, start_new_session=True)
    try:
        wait_for(ready.exists)
        os.kill(process.pid, number)
        assert process.wait(10) == (code or 128 + number)
    finally:
        process.kill()
        process.wait()
    assert marks.made == [("x", "mark-start"), ("x", "mark-end")]


def test_what_is_ignored_stays_so(marks: Marks) -> None:
    """Under nohup a hang-up does not reach the command, whose own signals are as it would have them."""
    command = ["--url", f"http://127.0.0.1:{marks.port}", "--", "sh", "-c", "kill -HUP $$; exit 4"]
    script = f"import sys; from locust_otel.cli import main; sys.exit(main({['mark', 'x', *command]!r}))"
    shell = f"trap '' HUP; exec {sys.executable} -c \"$0\""
    assert subprocess.run(["sh", "-c", shell, script], cwd=ROOT, check=False).returncode == 4
    assert marks.made == [("x", "mark-start"), ("x", "mark-end")]


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_loads_no_locust() -> None:
    """The command starts at once: it loads neither Locust nor gevent."""
    code = (
        "import sys; from locust_otel.cli import main\n"
        "code = main(['mark', 'x', '--url', 'http://127.0.0.1:1'])\n"
        "print(code, [name for name in ('locust', 'gevent', 'rich', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1 []\n"


# ------------------------------------------------------------------------------------------- the marks of a game day


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (200, ""),
        (401, "No mark was set: http://{}/-/mark answers 401. Set LOCUST_OTEL_MARK_TOKEN."),
        (404, "The run takes no marks: http://{}/-/mark answers 404."),
        (500, "No mark was set: http://{}/-/mark answers 500."),
    ],
)
def test_a_game_day_says_why_there_is_no_mark(status: int, problem: str) -> None:
    """A mark that cannot be set is a problem and no error; a run that takes none is asked once."""
    with HttpSink(reply(status, b"{}")) as sink:
        host = f"127.0.0.1:{sink.port}"
        sender = mark_client.MarkSender(f"http://{host}/metrics")
        for _ in range(2):
            sender.mark("db", mark_client.FAULT_START)
        assert sender.problem == problem.format(host)
        assert len(sink.received) == (1 if status == 404 else 2)
