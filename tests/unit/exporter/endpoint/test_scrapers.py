"""Tests of scrapers and the time that the endpoint waits for them, with a clock that a test sets."""

from __future__ import annotations

import pickle

import pytest

from locust_otel.exporter.endpoint.scrapers import MAX_INTERVAL_S, MAX_SCRAPERS, Scrapers

PROMETHEUS = ("10.0.0.1", "Prometheus/3.5.3")
CURL = ("10.0.0.2", "curl/8.14")
RUN = "run-1"


class Timed(Scrapers):
    """Scrapers at the times that a test sets.

    Attributes:
        now_s: Time of the clock.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(lambda: 1_000.0 + self.now_s)

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
        self.now_s = second
        self.came(client, timeout_s=timeout_s)
        self.seen(client, run_id=run_id, total=total, is_final=is_final)

    def left_s(self, run_id: str = RUN, address: str = "10.0.0.1") -> float | None:
        """Return the rounded seconds that a scraper has left; None if it is not awaited."""
        left_s = self.awaited(run_id).get(address)
        return None if left_s is None else round(left_s, 6)


@pytest.fixture
def scrapers() -> Timed:
    """Make scrapers, before the first scrape."""
    return Timed()


def test_no_scraper(scrapers: Timed) -> None:
    """Without a scrape there is no scraper and no total."""
    assert (scrapers.awaited(RUN), scrapers.last_total(RUN)) == ({}, None)


def test_interval_is_observed(scrapers: Timed) -> None:
    """A scraper has 1.2 of its last interval, from its last scrape on; after that it is not awaited."""
    for second in (0, 5, 10, 20):
        scrapers.at(second, timeout_s=3)
    for now_s, left_s in ((20, 12), (27, 5), (31.99, 0.01), (32.01, None)):
        scrapers.now_s = now_s
        assert scrapers.left_s() == left_s


def test_the_longer_of_two_intervals_counts(scrapers: Timed) -> None:
    """After a late scrape the next one seems early; the interval before counts until there are two short ones."""
    for second, left_s in ((0, None), (10, 12), (25, 18), (30, 18), (35, 6)):
        scrapers.at(second)
        assert scrapers.left_s() == left_s


def test_the_timeout_is_the_first_guess(scrapers: Timed) -> None:
    """After one scrape the timeout that Prometheus sends is the interval, then the observed one if it is longer."""
    for second, left_s in ((0, 12), (2, 12), (17, 18)):
        scrapers.at(second, timeout_s=10)
        assert scrapers.left_s() == left_s


def test_visitors_are_not_awaited(scrapers: Timed) -> None:
    """A client without a timeout is a scraper from its second request, and a visitor again after minutes."""
    for second, left_s in ((0, None), (4, 4.8), (4 + MAX_INTERVAL_S + 1, None)):
        scrapers.at(second)
        assert scrapers.left_s() == left_s


@pytest.mark.parametrize(("timeout_s", "left_s"), [(MAX_INTERVAL_S, 1.2 * MAX_INTERVAL_S), (MAX_INTERVAL_S + 1, None)])
def test_the_longest_interval(scrapers: Timed, timeout_s: float, left_s: float | None) -> None:
    """A timeout of more than two minutes is no interval."""
    scrapers.at(0, timeout_s=timeout_s)
    assert scrapers.left_s() == left_s


def test_final_values_end_the_wait(scrapers: Timed) -> None:
    """A scraper with the final values is not awaited, the others are."""
    for client in (PROMETHEUS, CURL):
        scrapers.at(0, client)
        scrapers.at(5, client)
    scrapers.at(6, PROMETHEUS, is_final=True, total=99)
    assert list(scrapers.awaited(RUN)) == ["10.0.0.2"]
    scrapers.at(6, CURL, is_final=True, total=99)
    assert (scrapers.awaited(RUN), scrapers.last_total(RUN)) == ({}, 99)


def test_runs_do_not_mix(scrapers: Timed) -> None:
    """Each run waits for every scraper; the totals of this run and the one before are kept."""
    scrapers.at(0)
    scrapers.at(5, is_final=True, total=10)
    assert (scrapers.left_s(), scrapers.left_s("run-2"), scrapers.last_total("run-2")) == (None, 6, None)
    for second, run_id, total in ((10, "run-2", 3), (15, "run-3", 0)):
        scrapers.at(second, run_id=run_id, total=total)
        assert scrapers.last_total(RUN) == (10 if run_id == "run-2" else None)
    assert (scrapers.last_total("run-2"), scrapers.last_total("run-3")) == (3, 0)


def test_last_total_is_that_of_the_last_scrape(scrapers: Timed) -> None:
    """The total is that of the last answer with the run."""
    scrapers.at(0, total=10)
    scrapers.at(1, CURL, total=12)
    scrapers.at(2, run_id="")
    assert scrapers.last_total(RUN) == 12


def test_an_answer_under_way(scrapers: Timed) -> None:
    """A scraper that comes again is awaited until it has its answer, although it had the final values before."""
    scrapers.at(0, timeout_s=10, is_final=True)
    scrapers.now_s = 1
    scrapers.came(PROMETHEUS, timeout_s=10)
    assert scrapers.left_s() == 12
    scrapers.seen(PROMETHEUS, run_id=RUN, total=1, is_final=True)
    assert scrapers.left_s() is None


def test_an_answer_to_a_dropped_scraper(scrapers: Timed) -> None:
    """If too many other clients came before the answer, its total counts, and the scraper is not awaited."""
    scrapers.seen(PROMETHEUS, run_id=RUN, total=7, is_final=False)
    assert (scrapers.last_total(RUN), scrapers.awaited(RUN)) == (7, {})


def test_after_a_restart() -> None:
    """Pickled scrapers continue in another process, with the clock of the machine."""
    scrapers = Scrapers()
    scrapers.came(PROMETHEUS, timeout_s=10)
    scrapers.seen(PROMETHEUS, run_id=RUN, total=7, is_final=False)
    restarted = pickle.loads(pickle.dumps(scrapers))  # noqa: S301  # our own
    assert restarted.last_total(RUN) == 7
    assert restarted.awaited(RUN) == {"10.0.0.1": pytest.approx(12.0, abs=1)}
    restarted.seen(PROMETHEUS, run_id=RUN, total=9, is_final=True)
    assert (restarted.last_total(RUN), restarted.awaited(RUN)) == (9, {})
    assert scrapers.last_total(RUN) == 7


def test_two_scrapers_at_one_address(scrapers: Timed) -> None:
    """Scrapers with one address differ by their user agents, and the one with more time left counts."""
    agent = ("10.0.0.1", "vmagent")
    scrapers.at(0, PROMETHEUS)
    scrapers.at(30, PROMETHEUS)
    for second in (30, 35):
        scrapers.at(second, agent)
    assert scrapers.left_s() == 30 + 36 - 35


def test_memory_is_bounded(scrapers: Timed) -> None:
    """Of a thousand clients the last hundred are kept, and a scraper that comes again is one of them."""
    for number in range(1_000):
        scrapers.at(number / 100, ("10.1.0.1", f"agent {number}"), timeout_s=100)
        if number % 50 == 0:
            scrapers.at(number / 100, PROMETHEUS, timeout_s=100)
    kept = {("10.1.0.1", f"agent {number}") for number in range(1_000 - MAX_SCRAPERS + 1, 1_000)}
    assert set(scrapers._scrapers) == {PROMETHEUS, *kept}
