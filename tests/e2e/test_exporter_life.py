"""The exporter is killed, frozen, or cannot start: the load, every total and the exit code."""

from __future__ import annotations

import os
import signal
from itertools import pairwise

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
    totals_of,
)
from tests.e2e.harness import CALM, Outcome, Stage, forking, load, logged_at, played
from tests.e2e.pages import total, wait_until
from tests.e2e.slo import HEALTHY, exit_code, write_slo

REPLACED = "and was replaced"
LOST = "The run continues without it"


def judged(stage: Stage, *, match: str = "") -> list[str]:
    """Return the arguments of a run with a record and an SLO file."""
    return ["--slo", str(write_slo(stage.folder, match=match)), "--run-record", "runs"]


# The exporter is killed and replaced. `tests/bench/test_restart.py` has the time.


def _killed(stage: Stage, mode: str, *, match: str = "", run_time_s: float = 11, at_once: bool = False) -> Outcome:
    run = Watched(stage, *judged(stage, match=match), mode=mode, busy_s=6, run_time_s=run_time_s)
    if at_once:
        run.process.wait_for_log("Metrics for Prometheus")
    else:
        run.under_load()
    pid, killed = run.kill()
    back_s = run.back(killed, 1)
    return run.end(back_s=back_s, pids=(pid, run.exporter), match=match)


def killed_local(stage: Stage) -> Outcome:
    """Killed during the load, beside a local process; every objective is met."""
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
    """No counter is lower than on the page before, those of our own health included."""
    assert falls(outcome.more["pages"]) == []


@played(*KILLED)
def test_a_kill_is_logged_in_one_line(outcome: Outcome) -> None:
    """The line names the signal; it is the only one about the exporter, and no other line is repeated."""
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
    """It is 0 if every objective is met, though requests have failed, and 3 if one is missed; 5 on a busy machine."""
    assert outcome.code == exit_code(outcome.log)
    assert outcome.code in {5, 0 if outcome.more["match"] else 3}


def killed_at_the_end(stage: Stage) -> Outcome:
    """Killed while it waits for the last scrape, which takes 24 s at this interval."""
    run = Watched(stage, *judged(stage, match=HEALTHY), busy_s=2, run_time_s=4, interval_s=20)
    run.process.wait_for_log("to scrape the final values")
    _, killed = run.kill()
    return stage.finished(run.process, records=records(stage.folder), killed=killed)


@played(killed_at_the_end)
def test_an_exporter_that_is_killed_at_the_end_delays_nothing(outcome: Outcome) -> None:
    """Locust ends long before the wait is over, logs one line, and keeps the code of the verdict."""
    assert outcome.more["ended"] - outcome.more["killed"] < 10
    assert outcome.log.count("its last values may be missing") == 1
    assert outcome.code == exit_code(outcome.log)
    (record,) = outcome.more["records"]
    assert record.is_complete
    assert totals_of(record) == outcome.locust
    assert outcome.tracebacks == 0


# Three deaths within a minute.


def _thrice(stage: Stage, *more: str) -> Outcome:
    run = Watched(stage, *more, file=CALM, users=5, busy_s=18, run_time_s=21)
    run.under_load(10)
    for number in (1, 2):
        _, killed = run.kill()
        run.back(killed, number)
    run.kill()
    run.process.wait_for_log(LOST)
    at_loss = run.shop.stats()["total"]
    return run.end(at_loss=at_loss)


def thrice(stage: Stage) -> Outcome:
    """It is killed each time it serves again."""
    return _thrice(stage)


def thrice_judged(stage: Stage) -> Outcome:
    """The same with an SLO file."""
    return _thrice(stage, *judged(stage))


def thrice_as_it_starts(stage: Stage) -> Outcome:
    """Every exporter is killed as soon as it starts, before it serves."""
    run = Watched(stage, *judged(stage), file=CALM, users=5, busy_s=4, run_time_s=6, patience_s=0)
    run.under_load(10)
    killed: set[int] = set()

    def is_given_up() -> bool:
        for pid in set(exporters(run.process)) - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return LOST in run.process.log

    wait_until(is_given_up, "the exporter is given up")
    at_loss = run.shop.stats()["total"]
    return run.end(at_loss=at_loss, killed=len(killed))


THRICE = (thrice, thrice_judged, thrice_as_it_starts)


@played(*THRICE)
def test_after_three_deaths_the_run_goes_on_without_an_exporter(outcome: Outcome) -> None:
    """Users work to the end, one error says that nothing is exported any more, and no process is left."""
    assert outcome.shop == total(outcome.locust) > outcome.more["at_loss"] + 20
    (line,) = [line for line in outcome.log.splitlines() if LOST in line]
    assert "ERROR" in line
    assert "3 times within a minute" in line
    assert outcome.log.count("was replaced") == (0 if "killed" in outcome.more else 2)
    assert outcome.tracebacks == 0


@played(*THRICE)
def test_without_an_exporter_no_verdict_is_a_pass(outcome: Outcome) -> None:
    """With an SLO file the exit code is 4, and the log says why; without a file it is Locust's own."""
    is_judged = outcome.more["records"] != []
    assert outcome.code == (4 if is_judged else 0)
    assert outcome.log.count("There is no verdict, so the exit code is 4: there is no exporter.") == is_judged


# Frozen. `tests/bench/test_restart.py` checks that users do not notice it.


def frozen(stage: Stage) -> Outcome:
    """Frozen for twenty seconds of load."""
    run = Watched(stage, *judged(stage), busy_s=26, run_time_s=29, patience_s=30)
    run.under_load()
    os.kill(run.exporter, signal.SIGSTOP)
    counts = [run.shop.stats()["total"]]
    for _ in range(4):
        gevent.sleep(5)
        counts.append(run.shop.stats()["total"])
    os.kill(run.exporter, signal.SIGCONT)
    return run.end(counts=counts)


@played(frozen)
def test_every_total_is_complete_after_a_freeze(outcome: Outcome) -> None:
    """Users work on; Locust, the last page, the account, the record and the shop have the same requests."""
    quarters = [after - before for before, after in pairwise(outcome.more["counts"])]
    assert min(quarters) > max(quarters) / 3
    assert_complete(outcome)
    assert falls(outcome.more["pages"]) == []
    assert outcome.last.value(RESTARTS) == 0
    (record,) = outcome.more["records"]
    assert record.is_complete
    assert totals_of(record) == outcome.locust
    assert outcome.code == exit_code(outcome.log)


def _frozen_to_the_end(stage: Stage, *more: str) -> Outcome:
    run = Watched(stage, *more, file=CALM, users=5, busy_s=3, run_time_s=6, patience_s=0)
    run.under_load(10)
    os.kill(run.exporter, signal.SIGSTOP)
    run.scraper.stop()
    return stage.finished(run.process, shop=run.shop, is_judged=bool(more))


def frozen_to_the_end(stage: Stage) -> Outcome:
    """Frozen for good."""
    return _frozen_to_the_end(stage)


def frozen_to_the_end_judged(stage: Stage) -> Outcome:
    """The same with an SLO file."""
    return _frozen_to_the_end(stage, *judged(stage))


@played(frozen_to_the_end, frozen_to_the_end_judged)
def test_an_exporter_that_stays_frozen_is_given_up(outcome: Outcome) -> None:
    """Locust ends, though the exporter never does; with an SLO file the code is 4, and the log says why."""
    assert outcome.more["ended"] - logged_at(outcome.log, "limit reached") < 15  # 5 s of silence, and Locust's own end
    assert outcome.log.count("its last values are missing") == 1
    assert outcome.code == (4 if outcome.more["is_judged"] else 0)
    assert outcome.log.count("There is no verdict, so the exit code is 4") == outcome.more["is_judged"]
    assert outcome.shop == total(outcome.locust) > 50
    assert outcome.tracebacks == 0


# It cannot start.


def _refused(stage: Stage, *more: str, path: str = "") -> Outcome:
    shop = stage.shop()
    arguments = [*load(shop.url, file=CALM, users=3, run_time="3s"), "--prometheus-port", str(free_port()), *more]
    return stage.finished(stage.run(*arguments, env={"PYTHONPATH": path} if path else None), shop=shop)


def _broken_package(stage: Stage) -> str:
    """Return a folder with a broken package that only the exporter imports."""
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
def test_an_exporter_that_cannot_start_ends_the_run_before_any_user(outcome: Outcome) -> None:
    """The exit code is 78, no user has started, and the log says why, once."""
    assert outcome.code == 78
    assert outcome.shop == 0
    (sentence,) = [line for line in outcome.log.splitlines() if line.startswith("locust-otel:")]
    assert sentence.endswith("(exporter-start)")
    assert outcome.log.count("ImportError: broken on purpose") == 1


@played(no_slo_file)
def test_settings_that_the_exporter_refuses_end_the_run_before_any_user(outcome: Outcome) -> None:
    """Each mistake in the file has a line, with code 78 and without a traceback."""
    assert outcome.code == 78
    assert outcome.shop == 0
    assert len([line for line in outcome.log.splitlines() if "slo.yaml:" in line]) == 2
    assert "Traceback" not in outcome.log
