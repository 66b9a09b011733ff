"""`locust-otel check` on real runs: every source gives the verdict of the run's process, and the CI step works."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.backends.needed import need
from tests.backends.servers import Prometheus, VictoriaMetrics
from tests.e2e.harness import BIN, EXAMPLES, Outcome, Scenario, Stage, played
from tests.e2e.slo import SLOW_SHOP, exit_code, tables

pytestmark = [pytest.mark.usefixtures("backends"), pytest.mark.slow]

STEP = Path(__file__).parents[2] / "deploy" / "ci" / "check.sh"
LIMITS = {"2000ms": "5s", "500ms": "3s"}
"""Latencies of the example's objectives, and those used here: a busy machine meets them too."""

ERRORS = "errors:ratio=0.2"
USERS = ("-u", "60", "-r", "60")

SMALL_SLO = """
service: webshop
period: 2m
scrape_interval: 1s
warmup: 4s  # the start of many processes at once keeps a generator busy
min_requests: 30
objectives:
  availability: {sli: success, target: 99%}
  latency-p95: {sli: latency, target: 95%, within: 5s}
"""


@pytest.fixture(scope="module")
def backends() -> None:
    """Skip, or in CI fail, where a server is missing."""
    need("prometheus", "victoria-metrics")


def _check(stage: Stage, name: str, *source: str) -> tuple[int, dict[str, str]]:
    """Return the exit code of a check, and the status of each objective."""
    process = stage.start(
        *("locust-otel", "check", "--slo", "slo.yaml", *source, "--format", "json", "--output", f"{name}.verdict"),
        name=f"check-{name}",
        env={"no_proxy": "127.0.0.1"},
    )
    code = process.wait()
    written = stage.folder / f"{name}.verdict"
    assert written.exists(), process.log
    report = json.loads(written.read_text())
    assert report["exit_code"] == code
    return code, {objective["name"]: objective["status"] for objective in report["objectives"]}


def _run(name: str, *faults: str, arguments: tuple[str, ...] = ("--slo", "slo.yaml")) -> Scenario:
    """Return a scenario: one run that is scraped and pushed, and then checked by every source."""

    def scenario(stage: Stage) -> Outcome:
        slo = (EXAMPLES / "slo.yaml").read_text()
        for limit, other in LIMITS.items():
            slo = slo.replace(limit, other)
        (stage.folder / "slo.yaml").write_text(slo)
        shop = stage.shop(*faults)
        with Prometheus(slots=1) as prometheus, VictoriaMetrics() as victoria:
            run_id = "nightly"
            process = stage.start(
                *("locust-otel", "run", "-f", EXAMPLES / "webshop.py", "--headless", "--only-summary"),
                *("--host", shop.url, *USERS, "-t", "24s", "--csv", "run", "--json-file", "run", *arguments),
                *("--run-id", run_id, "--prometheus-port", str(prometheus.take_slot())),
                *("--otlp-endpoint", victoria.otlp_url.removesuffix("/v1/metrics"), "--otlp-interval", "1s"),
                env={"OTEL_LOGS_EXPORTER": "none"},
            )
            code = process.wait()
            victoria.flush()
            checks = {
                "csv": _check(stage, "csv", "--csv", "run"),
                "json": _check(stage, "json", "--json-file", "run"),
                "scraped": _check(stage, "scraped", "--prometheus", prometheus.url, "--run-id", run_id),
                "pushed": _check(stage, "pushed", "--prometheus", victoria.url, "--run-id", run_id),
                "unknown": _check(stage, "unknown", "--prometheus", prometheus.url, "--run-id", "nobody"),
            }
            counted = prometheus.query(f'max_over_time(locust_slo_events_total{{run_id="{run_id}"}}[1h])')
        reports = {key: json.loads((stage.folder / f"{key}.verdict").read_text()) for key in checks}
        table = (stage.folder / "run_stats.csv").read_text().splitlines()
        return Outcome(
            code=code,
            log=process.log,
            more={"checks": checks, "reports": reports, "table": table, "counted": counted},
        )

    scenario.__name__ = name
    return scenario


healthy = _run("healthy", SLOW_SHOP)
failing = _run("failing", SLOW_SHOP, ERRORS)
without_slo = _run("without_slo", ERRORS, arguments=("--slow-request", "5s"))

EXPECTED = {"healthy": (0, "met"), "failing": (3, "missed")}


def _objectives(outcome: Outcome, source: str) -> dict[str, dict[str, Any]]:
    """Return the objectives in the report on a source, by name."""
    return {objective["name"]: objective for objective in outcome.more["reports"][source]["objectives"]}


@played(healthy, failing)
def test_all_sources_give_the_verdict_of_the_process(outcome: Outcome, request: pytest.FixtureRequest) -> None:
    """The files and the stores give the verdict of the process; an unknown run has no data.

    Only the process and the stores know when the generator was late: then a missed objective can be invalid for them.
    """
    code, availability = EXPECTED[request.node.callspec.id]
    statuses = {"availability": availability, "latency-p95": "met", "latency-mean": "met"}
    (table,) = tables(outcome.log)
    own = {name: row.status for name, row in table.items()}
    if own["availability"] == "invalid":
        assert "generator saturated" in outcome.log
        assert {**own, "availability": "missed"} == statuses
    else:
        assert own == statuses, outcome.log[-3000:]
    assert outcome.code == exit_code(outcome.log)
    assert outcome.more["checks"] == {
        **dict.fromkeys(("csv", "json"), (code, statuses)),
        **dict.fromkeys(("scraped", "pushed"), (outcome.code, own)),
        "unknown": (4, dict.fromkeys(statuses, "undecided")),
    }


@played(healthy, failing)
def test_prometheus_has_the_counts_of_the_verdict(outcome: Outcome) -> None:
    """The good and bad requests of both stores are those of the run's own counters."""
    own = {(labels["slo"], labels["outcome"]): value for labels, value in outcome.more["counted"]}
    for store in ("scraped", "pushed"):
        objectives = _objectives(outcome, store)
        for name in ("availability", "latency-p95"):
            objective = objectives[name]
            assert (objective["good"], objective["bad"]) == (own[name, "good"], own[name, "bad"]), store
            assert objective["requests"] >= 100
        assert objectives["latency-mean"]["mean_s"] > 0
        # About 14 s of 30 minutes are judged.
        spent = objectives["availability"]["budget_spent"]
        share = own["availability", "bad"] / (own["availability", "good"] + own["availability", "bad"])
        assert spent == pytest.approx(share / 0.01 * 14 / 1800, rel=0.2)


@played(healthy, failing)
def test_the_csv_is_decided_as_by_hand(outcome: Outcome) -> None:
    """95 % within 5,000 ms, 1 % failures and a mean of 3,000 ms are decided as from the last line of the file."""
    header, *_, last = (line.split(",") for line in outcome.more["table"])
    row = dict(zip(header, last, strict=True))
    assert row["Name"] == "Aggregated"
    by_hand = {
        "availability": int(row["Failure Count"]) * 100 <= int(row["Request Count"]),
        "latency-p95": int(row["95%"]) <= 5000,
        "latency-mean": float(row["Average Response Time"]) <= 3000,
    }
    objectives = _objectives(outcome, "csv")
    assert {name: objective["status"] == "met" for name, objective in objectives.items()} == by_hand
    assert objectives["availability"]["bad"] == int(row["Failure Count"])
    assert objectives["latency-mean"]["mean_s"] == pytest.approx(float(row["Average Response Time"]) / 1000)


@played(without_slo)
def test_a_run_without_an_slo_file(outcome: Outcome) -> None:
    """Its requests and its histogram decide, from a scrape and over OTLP, as Locust's own counts do."""
    checks = outcome.more["checks"]
    assert outcome.code == 1, outcome.log[-2000:]  # Locust's own, for failed requests
    for store in ("scraped", "pushed"):
        assert checks[store] == checks["json"] == (3, checks["csv"][1])
        report, by_locust = _objectives(outcome, store), _objectives(outcome, "json")
        for name in ("availability", "latency-p95"):
            assert [report[name][key] for key in ("good", "bad")] == [by_locust[name][key] for key in ("good", "bad")]
        assert report["latency-mean"]["mean_s"] == pytest.approx(by_locust["latency-mean"]["mean_s"])
        assert any("warm-up" in note for note in outcome.more["reports"][store]["notes"])


def _step(name: str, *faults: str) -> Scenario:
    def scenario(stage: Stage) -> Outcome:
        shop = stage.shop(SLOW_SHOP, *faults)
        (stage.folder / "slo.yaml").write_text(SMALL_SLO)
        process = stage.start(
            *("/bin/sh", STEP, "slo.yaml", "results", "-f", EXAMPLES / "webshop.py"),
            *("--host", shop.url, *USERS, "-t", "14s", "--prometheus-port", "off"),
            env={"PATH": f"{BIN}:{os.environ['PATH']}"},
        )
        code = process.wait()
        results = stage.folder / "results"
        names = {path.name for path in results.iterdir()}
        return Outcome(code=code, log=process.log, more={"names": names, "junit": (results / "junit.xml").read_text()})

    scenario.__name__ = name
    return scenario


step_healthy = _step("step_healthy")
step_failing = _step("step_failing", ERRORS)


@played(step_healthy, step_failing)
def test_the_step_for_any_ci(outcome: Outcome, request: pytest.FixtureRequest) -> None:
    """It ends with the verdict of the run, and leaves the results."""
    elements = {0: set()} if request.node.callspec.id == "step_healthy" else {3: {"<failure"}, 5: {"<error"}}
    assert outcome.code in elements, outcome.log[-3000:]  # 5: the generator was late
    assert f"Shutting down (exit code {outcome.code})" in outcome.log
    assert {"junit.xml", "report.html"} <= outcome.more["names"]
    assert any(name.endswith(".jsonl.gz") for name in outcome.more["names"])
    assert {name for name in ("<failure", "<error") if name in outcome.more["junit"]} == elements[outcome.code]
    *_, verdict, report = outcome.log.splitlines()
    assert f"exit code {outcome.code})" in verdict
    assert report.endswith("report.html")
