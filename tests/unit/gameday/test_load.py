"""Tests of the load's command line, and of the identity of a process."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from locust_otel.gameday.load import Process, arguments
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


def test_a_process_is_told_from_a_later_one() -> None:
    """A process with the same number and another time of creation is not running."""
    process = Process.of(os.getpid())
    running = process.running()
    assert running is not None
    assert running.pid == os.getpid()
    assert replace(process, created=process.created - 1).running() is None
    assert Process(2**22 + 1, process.created).running() is None
