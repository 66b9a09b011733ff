"""The most dangerous faults, each beside a real run: none blocks the load, and every count is right.

`make faults` plays all faults and compares them with the budgets of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import gevent
import pytest
from gevent.event import AsyncResult
from gevent.pool import Pool

from tests.faults.bench import Fault, Figures, play
from tests.faults.faults import EVERY, NONE
from tests.faults.judge import BLOCKED, judge

pytestmark = pytest.mark.slow

TITLES = (
    "http: never answers",
    "http: answers after 0.5 s",
    "http: closes half-way",
    "http: dies and comes back",
    "grpc: never answers",
    "grpc: dies and comes back",
    "scraper: fifty scrapers at once",
    "scraper: seventy that read a byte a second",
    "scraper: a hundred idle connections",
    "exporter: killed",
    "exporter: frozen for 3 s",
    "exporter: gets a fifth of its time",
)
DANGEROUS = [fault for fault in EVERY if fault.title in TITLES]
AT_ONCE = 3


class Plays:
    """Plays faults, several at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = iter(range(1000))
        self._pool = Pool(AT_ONCE)
        self._results: dict[str, AsyncResult] = {}

    def begin(self, faults: Sequence[Fault]) -> None:
        """Play faults in order, as many at a time as the pool has room for."""
        self._results = {fault.title: AsyncResult() for fault in faults}
        for fault in faults:
            self._pool.spawn(self.once, fault).link(self._results[fault.title])

    def of(self, fault: Fault) -> Figures:
        """Wait for the end of a fault, and return its figures."""
        figures: Figures = self._results[fault.title].get()
        return figures

    def once(self, fault: Fault) -> Figures:
        """Play a fault now."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return play(fault, folder)

    def end(self) -> None:
        """End the faults."""
        self._pool.kill()


@pytest.fixture(scope="module")
def plays(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plays]:
    """Begin to play the faults, and a run without a sink beside them."""
    plays = Plays(tmp_path_factory.mktemp("faults"))
    chosen = [fault for fault in DANGEROUS if any(fault.title in item.nodeid for item in request.session.items)]
    queue = gevent.spawn(plays.begin, [NONE, *chosen])
    gevent.sleep(0.1)
    yield plays
    queue.kill()
    plays.end()


def test_the_names_are_those_of_faults() -> None:
    """Each title is that of a fault."""
    assert {fault.title for fault in DANGEROUS} == set(TITLES)


@pytest.mark.parametrize("fault", DANGEROUS, ids=lambda fault: fault.title)
def test_no_fault_blocks_the_load(plays: Plays, fault: Fault) -> None:
    """Load, exit and scrapes do not wait for the fault; memory, log lines, self-metrics and totals are right."""
    result = judge(fault, plays.of(fault), plays.of(NONE))
    if result.times:  # other faults beside it, or a busy machine: alone it must miss none of the wider limits
        calm = plays.once(NONE)
        result = judge(fault, plays.once(fault), calm, BLOCKED)
    assert result.misses == (), result.figures.log[-3000:]
