"""The life of a run: resets, signals, the wait for scrapers at the end, exit codes, runs without requests."""

from __future__ import annotations

import re
import signal
import time

from tests.backends.servers import free_port
from tests.e2e.exporters import falls
from tests.e2e.harness import (
    CALM,
    IDLE,
    QUICK,
    Account,
    Distributed,
    Outcome,
    Process,
    Scenario,
    Stage,
    WebUI,
    forking,
    in_modes,
    load,
    logged_at,
    played,
    with_web_ui,
)
from tests.e2e.pages import Metrics, Scraper, Totals, fetch, total, wait_until

BROKEN_SHOP = "errors:ratio=1,status=500"
WAITING = "to scrape the final values"
UNBOUNDED = "50s"
SETTLED = {"TEST_BUSY_S": "2.5"}
"""See `test_totals`."""


# A reset empties Locust's table, but not our counters.


def reset_after_ramp(stage: Stage) -> Outcome:
    """`--reset-stats`, two seconds into the run."""
    shop, port = stage.shop(), free_port()
    process = stage.run(*_ramp(shop.url, 6), "-t", "6s", "--prometheus-port", str(port), env=SETTLED)
    return stage.finished(process, stage.scrape(port), shop=shop)


def reset_after_ramp_distributed(stage: Stage) -> Outcome:
    """The same with two workers, each with a table of its own."""
    shop, port = stage.shop(), free_port()
    arguments = [*_ramp(shop.url, 5), "-t", "9s", "--prometheus-port", str(port)]
    processes = Distributed(stage, *arguments, everywhere=["--reset-stats"], env=SETTLED)
    return stage.finished(processes.master, stage.scrape(port), shop=shop)


def _ramp(host: str, rate: int) -> list[str]:
    return [*load(host, file=CALM, users=10), "-r", str(rate), "--reset-stats", "--stop-timeout", "5"]


@played(reset_after_ramp, reset_after_ramp_distributed)
def test_a_reset_after_the_ramp_takes_nothing_from_our_counters(outcome: Outcome) -> None:
    """Locust's table has the requests after the reset; the page has all requests that the shop counted."""
    assert "Resetting stats" in outcome.log
    assert 0 < total(outcome.locust) < outcome.last.requests
    assert outcome.last.requests == outcome.shop
    assert outcome.last.value("locust_otel_unreconciled_requests") == 0
    account = outcome.account
    assert account.locust == account.recorded == account.last_scrape == outcome.last.requests


@played(reset_after_ramp)
def test_the_account_has_the_requests_before_a_reset(outcome: Outcome) -> None:
    """The requests before the reset and those of Locust's table are all requests."""
    assert outcome.account.before_reset == outcome.last.requests - total(outcome.locust)


def reset_button(stage: Stage, mode: str) -> Outcome:
    """The Reset button of the web UI, pressed twice; it does not reach the tables of workers."""
    shop, port, web = stage.shop(), free_port(), free_port()
    arguments = [*with_web_ui(shop.url, web), "--stop-timeout", "5", "--prometheus-port", str(port)]
    process = stage.run_in(mode, *arguments)
    scraper, ui = stage.scrape(port), WebUI(web)
    ui.start(users=10)
    scraper.wait_for(lambda page: page.requests > 100, "100 requests")
    ui.reset()
    before = scraper.wait_for(lambda page: page.names, "a page")
    ui.reset()
    scraper.wait_for(lambda page: page.requests > before.requests + 100, "more requests")
    ui.stop()
    totals = ui.settled_totals()
    pages = len(scraper.pages)
    wait_until(lambda: len(scraper.pages) > pages + 1, "a page that was made after that")
    last = scraper.last
    process.send(signal.SIGTERM)
    return stage.finished(process, scraper, shop=shop, totals=totals, stopped=last)


RESET_BUTTON = in_modes(reset_button, "local", "distributed")


@played(*RESET_BUTTON)
def test_the_reset_button_takes_nothing_from_our_counters(outcome: Outcome) -> None:
    """Locust's table has fewer requests than the page; the page has all that the shop counted."""
    totals: Totals = outcome.more["totals"]
    page: Metrics = outcome.more["stopped"]
    assert 0 < total(totals) < page.requests
    assert 0 <= outcome.shop - page.requests <= 10  # users, each killed during a request at worst
    assert page.value("locust_otel_unreconciled_requests") == 0
    account = outcome.account
    assert account.locust == account.recorded == page.requests


@played(reset_after_ramp, reset_after_ramp_distributed, *RESET_BUTTON)
def test_a_reset_lowers_no_counter(outcome: Outcome) -> None:
    """No counter is lower than on the page before."""
    assert falls(outcome.more["pages"]) == []


# The wait for scrapers at the end.


def _lingering(stage: Stage, *more: str, faults: tuple[str, ...] = ()) -> tuple[Process, Scraper]:
    """Start a run that would wait long at its end: a scraper has an interval of 30 s, and does not return."""
    shop, port = stage.shop(*faults), free_port()
    arguments = load(shop.url, file=CALM, users=5, run_time=UNBOUNDED)
    process = stage.run(*arguments, *more, "--prometheus-port", str(port))
    process.wait_for_log("Sending spawn jobs" if more else "All users spawned")
    scraper = stage.scrape(port, count=1, told_timeout_s=30)
    scraper.wait_for(lambda page: page.names, "a page")
    time.sleep(1)
    return process, scraper


def _twice(stage: Stage, process: Process, scraper: Scraper, number: signal.Signals) -> Outcome:
    """Send a signal, and again while the process waits for scrapers."""
    send = process.send_to_group if number is signal.SIGINT else process.send
    send(number)
    process.wait_for_log(WAITING)
    time.sleep(0.5)
    again = time.time()
    send(number)
    return stage.finished(process, scraper, again=again)


def _signalled_twice(number: signal.Signals, *more: str, faults: tuple[str, ...] = (), name: str = "") -> Scenario:
    """Return a scenario that ends a run by a signal, and by another one while it waits."""

    def scenario(stage: Stage) -> Outcome:
        return _twice(stage, *_lingering(stage, *more, faults=faults), number)

    scenario.__name__ = f"{number.name.lower()}_twice{name}"
    return scenario


SIGNALS = (signal.SIGTERM, signal.SIGINT)
TWICE_FAILED = tuple(_signalled_twice(number, faults=(BROKEN_SHOP,), name="_failed") for number in SIGNALS)
TWICE = (
    *(_signalled_twice(number) for number in SIGNALS),
    *TWICE_FAILED,
    *(_signalled_twice(number, *forking(), name="_forked") for number in SIGNALS),
)


@played(*TWICE)
def test_a_second_signal_ends_the_wait_at_once(outcome: Outcome) -> None:
    """It ends before the wait is over, with an account and without a traceback."""
    (patience,) = re.findall(r"Waiting up to ([\d.]+) s", outcome.log)
    assert outcome.more["ended"] - outcome.more["again"] < float(patience) - 1  # half a second of it had passed
    account = outcome.account
    assert account.locust == account.recorded
    # Before that, Python may raise the first Ctrl-C in a user's greenlet, which then prints it.
    assert "Traceback" not in outcome.log[outcome.log.index(WAITING) :]


@played(*TWICE)
def test_a_second_signal_keeps_the_exit_code(outcome: Outcome) -> None:
    """It is 1 if requests have failed, else 0, as after a single signal."""
    assert outcome.code == (1 if any(failures for _, failures in outcome.locust.values()) else 0)


@played(*TWICE_FAILED)
def test_a_second_signal_keeps_the_results(outcome: Outcome) -> None:
    """Locust's own result file has all requests."""
    assert total(outcome.locust) == outcome.account.recorded > 0


def sigterm_once(stage: Stage) -> Outcome:
    """SIGTERM once, and the scraper does not return."""
    process, scraper = _lingering(stage)
    process.send(signal.SIGTERM)
    return stage.finished(process, scraper)


@played(sigterm_once)
def test_after_sigterm_the_wait_ends_before_a_container_is_killed(outcome: Outcome) -> None:
    """It waits for most of the 8 s that leave time before a container's 10 s, and not for 36 s, as after Ctrl-C."""
    (patience,) = re.findall(r"Waiting up to ([\d.]+) s", outcome.log)
    assert 6.5 < float(patience) <= 8
    waited = outcome.more["ended"] - logged_at(outcome.log, "Got SIGTERM")
    assert 6.5 < waited < 20
    assert outcome.code == 0
    assert outcome.tracebacks == 0


def _plain(stage: Stage, *more: str) -> tuple[Process, int]:
    shop, port = stage.shop(), free_port()
    arguments = load(shop.url, file=CALM, users=5, run_time="3s")
    return stage.run(*arguments, "--prometheus-port", str(port), *more), port


def not_scraped(stage: Stage) -> Outcome:
    """A run without a scraper."""
    return stage.finished(_plain(stage)[0])


@played(not_scraped)
def test_without_a_scraper_the_end_does_not_wait(outcome: Outcome) -> None:
    """The log says that the run was never scraped. `tests/bench/test_exit.py` has the time."""
    assert WAITING not in outcome.log
    assert "never scraped" in outcome.log
    assert outcome.code == 0


def no_endpoint(stage: Stage) -> Outcome:
    """A run without an endpoint."""
    return stage.finished(_plain(stage, "--prometheus-port", "off")[0])


@played(no_endpoint)
def test_without_an_endpoint_the_account_has_no_scrape(outcome: Outcome) -> None:
    """With `--prometheus-port off` nothing is served, and the account has the recorded requests."""
    assert "Metrics for Prometheus" not in outcome.log
    assert "scrape" not in outcome.log
    assert outcome.account.locust == outcome.account.recorded > 0
    assert outcome.code == 0


def visitor(stage: Stage) -> Outcome:
    """One request for the page by curl."""
    process, port = _plain(stage)
    process.wait_for_log("All users spawned")
    fetch(f"http://127.0.0.1:{port}/metrics", {"User-Agent": "curl/8"})
    return stage.finished(process)


@played(visitor)
def test_the_end_does_not_wait_for_a_visitor(outcome: Outcome) -> None:
    """A client without the header of Prometheus is no scraper."""
    assert WAITING not in outcome.log
    assert outcome.code == 0


def every_two_seconds(stage: Stage) -> Outcome:
    """A scraper with an interval of 2 s."""
    process, port = _plain(stage)
    return stage.finished(process, stage.scrape(port, intervals_s=[2]))


def two_scrapers(stage: Stage) -> Outcome:
    """Two scrapers with an interval of 1 s and one of 3 s; the outcome is that of the slow one."""
    process, port = _plain(stage)
    quick = stage.scrape(port, agent="quick")
    outcome = stage.finished(process, stage.scrape(port, intervals_s=[3], agent="slow"), quick)
    assert quick.last.totals == outcome.locust
    return outcome


def unsteady(stage: Stage) -> Outcome:
    """A scraper that comes up to 20 % early or late; the run ends right after it came early."""
    shop, port = stage.shop(), free_port()
    arguments = load(shop.url, file=CALM, users=5, run_time=UNBOUNDED)
    process = stage.run(*arguments, "--prometheus-port", str(port))
    scraper = stage.scrape(port, intervals_s=[1.2, 0.8], told_timeout_s=1)

    def came_early() -> bool:
        times = scraper.times
        return len(times) >= 5 and len(times) % 2 == 1 and time.time() - times[-1] < 0.5

    wait_until(came_early, "a page that came 0.8 s after the one before")
    process.send_to_group(signal.SIGINT)
    return stage.finished(process, scraper)


@played(every_two_seconds, two_scrapers, unsteady)
def test_every_scraper_gets_the_final_values(outcome: Outcome) -> None:
    """The last page of each scraper has all requests, and the run is not active."""
    assert outcome.last.totals == outcome.locust
    assert outcome.last.value("locust_run_active") == 0
    assert outcome.account.last_scrape == total(outcome.locust) > 0
    assert outcome.code == 0


def no_linger(stage: Stage) -> Outcome:
    """`--prometheus-linger 0`, with a scraper."""
    process, port = _plain(stage, "--prometheus-linger", "0")
    return stage.finished(process, stage.scrape(port, intervals_s=[2]))


@played(no_linger)
def test_without_linger_it_ends_at_once(outcome: Outcome) -> None:
    """It does not wait, and the account has the requests of the last scrape."""
    assert WAITING not in outcome.log
    account = outcome.account
    assert account.locust == account.recorded == total(outcome.locust)
    assert account.last_scrape == outcome.last.requests < account.recorded
    assert outcome.code == 0


# Runs without requests, and exit codes.


def empty(stage: Stage, mode: str) -> Outcome:
    """A run without a single request."""
    port = free_port()
    process = stage.run_in(mode, *load("http://127.0.0.1:1", file=IDLE), "--prometheus-port", str(port))
    return stage.finished(process, stage.scrape(port))


@played(*in_modes(empty, "local", "forked"))
def test_an_empty_run_ends_well(outcome: Outcome) -> None:
    """Account and page have no request, and the exit code is 0."""
    assert outcome.account == Account(0, 0, 0, 0)
    assert outcome.last.requests == 0
    assert outcome.last.value("locust_otel_unreconciled_requests") == 0
    assert len(outcome.last.run_ids) == 1
    assert outcome.code == 0
    assert outcome.tracebacks == 0


def never_started(stage: Stage) -> Outcome:
    """A process with the web UI, ended before a run was started."""
    port, web = free_port(), free_port()
    process = stage.run(*with_web_ui("http://127.0.0.1:1", web), "--prometheus-port", str(port))
    scraper = stage.scrape(port)
    scraper.wait_for(lambda page: page.names, "a page")
    WebUI(web).wait()
    process.send(signal.SIGTERM)
    return stage.finished(process, scraper)


def no_workers(stage: Stage) -> Outcome:
    """A master whose workers never connect."""
    port, bind = free_port(), str(free_port())
    process = stage.run(
        *(*load("http://127.0.0.1:1", file=CALM), "--master", "--master-bind-host", "127.0.0.1"),
        *("--master-bind-port", bind, "--expect-workers", "1", "--expect-workers-max-wait", "2"),
        *("--prometheus-port", str(port)),
    )
    return stage.finished(process, stage.scrape(port))


@played(never_started, no_workers)
def test_a_process_without_a_run_ends_well(outcome: Outcome) -> None:
    """It has no account, no run, and no traceback."""
    assert Account.all_in(outcome.log) == []
    assert not {run_id for run_id in outcome.last.run_ids if run_id}
    assert outcome.tracebacks == 0


def ok(stage: Stage) -> Outcome:
    """A run without failures."""
    return stage.finished(_plain(stage)[0])


def _failed(stage: Stage, *more: str) -> Outcome:
    arguments = load(stage.shop(BROKEN_SHOP).url, file=CALM, users=5, run_time="2s")
    return stage.finished(stage.run(*arguments, "--prometheus-port", str(free_port()), *more))


def failed(stage: Stage) -> Outcome:
    """A run whose requests all fail."""
    return _failed(stage)


def failed_otherwise(stage: Stage) -> Outcome:
    """The same with another exit code for failures."""
    return _failed(stage, "--exit-code-on-error", "7")


@played(ok, failed, failed_otherwise)
def test_exit_codes_are_locusts(outcome: Outcome) -> None:
    """Without failures 0, with failures 1 or the value of `--exit-code-on-error`."""
    failures = sum(failures for _, failures in outcome.locust.values())
    assert outcome.code == (0 if not failures else 7 if "exit code 7" in outcome.log else 1)
    assert f"Shutting down (exit code {outcome.code})" in outcome.log


def not_even_a_file(stage: Stage) -> Outcome:
    """A locustfile that does not exist."""
    return stage.finished(stage.run("-f", "nothing.py", "--headless"))


@played(not_even_a_file)
def test_locusts_own_errors_are_unchanged(outcome: Outcome) -> None:
    """Exit code and message are Locust's, and no line is ours."""
    assert outcome.code == 1
    assert "Could not find" in outcome.log
    assert "locust-otel:" not in outcome.log


def help_text(stage: Stage) -> Outcome:
    """`locust-otel run --help`."""
    return stage.finished(stage.run("-f", QUICK, "--help"))


@played(help_text)
def test_help_shows_locusts_options_and_ours(outcome: Outcome) -> None:
    """Both are in the help text."""
    assert outcome.code == 0
    assert "--headless" in outcome.log
    assert "--prometheus-port" in outcome.log
