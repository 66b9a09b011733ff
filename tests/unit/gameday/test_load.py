"""Tests of the load's command line, and of the identity of a process."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from locust_otel.gameday.load import Process, arguments, exit_code, last_lines
from locust_otel.gameday.schema import LoadShape
from tests.unit.gameday.days import day, fault, step

SHORTEST = {"locustfile": "shop.py", "users": "5", "run_time": "1500ms"}


@pytest.mark.parametrize(
    ("keys", "folder", "flags"),
    [
        ({}, None, []),
        (
            {"spawn_rate": "0.5", "host": "http://shop", "args": ["--tags", "browse"]}, Path("out"),
            ["--spawn-rate", "0.5", "--host", "http://shop", "--slo", "day/slo.yaml", "--run-record", "out",
             "--tags", "browse"],
        ),
    ],
)  # fmt: skip
def test_arguments(keys: dict[str, object], folder: Path | None, flags: list[str]) -> None:
    """Keys become flags, the run time is in whole seconds, and paths are from the folder of the file."""
    shape = LoadShape.model_validate({**SHORTEST, **keys})
    planned = replace(
        day(step("0", fault()), source=Path("day/day.yaml")), slo_path=Path("day/slo.yaml") if folder else None
    )
    assert shape.run_time == Decimal("1.5")
    assert arguments(planned, shape, "r", folder) == [
        sys.executable, "-m", "locust_otel.cli", "run", "--locustfile", "day/shop.py", "--headless",
        "--users", "5", "--run-time", "2s", "--run-id", "r", *flags,
    ]  # fmt: skip


TABLES = """\
[2026-11-29 05:05:53] vm/ERROR/locust.runners: You must specify the base host.

Type     Name                      # reqs      # fails |    Avg     Min     Max    Med |   req/s  failures/s
--------|------------------------|-------|-------------|-------|-------|-------|-------|--------|-----------
GET      /api/products                 92     9(9.78%) |     10       3      36      6 |    9.50        0.00
--------|------------------------|-------|-------------|-------|-------|-------|-------|--------|-----------
         Aggregated                    92     9(9.78%) |     10       3      36      6 |    9.50        0.00

Response time percentiles (approximated)
Type     Name                       50%    66%    75%    80%    90%    95%    98%    99%  99.9% 99.99%   100% # reqs
--------|------------------------|-----|------|------|------|------|------|------|------|------|------|------|------
GET      /api/products                6      7      8      9     11     13     15     20     30     36     36     92

Error report
# occurrences      Error
------------------|-----------------------------------------------------------------------------------------
9                  GET /api/products: ConnectionRefusedError(111, 'Connection refused')
------------------|-----------------------------------------------------------------------------------------

requests: Locust 92 · recorded 92 · never scraped
"""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("".join(f"line {number}\n" for number in range(20)), [f"line {number}" for number in range(12, 20)]),
        (TABLES, [
            "[2026-11-29 05:05:53] vm/ERROR/locust.runners: You must specify the base host.",
            "Error report", "# occurrences      Error",
            "9                  GET /api/products: ConnectionRefusedError(111, 'Connection refused')",
            "requests: Locust 92 · recorded 92 · never scraped",
        ]),
    ],
    ids=["no output", "long", "tables"],
)  # fmt: skip
def test_the_last_lines_of_the_output(tmp_path: Path, text: str, lines: list[str]) -> None:
    """There are at most eight; tables of statistics hide no reason."""
    log = tmp_path / "load.log"
    log.write_text(text)
    assert last_lines(log) == tuple(lines)


@pytest.mark.parametrize(
    ("code", "text"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "exit code -9 (SIGKILL)"), (-99, "exit code -99")]
)
def test_an_exit_code_names_its_signal(code: int, text: str) -> None:
    """A negative code is that of a signal."""
    assert exit_code(code) == text


def test_a_process_is_told_from_a_later_one() -> None:
    """A process with the same number and another time of creation is not running."""
    process = Process.of(os.getpid())
    running = process.running()
    assert running is not None
    assert running.pid == os.getpid()
    assert replace(process, created=process.created - 1).running() is None
    assert Process(2**22 + 1, process.created).running() is None
