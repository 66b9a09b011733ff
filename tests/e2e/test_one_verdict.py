"""One run has one verdict, wherever it is told: in five outcomes, by seven ways of asking."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from locust_otel.slo.verdict import BY_RANK
from tests.backends.needed import need
from tests.backends.servers import Prometheus, QueryServer, VictoriaMetrics
from tests.deploy import TOP
from tests.e2e.harness import CALM, LOCUSTFILES, Outcome, Stage, played
from tests.e2e.pages import fetch
from tests.e2e.slo import HEALTHY, LOGIN_FAULT, OBJECTIVES, write_slo

pytestmark = [pytest.mark.usefixtures("backends"), pytest.mark.slow]

CODES = {"met": 0, "missed": 3, "undecided": 4, "invalid": 5}


@pytest.fixture(scope="module")
def backends() -> None:
    """Skip, or in CI fail, where a server is missing."""
    need("prometheus", "victoria-metrics")


@dataclass(frozen=True)
class Run:
    """A run that ends in one of the outcomes; an aborted one is missed."""

    outcome: str

    @property
    def __name__(self) -> str:
        return self.outcome

    @property
    def verdict(self) -> str:
        """The verdict it must have."""
        return "missed" if self.outcome == "aborted" else self.outcome

    def __call__(self, stage: Stage) -> Outcome:
        """Play it, and ask everywhere."""
        shop = stage.shop(LOGIN_FAULT)
        match = HEALTHY if self.outcome in {"met", "undecided"} else ""
        least = 10**6 if self.outcome == "undecided" else 10
        slo = write_slo(
            stage.folder, match=match, min_requests=least, warmup="3s"
        )  # Prometheus is to see an aborted one
        file, users = (LOCUSTFILES / "blocking.py", 1) if self.outcome == "invalid" else (CALM, 5)
        with Prometheus(slots=1) as prometheus, VictoriaMetrics() as victoria:
            port = prometheus.take_slot()
            process = stage.start(
                *("locust-otel", "run", "-f", file, "--host", shop.url, "-u", str(users), "-r", "100", "-t", "12s"),
                *("--headless", "--only-summary", "--slo", slo, "--run-id", "one", "--run-record", stage.folder),
                *("--prometheus-port", str(port), "--otlp-interval", "1s"),
                *("--otlp-endpoint", victoria.otlp_url.removesuffix("/v1/metrics")),
                *(["--slo-abort"] if self.outcome == "aborted" else []),
                env={"OTEL_LOGS_EXPORTER": "none"},
            )
            pages: list[dict[str, Any]] = []
            watcher = threading.Thread(target=_watch, args=(port, pages, lambda: process.is_alive))
            watcher.start()
            code = process.wait()
            watcher.join()
            victoria.flush()
            record = str(stage.folder / "one.jsonl.gz")
            store = ("--run-id", "one", "--slo", str(slo), "--prometheus")
            told = {
                "record": _checked(stage, record),
                "prometheus": _checked(stage, *store, prometheus.url),
                "otlp": _checked(stage, *store, victoria.url),
                "report": _reported(stage, record),
            }
            statuses = {"dashboard": _statuses(prometheus), "last point": _statuses(victoria)}
        last = [page for page in pages if page["slo"]][-1]
        told["page"] = last["slo"]["verdict"], {each["name"]: each["status"] for each in last["slo"]["objectives"]}
        told |= {name: (_overall(found), found) for name, found in statuses.items()}
        return Outcome(code=code, log=process.log, more={"told": told})


def _watch(port: int, pages: list[dict[str, Any]], is_alive: Any) -> None:
    while is_alive():
        with contextlib.suppress(OSError, ValueError):  # not there yet, or no longer
            pages.append(json.loads(fetch(f"http://127.0.0.1:{port}/-/page")))
        time.sleep(0.2)


def _asked(stage: Stage, *command: str) -> dict[str, Any]:
    file = stage.folder / "answer.json"
    process = stage.start("locust-otel", *command, "--format", "json", "--output", str(file))
    process.wait()
    answer: dict[str, Any] = json.loads(file.read_text())
    return answer


def _checked(stage: Stage, *source: str) -> tuple[str, dict[str, str]]:
    answer = _asked(stage, "check", *source)
    assert CODES[answer["verdict"]] == answer["exit_code"]
    return answer["verdict"], {each["name"]: each["status"] for each in answer["objectives"]}


def _reported(stage: Stage, record: str) -> tuple[str, dict[str, str]]:
    answer = _asked(stage, "report", record)
    return answer["verdict"], {each["name"]: each["status"] for each in answer["objectives"]}


def _statuses(server: QueryServer) -> dict[str, str]:
    """Return what the table of the dashboard shows."""
    dashboard = (TOP / "dashboards" / "locust-otel-slo.json").read_text()
    query = next(line for line in dashboard.splitlines() if "last_over_time(locust_slo_status" in line)
    promql = json.loads(f"{{{query.strip().rstrip(',')}}}")["expr"]
    for variable, value in (("$run_id", "one"), ("$slo", ".+"), ("$__range", "5m")):
        promql = promql.replace(variable, value)
    return {labels["slo"]: labels["status"] for labels, _ in server.query(promql)}


def _overall(statuses: dict[str, str]) -> str:
    return next((status.value for status in BY_RANK if status.value in statuses.values()), "unknown")


@played(*map(Run, ("met", "missed", "undecided", "invalid", "aborted")))
def test_one_verdict(outcome: Outcome, request: pytest.FixtureRequest) -> None:
    """Exit code, record, Prometheus, OTLP, report, live page and dashboard agree, objective by objective."""
    run: Run = request.node.callspec.params["outcome"]
    told = outcome.more["told"]
    assert {name: verdict for name, (verdict, _) in told.items()} == dict.fromkeys(told, run.verdict), outcome.log[
        -3000:
    ]
    assert outcome.code == CODES[run.verdict]
    by_objective = [statuses for _, statuses in told.values()]
    assert by_objective == [by_objective[0]] * len(told)
    assert set(by_objective[0]) == set(OBJECTIVES)
