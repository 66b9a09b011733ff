"""Tests of the flags of the demo shop, and of the client of its process, without a process."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from locust_otel.demo import shop as module
from locust_otel.demo.latency import DB_CONNECTIONS, QUEUE_TIMEOUT_S, WORKERS
from locust_otel.demo.shop import ShopError, start


class FakeProcess:
    """A process that prints a line, and ends with code 78 when it is stopped."""

    pid = 5

    def __init__(self, line: bytes) -> None:
        self.stdout = SimpleNamespace(readline=lambda: line, close=lambda: None)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace the processes, and give their commands; one on port 1 does not start."""
    commands: list[list[str]] = []

    def popen(command: list[str], **_: object) -> Any:
        commands.append(command)
        return FakeProcess(b"" if "--port=1" in command else b"demo shop on http://127.0.0.1:4321\n")

    monkeypatch.setattr("locust_otel.demo.shop.subprocess.Popen", popen)
    monkeypatch.setattr("locust_otel.demo.shop.select.select", lambda *_: ([1], [], []))
    monkeypatch.setattr(module, "end", lambda *_: 78)
    monkeypatch.setattr("locust_otel.demo.shop.os.getpid", lambda: 9)
    return commands


def test_start(commands: list[list[str]]) -> None:
    """Arguments become flags, and the shop has the URL that the process prints."""
    shop = start(port=0, faults=["errors:ratio=1", "stall"], db_connections=3, time_scale=0)
    assert (shop.url, shop.port, shop.pid) == ("http://127.0.0.1:4321", 4321, 5)
    assert commands == [
        [sys.executable, "-m", "locust_otel.demo.shop", "--parent-pid=9", "--port=0", "--db-connections=3",
         "--time-scale=0", "--fault=errors:ratio=1", "--fault=stall"]
    ]  # fmt: skip


def test_a_shop_that_does_not_start(commands: list[list[str]]) -> None:
    """The error has the port and the exit code."""
    with pytest.raises(ShopError, match=r"on port 1 \(exit code 78\)"):
        start(port=1)


def test_the_defaults_of_the_flags() -> None:
    """They are the documented figures."""
    options = module._parser().parse_args([])
    assert (options.workers, options.db_connections, options.queue_timeout) == (
        WORKERS,
        DB_CONNECTIONS,
        QUEUE_TIMEOUT_S,
    )
    assert (options.host, options.port, options.time_scale) == ("127.0.0.1", 8765, 1.0)


@pytest.mark.parametrize("flags", [["--workers", "0"], ["--db-connections", "x"]])
def test_sizes_that_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A pool has at least one place."""
    with pytest.raises(SystemExit):
        module._parser().parse_args(flags)
    assert flags[0] in capsys.readouterr().err
