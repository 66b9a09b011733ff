"""`locust-otel mark` against a server that takes marks, and around commands that run."""

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
from locust_otel.core.marks import TOKEN_VARIABLE
from locust_otel.gameday import mark_client
from tests.unit.mark_servers import Marks
from tests.unit.otlp_sinks import HttpSink, reply

TOKEN = "s3same öffne dich"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Marks]:
    """Start a server that takes marks, on the only port that is asked."""
    made = Marks().start()
    monkeypatch.setattr(mark_client, "PORTS", range(made.port, made.port + 1))
    monkeypatch.setattr(mark_client.find, "__defaults__", (mark_client.PORTS,))
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    yield made
    made.stop()


def test_a_mark(marks: Marks, capfd: pytest.CaptureFixture[str]) -> None:
    """The load test that answers is marked, and the mark is printed."""
    assert cli.main(["mark", "db primary killed", "--kind", "fault"]) == 0
    assert marks.made == [("db primary killed", "fault")]
    assert capfd.readouterr() == ("", "Marked in run run-1 at 16:00:01 UTC (fault): db primary killed\n")


def test_no_run(marks: Marks, capfd: pytest.CaptureFixture[str]) -> None:
    """A load test without a run ends with 1."""
    marks.run_id = None
    assert cli.main(["mark", "db"]) == 1
    assert "No run is active." in capfd.readouterr().err


def test_no_load_test(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a load test the exit code is 1; another server is refused with 78."""
    with HttpSink(reply(404, b"<h1>something else</h1>")) as other:
        port = int(other.url.rsplit(":", 1)[1].partition("/")[0])
        monkeypatch.setattr(mark_client.find, "__defaults__", (range(port, port + 1),))
        assert cli.main(["mark", "db"]) == 1
        assert "No load test answers on ports 9646 to 9655" in capfd.readouterr().err
        assert cli.main(["mark", "db", "--url", f"http://127.0.0.1:{port}"]) == 78
        assert "It answers with status 404" in capfd.readouterr().err
    assert cli.main(["mark", "db", "--url", f"http://127.0.0.1:{port}"]) == 1
    problem = f"http://127.0.0.1:{port}/-/mark cannot be reached: Connection refused."
    assert problem in capfd.readouterr().err


def test_the_token(marks: Marks, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The token is sent to the URL that the user names, and not to a load test that is found."""
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
    err = capfd.readouterr().err
    assert "Set LOCUST_OTEL_MARK_TOKEN to the same token" in err
    assert TOKEN not in err
    assert (guarded.made, marks.made) == ([("one", "mark")], [("three", "mark")])


def test_a_command(marks: Marks, capfd: pytest.CaptureFixture[str]) -> None:
    """Its start and end are marked, output and exit code are passed on, and its options are not ours."""
    code = cli.main(["mark", "restart db", "--kind", "fault", "--", "sh", "-c", "echo --kind; exit 7"])
    assert code == 7
    assert marks.made == [("restart db", "fault-start"), ("restart db", "fault-end")]
    assert capfd.readouterr().out == "--kind\n"


def test_a_command_is_not_run_where_nothing_can_be_marked(marks: Marks, tmp_path: Path) -> None:
    """Without a mark the command is not run."""
    marks.run_id = None
    assert cli.main(["mark", "restart db", "--", "touch", str(tmp_path / "ran")]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(("trap", "code"), [("", None), ("trap 'exit 9' TERM INT HUP; ", 9)], ids=["dies", "traps"])
def test_signals(marks: Marks, tmp_path: Path, number: signal.Signals, trap: str, code: int | None) -> None:
    """A signal goes to the command; its end is marked, and its exit code is passed on, 128 + N for signal N."""
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


def test_ignored_signals_stay_ignored(marks: Marks) -> None:
    """Under nohup the command ignores SIGHUP too, and its end is marked."""
    command = ["--url", f"http://127.0.0.1:{marks.port}", "--", "sh", "-c", "kill -HUP $$; exit 4"]
    script = f"import sys; from locust_otel.cli import main; sys.exit(main({['mark', 'x', *command]!r}))"
    shell = f"trap '' HUP; exec {sys.executable} -c \"$0\""
    assert subprocess.run(["sh", "-c", shell, script], cwd=ROOT, check=False).returncode == 4
    assert marks.made == [("x", "mark-start"), ("x", "mark-end")]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
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
