"""Locust's totals and the last values of `/metrics` are equal, to the request, in every way to run Locust."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.backends.servers import free_port
from tests.e2e.exporters import falls
from tests.e2e.harness import (
    LATE,
    QUICK,
    QUICK_USERS,
    SHOP_FAULTS,
    SLOW_ROUTE,
    Account,
    Distributed,
    Outcome,
    Process,
    Stage,
    WebUI,
    forking,
    in_modes,
    load,
    played,
    with_web_ui,
)
from tests.e2e.pages import Metrics, Scraper, Totals, total

GRACEFUL = ("--stop-timeout", "5")
SETTLED = {"TEST_BUSY_S": "2"}
REPORTED = "7s"  # run time in which users are idle for longer than the 3 s from report to report
"""Users are idle at the end, so that counts can be compared with the shop's to the request.

Locust kills a user that waits between two tasks even if it has just begun the next one. And its master waits 0.5 s for
the last reports of its workers, which they send when their users are done: with slow requests, or on a busy machine,
Locust and we lose up to 3 s of requests."""

UNBOUNDED = "50s"
"""Run time of a run that a signal ends."""


def one_process(
    stage: Stage,
    *more: str,
    run_time: str = "4s",
    end: Callable[[Process], None] | None = None,
    env: dict[str, str] | None = None,
) -> Outcome:
    """Play a headless run of one command; `end` ends it before its run time."""
    shop, port = stage.shop(*SHOP_FAULTS), free_port()
    process = stage.run(*load(shop.url, run_time=run_time), "--prometheus-port", str(port), *more, env=env)
    scraper = stage.scrape(port)
    if end is not None:
        scraper.wait_for(lambda page: page.requests > 300, "300 requests")
        end(process)
    return stage.finished(process, scraper, shop=shop)


def several(
    stage: Stage,
    *more: str,
    run_time: str = "5s",
    during: Callable[[Distributed, Scraper], dict[str, Any]] | None = None,
    env: dict[str, str] | None = None,
    file: Path = QUICK,
    command: tuple[str, ...] = ("locust-otel", "run"),
) -> Outcome:
    """Play a headless run with a master and two workers; `during` is called under load and returns further results."""
    shop, port = stage.shop(*SHOP_FAULTS), free_port()
    arguments = [*load(shop.url, file=file, run_time=run_time), "--prometheus-port", str(port), *more]
    processes = Distributed(stage, *arguments, env=env, command=command)
    scraper = stage.scrape(port)
    more_results: dict[str, Any] = {}
    if during is not None:
        scraper.wait_for(lambda page: page.requests > 100, "a report")
        more_results = during(processes, scraper)
    outcome = stage.finished(processes.master, scraper, shop=shop, **more_results)
    for worker in processes.workers:
        worker.wait()
    return outcome


def local(stage: Stage) -> Outcome:
    """One process."""
    return one_process(stage, *GRACEFUL, env=SETTLED)


def forked(stage: Stage) -> Outcome:
    """`--processes 2`."""
    return one_process(stage, *forking(), *GRACEFUL, run_time=REPORTED, env=SETTLED)


def distributed(stage: Stage) -> Outcome:
    """A master and two workers."""
    return several(stage, *GRACEFUL, run_time=REPORTED, env=SETTLED)


def _sigterm(process: Process) -> None:
    process.send(signal.SIGTERM)


def _ctrl_c(process: Process) -> None:
    process.send_to_group(signal.SIGINT)


def terminated(stage: Stage) -> Outcome:
    """SIGTERM in the middle."""
    return one_process(stage, run_time=UNBOUNDED, end=_sigterm)


def terminated_forked(stage: Stage) -> Outcome:
    """SIGTERM to the master of two forked workers."""
    return one_process(stage, *forking(), run_time=UNBOUNDED, end=_sigterm)


def terminated_distributed(stage: Stage) -> Outcome:
    """SIGTERM to the master."""

    def end(processes: Distributed, scraper: Scraper) -> dict[str, Any]:
        processes.master.send(signal.SIGTERM)
        return {}

    return several(stage, run_time=UNBOUNDED, during=end)


def interrupted(stage: Stage) -> Outcome:
    """Ctrl-C in the middle."""
    return one_process(stage, run_time=UNBOUNDED, end=_ctrl_c)


def interrupted_forked(stage: Stage) -> Outcome:
    """Ctrl-C, which the terminal sends to the workers too."""
    return one_process(stage, *forking(), run_time=UNBOUNDED, end=_ctrl_c)


def worker_killed(stage: Stage) -> Outcome:
    """A worker is killed in the middle; the other one works on."""

    def kill(processes: Distributed, scraper: Scraper) -> dict[str, Any]:
        processes.workers[0].send(signal.SIGKILL)
        missing = scraper.wait_for(
            lambda page: page.value("locust_workers", state="missing") == 1, "a worker is missing"
        )
        processes.master.send(signal.SIGTERM)
        return {"missing": missing}

    return several(stage, run_time=UNBOUNDED, during=kill)


def _join(processes: Distributed, scraper: Scraper) -> dict[str, Any]:
    processes.add_worker()
    joined = scraper.wait_for(
        lambda page: len(users := page.by("locust_worker_users", "worker")) == 3 and all(users.values()),
        "three workers with users",
    )
    processes.master.send(signal.SIGTERM)
    return {"joined": joined}


def late_worker(stage: Stage) -> Outcome:
    """A third worker joins in the middle."""
    return several(stage, run_time=UNBOUNDED, during=_join)


def late_worker_with_long_init(stage: Stage) -> Outcome:
    """The same with a worker whose users begin to work before its `init` event is over."""
    return several(stage, run_time=UNBOUNDED, during=_join, file=LATE, command=("locust",))


GRACEFUL_ONES = (local, forked, distributed)
ENDED_BY_SIGNAL = (terminated, terminated_forked, terminated_distributed, interrupted, interrupted_forked)
HEADLESS = (*GRACEFUL_ONES, *ENDED_BY_SIGNAL, worker_killed, late_worker, late_worker_with_long_init)


INTERRUPTED = (interrupted, interrupted_forked)


@played(*[scenario for scenario in HEADLESS if scenario not in INTERRUPTED])
def test_the_last_scrape_has_every_request_of_locust(outcome: Outcome) -> None:
    """Requests and failures of each method and name on the last page, and the account in the log, are Locust's own."""
    assert len(outcome.locust) > 15
    assert outcome.last.totals == outcome.locust
    everything = total(outcome.locust)
    assert outcome.account == Account(everything, 0, everything, everything)
    assert outcome.last.value("locust_otel_unreconciled_requests") == 0
    assert outcome.last.value("locust_otel_listener_errors_total") == 0
    assert outcome.code == 1  # Locust's own, for requests that have failed


@played(*INTERRUPTED)
def test_a_ctrl_c_between_two_listeners_is_accounted_for(outcome: Outcome) -> None:
    """Python can raise it during a request event: then Locust has one more, and the counts show it."""
    everything, recorded = total(outcome.locust), outcome.last.requests
    assert everything - recorded in {0, 1}
    assert outcome.account == Account(everything, 0, recorded, recorded)
    assert outcome.last.value("locust_otel_unreconciled_requests") == everything - recorded
    assert len(outcome.last.totals.items() ^ outcome.locust.items()) <= 2
    assert outcome.code == 1


@played(*HEADLESS)
def test_counters_never_fall(outcome: Outcome) -> None:
    """No counter is lower on a page than on the one before."""
    assert falls(outcome.more["pages"]) == []


@played(*GRACEFUL_ONES)
def test_the_shop_has_counted_the_same(outcome: Outcome) -> None:
    """If users may finish their requests, the shop answered exactly as many as Locust counted."""
    assert outcome.shop == outcome.http


@played(terminated, interrupted)
def test_the_shop_is_ahead_by_the_requests_in_flight(outcome: Outcome) -> None:
    """If users are cut off, the shop answered at most one request a user more, and none less."""
    assert 0 <= outcome.shop - outcome.http <= QUICK_USERS


@played(
    terminated_forked,
    terminated_distributed,
    interrupted_forked,
    worker_killed,
    late_worker,
    late_worker_with_long_init,
)
def test_the_shop_is_never_behind(outcome: Outcome) -> None:
    """Every counted request was answered by the shop; a worker that is cut off loses its last requests."""
    assert outcome.shop >= outcome.http > 0


@played(*GRACEFUL_ONES)
def test_all_kinds_of_requests_are_distinguished(outcome: Outcome) -> None:
    """Outcomes, errors, slow requests, durations and user classes are those of the locustfile."""
    page, locust = outcome.last, outcome.locust
    errors = page.by("locust_request_errors_total", "method", "name", "error_type")
    assert {key: count for key, count in errors.items() if key[0] != "queue"} == {
        ("GET", "/api/products/[missing]", "404"): locust["GET", "/api/products/[missing]"][0],
        ("POST", "/api/orders", "409"): locust["POST", "/api/orders"][0],
        ("GET", "/api/products", "CatchResponseError"): locust["GET", "/api/products"][0],
        ("POST", "/api/cart", "500"): locust["POST", "/api/cart"][0],
        ("GET", "/api/v1/data (no key)", "401"): locust["GET", "/api/v1/data (no key)"][0],
    }
    assert {key[2] for key in errors if key[0] == "queue"} == {"ConnectionError"}
    assert sum(errors.values()) == sum(failures for _, failures in locust.values())
    assert locust["GET", "/api/products/[forgiven]"][1] == 0
    assert page.value("locust_slow_requests_total", name=SLOW_ROUTE) == locust["GET", SLOW_ROUTE][0]
    assert outcome.untimed > 0
    assert sum(page.by("locust_request_duration_seconds_count").values()) == total(locust) - outcome.untimed
    classes = page.by("locust_requests_total", "user_class")
    assert classes.keys() == {("Shopper",), ("Fast",), ("Queue",)}
    assert classes["Queue",] == sum(requests for (method, _), (requests, _) in locust.items() if method == "queue")
    assert page.value("locust_response_body_bytes_total", method="queue") == 7 * classes["Queue",]
    stumbled = page.by("locust_user_errors_total", "user_class", "error_type")
    assert stumbled.keys() == {("Clumsy", "LookupError")}
    assert stumbled["Clumsy", "LookupError"] > 0


@played(local)
def test_every_exception_of_a_task_is_counted(outcome: Outcome) -> None:
    """There are as many user errors as Locust has logged."""
    assert outcome.last.value("locust_user_errors_total") == outcome.log.count("LookupError: stumbled")


@played(*HEADLESS)
def test_the_last_page_says_that_the_run_is_over(outcome: Outcome) -> None:
    """One run, stopped, with a target of 0 users."""
    page = outcome.last
    assert len(page.run_ids) == 1
    assert page.by("locust_run_state", "state") == {
        **dict.fromkeys([("spawning",), ("running",), ("stopping",), ("lost",)], 0),
        ("stopped",): 1,
    }
    assert page.value("locust_run_active") == 0
    assert page.value("locust_users_target") == page.value("locust_users") == 0


@played(worker_killed)
def test_a_killed_worker_is_missing_and_its_reports_stay(outcome: Outcome) -> None:
    """One worker is missing, one is running, two are expected, and the sum keeps every reported request."""
    page: Metrics = outcome.more["missing"]
    states = page.by("locust_workers", "state")
    assert (states["missing",], states["running",]) == (1, 1)
    assert page.value("locust_workers_expected") == 2
    assert len(page.by("locust_worker_users", "worker")) == 1


@played(late_worker, late_worker_with_long_init)
def test_a_late_worker_is_part_of_the_run(outcome: Outcome) -> None:
    """Three workers share all users, in the run that began with two of them."""
    page: Metrics = outcome.more["joined"]
    assert page.value("locust_worker_users") == QUICK_USERS
    assert page.value("locust_workers", state="running") == 3
    assert page.run_ids == outcome.last.run_ids


# The web UI: one process, several runs.


def web_ui(stage: Stage, mode: str) -> Outcome:
    """Start and stop two runs; return the table and the page after each."""
    shop, port, web = stage.shop(*SHOP_FAULTS), free_port(), free_port()
    flags = ("--slow-request", "200ms", "--prometheus-port", str(port), "--run-id", "nightly")
    process = stage.run_in(mode, *with_web_ui(shop.url, web, QUICK), *GRACEFUL, *flags)
    scraper, ui = stage.scrape(port), WebUI(web)
    idle = scraper.wait_for(lambda page: page.names, "a page")
    runs: list[tuple[Totals, Metrics]] = []
    for run_id in ("nightly", "nightly-2"):
        ui.start()
        wanted = {run_id}
        scraper.wait_for(lambda page: page.run_ids == wanted and page.requests > 200, run_id)  # noqa: B023
        ui.stop()
        totals = ui.settled_totals()
        all_requests = total(totals)
        runs.append((totals, scraper.wait_for(lambda page: page.requests == all_requests, "all")))  # noqa: B023
    process.send(signal.SIGTERM)
    return stage.finished(process, scraper, shop=shop, idle=idle, runs=runs)


WEB_UI = in_modes(web_ui, "local", "distributed")


@played(*WEB_UI)
def test_each_run_of_the_web_ui_has_its_own_numbers(outcome: Outcome) -> None:
    """The runs have two ids and exactly the counts of Locust's table, and the series of the first run are removed."""
    runs: list[tuple[Totals, Metrics]] = outcome.more["runs"]
    assert [page.run_ids for _, page in runs] == [{"nightly"}, {"nightly-2"}]
    for totals, page in runs:
        assert len(totals) > 15
        assert page.totals == totals
        assert page.value("locust_otel_unreconciled_requests") == 0
        assert page.value("locust_run_active") == 0
    counts = [total(totals) for totals, _ in runs]
    assert Account.all_in(outcome.log) == [Account(n, 0, n, n) for n in counts]
    sent = sum(n for totals, _ in runs for (method, _), (n, _) in totals.items() if method != "queue")
    assert 0 <= outcome.shop - sent <= 2 * QUICK_USERS
    assert outcome.last.totals == runs[1][0]


@played(*WEB_UI)
def test_before_the_first_run_the_page_has_no_run(outcome: Outcome) -> None:
    """Before the start the page has no request and no run, but the health of the bridge."""
    idle: Metrics = outcome.more["idle"]
    assert not {name for name in idle.names if name.startswith(("locust_request", "locust_run_"))}
    assert not {run_id for run_id in idle.run_ids if run_id}
    assert idle.value("locust_otel_build_info") == 1
    assert idle.value("locust_otel_series") == 0
