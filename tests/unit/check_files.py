"""Makers of SLO files, files of Locust, and responses of a Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from locust.stats import PERCENTILES_TO_REPORT, RequestStats, get_readable_percentiles

from locust_otel.review.check.assessments import Assessments
from locust_otel.review.prometheus import Prometheus, Sample
from locust_otel.slo.file import parse
from locust_otel.slo.objectives import Slo

GOLDEN = Path(__file__).parents[1] / "golden"
EXAMPLE = Path(__file__).parents[2] / "locustfiles" / "slo.yaml"

HEADER = (
    "Type", "Name", "Request Count", "Failure Count", "Median Response Time", "Average Response Time",
    "Min Response Time", "Max Response Time", "Average Content Size", "Requests/s", "Failures/s",
    *get_readable_percentiles(PERCENTILES_TO_REPORT),
)  # fmt: skip


def slo(objectives: str, *, warmup: str = "0", min_requests: int = 1) -> Slo:
    """Return an SLO file with objectives in the flow style of YAML."""
    text = f"service: shop\nperiod: 30m\nwarmup: {warmup}\nmin_requests: {min_requests}\nobjectives: {{{objectives}}}\n"
    return parse(text.encode(), "slo.yaml")


def row(
    name: str = "Aggregated",
    method: str = "",
    *,
    requests: int = 1000,
    failures: int = 0,
    mean: object = 100.0,
    highest: object = 9000.0,
    **percentiles: object,
) -> str:
    """Return a line of Locust's CSV; `p95=2000` sets a percentile, the others are 50 up to 95 % and 9000 above."""
    values = {f"{level * 100:g}%": 50 if level <= 0.95 else 9000 for level in PERCENTILES_TO_REPORT}
    given = {f"{key[1:].replace('_', '.')}%": value for key, value in percentiles.items()}
    assert given.keys() <= values.keys()
    cells = [method, name, requests, failures, 50, mean, 1.0, highest, 10.0, 1.0, 0.0, *(values | given).values()]
    return ",".join(map(str, cells))


def csv_file(*rows: str) -> str:
    """Return a CSV file of Locust with these lines."""
    return "\r\n".join([",".join(HEADER), *rows]) + "\r\n"


def json_file(*requests: tuple[str, str, Sequence[float | None], int]) -> str:
    """Return the JSON file of Locust for requests: method, name, response times in ms, number of failures."""
    stats = RequestStats()
    for method, name, times, failures in requests:
        for time in times:
            stats.log_request(method, name, time, 10)  # type: ignore[arg-type]  # None for requests without a time
        for _ in range(failures):
            stats.log_error(method, name, "broken")
    return json.dumps(stats.serialize_stats())


def statuses(assessments: Assessments) -> dict[str, str]:
    """Return the status of each objective."""
    return {result.objective.name: result.status.value for result in assessments.results}


class Answers(Prometheus):
    """Prometheus with these series: each a name, labels and one value."""

    def __init__(self, *series: tuple[str, Mapping[str, str], float]) -> None:
        super().__init__("http://nowhere")
        self.series = list(series)
        self.asked: list[str] = []

    def query(self, promql: str) -> list[Sample]:
        """Return the samples of the metric and the run in a query."""
        self.asked.append(promql)
        match = re.fullmatch(r'(\w+)_over_time\((\w+)\{run_id="([^"]*)"\}\[(\w+)\]\)', promql)
        assert match is not None, promql
        return [
            Sample({**labels, "run_id": match[3]}, value)
            for name, labels, value in self.series
            if name == match[2] and labels.get("run_id", "r1") == match[3]
        ]
