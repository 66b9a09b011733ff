"""`locust-otel demo --stack`: real servers beside the demo, alerts in the output, and no process left at the end."""

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
from tests.e2e.harness import BIN, commands_with

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _servers(backend: Callable[[str], None]) -> None:
    """Skip, or in CI fail, without the servers."""
    backend("prometheus")
    backend("alertmanager")


def demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo with the stack; its temporary folders are below `folder`."""
    command = [str(BIN / "locust-otel"), "demo", "--stack", "--prometheus-port", str(free_port()), *arguments]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def assert_nothing_left(folder: Path) -> None:
    """Check that no process and no folder of the stack is left."""
    assert (commands_with(folder), list(folder.glob("locust-otel-*"))) == ([], [])


def test_a_fault_fires_the_alert_and_the_webhook(tmp_path: Path) -> None:
    """Half of the answers are errors: the alert fires, and the webhook gets the page at most 15 s later."""
    process = demo(tmp_path, "--fault", "errors:ratio=0.5", "--run-time", "40s")
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    fired = re.search(r"^alert    (\S+)Z  firing  LocustSLOBudgetBurn critical availability  ", output, re.M)
    paged = re.search(r"^webhook  (\S+)Z  pages  firing  LocustSLOBudgetBurn critical availability  ", output, re.M)
    assert fired, output
    assert paged, output
    times = [60 * int(at[3:5]) + int(at[6:]) for at in (fired[1], paged[1])]
    assert (times[1] - times[0]) % 3600 <= 15
    concluded = output.partition("messages of the webhook")[2]
    assert "pages  firing  LocustSLOBudgetBurn critical availability" in concluded
    assert "All three agree." in output
    counts = re.search(r"requests: Locust ([\d,]+) · recorded ([\d,]+) · last scrape ([\d,]+)", output)
    assert counts is not None
    assert len(set(counts.groups())) == 1, counts[0]
    assert_nothing_left(tmp_path)


def test_ctrl_c_ends_the_servers(tmp_path: Path) -> None:
    """After Ctrl-C no process and no folder of the stack is left."""
    process = demo(tmp_path, "--run-time", "10m")
    assert process.stdout is not None
    assert any(" req/s " in line for line in process.stdout)
    assert len(commands_with(tmp_path)) == 2
    time.sleep(1.2)  # an interrupt during Locust's own logging can leave its lock taken
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all in the foreground
    output, _ = process.communicate(timeout=60)
    assert "All three agree." in output
    assert_nothing_left(tmp_path)


def test_a_healthy_shop_sends_no_page(tmp_path: Path) -> None:
    """Without a fault no alert on an objective fires, and the webhook gets no page."""
    process = demo(tmp_path, "--run-time", "20s", "--users", "30")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "LocustSLO" not in output
    # On a busy machine the generator is late, and the webhook gets a ticket that says so.
    assert "webhook: nothing has come" in output or "LocustGeneratorSaturated" in output
