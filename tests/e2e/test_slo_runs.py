"""What a run with an SLO file says of itself, and that neither the file nor a second Ctrl-C disturbs its end."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest

from tests.backends.servers import free_port
from tests.e2e.harness import AUTO, CALM, EXAMPLES, LOCUSTFILES, Outcome, Process, Stage, WebUI, logged_at, played
from tests.e2e.slo import (
    HEALTHY,
    LOGIN_FAULT,
    OBJECTIVES,
    SO_FAR,
    tables,
    tracebacks_but_of_users,
    unless_saturated,
    write_slo,
)

pytestmark = pytest.mark.slow

MAX_DELAY_S = 1.0
"""Seconds that an SLO file may cost at the exit."""


def start(stage: Stage, *more: str, run_time: str = "60s", fault: str = LOGIN_FAULT) -> Process:
    """Start a headless run of five users against a shop with a fault."""
    shop = stage.shop(fault)
    return stage.start(
        *("locust-otel", "run", "-f", str(CALM), "--host", shop.url, "-u", "5", "-r", "100", "-t", run_time, *more)
    )


def told(stage: Stage) -> Outcome:
    """Long enough for a table in the middle."""

    def play() -> Outcome:
        file = write_slo(stage.folder, match=HEALTHY)
        process = start(stage, "--headless", "--slo", str(file), "--prometheus-port", "off", run_time="14s")
        return Outcome(code=process.wait(), log=process.log)

    return unless_saturated(play)


def summary_only(stage: Stage) -> Outcome:
    """The same with `--only-summary`."""

    def play() -> Outcome:
        more = ("--headless", "--only-summary", "--slo", str(write_slo(stage.folder)), "--prometheus-port", "off")
        process = start(stage, *more, run_time="14s")
        return Outcome(code=process.wait(), log=process.log)

    return unless_saturated(play)


def quiet(stage: Stage) -> Outcome:
    """Every way to have Locust log less, each a run of its own, all at once."""
    slo = str(write_slo(stage.folder))
    shop = stage.shop(LOGIN_FAULT)
    ways = {
        "only summary": ["--only-summary"], "errors only": ["--loglevel", "ERROR"], "no log": ["--skip-log-setup"],
        "to a file": ["--logfile", str(stage.folder / "locust.log"), "--loglevel", "CRITICAL"],
    }  # fmt: skip
    started = {
        name: stage.start(
            *(
                "locust-otel",
                "run",
                "-f",
                str(CALM),
                "--host",
                shop.url,
                "-u",
                "2",
                "-r",
                "2",
                "-t",
                "4s",
                "--headless",
            ),
            *("--slo", slo, "--prometheus-port", "off", *flags),
        )
        for name, flags in ways.items()
    }
    return Outcome(more={name: (process.wait(), process.log) for name, process in started.items()})


@played(quiet)
def test_the_verdict_is_told_at_every_log_level(outcome: Outcome) -> None:
    """No flag of the log turns an exit code into a riddle: table, reason and account are on standard output."""
    for name, (code, log) in outcome.more.items():
        assert code == 3, (name, log[-2000:])
        (table,) = tables(log)
        assert table["availability"].status == "missed", name
        assert re.search(r"^objectives of shop: missed$", log, re.MULTILINE), name
        assert re.search(r"^requests: Locust [\d,]+ · recorded [\d,]+", log, re.MULTILINE), name


def web_ui(stage: Stage) -> Outcome:
    """Two runs by the web UI: both are judged, the last one decides."""

    def play() -> Outcome:
        web, file = free_port(), write_slo(stage.folder)
        shop = stage.shop(LOGIN_FAULT)
        process = stage.start(
            *("locust-otel", "run", "-f", CALM, "--host", shop.url, "--web-host", "127.0.0.1", "--web-port", str(web)),
            *("--slo", file, "--prometheus-port", "off"),
        )
        ui = WebUI(web)
        for number in (1, 2):
            before = shop.stats()["total"]
            ui.start(5)
            deadline = time.monotonic() + 30
            while shop.stats()["total"] < before + 60 and time.monotonic() < deadline:
                time.sleep(0.2)
            ui.stop()
            deadline = time.monotonic() + 30
            while process.log.count("objectives of") < number and time.monotonic() < deadline:
                time.sleep(0.2)
            shop.clear_faults()
        process.send_to_group(signal.SIGINT)
        return Outcome(code=process.wait(), log=process.log)

    return unless_saturated(play)


def never_started(stage: Stage) -> Outcome:
    """The web UI, and nobody presses Start."""
    web = free_port()
    process = stage.start(
        *("locust-otel", "run", "-f", CALM, "--host", "http://127.0.0.1:9", "--web-host", "127.0.0.1"),
        *("--web-port", str(web), "--slo", write_slo(stage.folder), "--prometheus-port", "off"),
    )
    WebUI(web).wait()
    time.sleep(2)  # until Locust listens to signals too
    process.send_to_group(signal.SIGTERM)
    return Outcome(code=process.wait(), log=process.log)


@played(told)
def test_a_run_is_told_of_from_start_to_end(outcome: Outcome) -> None:
    """A notice that the run is far shorter than the period, a table in the middle, and the final one."""
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
    """The notice and the final table are there, the one in the middle is not."""
    assert "Budgets are those of the period" in outcome.log
    assert SO_FAR not in outcome.log
    (final,) = tables(outcome.log)
    assert final["availability"].status == "missed"
    assert outcome.code == 3


@played(web_ui)
def test_each_run_of_the_web_ui_is_judged_for_itself(outcome: Outcome) -> None:
    """The first misses and the second does not, which is what the process ends with."""
    first, second = tables(outcome.log)
    assert (first["availability"].status, second["availability"].status) == ("missed", "met")
    good = second["availability"].good
    assert good == second["availability"].total
    assert outcome.code == 0
    assert tracebacks_but_of_users(outcome.log) == []


@played(never_started)
def test_no_run_is_no_pass(outcome: Outcome) -> None:
    """Where nothing ran nothing is decided: code 4."""
    assert outcome.code == 4
    assert tracebacks_but_of_users(outcome.log) == []


def embedded(stage: Stage) -> Outcome:
    """`attach` with an SLO file in a plain script."""

    def play() -> Outcome:
        shop = stage.shop(LOGIN_FAULT)
        process = stage.start("python", LOCUSTFILES / "judged.py", shop.url, write_slo(stage.folder))
        return Outcome(code=process.wait(), log=process.log)

    return unless_saturated(play)


@played(embedded)
def test_a_library_gives_results(outcome: Outcome) -> None:
    """`standing` is None before the first run, then counts, and has all of Locust's requests at the end."""
    lines = [line for line in outcome.log.splitlines() if line.startswith("[") or line.isdigit()]
    (none, before), (_, middle), (verdict, final), requests = (json.loads(line) for line in lines)
    assert (none, before, verdict) == ("undecided", None, "missed")
    assert set(middle) == set(final) == set(OBJECTIVES)
    assert [final[name][0] for name in OBJECTIVES] == ["missed", "met", "met"]
    for name in OBJECTIVES:
        assert 0 < middle[name][2] <= final[name][2] == requests
    assert 0 < final["availability"][1] < requests
    assert outcome.code == 0, outcome.log  # Locust's own end is not part of it: no exit code is set


def in_pytest(stage: Stage) -> Outcome:
    """The example of a load test in pytest, against a shop that is well and one that is not, at once."""
    shops = {"well": stage.shop(), "broken": stage.shop("errors:ratio=0.3")}
    started = {
        name: stage.start(
            "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / "test_webshop.py", env={"SHOP": shop.url}
        )
        for name, shop in shops.items()
    }
    return Outcome(more={name: (process.wait(), process.log) for name, process in started.items()})


@played(in_pytest)
def test_the_example_of_pytest(outcome: Outcome) -> None:
    """It passes if the objectives are met, and else fails with what they are."""
    (passed, said), (failed, why) = outcome.more["well"], outcome.more["broken"]
    assert (passed, failed) == (0, 1), said + why
    assert "1 passed" in said
    assert "ObjectivePoint(name='availability'" in why


def drained_twice(stage: Stage) -> Outcome:
    """A second Ctrl-C while users may still finish requests of four seconds."""
    slo = write_slo(stage.folder, min_requests=1000)
    process = start(stage, "--headless", "--stop-timeout", "30", "--slo", str(slo), fault="latency:added_s=4")
    process.wait_for_log("All users spawned")
    time.sleep(5)  # each user has had one answer, and waits for the next
    process.send(signal.SIGINT)
    time.sleep(0.7)
    assert process.is_alive
    sent = time.time()
    process.send(signal.SIGINT)
    return Outcome(code=process.wait(), log=process.log, more={"seconds": process.ended - sent})


def lingering_twice(stage: Stage) -> Outcome:
    """A second SIGTERM while a scraper of each ten seconds is waited for."""
    port = free_port()
    process = start(stage, "--headless", "--slo", str(write_slo(stage.folder)), "--prometheus-port", str(port))
    scraper = stage.scrape(port, intervals_s=(3.0, 3.0, 20.0))
    scraper.wait_for(lambda page: page.requests > 60, "requests")
    process.send(signal.SIGTERM)
    process.wait_for_log("to scrape the final values")
    sent = time.time()
    process.send(signal.SIGTERM)
    return Outcome(code=process.wait(), log=process.log, more={"seconds": process.ended - sent})


@played(drained_twice)
def test_a_second_ctrl_c_ends_the_draining(outcome: Outcome) -> None:
    """No traceback, an end at once; what was counted by then is judged: too little, 4."""
    assert outcome.more["seconds"] < 2
    assert tracebacks_but_of_users(outcome.log) == []
    (table,) = tables(outcome.log)
    assert table["availability"].status == "undecided"
    assert outcome.code == 4


@played(lingering_twice)
def test_a_second_sigterm_ends_the_linger_and_keeps_the_code(outcome: Outcome) -> None:
    """No traceback, an end at once, and the verdict's code."""
    assert tracebacks_but_of_users(outcome.log) == []
    assert outcome.more["seconds"] < 3
    assert outcome.code == 3


def exits(stage: Stage) -> Outcome:
    """The same run twice, ended by SIGTERM, with an SLO file and without."""
    seconds, codes = {}, {}
    slo = ["--slo", str(write_slo(stage.folder))]
    for name, more in (("with", slo), ("without", []), ("with again", slo), ("without again", [])):
        process = start(stage, "--headless", "--only-summary", "--prometheus-port", "off", *more)
        process.wait_for_log("All users spawned")
        time.sleep(2)
        sent = time.time()
        process.send(signal.SIGTERM)
        codes[name] = process.wait()
        seconds[name] = process.ended - sent
    return Outcome(more={"seconds": seconds, "codes": codes})


@played(exits)
def test_an_slo_file_costs_no_time_at_the_exit(outcome: Outcome) -> None:
    """From SIGTERM to the end it takes hardly longer than without one."""
    seconds = outcome.more["seconds"]
    best = min(seconds["with"], seconds["with again"])
    print(f"exit after {best:.2f} s with an SLO file, {seconds['without']:.2f} s without")
    assert best - min(seconds["without"], seconds["without again"]) <= MAX_DELAY_S
    assert outcome.more["codes"] == {"with": 3, "without": 1, "with again": 3, "without again": 1}


def exact_run_time(stage: Stage) -> Outcome:
    """A run time of three seconds in a process that serves nothing."""
    more = ("--headless", "--prometheus-port", "off", "--slo", str(write_slo(stage.folder)))
    process = start(stage, *more, run_time="3s")
    return Outcome(code=process.wait(), log=process.log)


@played(exact_run_time)
def test_the_run_time_is_not_shortened_by_the_start(outcome: Outcome) -> None:
    """Three seconds are three seconds, however long it took to read the SLO file before."""
    log = outcome.log
    assert logged_at(log, "run-time limit reached") - logged_at(log, "Run time limit set") > 2.9


def _graded(stage: Stage, max_fail_ratio: str, match: str, *, after: str = "") -> Outcome:
    def play() -> Outcome:
        shop, file = stage.shop(LOGIN_FAULT), write_slo(stage.folder, match=match)
        process = stage.start(
            *(["locust"] if after else ["locust-otel", "run"]),
            *("-f", f"{LOCUSTFILES / 'graded.py'}{after}", "--host", shop.url, "--headless"),
            *("-u", "5", "-r", "100", "-t", "4s", "--slo", file, "--prometheus-port", "off"),
            env={"TEST_MAX_FAIL_RATIO": max_fail_ratio},
        )
        return Outcome(code=process.wait(), log=process.log)

    return unless_saturated(play)


def too_lenient(stage: Stage) -> Outcome:
    """A listener of the user's sets 0, and an objective is missed."""
    return _graded(stage, "0.9", "")


def too_lenient_before_us(stage: Stage) -> Outcome:
    """The same where `auto.py` comes after the locustfile."""
    return _graded(stage, "0.9", "", after=f",{AUTO}")


def stricter(stage: Stage) -> Outcome:
    """A listener of the user's sets 1, and all objectives are met."""
    return _graded(stage, "0.01", HEALTHY)


@played(too_lenient, too_lenient_before_us)
def test_a_code_of_the_users_own_does_not_hide_a_miss(outcome: Outcome) -> None:
    """With an SLO file the verdict decides: 3."""
    assert tables(outcome.log)[0]["availability"].status == "missed"
    assert outcome.code == 3


@played(stricter)
def test_a_code_of_the_users_own_outlives_a_pass(outcome: Outcome) -> None:
    """Who grades by more than the objectives keeps the grade: 1."""
    assert tables(outcome.log)[0]["availability"].status == "met"
    assert outcome.code == 1


def too_short(stage: Stage) -> Outcome:
    """A run that is over before its warm-up."""
    slo = write_slo(stage.folder, warmup="30s")
    process = start(stage, "--headless", "--prometheus-port", "off", "--slo", str(slo), run_time="3s")
    return Outcome(code=process.wait(), log=process.log)


@played(too_short)
def test_a_run_within_its_warm_up_is_undecided(outcome: Outcome) -> None:
    """Nothing was judged, which is no pass, and the log says why."""
    (table,) = tables(outcome.log)
    assert {(row.actual, row.total, row.status) for row in table.values()} == {("–", 0, "undecided")}
    assert "The run was over before its warm-up of 30 s: nothing was judged." in outcome.log
    assert outcome.code == 4
