"""The most dangerous of the faults, each beside a real run: no budget is missed. `make faults` plays all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import gevent
import pytest
from gevent.event import AsyncResult
from gevent.pool import Pool

from tests.faults.bench import Fault, Figures, play
from tests.faults.faults import EVERY, NONE
from tests.faults.judge import judge

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
        """Play faults one after the other, as soon as there is room."""
        self._results = {fault.title: AsyncResult() for fault in faults}
        for fault in faults:
            self._pool.spawn(self.once, fault).link(self._results[fault.title])

    def of(self, fault: Fault) -> Figures:
        """Return the figures of a fault that was begun."""
        figures: Figures = self._results[fault.title].get()
        return figures

    def once(self, fault: Fault) -> Figures:
        """Play a fault now."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return play(fault, folder)

    def end(self) -> None:
        """Play no more."""
        self._pool.kill()


@pytest.fixture(scope="module")
def plays(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plays]:
    """Begin to play the faults, and a run without any beside them."""
    made = Plays(tmp_path_factory.mktemp("faults"))
    chosen = [fault for fault in DANGEROUS if any(fault.title in item.nodeid for item in request.session.items)]
    queue = gevent.spawn(made.begin, [NONE, *chosen])
    gevent.sleep(0.1)
    yield made
    queue.kill()
    made.end()


def test_the_names_are_those_of_faults() -> None:
    """Each fault that is named here is one."""
    assert {fault.title for fault in DANGEROUS} == set(TITLES)


@pytest.mark.parametrize("fault", DANGEROUS, ids=lambda fault: fault.title)
def test_no_fault_touches_the_load(plays: Plays, fault: Fault) -> None:
    """Gap, exit, load and memory are within their budgets, and what is told and counted of the fault is right."""
    calm = plays.of(NONE)
    found = judge(fault, plays.of(fault), calm)
    if found.times:  # a busy machine, on which a count may be missed too; all has to be right the second time
        calm = plays.once(NONE)
        found = judge(fault, plays.once(fault), calm)
    assert found.misses == (), found.figures.log[-3000:]
