"""Tests of the source for Locust's JSON file, against the response times in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check import json_file
from locust_otel.review.check.assessments import Assessments
from locust_otel.slo.file import load
from tests.unit import check_files
from tests.unit.check_files import EXAMPLE, GOLDEN, slo, statuses

P95 = "o: {sli: latency, target: 95%, within: 2s}"


def judged(tmp_path: Path, objectives: str, *requests: object) -> Assessments:
    """Return the assessments of objectives by a file of these requests."""
    (tmp_path / "run.json").write_text(check_files.json_file(*requests))  # type: ignore[arg-type]
    return json_file.source(str(tmp_path / "run"))(slo(objectives))


@pytest.mark.parametrize("name", ["healthy", "failing"])
def test_real_runs(name: str) -> None:
    """The file of a real Locust is decided as by sums over its entries."""
    entries = json.loads((GOLDEN / f"{name}.json").read_text())
    requests, failures, total_ms = (
        sum(entry[key] for entry in entries) for key in ("num_requests", "num_failures", "total_response_time")
    )
    slow = sum(n for entry in entries for ms, n in entry["response_times"].items() if int(ms) > 2000)
    mean_ms = total_ms / requests
    assessments = json_file.source(str(GOLDEN / f"{name}.json"))(load(str(EXAMPLE)))
    assert statuses(assessments) == {
        "availability": "missed" if failures > 0.01 * requests else "met",
        "latency-p95": "missed" if slow > 0.05 * requests else "met",
        "latency-mean": "missed" if mean_ms > 500 else "met",
    }
    success, latency, mean = assessments.results
    assert (success.counts.total, success.counts.bad) == (requests, failures)
    assert (latency.counts.total, latency.counts.bad) == (requests, slow)
    assert mean.actual == pytest.approx(mean_ms / 1000)


@pytest.mark.parametrize(("slow", "status"), [(4, "met"), (5, "met"), (6, "missed")])
def test_latency_at_the_bound(tmp_path: Path, slow: int, status: str) -> None:
    """5 slow requests of 100 are allowed; 2,000 ms is within 2 s."""
    assessments = judged(tmp_path, P95, ("GET", "/a", [2000] * (100 - slow) + [2100] * slow, 0))
    assert statuses(assessments) == {"o": status}
    assert assessments.results[0].counts == (100 - slow, slow, 0.0)


@pytest.mark.parametrize(
    ("slow", "unclear", "status"),
    [(6, 0, "missed"), (5, 0, "met"), (6, 3, "missed"), (2, 3, "met"), (2, 4, "undecided"), (5, 1, "undecided")],
)
def test_a_threshold_that_rounding_hides(tmp_path: Path, slow: int, unclear: int, status: str) -> None:
    """Locust keeps 1,980 ms and 1,990 ms as 2000: the objective is decided if the result is the same for both."""
    objective = "o: {sli: latency, target: 95%, within: 1980ms}"
    times = [100] * (100 - slow - unclear) + [1990] * unclear + [2100] * slow
    assessments = judged(tmp_path, objective, ("GET", "/a", times, 0))
    assert statuses(assessments) == {"o": status}
    if unclear:
        assert assessments.results[0].told == f"{100 - slow - unclear:.1f} % to {100 - slow:.1f} %"


def test_several_entries_and_requests_without_a_time(tmp_path: Path) -> None:
    """All matching entries are added up; a request without a time counts for success alone."""
    requests = (
        ("GET", "/a", [100.0] * 90 + [None] * 10, 3),
        ("POST", "/a", [3000.0] * 10, 0),
        ("GET", "/b", [9000.0] * 50, 50),
    )
    objectives = (
        "s: {sli: success, target: 97%, match: {name: /a}}, l: {sli: latency, target: 90%, within: 2s, match: "
        "{name: /a}}, m: {sli: mean, within: 390ms, match: {name: /a}}, all: {sli: success, target: 99%}"
    )
    assessments = judged(tmp_path, objectives, *requests)
    s, latency, m, everything = assessments.results
    assert (s.counts, latency.counts) == ((107, 3, 0.0), (90, 10, 0.0))
    assert m.counts.total == 100
    assert m.actual == pytest.approx(0.39)
    assert statuses(assessments) == {"s": "met", "l": "met", "m": "met", "all": "missed"}
    assert latency.worst is not None
    assert (latency.worst.method, latency.worst.counts.bad) == ("POST", 10)
    assert everything.worst is not None
    assert everything.worst.name == "/b"


@pytest.mark.parametrize(("mean", "status"), [(500, "met"), (501, "missed")])
def test_the_mean_at_the_bound(tmp_path: Path, mean: int, status: str) -> None:
    """A mean of exactly 500 ms is met."""
    assessments = judged(tmp_path, "o: {sli: mean, within: 500ms}", ("GET", "/a", [mean - 100, mean + 100], 0))
    assert statuses(assessments) == {"o": status}


def test_an_empty_run_never_passes(tmp_path: Path) -> None:
    """A file without entries, and one with untimed requests only, are undecided."""
    objectives = f"{P95}, m: {{sli: mean, within: 1s}}"
    assert set(statuses(judged(tmp_path, f"{objectives}, s: {{sli: success, target: 99%}}")).values()) == {"undecided"}
    untimed = judged(tmp_path, objectives, ("GET", "/a", [None] * 200, 0))
    assert set(statuses(untimed).values()) == {"undecided"}


def test_a_sum_that_is_no_number(tmp_path: Path) -> None:
    """NaN in the sum of times leaves the mean undecided, and nothing else."""
    content = check_files.json_file(("GET", "/a", [10.0] * 100, 0))
    assert content.count("1000.0") == 1
    (tmp_path / "run.json").write_text(content.replace("1000.0", "NaN"))
    assessments = json_file.source(str(tmp_path / "run.json"))(slo(f"{P95}, m: {{sli: mean, within: 1s}}"))
    assert statuses(assessments) == {"o": "met", "m": "undecided"}


GOOD = {
    "method": "GET", "name": "/a", "num_requests": 2, "num_failures": 1, "num_none_requests": 0,
    "total_response_time": 3.5, "response_times": {"1": 1, "2": 1},
}  # fmt: skip


def changed(**values: object) -> bytes:
    """Return a file of one entry with some values changed."""
    return json.dumps([GOOD | values]).encode()


@pytest.mark.parametrize(
    ("content", "slug"),
    [
        (b"", "syntax"),
        (changed()[:-30], "syntax"),
        (b"[" * 100_000, "syntax"),
        (b"[" + b"9" * 10_000 + b"]", "syntax"),
        (b"{}", "type"),
        (b"[1]", "type"),
        (changed().decode().encode("utf-16"), "encoding"),
        (b"[{}]", "keys"),
        (changed(num_requests=3), "sum"),
        (changed(num_failures=3), "sum"),
        (changed(num_requests=-2), "value"),
        (changed(num_requests=True), "value"),
        (changed(response_times=[]), "type"),
        (changed(response_times={"-1": 2}), "value"),
        (changed(response_times={"1": 0.5}), "value"),
        (changed(response_times={"²": 2}), "value"),
        (changed(total_response_time="much"), "value"),
        (changed().replace(b"3.5", b"1e999999999"), "value"),
    ],
)
def test_hostile_files(tmp_path: Path, content: bytes, slug: str) -> None:
    """Files that are not from Locust, or were cut off, are refused with the reason."""
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        json_file.source(str(tmp_path / "run"))
    assert raised.value.slug == f"check-json-{slug}"
