"""Tests of the exposition: what prometheus_client's parsers read back is what the snapshot holds, sample by sample."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from locust_otel.core.catalogue import CATALOGUE, Kind
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


def rendered(taken: Snapshot, format_: Format = TEXT) -> str:
    """Return the whole exposition."""
    return b"".join(TextExposition(is_openmetrics=format_ is OPENMETRICS).render(families(taken))).decode()


def busy(series: int = 60, run_id: str = "run-1") -> Snapshot:
    """Return a snapshot with this many series."""
    aggregate = Load(slow_s=2.0, max_names=10_000)
    for number in range(series):
        record(aggregate, SeriesKey("GET", f"/{number}", "Shopper", "success"), range(number + 1), number)
    return snapshot(aggregate, run_id=run_id)


@FORMATS
def test_every_sample_is_read_back(format_: Format) -> None:
    """Counters, gauges, buckets, sums and counts of a rich snapshot are read back with their values, and no others."""
    taken = rich_snapshot()
    assert parsed_samples(rendered(taken, format_), openmetrics=format_ is OPENMETRICS) == expected_samples(taken)


@FORMATS
@pytest.mark.parametrize("run", [False, True], ids=["before the first run", "run without requests"])
def test_hardly_anything_to_say(format_: Format, run: bool) -> None:
    """What is there before the first request is read back, and a family without points has no header."""
    taken = snapshot(Load(slow_s=5, max_names=5) if run else None)
    text = rendered(taken, format_)
    assert parsed_samples(text, openmetrics=format_ is OPENMETRICS) == expected_samples(taken)
    assert "locust_requests" not in text
    assert ("locust_run_state" in text) == run


@FORMATS
def test_types_helps_and_units(format_: Format) -> None:
    """Each family is read with the type and the help of the catalogue, and OpenMetrics with its unit."""
    text = rendered(rich_snapshot(), format_)
    found = {f.name: f for f in (parse_openmetrics if format_ is OPENMETRICS else parse_text)(text)}
    assert list(found) == [metric.name.removesuffix("_total") for metric in CATALOGUE]
    for metric in CATALOGUE:
        family = found[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind.value, metric.help)
        if format_ is OPENMETRICS:
            assert family.unit == ({"s": "seconds", "By": "bytes", "1": "ratio"}.get(metric.unit, ""))


@FORMATS
def test_each_family_has_one_header_before_its_samples(format_: Format) -> None:
    """Samples of a family stand together, under one `# TYPE` of their own."""
    current = ""
    types: list[str] = []
    for line in rendered(busy(), format_).splitlines():
        if line.startswith("# TYPE "):
            current = line.split()[2]
            types.append(current)
        elif not line.startswith("#"):
            assert line.startswith(current)
    assert len(types) == len(set(types)) > 10


@FORMATS
@pytest.mark.parametrize("odd", ODD_TEXTS, ids=ascii)
def test_odd_labels_survive(format_: Format, odd: str) -> None:
    """Quotes, newlines, backslashes, percent signs and other scripts are read back as they were."""
    aggregate = Load(slow_s=5, max_names=50)
    record(aggregate, SeriesKey(odd, f"{odd}x", odd, "success"), [1, 2, 3], 10)
    aggregate.count_error(odd, f"x{odd}", odd, 7)
    aggregate.count_user_error(odd, odd, 2)
    taken = snapshot(
        aggregate, run_id=f"run {odd}", info={"host": odd, "team": f"{odd}{odd}"}, workers=(worker(f"w{odd}"),),
        users={f"u{odd}": 3},
    )  # fmt: skip
    assert parsed_samples(rendered(taken, format_), openmetrics=format_ is OPENMETRICS) == expected_samples(taken)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=3, max_size=3), st.booleans())
def test_any_text_survives(texts: list[str], openmetrics: bool) -> None:
    """Whatever UTF-8 stands in labels is read back as it was."""
    method, name, user_class = texts
    aggregate = Load(slow_s=5, max_names=50)
    record(aggregate, SeriesKey(method, name, user_class, "failure"), [1])
    taken = snapshot(aggregate)
    found = parsed_samples(rendered(taken, OPENMETRICS if openmetrics else TEXT), openmetrics=openmetrics)
    assert found == expected_samples(taken)


@FORMATS
@pytest.mark.parametrize(
    "value", [0.1, 1e-9, 1e300, 12345678901234567890, 1_764_000_000.123456, True, False, -6], ids=repr
)
def test_values_are_exact(format_: Format, value: float) -> None:
    """A value is read back as the same float, large, small or whole."""
    taken = snapshot(rich_load(), start_time=value, users={"U": value})
    found = parsed_samples(rendered(taken, format_), openmetrics=format_ is OPENMETRICS)
    assert found["locust_run_start_time_seconds", frozenset({("run_id", "run-1")})] == float(value)
    assert found["locust_users", frozenset({("run_id", "run-1"), ("user_class", "U")})] == float(value)


def test_exemplars() -> None:
    """In OpenMetrics each bucket shows its exemplar, with trace, span, duration and time; in text none does."""
    aggregate = rich_load()
    key = SeriesKey("GET", "/", "Shopper", "success")
    view = aggregate.merged.layout
    for edge, duration in ((0.3, 0.2999), (5.0, 2.5), (None, 61.25)):
        index = len(view.classic_bounds) if edge is None else view.classic_bounds.index(edge)
        aggregate.of(key).exemplars[index] = Exemplar(duration, TRACE_ID, SPAN_ID, 1_764_000_000.5 + index)
    taken = snapshot(aggregate)
    found = {}
    for family in list(parse_openmetrics(rendered(taken, OPENMETRICS))):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            if sample.exemplar is not None:
                assert sample.name == "locust_request_duration_seconds_bucket"
                assert sample.labels["outcome"] == "success"
                assert sample.labels["name"] == "/"
                assert sample.exemplar.labels == {"trace_id": TRACE_ID, "span_id": SPAN_ID}
                assert sample.exemplar.timestamp is not None
                le = float(sample.labels["le"])
                found[le] = (sample.exemplar.value, float(sample.exemplar.timestamp))
    expected = {0.3: 0.2999, 5.0: 2.5, float("inf"): 61.25}
    assert {le: value for le, (value, _) in found.items()} == expected
    for le, (_, timestamp) in found.items():
        place = sum(edge < le for edge in view.classic_bounds)
        assert timestamp == pytest.approx(1_764_000_000.5 + place)
    assert parsed_samples(rendered(taken, OPENMETRICS), openmetrics=True) == expected_samples(taken)
    assert TRACE_ID not in rendered(taken, TEXT)
    assert parsed_samples(rendered(taken, TEXT), openmetrics=False) == expected_samples(taken)


def test_end_of_openmetrics() -> None:
    """OpenMetrics ends in `# EOF`, once; text has none."""
    assert rendered(rich_snapshot(), OPENMETRICS).endswith("\n# EOF\n")
    assert rendered(rich_snapshot(), OPENMETRICS).count("# EOF") == 1
    assert "# EOF" not in rendered(rich_snapshot(), TEXT)
    assert rendered(rich_snapshot(), TEXT).endswith("\n")


@FORMATS
def test_rendering_again_shows_new_values(format_: Format) -> None:
    """What is kept from one scrape to the next is text, never numbers."""
    exposition = TextExposition(is_openmetrics=format_ is OPENMETRICS)
    aggregate = rich_load()
    for _ in range(3):
        record(aggregate, SeriesKey("GET", "/", "Shopper", "success"), [7, 11], 5)
        taken = snapshot(aggregate)
        text = b"".join(exposition.render(families(taken))).decode()
        assert parsed_samples(text, openmetrics=format_ is OPENMETRICS) == expected_samples(taken)


def series_of(pieces: list[bytes]) -> dict[bytes, bytes]:
    """Return the rendered duration histograms by the name of the request."""
    histograms = [piece for piece in pieces if piece.startswith(b"locust_request_duration_seconds_bucket")]
    return {piece.partition(b'name="')[2].partition(b'"')[0]: piece for piece in histograms}


@FORMATS
def test_only_what_has_changed_is_rendered_again(format_: Format) -> None:
    """A series that has not changed is the very same bytes in the next scrape, the others show their new numbers."""
    exposition = TextExposition(is_openmetrics=format_ is OPENMETRICS)
    load = Load(slow_s=2.0, max_names=100)
    keys = [SeriesKey("GET", f"/{number}", "Shopper", "success") for number in range(20)]
    for key in keys:
        record(load, key, [1, 2, 3])
    before = series_of(exposition.render(families(snapshot(load))))
    record(load, keys[7], [4])
    taken = snapshot(load)
    pieces = exposition.render(families(taken))
    after = series_of(pieces)
    assert {name for name in before if after[name] is not before[name]} == {b"/7"}
    assert parsed_samples(b"".join(pieces).decode(), openmetrics=format_ is OPENMETRICS) == expected_samples(taken)


def test_another_object_with_the_same_labels_is_another_series() -> None:
    """What is kept goes by the object that the numbers come from, not by how it looks."""
    exposition = TextExposition(is_openmetrics=False)
    taken = busy(3)
    exposition.render(families(taken))
    assert taken.run is not None
    series = tuple(replace(each, sum_s=each.sum_s + 1) for each in taken.run.requests.series)
    changed = replace(taken, run=replace(taken.run, requests=replace(taken.run.requests, series=series)))
    text = b"".join(exposition.render(families(changed))).decode()
    assert parsed_samples(text, openmetrics=False) == expected_samples(changed)


@FORMATS
def test_runs_one_after_the_other(format_: Format) -> None:
    """Each run gives its own series, although the same are in both, and series that are gone are not shown."""
    exposition = TextExposition(is_openmetrics=format_ is OPENMETRICS)
    for taken in (busy(35), busy(50, "run-2"), busy(10, "run-2"), busy(35)):
        text = b"".join(exposition.render(families(taken))).decode()
        assert parsed_samples(text, openmetrics=format_ is OPENMETRICS) == expected_samples(taken)


def test_an_earlier_runs_text_goes() -> None:
    """A long-lived process with many runs keeps the text of the last one only."""
    exposition = TextExposition(is_openmetrics=False)
    for run in range(5):
        exposition.render(families(busy(50, f"run-{run}")))
    kept = [labels for series in exposition._kept.values() for labels in series]
    assert len(kept) > 200
    assert {label for labels in kept for label in labels if label.startswith("run-")} == {"run-4"}


def test_buckets_are_cumulative() -> None:
    """Buckets never go down, end in `+Inf`, and the last one is the count."""
    for family in parse_text(rendered(rich_snapshot(), TEXT)):
        if family.type != Kind.HISTOGRAM.value:
            continue
        by_series: dict[tuple[str, ...], list[float]] = {}
        for sample in family.samples:
            labels = tuple(v for k, v in sorted(sample.labels.items()) if k != "le")
            if sample.name.endswith("_bucket"):
                by_series.setdefault(labels, []).append(sample.value)
            if sample.name.endswith("_count"):
                assert by_series[labels] == sorted(by_series[labels])
                assert by_series[labels][-1] == sample.value
        assert by_series


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS_3, OPENMETRICS),
        (PROMETHEUS_3_NATIVE, PROTOBUF),
        (PROMETHEUS_2, OPENMETRICS),
        (
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            TEXT,
        ),  # Prometheus 2.5
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
    """The preferred format of ours wins, OpenMetrics only in a version we write, and text where nothing fits."""
    assert negotiate(accept) is expected


def test_content_types() -> None:
    """The content types are those Prometheus asks for."""
    assert TEXT.value == CONTENT_TYPE_PLAIN_0_0_4
    assert OPENMETRICS.value == CONTENT_TYPE_LATEST
    media_type, *parameters = PROTOBUF.value.split("; ")
    assert media_type == "application/vnd.google.protobuf"
    assert set(parameters) == {"proto=io.prometheus.client.MetricFamily", "encoding=delimited"}


def test_health_changes_with_exports() -> None:
    """Our own health is text like all else: a label value in it is escaped too."""
    taken = snapshot(None)
    odd = health(versions={"version": '0.1.0"dirty"', "python_version": "3.11\n"})
    object.__setattr__(taken, "health", odd)
    assert parsed_samples(rendered(taken), openmetrics=False) == expected_samples(taken)
    assert len(list(chain(families(taken)))) > 5
