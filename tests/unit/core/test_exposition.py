"""Tests of the exposition: prometheus_client's parsers read back every sample of the snapshot."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from locust_otel.core.catalogue import CATALOGUE
from locust_otel.core.exposition import Format, TextExposition, negotiate
from locust_otel.core.families import families
from locust_otel.core.snapshot import Exemplar, SeriesKey, Snapshot
from tests.unit.factories import (
    ODD_TEXTS,
    SPAN_ID,
    TRACE_ID,
    Load,
    expected_samples,
    health,
    parsed_samples,
    record,
    rich_load,
    rich_snapshot,
    snapshot,
    worker,
)

TEXT, OPENMETRICS, PROTOBUF = Format.TEXT, Format.OPENMETRICS, Format.PROTOBUF
FORMATS = pytest.mark.parametrize("format_", [TEXT, OPENMETRICS], ids=["text", "openmetrics"])
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_NATIVE = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
    f"escaping=allow-utf-8;q=0.7,{PROMETHEUS_3}"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def text_of(source: Snapshot, format_: Format, exposition: TextExposition | None = None) -> str:
    """Return the exposition of a snapshot, and assert that its samples are exactly those of the snapshot."""
    is_openmetrics = format_ is OPENMETRICS
    exposition = exposition or TextExposition(is_openmetrics=is_openmetrics)
    text = b"".join(exposition.render(families(source))).decode()
    assert parsed_samples(text, openmetrics=is_openmetrics) == expected_samples(source)
    return text


def busy(series: int = 60, run_id: str = "run-1") -> Snapshot:
    """Return a snapshot with this number of series."""
    load = Load(slow_s=2.0, max_names=10_000)
    for number in range(series):
        record(load, SeriesKey("GET", f"/{number}", "Shopper", "success"), range(number + 1), number)
    return snapshot(load, run_id=run_id)


@FORMATS
def test_a_rich_snapshot(format_: Format) -> None:
    """Each family has the type, the help and in OpenMetrics the unit of the catalogue."""
    text = text_of(rich_snapshot(), format_)
    parsed = {f.name: f for f in (parse_openmetrics if format_ is OPENMETRICS else parse_text)(text)}
    assert list(parsed) == [metric.name.removesuffix("_total") for metric in CATALOGUE]
    for metric in CATALOGUE:
        family = parsed[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind.value, metric.help)
        if format_ is OPENMETRICS:
            assert family.unit == {"s": "seconds", "By": "bytes", "1": "ratio"}.get(metric.unit, "")
    assert text.count("# EOF") == (format_ is OPENMETRICS)
    assert text.endswith("\n# EOF\n" if format_ is OPENMETRICS else "\n")


@FORMATS
@pytest.mark.parametrize("has_run", [False, True], ids=["before the first run", "run without requests"])
def test_before_the_first_request(format_: Format, has_run: bool) -> None:
    """A family without points has no heading."""
    text = text_of(snapshot(Load(slow_s=5, max_names=5) if has_run else None), format_)
    assert "locust_requests" not in text
    assert ("locust_run_state" in text) == has_run


@FORMATS
def test_headings(format_: Format) -> None:
    """The samples of a family are in one block after its only `# TYPE`."""
    current = ""
    types: list[str] = []
    for line in text_of(busy(), format_).splitlines():
        if line.startswith("# TYPE "):
            current = line.split()[2]
            types.append(current)
        elif not line.startswith("#"):
            assert line.startswith(current)
    assert len(types) == len(set(types)) > 10


@FORMATS
@pytest.mark.parametrize("odd", ODD_TEXTS, ids=ascii)
def test_odd_labels(format_: Format, odd: str) -> None:
    """Quotes, newlines, backslashes, percent signs and other scripts survive in every label."""
    load = Load(slow_s=5, max_names=50)
    record(load, SeriesKey(odd, f"{odd}x", odd, "success"), [1, 2, 3], 10)
    load.count_error(odd, f"x{odd}", odd, 7)
    load.count_user_error(odd, odd, 2)
    odd_snapshot = snapshot(
        load, run_id=f"run {odd}", info={"host": odd, "team": f"{odd}{odd}"}, workers=(worker(f"w{odd}"),),
        users={f"u{odd}": 3},
    )  # fmt: skip
    text_of(replace(odd_snapshot, health=health(versions={"version": odd, "python_version": f"{odd}x"})), format_)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=3, max_size=3), st.booleans())
def test_any_labels(texts: list[str], is_openmetrics: bool) -> None:
    """Any UTF-8 survives in labels."""
    load = Load(slow_s=5, max_names=50)
    method, name, user_class = texts
    record(load, SeriesKey(method, name, user_class, "failure"), [1])
    text_of(snapshot(load), OPENMETRICS if is_openmetrics else TEXT)


@FORMATS
@pytest.mark.parametrize(
    "value", [0.1, 1e-9, 1e300, 12345678901234567890, 1_764_000_000.123456, True, False, -6], ids=repr
)
def test_values_are_exact(format_: Format, value: float) -> None:
    """A value is read back as the same float."""
    text = text_of(snapshot(rich_load(), start_time=value, users={"U": value}), format_)
    samples = parsed_samples(text, openmetrics=format_ is OPENMETRICS)
    assert samples["locust_run_start_time_seconds", frozenset({("run_id", "run-1")})] == float(value)
    assert samples["locust_users", frozenset({("run_id", "run-1"), ("user_class", "U")})] == float(value)


def test_exemplars() -> None:
    """In OpenMetrics a bucket has its exemplar with trace, span, duration and time; text has no exemplars."""
    load = rich_load()
    bounds = (*load.merged.layout.classic_bounds, math.inf)
    expected = {0.3: 0.2999, 5.0: 2.5, math.inf: 61.25}
    for edge, duration_s in expected.items():
        exemplar = Exemplar(duration_s, TRACE_ID, SPAN_ID, 1_764_000_000.5 + bounds.index(edge))
        load.of(SeriesKey("GET", "/", "Shopper", "success")).exemplars[bounds.index(edge)] = exemplar
    parsed = {}
    for family in parse_openmetrics(text_of(snapshot(load), OPENMETRICS)):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            if sample.exemplar is not None:
                assert sample.name == "locust_request_duration_seconds_bucket"
                assert (sample.labels["name"], sample.labels["outcome"]) == ("/", "success")
                assert sample.exemplar.labels == {"trace_id": TRACE_ID, "span_id": SPAN_ID}
                assert sample.exemplar.timestamp is not None
                edge = float(sample.labels["le"])
                parsed[edge] = sample.exemplar.value
                assert float(sample.exemplar.timestamp) == pytest.approx(1_764_000_000.5 + bounds.index(edge))
    assert parsed == expected
    assert TRACE_ID not in text_of(snapshot(load), TEXT)


def series_of(pieces: list[bytes]) -> dict[bytes, bytes]:
    """Return the rendered duration histograms by the name of the request."""
    histograms = [piece for piece in pieces if piece.startswith(b"locust_request_duration_seconds_bucket")]
    return {piece.partition(b'name="')[2].partition(b'"')[0]: piece for piece in histograms}


@FORMATS
def test_only_changed_series_are_rendered_again(format_: Format) -> None:
    """An unchanged series is the same bytes object in the next scrape; a changed series has its new numbers."""
    exposition = TextExposition(is_openmetrics=format_ is OPENMETRICS)
    load = Load(slow_s=2.0, max_names=100)
    keys = [SeriesKey("GET", f"/{number}", "Shopper", "success") for number in range(20)]
    for key in keys:
        record(load, key, [1, 2, 3])
    before = series_of(exposition.render(families(snapshot(load))))
    record(load, keys[7], [4])
    after = series_of(exposition.render(families(snapshot(load))))
    assert {name for name in before if after[name] is not before[name]} == {b"/7"}
    for time_ms in (7, 11):
        record(load, keys[3], [time_ms], 5)
        text_of(snapshot(load), format_, exposition)


def test_the_cache_compares_objects() -> None:
    """A series with the same labels from another object is rendered again."""
    exposition = TextExposition(is_openmetrics=False)
    source = busy(3)
    exposition.render(families(source))
    assert source.run is not None
    series = tuple(replace(one, sum_s=one.sum_s + 1) for one in source.run.requests.series)
    changed = replace(source.run, requests=replace(source.run.requests, series=series))
    text_of(replace(source, run=changed), TEXT, exposition)


@FORMATS
def test_several_runs(format_: Format) -> None:
    """Each run has its own series, and the cache keeps only those of the last run."""
    exposition = TextExposition(is_openmetrics=format_ is OPENMETRICS)
    for source in (busy(35), busy(50, "run-2"), busy(10, "run-2"), busy(35), busy(50, "run-3")):
        text_of(source, format_, exposition)
    cached = [labels for series in exposition._cache.values() for labels in series]
    assert len(cached) > 200
    assert {label for labels in cached for label in labels if label.startswith("run-")} == {"run-3"}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS_3, OPENMETRICS),
        (PROMETHEUS_3_NATIVE, PROTOBUF),
        (PROMETHEUS_2, OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),  # 2.5
        ("application/openmetrics-text", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;charset=utf-8", OPENMETRICS),
        ("APPLICATION/OpenMetrics-Text;version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;version=10.0", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0.0,text/plain", TEXT),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", TEXT),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.4", OPENMETRICS),
        ("text/plain,application/openmetrics-text", TEXT),
        ("application/openmetrics-text,text/plain", OPENMETRICS),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", TEXT),
        ("application/vnd.google.protobuf", TEXT),
        (PROTOBUF.value, PROTOBUF),
        (f"{PROTOBUF.value};q=0.2,text/plain;q=0.3", TEXT),
        (f"{PROTOBUF.value};q=0", TEXT),
        (f"text/plain;q=0.2,{PROTOBUF.value};q=0.3", PROTOBUF),
        (f"Application/VND.google.protobuf;{PROTOBUF.value.partition(';')[2]}", PROTOBUF),
        (PROTOBUF.value.replace("delimited", "text"), TEXT),
        (PROTOBUF.value.replace("delimited", "compact-text"), TEXT),
        (PROTOBUF.value.replace("io.prometheus.client.MetricFamily", "other.Message"), TEXT),
        ("text/plain", TEXT),
        ("text/*", TEXT),
        ("*/*", TEXT),
        ("", TEXT),
        (",,;;,", TEXT),
        ("garbage", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),  # a browser
        ("application/openmetrics-text;q=high", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        ("application/openmetrics-text;q", OPENMETRICS),
        ("application/openmetrics-text;q=-1", TEXT),
        ("\x00\xff", TEXT),
        ("=;=,=", TEXT),
    ],
)
def test_negotiation(accept: str, expected: Format) -> None:
    """The preferred supported format wins; OpenMetrics is supported in versions 1.x, and text is the fallback."""
    assert negotiate(accept) is expected


def test_content_types() -> None:
    """The content types are those of Prometheus."""
    assert TEXT.value == CONTENT_TYPE_PLAIN_0_0_4
    assert OPENMETRICS.value == CONTENT_TYPE_LATEST
    media_type, *parameters = PROTOBUF.value.split("; ")
    assert media_type == "application/vnd.google.protobuf"
    assert set(parameters) == {"proto=io.prometheus.client.MetricFamily", "encoding=delimited"}
