"""Tests of scrapers and how long they are waited for, with a clock that is set by hand."""

from __future__ import annotations

import pickle

import pytest

from locust_otel.exporter.endpoint.scrapers import MAX_INTERVAL_S, MAX_SCRAPERS, PATIENCE, Scrapers

PROMETHEUS = ("10.0.0.1", "Prometheus/3.5.3")
CURL = ("10.0.0.2", "curl/8.14")
RUN = "run-1"


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Seen(Scrapers):
    """Scrapers with a clock to turn."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def at(
        self,
        second: float,
        client: tuple[str, str] = PROMETHEUS,
        *,
        timeout_s: float | None = None,
        is_final: bool = False,
        run_id: str = RUN,
        total: int = 1,
    ) -> None:
        """Note a scrape at a second."""
        self.clock.now = 1_000.0 + second
        self.came(client, timeout_s=timeout_s)
        self.seen(client, run_id=run_id, total=total, is_final=is_final)


def test_nobody_scrapes() -> None:
    """Where nobody scrapes nobody is awaited, and no total was delivered."""
    seen = Seen()
    assert seen.awaited(RUN) == {}
    assert seen.last_total(RUN) is None


def test_interval_is_what_was_observed() -> None:
    """A scraper is awaited for 1.2 of the last interval, counted from its last scrape."""
    assert PATIENCE == 1.2
    seen = Seen()
    for second in (0, 5, 10, 20):
        seen.at(second, timeout_s=3)
    assert seen.awaited(RUN) == {"10.0.0.1": pytest.approx(12.0)}
    seen.clock.now += 7
    assert seen.awaited(RUN) == {"10.0.0.1": pytest.approx(5.0)}


def test_a_scraper_that_does_not_come_is_given_up() -> None:
    """After 1.2 intervals a scraper is gone, and not awaited."""
    seen = Seen()
    seen.at(0)
    seen.at(10)
    seen.clock.now += 11.99
    assert seen.awaited(RUN)
    seen.clock.now += 0.02
    assert seen.awaited(RUN) == {}


def test_the_timeout_it_tells_is_the_first_guess() -> None:
    """After one scrape the timeout Prometheus sends is the interval; the second shows it, if it is longer."""
    seen = Seen()
    seen.at(0, timeout_s=10)
    assert seen.awaited(RUN) == {"10.0.0.1": pytest.approx(12.0)}
    seen.at(2, timeout_s=10)  # the first one had to wait: no interval is shorter than the timeout
    assert seen.awaited(RUN) == {"10.0.0.1": pytest.approx(12.0)}
    seen.at(17, timeout_s=10)
    assert seen.awaited(RUN) == {"10.0.0.1": pytest.approx(18.0)}


def test_visitors_are_not_awaited() -> None:
    """A look with curl makes no scraper; who comes twice is one; who comes after minutes is none again."""
    seen = Seen()
    seen.at(0, CURL)
    assert seen.awaited(RUN) == {}
    seen.at(4, CURL)
    assert seen.awaited(RUN) == {"10.0.0.2": pytest.approx(4.8)}
    seen.at(4 + MAX_INTERVAL_S + 1, CURL)
    assert seen.awaited(RUN) == {}


def test_the_longest_interval_that_counts() -> None:
    """Two minutes are an interval; an absurd timeout is none."""
    seen = Seen()
    seen.at(0, timeout_s=MAX_INTERVAL_S)
    assert seen.awaited(RUN) == {"10.0.0.1": pytest.approx(1.2 * MAX_INTERVAL_S)}
    seen.at(0, CURL, timeout_s=MAX_INTERVAL_S + 1)
    assert list(seen.awaited(RUN)) == ["10.0.0.1"]


def test_final_values_end_the_wait() -> None:
    """A scraper that has the final values is not awaited, the others still are."""
    seen = Seen()
    for client in (PROMETHEUS, CURL):
        seen.at(0, client)
        seen.at(5, client)
    seen.at(6, PROMETHEUS, is_final=True, total=99)
    assert list(seen.awaited(RUN)) == ["10.0.0.2"]
    seen.at(6, CURL, is_final=True, total=99)
    assert seen.awaited(RUN) == {}
    assert seen.last_total(RUN) == 99


def test_runs_do_not_mix() -> None:
    """When a run begins every scraper is to come again for its final values, at the interval known."""
    seen = Seen()
    seen.at(0)
    seen.at(5, is_final=True, total=10)
    assert seen.awaited(RUN) == {}
    assert seen.last_total("run-2") is None
    assert seen.awaited("run-2") == {"10.0.0.1": pytest.approx(6.0)}
    seen.at(10, run_id="run-2", total=3)
    assert (seen.last_total(RUN), seen.last_total("run-2")) == (10, 3)
    seen.at(15, run_id="run-3", total=0)
    assert (seen.last_total(RUN), seen.last_total("run-2"), seen.last_total("run-3")) == (None, 3, 0)


def test_last_total_is_that_of_the_last_scrape() -> None:
    """The total is that of the latest answer in which the run was."""
    seen = Seen()
    seen.at(0, total=10)
    seen.at(1, CURL, total=12)
    assert seen.last_total(RUN) == 12
    seen.at(2, run_id="")
    assert seen.last_total(RUN) == 12


def test_an_answer_under_way() -> None:
    """A scraper that comes again is awaited until it has its answer, although it had the final values before."""
    seen = Seen()
    seen.at(0, timeout_s=10, is_final=True)
    seen.clock.now += 1
    seen.came(PROMETHEUS, timeout_s=10)
    assert list(seen.awaited(RUN)) == ["10.0.0.1"]
    seen.seen(PROMETHEUS, run_id=RUN, total=1, is_final=True)
    assert seen.awaited(RUN) == {}
    assert seen._scrapers[PROMETHEUS].intervals_s == (10.0,)  # one scrape, not two


def test_an_answer_to_a_scraper_that_is_forgotten() -> None:
    """If too many others came meanwhile, its total counts and it is not awaited."""
    seen = Seen()
    seen.seen(PROMETHEUS, run_id=RUN, total=7, is_final=False)
    assert (seen.last_total(RUN), seen.awaited(RUN)) == (7, {})


def test_it_outlives_its_process() -> None:
    """What is pickled goes on in another process, with the clock of the machine."""
    scrapers = Scrapers()
    scrapers.came(PROMETHEUS, timeout_s=10)
    scrapers.seen(PROMETHEUS, run_id=RUN, total=7, is_final=False)
    again = pickle.loads(pickle.dumps(scrapers))  # noqa: S301  # our own
    assert again.last_total(RUN) == 7
    assert again.awaited(RUN) == {"10.0.0.1": pytest.approx(12.0, abs=1)}
    again.seen(PROMETHEUS, run_id=RUN, total=9, is_final=True)
    assert (again.last_total(RUN), again.awaited(RUN)) == (9, {})
    assert scrapers.last_total(RUN) == 7


def test_two_scrapers_at_one_address() -> None:
    """Two scrapers behind one address are told apart by their user agents, and the one that takes longer counts."""
    seen = Seen()
    agent = ("10.0.0.1", "vmagent")
    for client, interval in ((PROMETHEUS, 30), (agent, 5)):
        seen.at(0, client)
        seen.at(interval, client)
    seen.clock.now = 1_030.0
    seen.at(30, agent, timeout_s=None)
    seen.at(35, agent)
    assert seen.awaited(RUN) == {"10.0.0.1": pytest.approx(30 + 36 - 35)}


def test_memory_is_bounded() -> None:
    """A thousand clients leave the latest hundred, and the one that came again lately is among them."""
    seen = Seen()
    for number in range(1_000):
        seen.at(number / 100, ("10.1.0.1", f"agent {number}"), timeout_s=100)
        if number % 50 == 0:
            seen.at(number / 100, PROMETHEUS, timeout_s=100)
    assert len(seen._scrapers) == MAX_SCRAPERS
    assert PROMETHEUS in seen._scrapers
    assert ("10.1.0.1", "agent 999") in seen._scrapers
    assert ("10.1.0.1", "agent 1") not in seen._scrapers
