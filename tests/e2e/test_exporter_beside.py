"""One exporter beside each Locust process that should have one, for its lifetime: signals, kills, forks, many runs."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.backends.servers import free_port
from tests.e2e.exporters import (
    TITLE,
    USERS,
    Watched,
    assert_complete,
    exporters,
    falls,
    records,
    title,
    titled,
    totals_of,
)
from tests.e2e.harness import (
    CALM,
    LOCUSTFILES,
    QUICK,
    Account,
    Outcome,
    Scenario,
    Stage,
    WebUI,
    played,
    settled,
    with_web_ui,
)
from tests.e2e.pages import Metrics, Totals, total, wait_until
from tests.e2e.slo import exit_code, write_slo
from tests.faults.bench import wait_for

SINK = Path(__file__).parents[1] / "faults" / "sink.py"
PATH = {"PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(Path(__file__).parents[2]))))}

# Signals, to Locust alone and to its process group.


def signalled(number: signal.Signals, *, to_group: bool, mode: str = "local") -> Scenario:
    """Return a scenario that ends a run by a signal, when its users are idle."""

    def scenario(stage: Stage) -> Outcome:
        slo = ("--slo", str(write_slo(stage.folder)))
        run = Watched(stage, *slo, mode=mode, file=CALM, users=5, interval_s=0.5, busy_s=3)
        run.until_idle()
        run.process.send_to_group(number) if to_group else run.process.send(number)
        return run.end()

    scenario.__name__ = f"{number.name.lower()}_{'to_group' if to_group else 'alone'}_{mode}"
    return scenario


@played(
    *(signalled(number, to_group=to_group) for number in (signal.SIGTERM, signal.SIGINT) for to_group in (False, True)),
    signalled(signal.SIGTERM, to_group=False, mode="forked"),
    signalled(signal.SIGINT, to_group=True, mode="forked"),
)
def test_a_run_that_a_signal_ends_is_complete(outcome: Outcome) -> None:
    """The exporter ignores the signal: every total is there, the verdict decides the code, no process is left."""
    everything = total(outcome.locust)
    assert outcome.shop == everything > 50
    assert outcome.last.totals == outcome.locust
    assert outcome.account == Account(everything, 0, everything, everything)
    assert outcome.last.value("locust_run_active") == 0
    assert outcome.code == exit_code(outcome.log)
    assert "Traceback" not in outcome.log


# Locust is killed.


def _lost(stage: Stage, mode: str, file: Path = QUICK) -> Outcome:
    sink_port = free_port()
    order = {"port": sink_port, "fault": "well", "is_grpc": False, "certificate": ""}
    stage.start("python", SINK, stage.folder, json.dumps(order), name="sink")
    wait_for(sink_port)
    otlp = ("--otlp-endpoint", f"http://127.0.0.1:{sink_port}", "--otlp-interval", "30")
    recorded = ("--slo", str(write_slo(stage.folder)), "--run-record", "runs")
    run = Watched(stage, *recorded, *otlp, mode=mode, file=file, busy_s=2, interval_s=1, patience_s=0, env=PATH)
    run.until_idle()
    run.process.send(signal.SIGKILL)
    run.process.wait()
    wait_until(lambda: not exporters(run.process), "the exporter has ended", timeout_s=30)
    run.scraper.wait_until_gone()
    return Outcome(
        log=run.process.log,
        metrics=run.scraper.last,
        shop=run.shop.stats()["total"],
        more={
            "records": records(stage.folder),
            "taken": json.loads((stage.folder / "taken.json").read_text()),
            "pages": run.scraper.pages,
        },
    )


def lost(stage: Stage) -> Outcome:
    """A local process is killed."""
    return _lost(stage, "local")


def lost_master(stage: Stage) -> Outcome:
    """A master is killed; its forked workers live on until Locust ends them."""
    return _lost(stage, "forked")


def lost_with_children(stage: Stage) -> Outcome:
    """A local process is killed; the children of its tasks live on."""
    return _lost(stage, "local", LOCUSTFILES / "forked.py")


LOST_RUNS: tuple[Scenario, ...] = (lost, lost_master, lost_with_children)


@played(*LOST_RUNS)
def test_a_run_whose_locust_was_killed_is_lost(outcome: Outcome) -> None:
    """The last scrape has the state and every request of the shop, no counter has fallen, and the exporter ends."""
    page: Metrics = outcome.last
    assert page.by("locust_run_state", "state")["lost",] == 1
    assert sum(page.by("locust_run_state").values()) == 1
    assert page.value("locust_run_active") == 0
    http = sum(count for (method, _), (count, _) in page.totals.items() if method in {"GET", "POST"})
    assert http == outcome.shop > 50
    assert falls(outcome.more["pages"]) == []


@played(*LOST_RUNS)
def test_a_run_whose_locust_was_killed_is_recorded_and_pushed(outcome: Outcome) -> None:
    """The record has an end and every request, and the sink has every request."""
    (record,) = outcome.more["records"]
    assert record.is_complete
    assert record.intervals[-1].state == "lost"
    assert totals_of(record) == outcome.last.totals
    assert outcome.more["taken"]["requests"] == outcome.last.requests


# Forks.


def forks(stage: Stage) -> Outcome:
    """A task forks children that live 40 s, longer than Locust."""
    run = Watched(stage, file=LOCUSTFILES / "forked.py", users=USERS + 1, busy_s=3, run_time_s=8, env=PATH)
    run.process.wait()
    wait_until(lambda: not exporters(run.process), "the exporter has ended", timeout_s=20)
    children = dict(line.split() for line in (stage.folder / "children.txt").read_text().splitlines())
    alive = {kind for kind, pid in children.items() if int(pid) in run.process.children()}
    time.sleep(0.3)
    run.scraper.stop()
    locust, untimed = stage.totals()
    return Outcome(
        code=run.process.wait(),
        log=run.process.log,
        metrics=run.scraper.last,
        locust=locust,
        untimed=untimed,
        shop=settled(run.shop),
        more={"kinds": set(children), "alive": alive, "pages": run.scraper.pages},
    )


@played(forks)
def test_children_of_tasks_hold_no_exporter(outcome: Outcome) -> None:
    """The exporter ends while children are alive that inherited its connection from Locust."""
    assert outcome.more["kinds"] == {"still", "program", "running"}
    assert outcome.more["alive"] >= {"still", "program"}


@played(forks)
def test_children_of_tasks_report_nothing(outcome: Outcome) -> None:
    """The exporter gets no counts and no messages of children: all totals are those of Locust."""
    assert_complete(outcome)
    assert falls(outcome.more["pages"]) == []
    assert outcome.last.value("locust_otel_exporter_restarts_total") == 0
    assert outcome.code == 1  # some requests fail on purpose


# Several runs of one process.


def web_ui(stage: Stage) -> Outcome:
    """The web UI starts and stops three runs."""
    shop, port, web = stage.shop(), free_port(), free_port()
    flags = ("--stop-timeout", "5", "--prometheus-port", str(port), "--run-id", "ui")
    process = stage.run(*with_web_ui(shop.url, web), *flags)
    scraper, ui = stage.scrape(port, intervals_s=[0.5]), WebUI(web)
    ui.wait()
    before = titled(process)
    runs: list[tuple[Totals, Metrics, list[int], list[str]]] = []
    for run_id in ("ui", "ui-2", "ui-3"):
        wanted = {run_id}
        ui.start(5)
        scraper.wait_for(lambda page: page.run_ids == wanted and page.requests > 60, run_id)  # noqa: B023
        ui.stop()
        totals = ui.settled_totals()
        page = scraper.wait_for(lambda page: page.requests >= total(totals), "all of it")  # noqa: B023
        runs.append((totals, page, titled(process), [title(pid) for pid in titled(process)]))
    process.send(signal.SIGTERM)
    return stage.finished(process, shop=shop, runs=runs, before=before)


@played(web_ui)
def test_one_exporter_serves_all_runs_of_the_web_ui(outcome: Outcome) -> None:
    """It starts before the first run and has the title of each run in turn; each run has its own totals and account."""
    runs = outcome.more["runs"]
    assert len(outcome.more["before"]) == 1
    assert [page.totals for _, page, _, _ in runs] == [totals for totals, _, _, _ in runs]
    assert [pids for _, _, pids, _ in runs] == [outcome.more["before"]] * 3
    assert [titles for _, _, _, titles in runs] == [[f"{TITLE} ui"], [f"{TITLE} ui-2"], [f"{TITLE} ui-3"]]
    counts = [total(totals) for totals, _, _, _ in runs]
    assert [(account.locust, account.recorded) for account in Account.all_in(outcome.log)] == [(n, n) for n in counts]
    assert outcome.shop == sum(counts)
    assert outcome.code == 0
    assert "Traceback" not in outcome.log


def single_user(stage: Stage) -> Outcome:
    """`run_single_user` in a script."""
    shop, port = stage.shop(), free_port()
    process = stage.start("python", LOCUSTFILES / "single.py", "--host", shop.url, "--prometheus-port", str(port))
    scraper = stage.scrape(port, intervals_s=[0.3])
    scraper.wait_for(lambda page: page.requests == 20, "all requests")
    return stage.finished(process, scraper, shop=shop, beside=[title(pid) for pid in titled(process)])


@played(single_user)
def test_the_exporter_ends_with_run_single_user(outcome: Outcome) -> None:
    """There is one beside it, the last page has its 20 requests, and no process is left."""
    (run_id,) = outcome.last.run_ids
    assert outcome.more["beside"] == [f"{TITLE} {run_id}"]
    page = outcome.last
    assert page.totals == {("GET", "/api/v1/data"): (20, 0)}
    assert outcome.shop == 20
    assert "locust_otel_unreconciled_requests" not in page.names  # Locust has no table here
    assert page.value("locust_otel_listener_errors_total") == 0
    assert page.value("locust_run_info", locustfile="single.py") == 1
    assert outcome.code == 0
    assert "Traceback" not in outcome.log


def four_at_once(stage: Stage) -> Outcome:
    """Four processes attach a bridge at the same time, as the workers of a test runner do; no port is given."""
    shops = {f"gw{number}": stage.shop() for number in range(4)}
    script, env = LOCUSTFILES / "attached.py", {"TEST_BUSY_S": "2"}
    processes = {
        name: stage.start("python", script, shop.url, name, name=name, env=env) for name, shop in shops.items()
    }
    for process in processes.values():
        process.wait_for_log("http://")
    ports = [urlsplit(process.log.split()[-1]).port or 0 for process in processes.values()]
    scrapers = [stage.scrape(port, intervals_s=[0.5]) for port in ports]
    beside = [len(titled(process)) for process in processes.values()]
    runs = [
        stage.finished(process, scraper, shop=shops[name], locust=name)
        for (name, process), scraper in zip(processes.items(), scrapers, strict=True)
    ]
    return Outcome(log="".join(run.log for run in runs), more={"ports": ports, "beside": beside, "runs": runs})


@played(four_at_once)
def test_processes_that_attach_at_the_same_time_do_not_meet(outcome: Outcome) -> None:
    """Each has an exporter, a port, a run id and totals of its own."""
    runs = outcome.more["runs"]
    assert outcome.more["beside"] == [1] * 4
    assert len(set(outcome.more["ports"])) == 4
    assert [run.last.run_ids for run in runs] == [{"gw0"}, {"gw1"}, {"gw2"}, {"gw3"}]
    for run in runs:
        assert run.code == 0
        assert run.last.totals == run.locust
        assert run.shop == total(run.locust) > 30
    assert "Traceback" not in outcome.log
