"""The life of a run: resets, signals, the wait for scrapers at the end, exit codes, runs in which nothing happens."""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.backends.servers import free_port
from tests.e2e.harness import (
    CALM,
    IDLE,
    QUICK,
    Account,
    Distributed,
    Outcome,
    Process,
    Stage,
    WebUI,
    forking,
    load,
    logged_at,
    played,
    settled,
)
from tests.e2e.pages import Metrics, Scraper, Totals, fetch, total, wait_until

BROKEN_SHOP = "errors:ratio=1,status=500"
WAITING = "to scrape the final values"
UNBOUNDED = "50s"
SETTLED = {"TEST_BUSY_S": "2.5"}
"""See `test_totals`."""


def finished(stage: Stage, process: Process, scraper: Scraper | None = None, **more: Any) -> Outcome:
    """Wait for the end of a process and gather what there is to see."""
    code = process.wait()
    wait_until(lambda: not process.children(), "its children have ended")
    if scraper is not None:
        scraper.wait_until_gone()
    locust, untimed = stage.totals() if (stage.folder / "stats.json").exists() else ({}, 0)
    metrics = scraper.last if scraper is not None else None
    return Outcome(
        code=code,
        log=process.log,
        metrics=metrics,
        locust=locust,
        untimed=untimed,
        more={"ended": process.ended, **more},
    )


# Resets: Locust forgets, we do not.


def reset_after_ramp(stage: Stage) -> Outcome:
    """`--reset-stats`, two seconds into the run."""
    shop, port = stage.shop(), free_port()
    arguments = [*load(shop.url, file=CALM, users=10, run_time="6s"), "-r", "6", "--reset-stats", "--stop-timeout", "5"]
    process = stage.start("locust-otel", "run", *arguments, "--prometheus-port", str(port), env=SETTLED)
    outcome = finished(stage, process, scraper := stage.scrape(port), pages=scraper)
    outcome.shop = settled(shop)
    return outcome


def reset_after_ramp_distributed(stage: Stage) -> Outcome:
    """The same with two workers, each with a table of its own."""
    shop, port = stage.shop(), free_port()
    arguments = [*load(shop.url, file=CALM, users=10, run_time="9s"), "-r", "5", "--reset-stats"]
    processes = Distributed(
        stage,
        *arguments,
        *("--stop-timeout", "5", "--prometheus-port", str(port)),
        everywhere=["--reset-stats"],
        env=SETTLED,
    )
    scraper = stage.scrape(port)
    outcome = finished(stage, processes.master, scraper, pages=scraper)
    outcome.shop = settled(shop)
    return outcome


@played(reset_after_ramp, reset_after_ramp_distributed)
def test_a_reset_after_the_ramp_takes_nothing_from_our_counters(outcome: Outcome) -> None:
    """Locust's table has only what came after the reset; the page has what the shop has counted, and adds up."""
    assert "Resetting stats" in outcome.log
    assert 0 < total(outcome.locust) < outcome.last.requests
    assert outcome.last.requests == outcome.shop
    assert outcome.last.value("locust_otel_unreconciled_requests") == 0
    account = outcome.account
    assert account.locust == account.recorded == account.last_scrape == outcome.last.requests


@played(reset_after_ramp)
def test_the_account_tells_what_a_reset_has_thrown_away(outcome: Outcome) -> None:
    """What Locust's table shows and what it forgot are all requests."""
    assert outcome.account.before_reset == outcome.last.requests - total(outcome.locust)


def _reset_in_web_ui(stage: Stage, port: int, web: int, process: Process) -> Outcome:
    scraper, ui = stage.scrape(port), WebUI(web)
    ui.start(users=10)
    scraper.wait_for(lambda page: page.requests > 100, "100 requests")
    ui.reset()
    before = scraper.wait_for(lambda page: page.names, "a page")
    ui.reset()
    scraper.wait_for(lambda page: page.requests > before.requests + 100, "more requests")
    ui.stop()
    totals = ui.settled_totals()
    time.sleep(1.5)
    last = scraper.last
    process.send(signal.SIGTERM)
    return finished(stage, process, scraper, pages=scraper, totals=totals, stopped=last)


def reset_button(stage: Stage) -> Outcome:
    """The Reset button of the web UI, pressed twice."""
    shop, port, web = stage.shop(), free_port(), free_port()
    process = stage.start(
        *("locust-otel", "run", "-f", CALM, "--host", shop.url, "--web-host", "127.0.0.1", "--web-port", str(web)),
        *("--stop-timeout", "5", "--prometheus-port", str(port)),
    )
    outcome = _reset_in_web_ui(stage, port, web, process)
    outcome.shop = settled(shop)
    return outcome


def reset_button_distributed(stage: Stage) -> Outcome:
    """The same with two workers, whose tables it does not reach."""
    shop, port, web = stage.shop(), free_port(), free_port()
    processes = Distributed(
        stage,
        *("-f", str(CALM), "--host", shop.url, "--web-host", "127.0.0.1", "--web-port", str(web)),
        *("--stop-timeout", "5", "--prometheus-port", str(port)),
    )
    outcome = _reset_in_web_ui(stage, port, web, processes.complete().master)
    outcome.shop = settled(shop)
    return outcome


@played(reset_button, reset_button_distributed)
def test_the_reset_button_takes_nothing_from_our_counters(outcome: Outcome) -> None:
    """Locust's table has less than the page, the page has what the shop has counted, and adds up."""
    totals: Totals = outcome.more["totals"]
    page: Metrics = outcome.more["stopped"]
    assert 0 < total(totals) < page.requests
    assert 0 <= outcome.shop - page.requests <= 10  # users, each killed in the middle of a request at worst
    assert page.value("locust_otel_unreconciled_requests") == 0
    account = outcome.account
    assert account.locust == account.recorded == page.requests


@played(reset_after_ramp, reset_after_ramp_distributed, reset_button, reset_button_distributed)
def test_a_reset_lowers_no_counter(outcome: Outcome) -> None:
    """From page to page the requests never become fewer."""
    scraper: Scraper = outcome.more["pages"]
    counts = [Metrics(page).requests for page in scraper.pages]
    assert counts == sorted(counts)


# The wait at the end for who scrapes.


def _lingering(stage: Stage, *more: str, faults: tuple[str, ...] = ()) -> tuple[Process, Scraper]:
    """Start a run that would wait long at its end: somebody said once that he comes every 30 s, and does not return."""
    shop, port = stage.shop(*faults), free_port()
    arguments = load(shop.url, file=CALM, users=5, run_time=UNBOUNDED)
    process = stage.start("locust-otel", "run", *arguments, *more, "--prometheus-port", str(port))
    process.wait_for_log("Sending spawn jobs" if more else "All users spawned")
    scraper = stage.scrape(port, count=1, told_timeout_s=30)
    scraper.wait_for(lambda page: page.names, "a page")
    time.sleep(1)
    return process, scraper


def _twice(stage: Stage, process: Process, scraper: Scraper, number: signal.Signals) -> Outcome:
    """Send a signal, and when it waits for scrapers, another."""
    process.send_to_group(number) if number is signal.SIGINT else process.send(number)
    process.wait_for_log(WAITING)
    time.sleep(0.5)
    again = time.time()
    process.send_to_group(number) if number is signal.SIGINT else process.send(number)
    return finished(stage, process, scraper, again=again)


def sigterm_twice(stage: Stage) -> Outcome:
    """SIGTERM, and again while it waits."""
    return _twice(stage, *_lingering(stage), signal.SIGTERM)


def sigterm_twice_failed(stage: Stage) -> Outcome:
    """The same after a run with failures."""
    return _twice(stage, *_lingering(stage, faults=(BROKEN_SHOP,)), signal.SIGTERM)


def ctrl_c_twice(stage: Stage) -> Outcome:
    """Ctrl-C, and again while it waits."""
    return _twice(stage, *_lingering(stage), signal.SIGINT)


def ctrl_c_twice_failed(stage: Stage) -> Outcome:
    """The same after a run with failures."""
    return _twice(stage, *_lingering(stage, faults=(BROKEN_SHOP,)), signal.SIGINT)


def sigterm_twice_forked(stage: Stage) -> Outcome:
    """SIGTERM twice, with two forked workers."""
    return _twice(stage, *_lingering(stage, *forking()), signal.SIGTERM)


def ctrl_c_twice_forked(stage: Stage) -> Outcome:
    """Ctrl-C twice, with two forked workers."""
    return _twice(stage, *_lingering(stage, *forking()), signal.SIGINT)


TWICE = (sigterm_twice, sigterm_twice_failed, ctrl_c_twice, ctrl_c_twice_failed)
TWICE_FORKED = (sigterm_twice_forked, ctrl_c_twice_forked)


@played(*TWICE, *TWICE_FORKED)
def test_a_second_signal_ends_the_wait_at_once(outcome: Outcome) -> None:
    """It ends within seconds and not after the time it would have waited, with an account and without a traceback."""
    assert outcome.more["ended"] - outcome.more["again"] < 5  # 8 s less half a second, or 36 s, without it
    account = outcome.account
    assert account.locust == account.recorded
    # Before that, Python may throw the first Ctrl-C into a user's greenlet, which then prints it.
    assert "Traceback" not in outcome.log[outcome.log.index(WAITING) :]


@played(*TWICE, *TWICE_FORKED)
def test_a_second_signal_keeps_the_exit_code(outcome: Outcome) -> None:
    """It is 1 where requests have failed, else 0, as after a single one."""
    assert outcome.code == (1 if any(failures for _, failures in outcome.locust.values()) else 0)


@played(sigterm_twice_failed, ctrl_c_twice_failed)
def test_a_second_signal_keeps_the_results(outcome: Outcome) -> None:
    """Locust's own result file has all requests."""
    assert total(outcome.locust) == outcome.account.recorded > 0


def sigterm_once(stage: Stage) -> Outcome:
    """SIGTERM once, and the scraper does not return."""
    process, scraper = _lingering(stage)
    process.send(signal.SIGTERM)
    return finished(stage, process, scraper)


@played(sigterm_once)
def test_after_sigterm_the_wait_ends_before_a_container_is_killed(outcome: Outcome) -> None:
    """It waits for most of the 8 s, and ends within 10."""
    waited = outcome.more["ended"] - logged_at(outcome.log, "Got SIGTERM")
    assert 6.5 < waited < 10
    assert outcome.code == 0
    assert outcome.tracebacks == 0


def _plain(stage: Stage, *more: str) -> tuple[Process, int]:
    shop, port = stage.shop(), free_port()
    arguments = load(shop.url, file=CALM, users=5, run_time="3s")
    return stage.start("locust-otel", "run", *arguments, "--prometheus-port", str(port), *more), port


def nobody_scrapes(stage: Stage) -> Outcome:
    """A run that nobody scrapes, beside one without an endpoint."""
    scraped, _ = _plain(stage)
    silent, _ = _plain(stage, "--prometheus-port", "off")
    wait_until(lambda: not any([scraped.is_alive, silent.is_alive]), "both have ended")  # looking at each, for its time
    without = finished(stage, silent)
    return finished(stage, scraped, without=without)


@played(nobody_scrapes)
def test_where_nobody_scrapes_the_exit_is_not_delayed(outcome: Outcome) -> None:
    """From the end of the run to the end of the process it takes as long as without an endpoint, but for a second."""
    without: Outcome = outcome.more["without"]
    assert WAITING not in outcome.log
    assert "never scraped" in outcome.log
    delays = [one.more["ended"] - logged_at(one.log, "limit reached") for one in (outcome, without)]
    assert delays[0] < delays[1] + 1
    assert outcome.code == without.code == 0


@played(nobody_scrapes)
def test_without_an_endpoint_the_account_speaks_of_no_scrape(outcome: Outcome) -> None:
    """With the port off nothing is served, and what was recorded is still told."""
    without: Outcome = outcome.more["without"]
    assert "Metrics for Prometheus" not in without.log
    assert "scrape" not in without.log
    assert without.account.locust == without.account.recorded > 0


def visitor(stage: Stage) -> Outcome:
    """Somebody looks once with a browser."""
    process, port = _plain(stage)
    process.wait_for_log("All users spawned")
    fetch(f"http://127.0.0.1:{port}/metrics", {"User-Agent": "curl/8"})
    return finished(stage, process)


@played(visitor)
def test_nobody_waits_for_a_visitor(outcome: Outcome) -> None:
    """One look without the header of Prometheus makes no scraper."""
    assert WAITING not in outcome.log
    assert outcome.code == 0


def every_two_seconds(stage: Stage) -> Outcome:
    """A scraper with an interval of 2 s."""
    process, port = _plain(stage)
    return finished(stage, process, stage.scrape(port, intervals_s=[2]))


def two_scrapers(stage: Stage) -> Outcome:
    """Two scrapers with an interval of 1 s and one of 3 s; the outcome is that of the slow one."""
    process, port = _plain(stage)
    quick = stage.scrape(port, agent="quick")
    outcome = finished(stage, process, stage.scrape(port, intervals_s=[3], agent="slow"))
    quick.wait_until_gone()
    assert quick.last.totals == outcome.locust
    return outcome


def unsteady(stage: Stage) -> Outcome:
    """A scraper that comes up to 20 % early or late; the run ends right after it came early."""
    shop, port = stage.shop(), free_port()
    arguments = load(shop.url, file=CALM, users=5, run_time=UNBOUNDED)
    process = stage.start("locust-otel", "run", *arguments, "--prometheus-port", str(port))
    scraper = stage.scrape(port, intervals_s=[1.2, 0.8], told_timeout_s=1)
    wait_until(lambda: len(scraper.pages) >= 5, "five pages")  # the fifth came 0.8 s after the fourth
    time.sleep(0.1)
    assert len(scraper.pages) % 2 == 1
    process.send_to_group(signal.SIGINT)
    return finished(stage, process, scraper)


@played(every_two_seconds, two_scrapers, unsteady)
def test_every_scraper_gets_the_final_values(outcome: Outcome) -> None:
    """The last page of each has all requests and says that the run is over."""
    assert outcome.last.totals == outcome.locust
    assert outcome.last.value("locust_run_active") == 0
    assert outcome.account.last_scrape == total(outcome.locust) > 0
    assert outcome.code == 0


def no_linger(stage: Stage) -> Outcome:
    """`--prometheus-linger 0`, with a scraper."""
    process, port = _plain(stage, "--prometheus-linger", "0")
    return finished(stage, process, stage.scrape(port, intervals_s=[2]))


@played(no_linger)
def test_without_linger_it_ends_at_once(outcome: Outcome) -> None:
    """It does not wait, and the account says how much the last scrape had."""
    assert WAITING not in outcome.log
    account = outcome.account
    assert account.locust == account.recorded == total(outcome.locust)
    assert account.last_scrape == outcome.last.requests < account.recorded
    assert outcome.code == 0


# Runs in which nothing happens, and exit codes.


def empty(stage: Stage) -> Outcome:
    """A run without a single request."""
    port = free_port()
    process = stage.start("locust-otel", "run", *load("http://127.0.0.1:1", file=IDLE), "--prometheus-port", str(port))
    return finished(stage, process, stage.scrape(port))


def empty_forked(stage: Stage) -> Outcome:
    """The same with two forked workers."""
    port = free_port()
    arguments = load("http://127.0.0.1:1", file=IDLE)
    process = stage.start("locust-otel", "run", *arguments, *forking(), "--prometheus-port", str(port))
    return finished(stage, process, stage.scrape(port))


@played(empty, empty_forked)
def test_an_empty_run_ends_well(outcome: Outcome) -> None:
    """Nothing was requested, and that is what everything says."""
    assert outcome.account == Account(0, 0, 0, 0)
    assert outcome.last.requests == 0
    assert outcome.last.value("locust_otel_unreconciled_requests") == 0
    assert len(outcome.last.run_ids) == 1
    assert outcome.code == 0
    assert outcome.tracebacks == 0


def never_started(stage: Stage) -> Outcome:
    """The web UI comes up, and nobody presses Start."""
    port, web = free_port(), free_port()
    process = stage.start(
        *("locust-otel", "run", "-f", CALM, "--web-host", "127.0.0.1", "--web-port", str(web)),
        *("--prometheus-port", str(port)),
    )
    scraper = stage.scrape(port)
    scraper.wait_for(lambda page: page.names, "a page")
    process.send(signal.SIGTERM)
    return finished(stage, process, scraper)


def no_workers(stage: Stage) -> Outcome:
    """A master whose workers never come."""
    port, bind = free_port(), str(free_port())
    process = stage.start(
        *("locust-otel", "run", *load("http://127.0.0.1:1", file=CALM), "--master", "--master-bind-host", "127.0.0.1"),
        *("--master-bind-port", bind, "--expect-workers", "1", "--expect-workers-max-wait", "2"),
        *("--prometheus-port", str(port)),
    )
    return finished(stage, process, stage.scrape(port))


@played(never_started, no_workers)
def test_a_process_without_a_run_ends_well(outcome: Outcome) -> None:
    """It has no account, no run, and no traceback."""
    assert Account.all_in(outcome.log) == []
    assert not {run_id for run_id in outcome.last.run_ids if run_id}
    assert outcome.tracebacks == 0


def ok(stage: Stage) -> Outcome:
    """A run without failures."""
    process, _ = _plain(stage)
    return finished(stage, process)


def failed(stage: Stage) -> Outcome:
    """A run whose requests all fail."""
    shop = stage.shop(BROKEN_SHOP)
    arguments = load(shop.url, file=CALM, users=5, run_time="2s")
    return finished(stage, stage.start("locust-otel", "run", *arguments, "--prometheus-port", str(free_port())))


def failed_otherwise(stage: Stage) -> Outcome:
    """The same, with the exit code the user wants for that."""
    shop = stage.shop(BROKEN_SHOP)
    arguments = [*load(shop.url, file=CALM, users=5, run_time="2s"), "--exit-code-on-error", "7"]
    return finished(stage, stage.start("locust-otel", "run", *arguments, "--prometheus-port", str(free_port())))


@played(ok, failed, failed_otherwise)
def test_exit_codes_are_locusts(outcome: Outcome) -> None:
    """Without failures 0, with failures 1 or what `--exit-code-on-error` says."""
    failures = sum(failures for _, failures in outcome.locust.values())
    assert outcome.code == (0 if not failures else 7 if "exit code 7" in outcome.log else 1)
    assert f"Shutting down (exit code {outcome.code})" in outcome.log


def not_even_a_file(stage: Stage) -> Outcome:
    """A locustfile that does not exist."""
    return finished(stage, stage.start("locust-otel", "run", "-f", "nothing.py", "--headless"))


@played(not_even_a_file)
def test_locusts_own_complaints_come_through(outcome: Outcome) -> None:
    """Locust's exit code and its words, and nothing of ours."""
    assert outcome.code == 1
    assert "Could not find" in outcome.log
    assert "locust-otel:" not in outcome.log


def help_text(stage: Stage) -> Outcome:
    """`locust-otel run --help`."""
    return finished(stage, stage.start("locust-otel", "run", "-f", QUICK, "--help"))


@played(help_text)
def test_help_shows_locusts_options_and_ours(outcome: Outcome) -> None:
    """Both are there."""
    assert outcome.code == 0
    assert "--headless" in outcome.log
    assert "--prometheus-port" in outcome.log
