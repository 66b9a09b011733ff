"""`locust-otel demo --stack`: real servers beside the demo, their alerts shown, and nothing left when it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.servers import free_port
from tests.e2e.harness import BIN

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _servers(backend: Callable[[str], None]) -> None:
    """Skip, or in CI fail, without the servers."""
    backend("prometheus")
    backend("alertmanager")


def demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo with the stack; its temporary folders are in `folder`."""
    command = [str(BIN / "locust-otel"), "demo", "--stack", "--prometheus-port", str(free_port()), *arguments]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def left(folder: Path) -> list[str]:
    """Return the command lines of all processes that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def test_a_fault_fires_the_alert_and_the_webhook(tmp_path: Path) -> None:
    """Half of the answers are errors: the budget burns, Prometheus says so, and the page comes at most 15 s later."""
    process = demo(tmp_path, "--fault", "errors:ratio=0.5", "--run-time", "40s")
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    fired = re.search(r"^alert    (\S+)Z  firing  LocustSLOBudgetBurn critical availability  ", said, re.M)
    paged = re.search(r"^webhook  (\S+)Z  pages  firing  LocustSLOBudgetBurn critical availability  ", said, re.M)
    assert fired, said
    assert paged, said
    times = [60 * int(at[3:5]) + int(at[6:]) for at in (fired[1], paged[1])]
    assert (times[1] - times[0]) % 3600 <= 15
    concluded = said.partition("messages of the webhook")[2]
    assert "pages  firing  LocustSLOBudgetBurn critical availability" in concluded
    assert "All three agree." in said
    counts = re.search(r"requests: Locust ([\d,]+) · recorded ([\d,]+) · last scrape ([\d,]+)", said)
    assert counts is not None
    assert len(set(counts.groups())) == 1, counts[0]
    assert (left(tmp_path), list(tmp_path.glob("locust-otel-*"))) == ([], [])


def test_ctrl_c_ends_the_servers(tmp_path: Path) -> None:
    """After Ctrl-C no process and no folder of the stack is left."""
    process = demo(tmp_path, "--run-time", "10m")
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    line = ""
    while " req/s " not in line and time.monotonic() < deadline:
        line = process.stdout.readline()
    assert len(left(tmp_path)) == 2
    time.sleep(1.2)  # an interrupt in the middle of Locust's own logging can leave its lock taken
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all in the foreground
    said, _ = process.communicate(timeout=60)
    assert "All three agree." in said
    assert (left(tmp_path), list(tmp_path.glob("locust-otel-*"))) == ([], [])


def test_a_healthy_shop_pages_nobody(tmp_path: Path) -> None:
    """Without a fault no alert fires and the webhook gets nothing."""
    process = demo(tmp_path, "--run-time", "20s", "--users", "30")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "firing" not in said
    assert "webhook: nothing has come" in said
