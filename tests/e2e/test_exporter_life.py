"""The exporter is killed, frozen, or cannot start: the load, every total and the exit code."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import gevent

from tests.backends.servers import free_port
from tests.e2e.exporters import (
    RESTARTS,
    Watched,
    assert_complete,
    assert_whole,
    exporters,
    falls,
    records,
    replayed,
    totals_of,
    verdict,
)
from tests.e2e.harness import CALM, Outcome, Stage, forking, load, logged_at, played
from tests.e2e.pages import total, wait_until
from tests.e2e.slo import HEALTHY, write_slo

MAX_BACK_S = 2.0
MIN_SHARE = 0.6
"""Of the usual requests in any half second."""
REPLACED = "and was replaced"
LOST = "The run continues without it"


def judged(stage: Stage, *, match: str = "") -> list[str]:
    """Return the arguments that have a run recorded and judged."""
    return ["--slo", str(write_slo(stage.folder, match=match)), "--run-record", "runs"]


# The exporter is killed, and there is another one.


def _killed(stage: Stage, mode: str, *, match: str = "", run_time_s: float = 11, at_once: bool = False) -> Outcome:
    run = Watched(stage, *judged(stage, match=match), mode=mode, busy_s=6, run_time_s=run_time_s)
    if at_once:
        run.process.wait_for_log("Metrics for Prometheus")
    else:
        run.under_load()
    pid, killed = run.kill()
    back_s = run.back(killed, 1)
    return run.end(
        back_s=back_s,
        pids=(pid, run.exporter),
        match=match,
        play=lambda stage: _killed(stage, mode, match=match, run_time_s=run_time_s, at_once=at_once),
    )


def killed_local(stage: Stage) -> Outcome:
    """Killed in the middle of the load, beside a local process; every objective is met."""
    return _killed(stage, "local", match=HEALTHY, run_time_s=9)


def killed_forked(stage: Stage) -> Outcome:
    """The same with two forked workers; an objective is missed."""
    return _killed(stage, "forked")


def killed_distributed(stage: Stage) -> Outcome:
    """The same with a master and two workers."""
    return _killed(stage, "distributed")


def killed_at_once(stage: Stage) -> Outcome:
    """Killed as soon as it serves, before it has saved anything."""
    return _killed(stage, "local", run_time_s=9, at_once=True)


KILLED = (killed_local, killed_forked, killed_distributed, killed_at_once)


@played(*KILLED)
def test_a_killed_exporter_is_replaced(outcome: Outcome) -> None:
    """Another process serves on the same port, and a metric has counted it."""
    before, after = outcome.more["pids"]
    assert before != after
    assert outcome.last.value(RESTARTS) == 1


@played(*KILLED)
def test_every_total_is_complete_after_a_kill(outcome: Outcome) -> None:
    """Locust, the last page, the account and the shop have the same requests, of each name."""
    assert_complete(outcome)


@played(*KILLED)
def test_no_counter_falls_when_an_exporter_is_killed(outcome: Outcome) -> None:
    """From page to page nothing becomes fewer that may only grow, our own health included."""
    assert falls(outcome.more["pages"]) == []


@played(*KILLED)
def test_a_kill_is_logged_in_one_line(outcome: Outcome) -> None:
    """It says which signal it was; nothing else is said of it, and nothing is said twice."""
    (line,) = [line for line in outcome.log.splitlines() if "The exporter" in line]
    assert "signal 9" in line
    assert REPLACED in line
    assert "WARNING" in line
    for once in ("Metrics for Prometheus at", "Run record: ", "objectives of "):
        assert outcome.log.count(once) == 1


@played(*KILLED)
def test_slo_counters_and_record_are_complete_after_a_kill(outcome: Outcome) -> None:
    """Good and bad events follow from Locust's table, and the record has every interval and its end."""
    page, everything = outcome.last, total(outcome.locust)
    judged_names = {name for _, name in outcome.locust}
    if outcome.more["match"]:
        judged_names &= {"/api/v1/data", "/api/mobile/feed"}
    requests = sum(count for (_, name), (count, _) in outcome.locust.items() if name in judged_names)
    failures = sum(count for (_, name), (_, count) in outcome.locust.items() if name in judged_names)
    availability = page.by("locust_slo_events_total", "outcome", slo="availability")
    assert availability == {("good",): requests - failures, ("bad",): failures}
    latency = page.by("locust_slo_events_total", slo="latency")
    assert latency == {(): everything - outcome.untimed}
    (record,) = outcome.more["records"]
    assert_whole(record, outcome, away_s=outcome.more["back_s"])


@played(*KILLED)
def test_the_verdict_decides_the_exit_code_after_a_kill(outcome: Outcome) -> None:
    """It is 0 where every objective is met, though requests have failed, and 3 where one is missed."""
    assert outcome.code == verdict(outcome.log)
    assert outcome.code in {5, 0 if outcome.more["match"] else 3}


def killed_at_the_end(stage: Stage) -> Outcome:
    """Killed while it waits for the last scrape."""
    run = Watched(stage, *judged(stage, match=HEALTHY), busy_s=2, run_time_s=4, interval_s=3)
    run.process.wait_for_log("to scrape the final values")
    run.kill()
    killed = time.time()
    code = run.process.wait()
    wait_until(lambda: not run.process.children(), "nothing is left")
    read = records(stage.folder)
    return Outcome(
        code=code,
        log=run.process.log,
        locust=stage.totals()[0],
        more={"records": read, "took_s": run.process.ended - killed},
    )


@played(killed_at_the_end)
def test_an_exporter_that_is_killed_at_the_end_delays_nothing(outcome: Outcome) -> None:
    """Locust ends at once, says so, and keeps the code of the verdict; the record was closed before."""
    assert outcome.more["took_s"] < 2
    assert outcome.log.count("its last values may be missing") == 1
    assert outcome.code == verdict(outcome.log)
    (record,) = outcome.more["records"]
    assert record.is_complete
    assert totals_of(record) == outcome.locust
    assert outcome.tracebacks == 0


# Three deaths within a minute.


def _thrice(stage: Stage, *more: str) -> Outcome:
    run = Watched(stage, *more, file=CALM, users=5, busy_s=14, run_time_s=17)
    run.under_load(10)
    seen = []
    for number in (1, 2):
        _, killed = run.kill()
        seen.append(run.back(killed, number))
    run.kill()
    run.process.wait_for_log(LOST)
    at_loss = run.shop.stats()["total"]
    return run.end(at_loss=at_loss)


def thrice(stage: Stage) -> Outcome:
    """Each time it serves again it is killed."""
    return _thrice(stage)


def thrice_judged(stage: Stage) -> Outcome:
    """The same with an SLO file."""
    return _thrice(stage, *judged(stage))


def thrice_as_it_starts(stage: Stage) -> Outcome:
    """Every one is killed as soon as it is there, which is before it serves."""
    run = Watched(stage, *judged(stage), file=CALM, users=5, busy_s=4, run_time_s=6, patience_s=0)
    run.under_load(10)
    killed: set[int] = set()

    def gone() -> bool:
        for pid in set(exporters(run.process)) - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return LOST in run.process.log

    wait_until(gone, "the exporter is given up")
    at_loss = run.shop.stats()["total"]
    return run.end(at_loss=at_loss, killed=len(killed))


THRICE = (thrice, thrice_judged, thrice_as_it_starts)


@played(*THRICE)
def test_after_three_deaths_the_run_goes_on_without_an_exporter(outcome: Outcome) -> None:
    """Users work to the end, one error says that nothing is exported any more, and nothing is left."""
    assert outcome.shop == total(outcome.locust) > outcome.more["at_loss"] + 20
    (line,) = [line for line in outcome.log.splitlines() if LOST in line]
    assert "ERROR" in line
    assert "3 times within a minute" in line
    assert outcome.log.count("was replaced") == (0 if "killed" in outcome.more else 2)
    assert outcome.tracebacks == 0


@played(*THRICE)
def test_without_an_exporter_no_verdict_is_a_pass(outcome: Outcome) -> None:
    """With an SLO file the exit code is 4, and the log says why; without one it is Locust's own."""
    is_judged = (outcome.more["records"]) != []
    assert outcome.code == (4 if is_judged else 0)
    assert outcome.log.count("There is no verdict, so the exit code is 4: there is no exporter.") == is_judged


# Frozen.


def frozen(stage: Stage) -> Outcome:
    """Frozen for twenty seconds of load."""
    run = Watched(stage, *judged(stage), busy_s=26, run_time_s=29, patience_s=30)
    run.under_load()
    os.kill(run.exporter, signal.SIGSTOP)
    counts = []
    began = time.monotonic()
    for number in range(1, 41):
        gevent.sleep(max(began + number * 0.5 - time.monotonic(), 0))
        counts.append(run.shop.stats()["total"])
    os.kill(run.exporter, signal.SIGCONT)
    return run.end(counts=counts, play=frozen)


@played(frozen)
def test_every_total_is_complete_after_a_freeze(outcome: Outcome) -> None:
    """Locust, the last page, the account, the record and the shop have the same requests; it was not replaced."""
    assert_complete(outcome)
    assert falls(outcome.more["pages"]) == []
    assert outcome.last.value(RESTARTS) == 0
    (record,) = outcome.more["records"]
    assert record.is_complete
    assert totals_of(record) == outcome.locust
    assert outcome.code == verdict(outcome.log)


def _frozen_to_the_end(stage: Stage, *more: str) -> Outcome:
    run = Watched(stage, *more, file=CALM, users=5, busy_s=3, run_time_s=6, patience_s=0)
    run.under_load(10)
    os.kill(run.exporter, signal.SIGSTOP)
    run.scraper.stop()
    code = run.process.wait()
    wait_until(lambda: not run.process.children(), "nothing is left")
    return Outcome(
        code=code,
        log=run.process.log,
        locust=stage.totals()[0],
        shop=run.shop.stats()["total"],
        more={"ended": run.process.ended, "is_judged": bool(more)},
    )


def frozen_to_the_end(stage: Stage) -> Outcome:
    """Frozen for good."""
    return _frozen_to_the_end(stage)


def frozen_to_the_end_judged(stage: Stage) -> Outcome:
    """The same with an SLO file."""
    return _frozen_to_the_end(stage, *judged(stage))


@played(frozen_to_the_end, frozen_to_the_end_judged)
def test_an_exporter_that_stays_frozen_is_given_up(outcome: Outcome) -> None:
    """Locust ends within two seconds, with code 4 where there is an SLO file, and the log says why."""
    assert outcome.more["ended"] - logged_at(outcome.log, "limit reached") < 2 + 1  # and a second for Locust itself
    assert outcome.log.count("its last values are missing") == 1
    assert outcome.code == (4 if outcome.more["is_judged"] else 0)
    assert outcome.log.count("There is no verdict, so the exit code is 4") == outcome.more["is_judged"]
    assert outcome.shop == total(outcome.locust) > 50
    assert outcome.tracebacks == 0


# It cannot start.


def _refused(stage: Stage, *more: str, path: str = "") -> Outcome:
    shop = stage.shop()
    arguments = [*load(shop.url, file=CALM, users=3, run_time="3s"), "--prometheus-port", str(free_port()), *more]
    process = stage.start("locust-otel", "run", *arguments, env={"PYTHONPATH": path} if path else None)
    code = process.wait()
    wait_until(lambda: not process.children(), "nothing is left", timeout_s=15)
    return Outcome(code=code, log=process.log, shop=shop.stats()["total"])


def _broken_package(stage: Stage) -> str:
    """Return a folder with a package that only the exporter needs, and that cannot be imported."""
    folder = stage.folder / "broken"
    folder.mkdir()
    (folder / "setproctitle.py").write_text("raise ImportError('broken on purpose')\n")
    return str(folder)


def broken_package(stage: Stage) -> Outcome:
    """A package that the exporter needs cannot be imported."""
    return _refused(stage, path=_broken_package(stage))


def broken_package_forked(stage: Stage) -> Outcome:
    """The same with two forked workers."""
    return _refused(stage, *forking(), path=_broken_package(stage))


def no_slo_file(stage: Stage) -> Outcome:
    """An SLO file with two mistakes."""
    (stage.folder / "slo.yaml").write_text(
        "service: shop\nperiod: soon\nobjectives: {a: {sli: success, target: 200%}}\n"
    )
    return _refused(stage, "--slo", "slo.yaml")


@played(broken_package, broken_package_forked)
def test_an_exporter_that_cannot_start_is_told_before_any_user(outcome: Outcome) -> None:
    """The exit code is 78, no user was there, and the log says why, once."""
    assert outcome.code == 78
    assert outcome.shop == 0
    (sentence,) = [line for line in outcome.log.splitlines() if line.startswith("locust-otel:")]
    assert sentence.endswith("(exporter-start)")
    assert outcome.log.count("ImportError: broken on purpose") == 1


@played(no_slo_file)
def test_settings_that_the_exporter_refuses_are_told_before_any_user(outcome: Outcome) -> None:
    """Each mistake in the file has a line, with code 78 and without a traceback."""
    assert outcome.code == 78
    assert outcome.shop == 0
    assert len([line for line in outcome.log.splitlines() if "slo.yaml:" in line]) == 2
    assert "Traceback" not in outcome.log


# Times, last of all: one that is missed beside other runs is measured again without them.


@played(killed_local, killed_distributed)
def test_a_killed_exporter_serves_again_within_two_seconds(outcome: Outcome, tmp_path: Path) -> None:
    """From the kill to the first page of the next one."""
    if outcome.more["back_s"] >= MAX_BACK_S:
        outcome = replayed(outcome, tmp_path)
    assert outcome.more["back_s"] < MAX_BACK_S


@played(frozen)
def test_a_frozen_exporter_does_not_slow_the_load(outcome: Outcome, tmp_path: Path) -> None:
    """In each half second of the freeze the shop gets as many requests as in the others."""

    def slowest(outcome: Outcome) -> float:
        halves: list[int] = [after - before for before, after in pairwise(outcome.more["counts"])]
        return min(halves) / median(halves)

    if slowest(outcome) < MIN_SHARE:
        outcome = replayed(outcome, tmp_path)
    assert slowest(outcome) > MIN_SHARE
