"""Every query of every dashboard, against a real Prometheus that has scraped real runs to their ends."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from locust_otel.slo import file as slo_file
from locust_otel.slo.rules.dashboards_command import files
from locust_otel.slo.rules.printer import rule_text
from tests.backends.servers import Prometheus, free_port
from tests.e2e.harness import QUICK, SHOP_FAULTS, Distributed, Stage, load, settled
from tests.e2e.pages import total
from tests.unit.dashboard_lint import SLO_SERIES, TARGET_LABELS, of_variable

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
RUN_TIME = "15s"
SLO = """
service: quick
period: 1m
scrape_interval: 1s
min_requests: 10
objectives:
  availability: {sli: success, target: 99%}
  latency-p95: {sli: latency, target: 95%, within: 100ms}
  latency-mean: {sli: mean, within: 500ms}
"""
DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files()}
BUCKET_WIDTH = 2 ** (1 / 16) - 1
"""Of a native histogram: 4.4 %."""

MARKED = {(uid.removeprefix("locust-otel-"), "annotation Marks") for uid in DASHBOARDS}
MARKED |= {("gameday", f"{panel} A") for panel in ("Faults and alerts", "Time to detect", "Faults started", "Faults")}
MARKED |= {("gameday", "Faults B")}
# Queries without data, as (dashboard, query), by the kind of histograms and processes.
NO_DATA = {
    "classic": {("live", "Latency heatmap B"), *MARKED},
    "native": {("live", "Latency heatmap A"), *MARKED},
    "local": {
        *(("generator", f"{panel} {ref}") for panel in ("Workers", "Workers by state") for ref in "AB"),
        ("generator", "Missing workers A"),
    },
    "distributed": set(),
}


@dataclass
class Run:
    """A run that is over, and the Prometheus that scraped it.

    Attributes:
        kind: classic or native histograms.
        processes: local or distributed; also its id.
        began: Unix time before its start.
        ended: Unix time after its end.
        other: Id of the run to compare it with.
    """

    prometheus: Prometheus
    kind: str
    processes: str
    began: float
    ended: float
    other: str

    def written(self, text: str) -> str:
        """Return a query with variables and macros replaced by their values."""
        seconds = math.ceil(self.ended - self.began)
        wanted = {
            "__rate_interval": "4s", "__range": f"{seconds}s", "__interval_ms": "1000", "__interval": "1s",
            "run_id": self.processes, "baseline": self.other, "lookback": "1h",
            **dict.fromkeys(("name", "user_class", "worker", "slo", "budget", "service_job"), ".*"),
        }  # fmt: skip
        if "shift" in text:
            wanted["shift"] = str(self.shift())
        return re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda found: wanted[found[1] or found[2]], text)

    def shift(self) -> int:
        """Return the seconds by which the other run is moved: the value of the dashboard's own variable."""
        (variable,) = (v for v in templating("compare") if v["name"] == "shift")
        ((labels, value),) = self.prometheus.query(self.written(of_variable(variable["query"]["query"])), self.ended)
        text = f"{{}} {value:.0f} {self.ended * 1000:.0f}"  # Grafana's text of a result of query_result()
        found = re.search(variable["regex"].strip("/"), text)
        assert found, text
        assert labels == {}
        return int(found[1])

    def ask(self, target: dict[str, Any]) -> int:
        """Return the number of series in the answer that have a number or a native histogram."""
        expression = self.written(target["expr"])
        if target.get("instant"):
            result = self.prometheus.api("query", query=expression, time=repr(self.ended))["result"]
            return sum("histogram" in line or not math.isnan(float(line["value"][1])) for line in result)
        times = {"start": repr(self.began), "end": repr(self.ended), "step": "1"}
        result = self.prometheus.api("query_range", query=expression, **times)["result"]
        return sum(
            "histograms" in line or any(not math.isnan(float(value)) for _, value in line["values"]) for line in result
        )

    def figure(self, title: str) -> float:
        """Return the value of a figure in the live dashboard's header."""
        (panel,) = (p for p in DASHBOARDS["locust-otel-live"]["panels"] if p["title"] == title)
        return self.prometheus.value(self.written(panel["targets"][0]["expr"]), self.ended)


@dataclass
class Truth:
    """Oracle of the local run: counts of Locust and of the shop, and the sorted response times in seconds."""

    requests: int
    failures: int
    timed: list[float]
    locust_per_second: float
    http: int
    shop: int


@dataclass
class Runs:
    """All runs by kind and processes, and the oracle of the local run by kind."""

    by: dict[tuple[str, str], Run]
    truths: dict[str, Truth]


def templating(dashboard: str) -> list[dict[str, Any]]:
    """Return the variables of a dashboard."""
    found: list[dict[str, Any]] = DASHBOARDS[f"locust-otel-{dashboard}"]["templating"]["list"]
    return found


def _truth(stage: Stage, shop: int) -> Truth:
    entries = json.loads((stage.folder / "stats.json").read_text())
    totals, _ = stage.totals()
    seconds = max(e["last_request_timestamp"] for e in entries) - min(e["start_time"] for e in entries)
    return Truth(
        requests=total(totals),
        failures=sum(failed for _, failed in totals.values()),
        timed=sorted(float(line) / 1000 for line in (stage.folder / "times").read_text().splitlines()),
        locust_per_second=total(totals) / seconds,
        http=sum(requests for (method, _), (requests, _) in totals.items() if method in {"GET", "POST"}),
        shop=shop,
    )


KINDS = ("classic", "native")


def _start(stage: Stage, processes: str, port: int, slo: Path) -> Callable[[], Truth | None]:
    """Start a run; return a function that waits for its end and returns its oracle."""
    shop = stage.shop(*SHOP_FAULTS)
    flags = ["--prometheus-port", str(port), "--run-id", processes, "--slo", str(slo)]
    if processes == "distributed":
        master = Distributed(stage, *load(shop.url, run_time=RUN_TIME), *flags)
        return lambda: None if master.wait() in {0, 1, 3, 5} else pytest.fail(master.master.log)
    both = f"{QUICK},{HERE / 'response_times.py'}"
    times = {"TEST_TIMES": str(stage.folder / "times")}
    process = stage.run(*load(shop.url, file=both, run_time=RUN_TIME), *flags, env=times)

    def wait() -> Truth:
        assert process.wait() in {3, 5}, process.log  # some fail on purpose; 5 on a busy machine
        return _truth(stage, settled(shop))

    return wait


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, backend: Any) -> Iterator[Runs]:
    """Play local and distributed runs, scraped to their ends by a Prometheus with native histograms and one without.

    Each has runs of its own: for an endpoint two scrapers on one machine are one, and it waits for one at the end.
    """
    backend("prometheus")
    folder = tmp_path_factory.mktemp("slo")
    slo, rules = folder / "slo.yaml", folder / "rules.yaml"
    slo.write_text(SLO)
    rules.write_text(rule_text(slo_file.load(str(slo))))
    ports = {(kind, processes): free_port() for kind in KINDS for processes in ("local", "distributed")}
    found: dict[tuple[str, str], Run] = {}
    truths: dict[str, Truth] = {}
    with ExitStack() as exits:
        servers = {}
        for kind in KINDS:
            targets = [f"127.0.0.1:{ports[kind, processes]}" for processes in ("local", "distributed")]
            server = Prometheus(targets, rule_files=[rules], native_histograms=kind == "native")
            servers[kind] = exits.enter_context(server)
        for server in servers.values():
            server.wait_until("up", lambda up: len(up) == 2)
        for processes, other in (("local", "distributed"), ("distributed", "local")):
            began = time.time()
            waits = {}
            for kind in KINDS:
                stage = exits.enter_context(Stage(tmp_path_factory.mktemp(f"{kind}-{processes}")))
                waits[kind] = _start(stage, processes, ports[kind, processes], slo)
            for kind, wait in waits.items():
                truth = wait()
                if truth is not None:
                    truths[kind] = truth
            ended = time.time() + 1
            for kind, server in servers.items():
                found[kind, processes] = Run(server, kind, processes, began, ended, other)
        yield Runs(found, truths)


ALL = [(kind, processes) for kind in KINDS for processes in ("local", "distributed")]


def _targets(dashboard: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the query of everything but query variables."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation


@pytest.mark.parametrize(("kind", "processes"), ALL)
def test_every_query_has_data(runs: Runs, kind: str, processes: str) -> None:
    """Each query of each panel and annotation is valid and has data, except those in `NO_DATA`."""
    run = runs.by[kind, processes]
    table: list[tuple[str, str, int]] = []
    for uid, dashboard in DASHBOARDS.items():
        short = uid.removeprefix("locust-otel-")
        if short == "compare" and processes == "local":  # the other run is later, and has no data yet
            continue
        table += [(short, where, run.ask(target)) for where, target in _targets(dashboard)]
    print(f"\n{kind} histograms, {processes} run")
    print("\n".join(f"{short:10} {where:45} {count:4}" for short, where, count in table))
    empty = {(short, where) for short, where, count in table if not count}
    queried = {short for short, _, _ in table}
    assert empty == {query for query in NO_DATA[kind] | NO_DATA[processes] if query[0] in queried}
    assert len(table) > 100


@pytest.mark.parametrize(("kind", "processes"), ALL)
def test_every_variable_has_values(runs: Runs, kind: str, processes: str) -> None:
    """Each query variable has values, and the run's own id is among the runs."""
    run = runs.by[kind, processes]
    times = {"start": repr(run.began), "end": repr(run.ended)}
    for uid, dashboard in DASHBOARDS.items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query" or (uid.endswith("compare") and processes == "local"):
                continue
            query = variable["query"]["query"]
            if query.startswith("label_values"):
                label = query.rpartition(", ")[2].rstrip(")")
                form = urlencode({"match[]": run.written(of_variable(query)), **times})
                values = run.prometheus.api(f"label/{label}/values?{form}")
            else:
                result = run.prometheus.query(run.written(of_variable(query)), run.ended)
                values = [labels.get("run_id", value) for labels, value in result]
            assert values, (uid, variable["name"])
            if variable["name"] == "run_id":
                assert processes in values
            if variable["name"] == "baseline":
                assert values == ["local"]


def test_series_have_their_documented_labels(runs: Runs) -> None:
    """Prometheus has every SLO series that a dashboard names, with no other labels than the documented ones."""
    asked = {name for d in DASHBOARDS.values() for name in SLO_SERIES if f"{name}{{" in json.dumps(d)}
    asked -= {"ALERTS", "locust_marks_total"}  # an alert may have labels of its own; nothing is marked
    run = runs.by["native", "local"]
    for name in asked:
        form = {"match[]": f'{name}{{run_id="local"}}', "start": repr(run.began), "end": repr(run.ended)}
        series = run.prometheus.api("series", **form)
        assert series, name
        assert set(series[0]) - {"__name__", *TARGET_LABELS} <= set(SLO_SERIES[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_totals_of_the_header(runs: Runs, kind: str) -> None:
    """Requests, failures and their ratio are exactly those of Locust; the shop has answered the HTTP requests."""
    run, truth = runs.by[kind, "local"], runs.truths[kind]
    assert run.figure("Requests") == truth.requests
    assert run.figure("Failures") == truth.failures
    assert run.figure("Failure ratio") == pytest.approx(truth.failures / truth.requests)
    # At the end of the run time users are killed in mid-request: the shop may be ahead of Locust, never behind.
    assert truth.http <= truth.shop <= truth.http + 22
    assert truth.requests > 1000


@pytest.mark.parametrize("kind", KINDS)
def test_rates_of_the_header(runs: Runs, kind: str) -> None:
    """The mean throughput is within 2 % of Locust's own."""
    wanted = runs.truths[kind].locust_per_second
    assert runs.by[kind, "local"].figure("Throughput, mean") == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize(
    ("title", "q"), [("Median, whole run", 0.5), ("p95, whole run", 0.95), ("p99, whole run", 0.99)]
)
def test_percentiles_of_the_header(runs: Runs, title: str, q: float) -> None:
    """With native histograms percentiles are those of the sorted list, within the width of a bucket."""
    timed = runs.truths["native"].timed
    true = timed[math.ceil(q * len(timed)) - 1]
    assert runs.by["native", "local"].figure(title) == pytest.approx(true, rel=BUCKET_WIDTH)


def test_a_baseline_is_moved_to_the_start_of_the_run(runs: Runs) -> None:
    """The curve of the baseline begins with the run, within two seconds, though it was over before."""
    run = runs.by["native", "distributed"]
    (panel,) = (p for p in DASHBOARDS["locust-otel-compare"]["panels"] if p["title"] == "Users")
    begins = []
    for target in panel["targets"]:
        ((_, points),) = run.prometheus.query_range(run.written(target["expr"]), run.began, run.ended)
        begins.append(next(at for at, value in points if value))
    assert run.shift() > 15
    assert abs(begins[0] - begins[1]) <= 2
