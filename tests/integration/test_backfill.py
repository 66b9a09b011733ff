"""A run is back-filled into Prometheus from its record, and Prometheus comes to the verdict of the run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_otel.review.record.reader import Record, load
from locust_otel.slo.file import load as load_slo
from locust_otel.slo.rules import names
from locust_otel.slo.rules.printer import rule_files
from tests.backends.servers import QueryServer, promtool
from tests.e2e.exporters import totals_of
from tests.e2e.harness import BIN, SHOP_FAULTS, Stage
from tests.e2e.harness import load as arguments_of
from tests.e2e.pages import total
from tests.e2e.test_record import SLO

pytestmark = pytest.mark.slow

RUN = 'run_id="nightly"'


class OnBlocks(QueryServer):
    """A Prometheus without targets, on a data folder that the test made."""

    name = "prometheus"

    def __init__(self, data: Path) -> None:
        super().__init__()
        config = self.folder / "prometheus.yml"
        config.write_text("{}")
        listen = f"--web.listen-address=127.0.0.1:{self.port}"
        self.start([self.binary, f"--config.file={config}", listen, f"--storage.tsdb.path={data}"])


@dataclass
class Backfilled:
    """A back-filled run.

    Attributes:
        record: Its record.
        data: Folder of blocks.
        rules: Rule files of the SLO file.
        server: Prometheus on the blocks.
    """

    record: Record
    data: Path
    rules: list[Path]
    server: OnBlocks

    @property
    def end(self) -> float:
        """Unix time of the end of the run."""
        return self.record.start_time + self.record.intervals[-1].end_s + 0.001

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict of the run by objective."""
        return {objective["slo"]: objective for objective in self.record.verdict or ()}


@pytest.fixture(scope="module")
def backfilled(backend: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backfilled]:
    """Give a Prometheus that has a run only from its record."""
    backend("promtool")
    backend("prometheus")
    folder = Path(tmp_path_factory.mktemp("backfill"))
    with Stage(folder) as stage:
        (folder / "slo.yaml").write_text(SLO)
        shop = stage.shop(*SHOP_FAULTS)
        flags = ("--run-record", "runs", "--run-id", "nightly", "--prometheus-port", "off")
        stage.run(*arguments_of(shop.url, run_time="8s"), "--slo", "slo.yaml", *flags).wait()
        record = load(folder / "runs" / "nightly.jsonl.gz")
        assert totals_of(record) == stage.totals()[0]
        assert total(totals_of(record)) > 500
    text, data = folder / "run.om", folder / "data"
    subprocess.run(
        [BIN / "locust-otel", "report", "runs/nightly.jsonl.gz", "--format", "openmetrics", "-o", text],
        cwd=folder,
        check=True,
    )
    made = promtool("tsdb", "create-blocks-from", "openmetrics", text, data)
    assert made.returncode == 0, made.stderr
    rules = []
    for name, content in rule_files(load_slo(str(folder / "slo.yaml"))).items():
        rules.append(folder / name)
        rules[-1].write_text(content)
    with OnBlocks(data) as server:
        yield Backfilled(record, data, rules, server)


def test_every_request_is_there(backfilled: Backfilled) -> None:
    """Requests by method, name and outcome are those of the record, which are Locust's."""
    samples = backfilled.server.query(
        f"sum by (method, name, outcome) (max_over_time(locust_requests_total{{{RUN}}}[1m]))", backfilled.end
    )
    expected: dict[tuple[str, str, str], int] = {}
    for series in backfilled.record.requests().series:
        key = (series.key.method, series.key.name, series.key.outcome)
        expected[key] = expected.get(key, 0) + series.total
    counts = {(lb.get("method", ""), lb.get("name", ""), lb["outcome"]): value for lb, value in samples}
    assert {key: value for key, value in counts.items() if value} == expected


def test_the_counters_are_those_of_the_verdict(backfilled: Backfilled) -> None:
    """Good and bad events, by the query of the docs, are exactly those of the verdict."""
    samples = backfilled.server.query(f"max_over_time(locust_slo_events_total{{{RUN}}}[1m])", backfilled.end)
    counts = {(labels["slo"], labels["outcome"]): value for labels, value in samples}
    verdict = backfilled.verdict
    assert counts == {(name, key): verdict[name][key] for name in ("works", "fast") for key in ("good", "bad")}
    assert counts["works", "bad"] > 0
    mean = backfilled.server.value(f"max_over_time(locust_slo_mean_seconds_total{{{RUN}}}[1m])", backfilled.end)
    assert mean == verdict["mean"]["sum_s"]


def test_the_expressions_of_the_rules_come_to_the_verdict(backfilled: Backfilled) -> None:
    """The error ratio to date by the rule's expression is that of the verdict, and leads to the same status."""
    groups = [group for path in backfilled.rules for group in yaml.safe_load(path.read_text())["groups"]]
    (rule,) = [rule for group in groups for rule in group["rules"] if rule.get("record") == names.ERROR_RATIO_TO_DATE]
    ratios = {labels["slo"]: value for labels, value in backfilled.server.query(rule["expr"], backfilled.end)}
    for name, target in (("works", 0.99), ("fast", 0.95)):
        objective = backfilled.verdict[name]
        assert ratios[name] == objective["bad"] / (objective["good"] + objective["bad"])
        # Invalid: missed, while the generator was late.
        assert (ratios[name] > 1 - target) == (objective["status"] in {"missed", "invalid"})
    assert backfilled.verdict["works"]["status"] in {"missed", "invalid"}


def test_rules_are_back_filled_as_well(backfilled: Backfilled) -> None:
    """`promtool tsdb create-blocks-from rules` makes the recorded series of the run."""
    own = next(path for path in backfilled.rules if "slo" in path.name)
    end, recorded = backfilled.end, backfilled.data.with_name("recorded")
    made = promtool(
        *("tsdb", "create-blocks-from", "rules", f"--url={backfilled.server.url}"),
        *(f"--start={backfilled.record.start_time:.0f}", f"--end={end + 1:.0f}", "--eval-interval=1s"),
        *(f"--output-dir={recorded}", own),
    )
    assert made.returncode == 0, made.stderr
    with OnBlocks(recorded) as server:
        ratios = {lb["slo"]: value for lb, value in server.query(names.ERROR_RATIO_TO_DATE, end + 1)}
    works = backfilled.verdict["works"]
    assert ratios["works"] == works["bad"] / (works["good"] + works["bad"])


def test_series_of_run_and_generator(backfilled: Backfilled) -> None:
    """Users, state, validity, workers and delays came with it, with job and instance, and the state ends as stopped."""
    query, end = backfilled.server.query, backfilled.end
    assert backfilled.server.value(f"max_over_time(sum(locust_users{{{RUN}}})[1m:1s])", end) == 22
    assert backfilled.server.value(f'locust_run_state{{{RUN}, state="stopped"}}', end) == 1
    assert backfilled.server.value(f"locust_run_active{{{RUN}}}", end) == 0
    assert backfilled.server.value(f"locust_generator_lag_seconds_count{{{RUN}}}", end) > 50
    ((labels, _),) = query(f"locust_run_info{{{RUN}}}", end)
    assert (labels["job"], labels["instance"]) == ("locust", "127.0.0.1:9646")
    assert query("locust_otel_build_info", end) == []
