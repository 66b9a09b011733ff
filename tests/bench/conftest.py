"""One table for the whole bench, printed at its end."""

import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from locust_otel.core.snapshot import SeriesKey
from tests.bench.figures import Figures
from tests.unit.factories import Load, record
from tests.unit.tapes import Tape

HOUR_S, SERIES = 3600, 50

_FIGURES = pytest.StashKey[Figures]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag for the file of the table."""
    parser.addoption("--figures", type=Path, metavar="FILE", help="write the figures of the bench as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Start the table."""
    config.stash[_FIGURES] = Figures()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    figures = config.stash[_FIGURES]
    if (file := config.getoption("--figures")) is not None:
        file.write_text(json.dumps([asdict(row) for row in figures.rows]))
    if figures.rows:
        terminalreporter.section("bench")
        for line in figures.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """Give the table to add figures to."""
    return pytestconfig.stash[_FIGURES]


@pytest.fixture(scope="session")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record an hour of 50 series, ten requests each a second."""
    folder = tmp_path_factory.mktemp("hour")
    rng = random.Random(7)
    keys = [SeriesKey("GET", f"/api/v1/resources/{n:04}", "Shopper", "success") for n in range(SERIES)]
    medians = [10 * 60 ** rng.random() for _ in keys]
    tape = Tape(folder, Load(slow_s=5.0, max_names=100))
    for second in range(1, HOUR_S + 1):
        for key, median_ms in zip(keys, medians, strict=True):
            record(tape.aggregate, key, [median_ms * rng.lognormvariate(0, 0.5) for _ in range(10)], 1234)
        tape.interval(float(second))
        del tape.taken[:-1]
    tape.end()
    return tape.path
