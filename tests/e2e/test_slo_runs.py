"""Log and exit code of a run with an SLO file, and its end after a second signal."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest

from tests.backends.servers import free_port
from tests.e2e.harness import (
    AUTO,
    CALM,
    EXAMPLES,
    LOCUSTFILES,
    Outcome,
    Process,
    Stage,
    WebUI,
    logged_at,
    played,
    with_web_ui,
)
from tests.e2e.pages import wait_until
from tests.e2e.slo import (
    CODES,
    HEALTHY,
    LOGIN_FAULT,
    OBJECTIVES,
    SLOW_SHOP,
    SO_FAR,
    exit_code,
    tables,
    tracebacks_but_of_users,
    unless_late,
    write_slo,
)

pytestmark = pytest.mark.slow


def start(stage: Stage, *more: str, run_time: str = "60s") -> Process:
    """Start a headless run of five users against a slow shop with a fault."""
    shop = stage.shop(LOGIN_FAULT, SLOW_SHOP)
    return stage.run(*_load(shop.url, run_time), *more)


def _load(host: str, run_time: str) -> list[str]:
    return ["-f", str(CALM), "--host", host, "-u", "5", "-r", "100", "-t", run_time, "--headless"]


def played_silently(stage: Stage, *more: str, match: str = "", warmup: str = "0s", run_time: str = "14s") -> Outcome:
    """Play a run with an SLO file and without an endpoint; repeat it when the generator was late."""
    slo = str(write_slo(stage.folder, match=match, warmup=warmup))
    return unless_late(
        lambda: stage.finished(start(stage, *more, "--slo", slo, "--prometheus-port", "off", run_time=run_time))
    )


def with_table(stage: Stage) -> Outcome:
    """Long enough for a table in the middle."""
    return played_silently(stage, match=HEALTHY)


def summary_only(stage: Stage) -> Outcome:
    """The same with `--only-summary`."""
    return played_silently(stage, "--only-summary")


def quiet(stage: Stage) -> Outcome:
    """Every way to make Locust log less, each a run of its own, all at once."""
    slo = str(write_slo(stage.folder))
    shop = stage.shop(LOGIN_FAULT, SLOW_SHOP)
    ways = {
        "only summary": ["--only-summary"], "errors only": ["--loglevel", "ERROR"], "no log": ["--skip-log-setup"],
        "to a file": ["--logfile", str(stage.folder / "locust.log"), "--loglevel", "CRITICAL"],
    }  # fmt: skip
    runs = {
        name: stage.run(*_load(shop.url, "6s"), "--slo", slo, "--prometheus-port", "off", *flags)
        for name, flags in ways.items()
    }
    return Outcome(more={name: (process.wait(), process.log) for name, process in runs.items()})


@played(quiet)
def test_the_verdict_is_printed_at_every_log_level(outcome: Outcome) -> None:
    """With every flag, standard output has the table, the verdict that explains the exit code, and the account."""
    for name, (code, log) in outcome.more.items():
        (table,) = tables(log)
        status = table["availability"].status
        assert status in {"missed", "invalid"}, (name, log[-2000:])  # invalid: the generator was late
        assert code == CODES[status], name
        assert re.search(rf"^objectives of shop: {status}$", log, re.MULTILINE), name
        assert re.search(r"^requests: Locust [\d,]+ · recorded [\d,]+", log, re.MULTILINE), name


def web_ui(stage: Stage) -> Outcome:
    """Two runs of the web UI: each has a verdict, the last one decides the exit code."""

    def play() -> Outcome:
        web, file = free_port(), write_slo(stage.folder)
        shop = stage.shop(LOGIN_FAULT, SLOW_SHOP)
        process = stage.run(*with_web_ui(shop.url, web), "--slo", file, "--prometheus-port", "off")
        ui = WebUI(web)
        for number in (1, 2):
            enough = shop.stats()["total"] + 60
            ui.start(5)
            wait_until(lambda: shop.stats()["total"] >= enough, "60 requests")  # noqa: B023
            ui.stop()
            wait_until(lambda: process.log.count("objectives of") == number, "a table")  # noqa: B023
            shop.clear_faults()
            shop.inject("latency", added_s=0.4)
        process.send_to_group(signal.SIGINT)
        return stage.finished(process)

    return unless_late(play)


def never_started(stage: Stage) -> Outcome:
    """A process with the web UI, ended before a run was started."""
    web = free_port()
    slo = write_slo(stage.folder)
    process = stage.run(*with_web_ui("http://127.0.0.1:9", web), "--slo", slo, "--prometheus-port", "off")
    WebUI(web).wait()
    time.sleep(2)  # until Locust handles signals too
    process.send_to_group(signal.SIGTERM)
    return stage.finished(process)


@played(with_table)
def test_the_log_of_a_run(outcome: Outcome) -> None:
    """It has a notice that the run is far shorter than the period, a table in the middle, and the final one."""
    assert "Budgets are those of the period of 1 min in slo.yaml; this run lasts 14 s" in outcome.log
    (middle,), (final,) = tables(outcome.log, SO_FAR), tables(outcome.log)
    assert set(middle) == set(final) == set(OBJECTIVES)
    assert {row.status for row in final.values()} == {"met"}
    for name in OBJECTIVES:
        assert 0 < middle[name].total < final[name].total
    assert logged_at(outcome.log, SO_FAR) - logged_at(outcome.log, "All users spawned") >= 9
    assert outcome.code == 0


@played(summary_only)
def test_only_summary_leaves_out_the_tables_in_between(outcome: Outcome) -> None:
    """The log has the notice and the final table, but no table in the middle."""
    assert "Budgets are those of the period" in outcome.log
    assert SO_FAR not in outcome.log
    (final,) = tables(outcome.log)
    assert final["availability"].status == "missed"
    assert outcome.code == 3


@played(web_ui)
def test_each_run_of_the_web_ui_is_judged_for_itself(outcome: Outcome) -> None:
    """The first run misses and the second does not, which is the verdict that decides the exit code."""
    first, second = tables(outcome.log)
    assert (first["availability"].status, second["availability"].status) == ("missed", "met")
    good = second["availability"].good
    assert good == second["availability"].total
    assert outcome.code == 0
    assert tracebacks_but_of_users(outcome.log) == []


@played(never_started)
def test_no_run_is_no_pass(outcome: Outcome) -> None:
    """Without a run nothing is decided: code 4."""
    assert outcome.code == 4
    assert tracebacks_but_of_users(outcome.log) == []


def embedded(stage: Stage) -> Outcome:
    """`attach` with an SLO file in a plain script."""
    shop = stage.shop(LOGIN_FAULT, SLOW_SHOP)
    return stage.finished(stage.start("python", LOCUSTFILES / "judged.py", shop.url, write_slo(stage.folder)))


@played(embedded)
def test_the_results_of_a_library(outcome: Outcome) -> None:
    """`standing` is None before the first run, then counts, and has all of Locust's requests at the end."""
    lines = [line for line in outcome.log.splitlines() if line.startswith("[") or line.isdigit()]
    (first, before), (_, middle), (verdict, final), requests = (json.loads(line) for line in lines)
    assert (first, before) == ("undecided", None)
    assert verdict in {"missed", "invalid"}  # invalid: the generator was late
    assert set(middle) == set(final) == set(OBJECTIVES)
    assert [final[name][0] for name in OBJECTIVES] == [verdict, "met", "met"]
    for name in OBJECTIVES:
        assert 0 < middle[name][2] <= final[name][2] == requests
    assert 0 < final["availability"][1] < requests
    assert outcome.code == 0, outcome.log  # only Locust's own end sets an exit code


def in_pytest(stage: Stage) -> Outcome:
    """The example of a load test in pytest, against a healthy and a broken shop at once."""
    shops = {"healthy": stage.shop(), "broken": stage.shop("errors:ratio=0.3")}
    started = {
        name: stage.start(
            "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / "test_webshop.py", env={"SHOP": shop.url}
        )
        for name, shop in shops.items()
    }
    return Outcome(more={name: (process.wait(), process.log) for name, process in started.items()})


@played(in_pytest)
def test_the_example_of_pytest(outcome: Outcome) -> None:
    """It passes if the objectives are met, and otherwise fails and shows them."""
    (passed, output), (failed, failure) = outcome.more["healthy"], outcome.more["broken"]
    assert (passed, failed) == (0, 1), output + failure
    assert "1 passed" in output
    assert "ObjectivePoint(name='availability'" in failure


def drained_twice(stage: Stage) -> Outcome:
    """A second Ctrl-C while users may still finish requests, which take 20 s."""
    slo = write_slo(stage.folder, min_requests=1000)
    shop = stage.shop()
    process = stage.run(*_load(shop.url, "60s"), "--stop-timeout", "30", "--slo", slo)
    wait_until(lambda: shop.stats()["total"] > 20, "requests")
    shop.inject("latency", added_s=20)
    wait_until(lambda: shop.stats()["in_flight"] == 5, "a slow request of each user")
    process.send(signal.SIGINT)
    time.sleep(0.7)
    assert process.is_alive
    sent = time.time()
    process.send(signal.SIGINT)
    return stage.finished(process, sent=sent)


def lingering_twice(stage: Stage) -> Outcome:
    """A second SIGTERM while the process waits for a scraper."""
    port = free_port()
    process = start(stage, "--slo", str(write_slo(stage.folder)), "--prometheus-port", str(port))
    scraper = stage.scrape(port, intervals_s=(3.0, 3.0, 20.0))
    scraper.wait_for(lambda page: page.requests > 30, "requests")
    process.send(signal.SIGTERM)
    process.wait_for_log("to scrape the final values")
    sent = time.time()
    process.send(signal.SIGTERM)
    return stage.finished(process, sent=sent)


@played(drained_twice)
def test_a_second_ctrl_c_ends_the_draining(outcome: Outcome) -> None:
    """The process ends before the requests do, without a traceback; the verdict is undecided: too few requests."""
    assert outcome.more["ended"] - outcome.more["sent"] < 10
    assert tracebacks_but_of_users(outcome.log) == []
    (table,) = tables(outcome.log)
    assert table["availability"].status == "undecided"
    assert outcome.code == 4


@played(lingering_twice)
def test_a_second_sigterm_ends_the_linger_and_keeps_the_code(outcome: Outcome) -> None:
    """The process ends before the wait of 8 s is over, without a traceback, and with the verdict's code."""
    assert tracebacks_but_of_users(outcome.log) == []
    assert outcome.more["ended"] - outcome.more["sent"] < 6
    assert outcome.code == exit_code(outcome.log)
    assert outcome.code in {3, 5}  # 5: the generator was late


def exact_run_time(stage: Stage) -> Outcome:
    """A run time of three seconds in a process without an endpoint."""
    return played_silently(stage, run_time="3s")


@played(exact_run_time)
def test_the_run_time_is_not_shortened_by_the_start(outcome: Outcome) -> None:
    """The run takes three seconds, without the time to read the SLO file."""
    log = outcome.log
    assert logged_at(log, "run-time limit reached") - logged_at(log, "Run time limit set") > 2.9


def _graded(stage: Stage, max_fail_ratio: str, match: str, *, after: str = "") -> Outcome:
    def play() -> Outcome:
        shop, file = stage.shop(LOGIN_FAULT, SLOW_SHOP), write_slo(stage.folder, match=match)
        process = stage.start(
            *(["locust"] if after else ["locust-otel", "run"]),
            *_load(shop.url, "4s"), "-f", f"{LOCUSTFILES / 'graded.py'}{after}",
            *("--slo", file, "--prometheus-port", "off"),
            env={"TEST_MAX_FAIL_RATIO": max_fail_ratio},
        )  # fmt: skip
        return stage.finished(process)

    return unless_late(play)


def too_lenient(stage: Stage) -> Outcome:
    """A listener of the user's sets 0, and an objective is missed."""
    return _graded(stage, "0.9", "")


def too_lenient_before_us(stage: Stage) -> Outcome:
    """The same with `auto.py` after the locustfile."""
    return _graded(stage, "0.9", "", after=f",{AUTO}")


def stricter(stage: Stage) -> Outcome:
    """A listener of the user's sets 1, and all objectives are met."""
    return _graded(stage, "0.01", HEALTHY)


@played(too_lenient, too_lenient_before_us)
def test_the_users_exit_code_does_not_hide_a_miss(outcome: Outcome) -> None:
    """With an SLO file the verdict decides: 3."""
    assert tables(outcome.log)[0]["availability"].status == "missed"
    assert outcome.code == 3


@played(stricter)
def test_the_users_exit_code_is_kept_if_all_objectives_are_met(outcome: Outcome) -> None:
    """The listener's code is kept: 1."""
    assert tables(outcome.log)[0]["availability"].status == "met"
    assert outcome.code == 1


def too_short(stage: Stage) -> Outcome:
    """A run that is over before its warm-up."""
    return played_silently(stage, warmup="30s", run_time="3s")


@played(too_short)
def test_a_run_within_its_warm_up_is_undecided(outcome: Outcome) -> None:
    """Every objective is undecided, and the log says why."""
    (table,) = tables(outcome.log)
    assert {(row.actual, row.total, row.status) for row in table.values()} == {("–", 0, "undecided")}
    assert "The run was over before its warm-up of 30 s: nothing was judged." in outcome.log
    assert outcome.code == 4
