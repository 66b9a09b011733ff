"""One table for the whole bench, printed at its end."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.bench.figures import Figures

_FIGURES = pytest.StashKey[Figures]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where to keep the table."""
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
