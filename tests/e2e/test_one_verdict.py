"""A run has one verdict: seven sources agree, for runs of five outcomes."""

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
from tests.e2e.slo import CODES, HEALTHY, LOGIN_FAULT, OBJECTIVES, SLOW_SHOP, unless_late, write_slo

pytestmark = [pytest.mark.usefixtures("backends"), pytest.mark.slow]


@pytest.fixture(scope="module")
def backends() -> None:
    """Skip, or in CI fail, where a server is missing."""
    need("prometheus", "victoria-metrics")


@dataclass(frozen=True)
class Run:
    """A run with one of the outcomes; an aborted run is missed."""

    outcome: str

    @property
    def __name__(self) -> str:
        return self.outcome

    @property
    def verdict(self) -> str:
        """The expected verdict."""
        return "missed" if self.outcome == "aborted" else self.outcome

    def __call__(self, stage: Stage) -> Outcome:
        """Play it; repeat it when the generator was late."""
        return self._play(stage) if self.outcome == "invalid" else unless_late(lambda: self._play(stage))

    def _play(self, stage: Stage) -> Outcome:
        shop = stage.shop(LOGIN_FAULT, SLOW_SHOP)
        match = HEALTHY if self.outcome in {"met", "undecided"} else ""
        least = 10**6 if self.outcome == "undecided" else 10
        # A warm-up, so that Prometheus scrapes an aborted run too.
        slo = write_slo(stage.folder, match=match, min_requests=least, warmup="3s")
        file, users = (LOCUSTFILES / "blocking.py", 1) if self.outcome == "invalid" else (CALM, 5)
        with Prometheus(slots=1) as prometheus, VictoriaMetrics() as victoria:
            port = prometheus.take_slot()
            process = stage.run(
                *("-f", file, "--host", shop.url, "-u", str(users), "-r", "100", "-t", "12s"),
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
            verdicts = {
                "record": _checked(stage, record),
                "prometheus": _checked(stage, *store, prometheus.url),
                "otlp": _checked(stage, *store, victoria.url),
                "report": _reported(stage, record),
            }
            statuses = {"dashboard": _statuses(prometheus), "last point": _statuses(victoria)}
        (stage.folder / "one.jsonl.gz").unlink()
        last = [page["slo"] for page in pages if page["slo"]][-1]
        verdicts["page"] = last["verdict"], _by_name(last["objectives"])
        verdicts |= {name: (_overall(by_name), by_name) for name, by_name in statuses.items()}
        return Outcome(code=code, log=process.log, more={"verdicts": verdicts})


def _watch(port: int, pages: list[dict[str, Any]], is_alive: Any) -> None:
    while is_alive():
        with contextlib.suppress(OSError, ValueError):  # before the start and after the end
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
    return answer["verdict"], _by_name(answer["objectives"])


def _reported(stage: Stage, record: str) -> tuple[str, dict[str, str]]:
    answer = _asked(stage, "report", record)
    return answer["verdict"], _by_name(answer["objectives"])


def _by_name(objectives: list[dict[str, str]]) -> dict[str, str]:
    return {objective["name"]: objective["status"] for objective in objectives}


def _statuses(server: QueryServer) -> dict[str, str]:
    """Return the statuses in the dashboard's table."""
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
    sources = outcome.more["verdicts"]
    verdicts = {name: verdict for name, (verdict, _) in sources.items()}
    assert verdicts == dict.fromkeys(sources, run.verdict), outcome.log[-3000:]
    assert outcome.code == CODES[run.verdict]
    statuses, *others = (by_objective for _, by_objective in sources.values())
    assert others == [statuses] * len(others)
    assert set(statuses) == set(OBJECTIVES)
