"""Marks of tasks, of programs and of people arrive in the metrics, the log, the record and over OTLP, in every mode."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from locust_otel.review.record.reader import load as record_of
from tests.backends.servers import free_port
from tests.e2e.harness import LOCUSTFILES, Distributed, Outcome, Process, Stage, WebUI, forking, load, played
from tests.e2e.pages import wait_until
from tests.unit.otlp_sinks import HttpSink

pytestmark = pytest.mark.slow

MARKING = LOCUSTFILES / "marking.py"
USERS = 4
SLO = """service: shop
period: 1m
scrape_interval: 1s
min_requests: 10
objectives:
  works: {sli: success, target: 99%}
  fast: {sli: latency, target: 95%, within: 250ms}
  mean: {sli: mean, within: 10s}
"""


def _arguments(stage: Stage, port: int, sink: HttpSink) -> list[str]:
    return [
        *load(stage.shop().url, file=MARKING, users=USERS, run_time="14s"),
        *("--prometheus-port", str(port), "--run-id", "marked", "--run-record", "runs"),
        *("--otlp-endpoint", sink.url.removesuffix("/v1/metrics")),
    ]


def _marked(stage: Stage, port: int, process: Process, sink: HttpSink) -> Outcome:
    """Mark from outside while it runs, and return what came of it everywhere."""
    scraper = stage.scrape(port)
    scraper.wait_for(lambda page: page.requests > 5, "requests")
    url = f"http://127.0.0.1:{port}"
    command = stage.start(
        "locust-otel", "mark", "restart db", "--kind", "fault", "--url", url, "--", "sh", "-c", "exit 6"
    )
    codes = [command.wait()]
    body = json.dumps({"mark": "by curl", "kind": "deployment"}).encode()
    request = urllib.request.Request(f"{url}/-/mark", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.loads(response.read())
    scraper.wait_for(lambda page: page.by("locust_marks_total", kind="note").get((), 0) == USERS, "marks of tasks")
    code = process.wait()
    codes.append(stage.start("locust-otel", "mark", "too late", "--url", url).wait())
    (path,) = (stage.folder / "runs").glob("*.jsonl.gz")
    return Outcome(
        code=code,
        log=process.log,
        metrics=scraper.last,
        more={
            "record": record_of(path),
            "codes": codes,
            "answer": answer,
            "events": _events(sink),
            "told": command.log,
        },
    )


def _events(sink: HttpSink) -> list[dict[str, Any]]:
    """Return the attributes of the marks that were pushed."""
    pushed = (ExportLogsServiceRequest.FromString(each.body) for each in sink.received if each.path == "/v1/logs")
    return [
        {each.key: each.value.string_value for each in entry.attributes}
        for request in pushed
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for entry in scope.log_records
        if entry.event_name == "locust.mark"
    ]


def local(stage: Stage) -> Outcome:
    """One process."""
    port = free_port()
    with HttpSink() as sink:
        return _marked(stage, port, stage.start("locust-otel", "run", *_arguments(stage, port, sink)), sink)


def forked(stage: Stage) -> Outcome:
    """A master that forks two workers."""
    port = free_port()
    with HttpSink() as sink:
        process = stage.start("locust-otel", "run", *_arguments(stage, port, sink), *forking())
        return _marked(stage, port, process, sink)


def distributed(stage: Stage) -> Outcome:
    """A master and two workers."""
    port = free_port()
    with HttpSink() as sink:
        processes = Distributed(stage, *_arguments(stage, port, sink))
        return _marked(stage, port, processes.master, sink)


MARKS = {
    ("ten fetched", "note"): USERS, ("restart db", "fault-start"): 1, ("restart db", "fault-end"): 1,
    ("by curl", "deployment"): 1,
}  # fmt: skip
everywhere = played(local, forked, distributed)


@everywhere
def test_marks_are_in_the_metrics(outcome: Outcome) -> None:
    """Each mark counts once, those of tasks on the workers too, and the run goes on as without them."""
    assert outcome.last.by("locust_marks_total", "mark", "kind", run_id="marked") == MARKS
    assert (outcome.code, outcome.tracebacks) == (0, 0)


@everywhere
def test_marks_are_in_the_log(outcome: Outcome) -> None:
    """The master's log has a line for each."""
    for (mark, kind), count in MARKS.items():
        assert outcome.log.count(f"Marked ({kind}): {mark}") == count


@everywhere
def test_marks_are_in_the_record(outcome: Outcome) -> None:
    """The record has each with its time, as marks and as events."""
    record = outcome.more["record"]
    pairs = [(each.mark, each.kind) for each in record.marks]
    assert {pair: pairs.count(pair) for pair in pairs} == MARKS
    times = [each.time_s for each in record.marks]
    assert times == sorted(times)
    assert all(0 < at_s < 20 for at_s in times)
    assert sum(event.name == "locust.mark" for event in record.events) == sum(MARKS.values())


@everywhere
def test_marks_are_pushed(outcome: Outcome) -> None:
    """Each mark is an event over OTLP."""
    pairs = [(each["mark"], each["kind"]) for each in outcome.more["events"]]
    assert {pair: pairs.count(pair) for pair in pairs} == MARKS
    assert {each["run_id"] for each in outcome.more["events"]} == {"marked"}


@everywhere
def test_who_marks_is_told(outcome: Outcome) -> None:
    """The command's exit code is passed on, the answer names the run, and after the run nobody is there to be told."""
    assert outcome.more["codes"] == [6, 1]
    assert outcome.more["answer"]["run_id"] == "marked"
    assert "Marked in run marked at" in outcome.more["told"]


# -------------------------------------------------------------------------------------------------------- the page


def _looked_at(stage: Stage, web: int, port: int, process: Process, *, enter: str = "") -> Outcome:
    """Look at the page before, during and after a run."""
    ui, url = WebUI(web), f"http://127.0.0.1:{web}"
    wait_until(ui._is_there, "the web UI")
    scraper = stage.scrape(port)
    browser = stage.start("python", str(LOCUSTFILES.with_name("browser.py")), url, enter, name="browser")
    browser.wait_for_log("ready")
    ui.start(users=USERS) if not enter else _start_with_login(url)
    browser.wait_for_log("seen")
    page = scraper.wait_for(lambda page: page.by("locust_marks_total", kind="fault"), "the mark")
    ui.stop() if not enter else _post_with_login(url, "stop")
    assert browser.wait() == 0, browser.log
    refused = {}
    for path in ("slo/data", "slo/mark"):
        headers = {"Content-Type": "application/json", "Origin": "http://evil.example"}
        request = urllib.request.Request(f"{url}/{path}", b'{"mark": "x"}' if "mark" in path else None, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                refused[path] = response.url.removeprefix(url)
        except urllib.error.HTTPError as error:
            refused[path] = error.code
    process.send(signal.SIGTERM)
    process.wait()
    seen = json.loads(browser.log.splitlines()[-1])
    return Outcome(log=process.log, metrics=page, more={"seen": seen, "refused": refused})


def _start_with_login(url: str) -> None:
    _post_with_login(url, "swarm", f"user_count={USERS}&spawn_rate=100")


def _post_with_login(url: str, path: str, form: str = "") -> None:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    opener.open(f"{url}/enter", timeout=10).close()
    opener.open(f"{url}/{path}", form.encode(), timeout=10).close()


def _web(stage: Stage, web: int, port: int) -> list[str]:
    (stage.folder / "slo.yaml").write_text(SLO)
    return [
        *("-f", str(MARKING), "--host", stage.shop().url, "--web-host", "127.0.0.1", "--web-port", str(web)),
        *("--prometheus-port", str(port)),
    ]


def page_local(stage: Stage) -> Outcome:
    """One process with an SLO file."""
    web, port = free_port(), free_port()
    process = stage.start("locust-otel", "run", *_web(stage, web, port), "--slo", "slo.yaml")
    return _looked_at(stage, web, port, process)


def page_distributed(stage: Stage) -> Outcome:
    """A master with two workers and an SLO file."""
    web, port = free_port(), free_port()
    processes = Distributed(stage, *_web(stage, web, port), "--slo", "slo.yaml").complete()
    return _looked_at(stage, web, port, processes.master)


def page_behind_login(stage: Stage) -> Outcome:
    """One process without an SLO file, whose web UI asks for a login."""
    web, port = free_port(), free_port()
    process = stage.start("locust-otel", "run", *_web(stage, web, port), "--web-login", env={"TEST_LOGIN": "1"})
    return _looked_at(stage, web, port, process, enter="/enter")


pages = played(page_local, page_distributed, page_behind_login)


@pages
def test_values_change_while_the_run_goes_on(outcome: Outcome) -> None:
    """Before, during and after a run the page says what there is, and a browser finds nothing wrong with it."""
    seen = outcome.more["seen"]
    assert seen["errors"] == []
    assert "No run has started yet." in seen["before"]
    first, second = seen["requests"]
    assert 0 < first < second
    assert "is over" in seen["after"]
    assert "stopped" in seen["after"]
    assert outcome.tracebacks == 0


@pages
def test_a_mark_by_keyboard(outcome: Outcome) -> None:
    """Tab reaches the form after a link and the moment of the charts, Enter marks, and the text is no markup."""
    seen = outcome.more["seen"]
    assert seen["tabs"] == ["other", "moment", "mark"]
    assert seen["focus"] == "mark"
    assert "seen in the browser <b>&" in seen["mark"]
    assert outcome.last.by("locust_marks_total", "mark", kind="fault") == {("seen in the browser <b>&",): 1.0}
    assert "Marked (fault): seen in the browser <b>&" in outcome.log


@pages
def test_the_page_is_read_out_in_order(outcome: Outcome) -> None:
    """Headings, tables with their headers, labels and the live status are what assistive technology is told."""
    tree = outcome.more["seen"]["tree"]
    for part in (
        "- status:",
        'heading "Objectives" [level=2]',
        'heading "Marks" [level=2]',
        'textbox "What happens now"',
    ):
        assert part in tree
    for part in ('table "Marks"', 'columnheader "Kind"', 'button "Mark"', 'combobox "Kind, one word"'):
        assert part in tree


@pages
def test_it_can_be_read(outcome: Outcome) -> None:
    """In light and dark, wide and narrow, each text has the contrast it takes, and nothing is cut off."""
    for look, ((contrast, text), overflow) in outcome.more["seen"]["looks"].items():
        assert contrast >= 4.5, (look, text)
        assert overflow == [], look


@played(page_local, page_distributed)
def test_objectives_are_shown(outcome: Outcome) -> None:
    """With an SLO file each objective stands in the table, with the numbers of all workers."""
    seen = outcome.more["seen"]
    assert 'rowheader "works 99 % of requests succeed"' in seen["tree"].replace("\u00a0", " ")
    after = seen["after"].replace("\u00a0", " ")
    for text in ("95 % of requests answer within 250 ms", "100.0 %", "objectives: "):
        assert text in after
    assert "\nmet\n" in after or "\ninvalid\n" in after  # where this machine was too busy to generate the load


@played(page_behind_login)
def test_without_an_slo_file(outcome: Outcome) -> None:
    """The page says how to give one."""
    assert "--slo slo.yaml" in outcome.more["seen"]["after"]


@played(page_behind_login)
def test_the_login_is_asked_for(outcome: Outcome) -> None:
    """Without it page, numbers and marks lead to the login."""
    assert outcome.more["seen"]["turned away to"].startswith("/login")
    assert [str(each).partition("?")[0] for each in outcome.more["refused"].values()] == ["/login", "/login"]


@played(page_local, page_distributed)
def test_another_site_cannot_mark(outcome: Outcome) -> None:
    """A request that says it is of another origin is refused."""
    assert outcome.more["refused"]["slo/mark"] == 403
