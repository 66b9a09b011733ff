"""Tests of the source for Locust's CSV file, against what a person reads from the same lines."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check import csv_file
from locust_otel.review.check.assessments import Assessments
from locust_otel.slo.file import load
from tests.unit import check_files
from tests.unit.check_files import EXAMPLE, GOLDEN, row, slo, statuses

P95 = "o: {sli: latency, target: 95%, within: 2s}"
CART = "o: {sli: latency, target: 95%, within: 2s, match: {name: [/a, /b]}}"


def judged(tmp_path: Path, objectives: str, *rows: str, **of_file: object) -> Assessments:
    """Return the assessments of objectives by a file of these lines."""
    (tmp_path / "run_stats.csv").write_text(check_files.csv_file(*rows), encoding="utf-8")
    return csv_file.source(str(tmp_path / "run"))(slo(objectives, **of_file))  # type: ignore[arg-type]


def status_of(assessments: Assessments) -> str:
    """Return the status of the only objective."""
    return statuses(assessments)["o"]


@pytest.mark.parametrize("name", ["healthy", "failing"])
def test_real_runs(name: str) -> None:
    """The file of a real Locust is decided as a person decides from its last line."""
    with (GOLDEN / f"{name}_stats.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assessments = csv_file.source(str(GOLDEN / name))(load(str(EXAMPLE)))
    assert statuses(assessments) == {
        "availability": "missed" if int(last["Failure Count"]) > 0.01 * int(last["Request Count"]) else "met",
        "latency-p95": "missed" if int(last["95%"]) > 2000 else "met",
        "latency-mean": "missed" if float(last["Average Response Time"]) > 500 else "met",
    }
    assert statuses(assessments)["availability"] == {"healthy": "met", "failing": "missed"}[name]
    success, _, mean = assessments.results
    assert (success.counts.total, success.counts.bad) == (int(last["Request Count"]), int(last["Failure Count"]))
    assert mean.actual == pytest.approx(float(last["Average Response Time"]) / 1000)
    assert success.note == (
        "includes the warm-up of 10 s; requests after the last writing of the file are missing; "
        "the generator may have been late"
    )
    assert "rounded by Locust" in assessments.results[1].note


@pytest.mark.parametrize(("failures", "status"), [(9, "met"), (10, "met"), (11, "missed")])
def test_success_at_the_bound(tmp_path: Path, failures: int, status: str) -> None:
    """1 % of 1,000 requests is 10: exactly 10 failures are met."""
    rows = [row("/a", "GET", failures=failures), row(failures=failures)]
    assert status_of(judged(tmp_path, "o: {sli: success, target: 99%}", *rows)) == status


@pytest.mark.parametrize(
    ("mean", "within", "status"),
    [
        ("499.999999", "500ms", "met"), ("500.0", "500ms", "met"), ("500.0000001", "500ms", "missed"),
        ("nan", "500ms", "undecided"), ("300.0", "300ms", "met"), ("300.1", "300ms", "missed"),
    ],
)  # fmt: skip
def test_the_mean_at_the_bound(tmp_path: Path, mean: str, within: str, status: str) -> None:
    """A mean of exactly 500 ms is met, NaN is undecided. In binary floating point 7 x 0.3 / 7 would be above 0.3."""
    rows = [row("/a", "GET", requests=7, mean=mean), row(requests=7, mean=mean)]
    assert status_of(judged(tmp_path, f"o: {{sli: mean, within: {within}}}", *rows)) == status


@pytest.mark.parametrize(("p95", "status"), [(1900, "met"), (2000, "met"), (2100, "missed")])
def test_a_percentile_at_the_bound(tmp_path: Path, p95: int, status: str) -> None:
    """95 % within 2,000 ms is met if and only if the column has at most 2000."""
    assessments = judged(tmp_path, P95, row("/a", "GET", p95=p95), row(p95=p95))
    assert status_of(assessments) == status
    assert assessments.results[0].told == {1900: "p95 1.90 s", 2000: "p95 2.00 s", 2100: "p95 2.10 s"}[p95]


@pytest.mark.parametrize(
    ("within", "p95", "status"),
    [
        ("1980ms", 1900, "met"), ("1980ms", 2000, "undecided"), ("1980ms", 2100, "missed"),
        ("2020ms", 1900, "met"), ("2020ms", 2000, "undecided"), ("2020ms", 2100, "missed"),
        ("99ms", 99, "met"), ("99ms", 100, "missed"), ("105ms", 100, "undecided"), ("105ms", 110, "missed"),
        ("10400ms", 10000, "undecided"), ("10400ms", 11000, "missed"), ("1980ms", 1990, "undecided"),
    ],
)  # fmt: skip
def test_a_threshold_that_rounding_hides(tmp_path: Path, within: str, p95: int, status: str) -> None:
    """If rounding moves the threshold, only its rounded value is undecided."""
    objective = f"o: {{sli: latency, target: 95%, within: {within}}}"
    assessments = judged(tmp_path, objective, row("/a", "GET", p95=p95), row(p95=p95))
    assert status_of(assessments) == status
    assert ("rounds" in assessments.results[0].note) is (status == "undecided")


@pytest.mark.parametrize(
    ("p95", "p98", "status"), [(1000, 2000, "met"), (2100, 3000, "missed"), (2000, 2100, "undecided")]
)
def test_a_target_that_is_no_column(tmp_path: Path, p95: int, p98: int, status: str) -> None:
    """97 % is met if 98 % is met, missed if 95 % is missed, and else undecided."""
    rows = [row("/a", "GET", p95=p95, p98=p98), row(p95=p95, p98=p98)]
    assessments = judged(tmp_path, "o: {sli: latency, target: 97%, within: 2s}", *rows)
    assert status_of(assessments) == status
    assert ("no column 97%" in assessments.results[0].note) is (status == "undecided")


@pytest.mark.parametrize(
    ("first", "second", "status"), [(2000, 1000, "met"), (2100, 3000, "missed"), (2000, 2100, "undecided")]
)
def test_percentiles_of_several_lines(tmp_path: Path, first: int, second: int, status: str) -> None:
    """Percentiles cannot be added up: all lines have to agree."""
    rows = [row("/a", "GET", p95=first), row("/b", "GET", p95=second), row(requests=2000)]
    assert status_of(judged(tmp_path, CART, *rows)) == status


def test_success_and_mean_of_several_lines(tmp_path: Path) -> None:
    """Requests are added up and means are weighted, without the aggregated line and lines that do not match."""
    rows = [
        row("/a", "GET", requests=100, failures=2, mean=100.0),
        row("/a", "POST", requests=300, failures=1, mean=500.0),
        row("/b", "GET", requests=50, failures=50, mean=9000.0),
        row(requests=450, failures=53, mean=9999.0),
    ]
    objectives = (
        "s: {sli: success, target: 99%, match: {name: /a}}, m: {sli: mean, within: 400ms, match: {name: /a}}, "
        "post: {sli: success, target: 99%, match: {method: POST}}, all: {sli: success, target: 99%}"
    )
    s, m, post, everything = judged(tmp_path, objectives, *rows).results
    assert [result.counts[:2] for result in (s, post, everything)] == [(397, 3), (299, 1), (397, 53)]
    assert m.actual == pytest.approx((100 * 100 + 300 * 500) / 400 / 1000)
    assert [result.status.value for result in (s, m, post, everything)] == ["met", "met", "met", "missed"]
    assert everything.worst is not None
    assert (everything.worst.name, everything.worst.counts.bad) == ("/b", 50)


@pytest.mark.parametrize("objective", ["{sli: success, target: 99%}", "{sli: mean, within: 1s}", P95[3:]])
def test_an_empty_run_never_passes(tmp_path: Path, objective: str) -> None:
    """No line, a last line without requests, and too few requests are undecided."""
    nothing = row(requests=0, mean=0.0, highest=0).replace(",9000", ",N/A").replace(",50", ",N/A")
    nothing = nothing.replace("N/A", "0", 1)  # the median is a number
    assert status_of(judged(tmp_path, f"o: {objective}")) == "undecided"
    assert status_of(judged(tmp_path, f"o: {objective}", nothing)) == "undecided"
    few = judged(tmp_path, f"o: {objective}", row("/a", "GET"), row(), min_requests=1001)
    assert status_of(few) == "undecided"
    assert few.results[0].note == "1,000 of the 1,001 requests it takes"


def test_requests_without_times(tmp_path: Path) -> None:
    """Locust writes 0 if no request had a time: that is not a percentile, and not a mean."""
    nothing = {f"p{level}".replace(".", "_"): 0 for level in (50, 66, 75, 80, 90, 95, 98, 99, 99.9, 99.99, 100)}
    rows = [row(name, "", mean=0.0, highest=0, **nothing) for name in ("/a", "Aggregated")]
    assessments = judged(tmp_path, f"{P95}, m: {{sli: mean, within: 1s}}, s: {{sli: success, target: 99%}}", *rows)
    assert statuses(assessments) == {"o": "undecided", "m": "undecided", "s": "met"}


def test_names_as_they_are(tmp_path: Path) -> None:
    """Names may have quotes, commas, line breaks and other scripts, and may be that of Locust's own line."""
    names = ['quo"ted, and\nbroken', "ünïcödé 🦗", "Aggregated"]
    rows = ['GET,"quo""ted, and\nbroken"' + row("", requests=10)[1:], row(names[1], "GET", requests=20)]
    rows += [row("Aggregated", "GET", requests=30, failures=30), row(requests=60, failures=30)]
    table = csv_file.parse(check_files.csv_file(*rows), "x")
    assert [line.name for line in table.rows] == names
    assessments = judged(tmp_path, "o: {sli: success, target: 99%, match: {name: Aggregated}}", *rows)
    assert assessments.results[0].counts == (0, 30, 0.0)


def test_lines_that_locust_has_emptied(tmp_path: Path) -> None:
    """With --json-file the last CSV may have zeros in all lines but the aggregated one, which is judged."""
    objectives = "s: {sli: success, target: 99%}, a: {sli: success, target: 99%, match: {name: /a}}"
    assessments = judged(tmp_path, objectives, row("/a", "GET", requests=0), row(failures=142))
    assert statuses(assessments) == {"s": "missed", "a": "undecided"}
    assert assessments.results[0].counts == (858, 142, 0.0)
    assert assessments.results[0].worst is None
    assert "do not add up" in assessments.notes[0]
    assert "do not add up" in assessments.results[1].note


LINES = check_files.csv_file(row("/a", "GET"), row())


@pytest.mark.parametrize(
    ("content", "slug"),
    [
        (b"", "columns"),
        (b"\x00" * 100, "columns"),
        (b"Name,Value\r\na,1\r\n", "columns"),
        (LINES.replace(",", ";").encode(), "columns"),
        (LINES.encode("utf-16"), "encoding"),
        (LINES.replace("/a", "/ä").encode("latin-1"), "encoding"),
        (LINES.splitlines()[0].replace("Name", "Type").encode(), "columns"),
        (LINES.encode()[:-20], "truncated"),
        ("\n".join(LINES.splitlines()[:-1]).encode(), "truncated"),
        (check_files.csv_file(row("/a", "GET", requests=1001), row()).encode(), "sum"),
        (check_files.csv_file(row("/a", "GET", requests="-1"), row()).encode(), "value"),  # type: ignore[arg-type]
        (check_files.csv_file(row("/a", "GET", requests=10, failures=11), row()).encode(), "value"),
        (check_files.csv_file(row("/a", "GET", mean="1e999999999"), row()).encode(), "value"),
        (check_files.csv_file(row("/a", "GET", p95="²"), row()).encode(), "value"),
        (LINES.replace("/a", '"/a').encode(), "syntax"),
        (LINES.replace("/a", "x" * 200_000).encode(), "syntax"),
    ],
)
def test_hostile_files(tmp_path: Path, content: bytes, slug: str) -> None:
    """Files that are not from Locust, or were cut off, are refused with the reason."""
    (tmp_path / "run_stats.csv").write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        csv_file.source(str(tmp_path / "run"))
    assert raised.value.slug == f"check-csv-{slug}"
    assert str(tmp_path) in str(raised.value)
