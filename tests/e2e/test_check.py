"""`locust-otel check` on real runs: each source says what the process said itself, and the steps for CI work."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.backends.needed import need
from tests.backends.servers import Prometheus, VictoriaMetrics
from tests.e2e.harness import BIN, EXAMPLES, Outcome, Scenario, Stage, played

pytestmark = [pytest.mark.usefixtures("backends"), pytest.mark.slow]

STEP = Path(__file__).parents[2] / "deploy" / "ci" / "check.sh"
SLO = EXAMPLES / "slo.yaml"
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
  latency-p95: {sli: latency, target: 95%, within: 2s}
"""


@pytest.fixture(scope="module")
def backends() -> None:
    """Skip, or in CI fail, where a server is missing."""
    need("prometheus", "victoria-metrics")


def _check(stage: Stage, name: str, *source: str) -> tuple[int, dict[str, str]]:
    """Return the exit code of a check, and the status of each objective."""
    process = stage.start(
        *("locust-otel", "check", "--slo", str(SLO), *source, "--format", "json", "--output", f"{name}.verdict"),
        name=f"check-{name}",
        env={"no_proxy": "127.0.0.1"},
    )
    code = process.wait()
    written = stage.folder / f"{name}.verdict"
    assert written.exists(), process.log
    report = json.loads(written.read_text())
    assert report["exit_code"] == code
    return code, {each["name"]: each["status"] for each in report["objectives"]}


def _run(name: str, *faults: str, arguments: tuple[str, ...] = ("--slo", str(SLO))) -> Scenario:
    """Return a scenario: one run that is scraped and pushed, and then checked by all there is of it."""

    def scenario(stage: Stage) -> Outcome:
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


healthy = _run("healthy")
failing = _run("failing", ERRORS)
without_slo = _run("without_slo", ERRORS, arguments=("--slow-request", "2s"))

EXPECTED = {"healthy": (0, "met"), "failing": (3, "missed")}


@played(healthy, failing)
def test_all_sources_say_what_the_process_said(outcome: Outcome, request: pytest.FixtureRequest) -> None:
    """The two files and the two stores decide as the run itself did; an unknown run is no data."""
    code, availability = EXPECTED[request.node.callspec.id]
    assert outcome.code == code, outcome.log[-3000:]
    statuses = {"availability": availability, "latency-p95": "met", "latency-mean": "met"}
    assert outcome.more["checks"] == {
        **dict.fromkeys(("csv", "json", "scraped", "pushed"), (code, statuses)),
        "unknown": (4, dict.fromkeys(statuses, "undecided")),
    }


@played(healthy, failing)
def test_prometheus_has_the_counts_of_the_verdict(outcome: Outcome) -> None:
    """The good and bad requests of both stores are those of the run's own counters."""
    own = {(labels["slo"], labels["outcome"]): value for labels, value in outcome.more["counted"]}
    for store in ("scraped", "pushed"):
        objectives = {each["name"]: each for each in outcome.more["reports"][store]["objectives"]}
        for name in ("availability", "latency-p95"):
            found = objectives[name]
            assert (found["good"], found["bad"]) == (own[name, "good"], own[name, "bad"]), store
            assert found["requests"] >= 100
        assert objectives["latency-mean"]["mean_s"] > 0
        # About 14 s of 30 minutes are judged.
        spent = objectives["availability"]["budget_spent"]
        share = own["availability", "bad"] / (own["availability", "good"] + own["availability", "bad"])
        assert spent == pytest.approx(share / 0.01 * 14 / 1800, rel=0.2)


@played(healthy, failing)
def test_the_csv_is_decided_as_by_hand(outcome: Outcome) -> None:
    """95 % within 2,000 ms, 1 % failures and a mean of 500 ms are decided as from the last line of the file."""
    header, *_, last = (line.split(",") for line in outcome.more["table"])
    row = dict(zip(header, last, strict=True))
    assert row["Name"] == "Aggregated"
    by_hand = {
        "availability": int(row["Failure Count"]) * 100 <= int(row["Request Count"]),
        "latency-p95": int(row["95%"]) <= 2000,
        "latency-mean": float(row["Average Response Time"]) <= 500,
    }
    objectives = {each["name"]: each for each in outcome.more["reports"]["csv"]["objectives"]}
    assert {name: each["status"] == "met" for name, each in objectives.items()} == by_hand
    assert objectives["availability"]["bad"] == int(row["Failure Count"])
    assert objectives["latency-mean"]["mean_s"] == pytest.approx(float(row["Average Response Time"]) / 1000)


@played(without_slo)
def test_a_run_without_an_slo_file(outcome: Outcome) -> None:
    """Its requests and its histogram decide, from a scrape and over OTLP, as Locust's own counts do."""
    checks = outcome.more["checks"]
    assert outcome.code == 1, outcome.log[-2000:]  # Locust's own, for failed requests
    for store in ("scraped", "pushed"):
        assert checks[store] == checks["json"] == (3, checks["csv"][1])
        report, by_locust = (
            {each["name"]: each for each in outcome.more["reports"][key]["objectives"]} for key in (store, "json")
        )
        for name in ("availability", "latency-p95"):
            assert [report[name][key] for key in ("good", "bad")] == [by_locust[name][key] for key in ("good", "bad")]
        assert report["latency-mean"]["mean_s"] == pytest.approx(by_locust["latency-mean"]["mean_s"])
        assert any("warm-up" in note for note in outcome.more["reports"][store]["notes"])


def _step(name: str, *faults: str) -> Scenario:
    def scenario(stage: Stage) -> Outcome:
        shop = stage.shop(*faults)
        (stage.folder / "slo.yaml").write_text(SMALL_SLO)
        process = stage.start(
            *("/bin/sh", STEP, "slo.yaml", "results", "-f", EXAMPLES / "webshop.py"),
            *("--host", shop.url, *USERS, "-t", "14s", "--prometheus-port", "off"),
            env={"PATH": f"{BIN}:{os.environ['PATH']}"},
        )
        code = process.wait()
        found = sorted(path.name for path in (stage.folder / "results").iterdir())
        junit = (stage.folder / "results" / "junit.xml").read_text()
        return Outcome(code=code, log=process.log, more={"found": found, "junit": junit})

    scenario.__name__ = name
    return scenario


step_healthy = _step("step_healthy")
step_failing = _step("step_failing", ERRORS)


@played(step_healthy, step_failing)
def test_the_step_for_any_ci(outcome: Outcome, request: pytest.FixtureRequest) -> None:
    """It ends with the verdict, and leaves the results."""
    is_met = request.node.callspec.id == "step_healthy"
    code = 0 if is_met else 3
    assert outcome.code == code, outcome.log[-3000:]
    assert f"Shutting down (exit code {outcome.code})" in outcome.log  # the run's own verdict
    found = outcome.more["found"]
    assert {"junit.xml", "report.html"} <= set(found)
    assert any(name.endswith(".jsonl.gz") for name in found)
    assert ("<failure" in outcome.more["junit"]) is not is_met
    assert f"exit code {code})" in outcome.log.splitlines()[-1]
