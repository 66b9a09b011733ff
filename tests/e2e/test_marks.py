"""Marks of tasks, programs and people are in the metrics, the log and the record, and pushed, in every mode."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from locust_otel.review.record.reader import load as record_of
from tests.backends.servers import free_port
from tests.e2e.harness import (
    LOCUSTFILES,
    Outcome,
    Process,
    Stage,
    WebUI,
    in_modes,
    load,
    played,
    with_web_ui,
)
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
        *load(stage.shop().url, file=MARKING, users=USERS, run_time="60s"),
        *("--prometheus-port", str(port), "--run-id", "marked", "--run-record", "runs"),
        *("--otlp-endpoint", sink.url.removesuffix("/v1/metrics")),
    ]


def marked(stage: Stage, mode: str) -> Outcome:
    """Mark a run by the command and by HTTP, end it when the tasks have marked too, and return all marks."""
    port = free_port()
    with HttpSink() as sink:
        process = stage.run_in(mode, *_arguments(stage, port, sink))
        return _marks(stage, port, process, sink)


def _marks(stage: Stage, port: int, process: Process, sink: HttpSink) -> Outcome:
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
    process.send(signal.SIGTERM)
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
            "command": command.log,
        },
    )


def _events(sink: HttpSink) -> list[dict[str, Any]]:
    """Return the attributes of the marks that were pushed."""
    pushes = (ExportLogsServiceRequest.FromString(push.body) for push in sink.received if push.path == "/v1/logs")
    return [
        {pair.key: pair.value.string_value for pair in entry.attributes}
        for request in pushes
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for entry in scope.log_records
        if entry.event_name == "locust.mark"
    ]


MARKS = {
    ("ten fetched", "note"): USERS, ("restart db", "fault-start"): 1, ("restart db", "fault-end"): 1,
    ("by curl", "deployment"): 1,
}  # fmt: skip
everywhere = played(*in_modes(marked))


@everywhere
def test_marks_are_in_the_metrics(outcome: Outcome) -> None:
    """Each mark is counted once, those of tasks on workers too, and the run is otherwise unchanged."""
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
    assert Counter((mark.mark, mark.kind) for mark in record.marks) == MARKS
    times = [0, *(mark.time_s for mark in record.marks), record.intervals[-1].end_s]
    assert times == sorted(times)
    assert sum(event.name == "locust.mark" for event in record.events) == sum(MARKS.values())


@everywhere
def test_marks_are_pushed(outcome: Outcome) -> None:
    """Each mark is an event over OTLP."""
    events = outcome.more["events"]
    assert Counter((event["mark"], event["kind"]) for event in events) == MARKS
    assert {event["run_id"] for event in events} == {"marked"}


@everywhere
def test_the_answer_to_a_mark(outcome: Outcome) -> None:
    """`mark` returns the exit code of its command, the answer has the run id, and after the run a mark fails."""
    assert outcome.more["codes"] == [6, 1]
    assert outcome.more["answer"]["run_id"] == "marked"
    assert "Marked in run marked at" in outcome.more["command"]


# The page in Locust's web UI.


def _viewed(stage: Stage, web: int, port: int, process: Process, *, enter: str = "") -> Outcome:
    """View the page before, during and after a run."""
    ui, url = WebUI(web), f"http://127.0.0.1:{web}"
    ui.wait()
    scraper = stage.scrape(port)
    browser = stage.start("python", str(LOCUSTFILES.with_name("browser.py")), url, enter, name="browser")
    browser.wait_for_log("ready")
    ui.start(users=USERS) if not enter else _post_with_login(url, "swarm", f"user_count={USERS}&spawn_rate=100")
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


def _post_with_login(url: str, path: str, form: str = "") -> None:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    opener.open(f"{url}/enter", timeout=10).close()
    opener.open(f"{url}/{path}", form.encode(), timeout=10).close()


def page(stage: Stage, mode: str) -> Outcome:
    """A run with an SLO file."""
    web, port = free_port(), free_port()
    (stage.folder / "slo.yaml").write_text(SLO)
    process = stage.run_in(mode, *_web(stage, web, port), "--slo", "slo.yaml")
    return _viewed(stage, web, port, process)


def page_behind_login(stage: Stage) -> Outcome:
    """One process without an SLO file, whose web UI requires a login."""
    web, port = free_port(), free_port()
    process = stage.run(*_web(stage, web, port), "--web-login", env={"TEST_LOGIN": "1"})
    return _viewed(stage, web, port, process, enter="/enter")


def _web(stage: Stage, web: int, port: int) -> list[str]:
    return [*with_web_ui(stage.shop().url, web, MARKING), "--prometheus-port", str(port)]


judged_pages = in_modes(page, "local", "distributed")
pages = played(*judged_pages, page_behind_login)


@pages
def test_values_change_during_the_run(outcome: Outcome) -> None:
    """The page is right before, during and after a run, and the browser's console has no error."""
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
    """Tab reaches the form after a link and the slider of the charts, Enter marks, and the text is shown as text."""
    seen = outcome.more["seen"]
    assert seen["tabs"] == ["other", "moment", "mark"]
    assert seen["focus"] == "mark"
    assert "seen in the browser <b>&" in seen["mark"]
    assert outcome.last.by("locust_marks_total", "mark", kind="fault") == {("seen in the browser <b>&",): 1.0}
    assert "Marked (fault): seen in the browser <b>&" in outcome.log


@pages
def test_the_accessibility_tree(outcome: Outcome) -> None:
    """It has headings, tables with their headers, labels and the live status."""
    tree = outcome.more["seen"]["tree"]
    for part in (
        "- status:", 'heading "Objectives" [level=2]', 'heading "Marks" [level=2]', 'textbox "What happens now"',
        'table "Marks"', 'columnheader "Kind"', 'button "Mark"', 'combobox "Kind, one word"',
    ):  # fmt: skip
        assert part in tree


@pages
def test_texts_are_legible(outcome: Outcome) -> None:
    """In light and dark, wide and narrow, each text has a contrast of 4.5, and nothing is cut off."""
    for look, ((contrast, text), overflow) in outcome.more["seen"]["looks"].items():
        assert contrast >= 4.5, (look, text)
        assert overflow == [], look


@played(*judged_pages)
def test_objectives_are_shown(outcome: Outcome) -> None:
    """With an SLO file the table has each objective, with the numbers of all workers."""
    seen = outcome.more["seen"]
    assert 'rowheader "works 99 % of requests succeed"' in seen["tree"].replace("\u00a0", " ")
    after = seen["after"].replace("\u00a0", " ")
    for text in ("95 % of requests answer within 250 ms", "100.0 %", "objectives: "):
        assert text in after
    assert "\nmet\n" in after or "\ninvalid\n" in after  # on a busy machine


@played(page_behind_login)
def test_without_an_slo_file(outcome: Outcome) -> None:
    """The page says how to give one."""
    assert "--slo slo.yaml" in outcome.more["seen"]["after"]


@played(page_behind_login)
def test_a_login_is_required(outcome: Outcome) -> None:
    """Without it page, numbers and marks redirect to the login."""
    assert outcome.more["seen"]["turned away to"].startswith("/login")
    assert [str(path).partition("?")[0] for path in outcome.more["refused"].values()] == ["/login", "/login"]


@played(*judged_pages)
def test_another_site_cannot_mark(outcome: Outcome) -> None:
    """A request with another origin is refused."""
    assert outcome.more["refused"]["slo/mark"] == 403
