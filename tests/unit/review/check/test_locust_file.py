"""Tests of what both files of Locust have in common: reading, rounding, and objectives that they cannot decide."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locust import stats as locust_stats

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check import csv_file, json_file, locust_file
from locust_otel.review.check.locust_file import Threshold, rounded
from locust_otel.slo.objectives import Objective, Sli
from tests.unit import check_files
from tests.unit.check_files import row, slo, statuses


@given(st.decimals("0", "700000", places=3))
def test_the_rounding_is_that_of_locust(ms: Decimal) -> None:
    """A response time is rounded as Locust rounds it."""
    # In earlier versions of Locust the rounding is inside a method.
    bucket = getattr(locust_stats, "bucket_response_time", None)
    if bucket is None:
        stats = locust_stats.RequestStats()
        stats.log_request("GET", "/", float(ms), 0)  # type: ignore[arg-type]
        kept = next(iter(stats.get("/", "GET").response_times))
    else:
        kept = bucket(float(ms))
    assert rounded(ms) == kept


@given(st.decimals("0.001", "60", places=3), st.decimals("0", "70000", places=3))
def test_rounded_times_are_on_the_right_side(within_s: Decimal, ms: Decimal) -> None:
    """A rounded time is on the side of the threshold that the exact time is on; undecided times are near it."""
    threshold = Threshold(Objective("o", Sli.LATENCY, within_s=within_s))
    exceeded = threshold.is_exceeded(int(rounded(ms)))
    if exceeded is None:
        assert abs(ms - within_s * 1000) <= max(Decimal(1), ms / 10)
    elif not threshold.is_kept or rounded(ms) != within_s * 1000:
        assert exceeded is (ms > within_s * 1000)


KINDS = {
    "csv": (csv_file.source, "_stats.csv", check_files.csv_file(row("/a", "GET"), row())),
    "json": (json_file.source, ".json", check_files.json_file(("GET", "/a", [50.0] * 100, 0))),
}
P95 = "o: {sli: latency, target: 95%, within: 2s}"


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_files(tmp_path: Path, kind: str) -> None:
    """A file can be named with or without Locust's ending, and may have a byte order mark."""
    source, ending, content = KINDS[kind]
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / f"run{ending}").write_bytes(mark + content.encode())
        for name in ("run", f"run{ending}"):
            assert statuses(source(str(tmp_path / name))(slo(P95))) == {"o": "met"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "slug"), [("none", "unreadable"), ("folder", "unreadable"), ("\0", "unreadable"), ("huge", "too-large")]
)
def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, slug: str) -> None:
    """A missing file, a folder, a name with a NUL and a huge file are refused."""
    source, ending, _ = KINDS[kind]
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / f"huge{ending}").write_bytes(b"x" * 2000)
    monkeypatch.setattr(locust_file, "MAX_BYTES", 1000)
    with pytest.raises(ConfigurationError) as raised:
        source(str(tmp_path / name))
    assert raised.value.slug == f"check-{kind}-{slug}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        ("{sli: success, target: 99%, match: {user_class: Shopper}}", "user classes"),
        ("{sli: latency, target: 95%, within: 2s, only: success}", "times of failed requests"),
        ("{sli: success, target: 99%, match: {name: /nowhere}}", "no request was judged with name /nowhere"),
    ],
)
def test_objectives_that_no_file_decides(tmp_path: Path, kind: str, objective: str, reason: str) -> None:
    """Objectives that need more than the file has are undecided, with the reason."""
    source, ending, content = KINDS[kind]
    (tmp_path / f"run{ending}").write_text(content)
    assessments = source(str(tmp_path / "run"))(slo(f"o: {objective}"))
    assert statuses(assessments) == {"o": "undecided"}
    assert reason in assessments.results[0].note
