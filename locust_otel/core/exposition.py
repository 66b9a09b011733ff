"""Renderer of families in the formats that Prometheus reads: text 0.0.4 and OpenMetrics 1.0.

prometheus_client would need 195 ms for 1,000 histograms (measured 2026-11), twenty times as long as this module. The
tests parse every output with the parsers of that library.

https://prometheus.io/docs/instrumenting/exposition_formats/
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from itertools import chain, repeat, starmap

from locust_otel.core.catalogue import UNIT_WORDS, Metric
from locust_otel.core.families import Family, HistogramPoint, Point


class Format(Enum):
    """An exposition format; the value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"


def negotiate(accept: str) -> Format:
    """Return the format that an `Accept` header prefers; text if it names no supported format.

    OpenMetrics is supported in versions 1.x, and without a version. The highest `q` wins, then the first format.
    """
    best, best_quality = Format.TEXT, 0.0
    for item in accept.split(","):
        media_type, *rest = (part.strip() for part in item.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        try:
            quality = min(float(parameters.get("q", "1")), 1.0)
        except ValueError:
            continue
        supported = _supported(media_type.lower(), parameters)
        if supported is not None and quality > best_quality:
            best, best_quality = supported, quality
    return best


def _supported(media_type: str, parameters: Mapping[str, str]) -> Format | None:
    match media_type:
        case "application/vnd.google.protobuf":
            schema = parameters.get("proto"), parameters.get("encoding")
            return Format.PROTOBUF if schema == ("io.prometheus.client.MetricFamily", "delimited") else None
        case "application/openmetrics-text":
            version = parameters.get("version", "").strip('"')
            return Format.OPENMETRICS if version.startswith("1.") or not version else None
        case "text/plain" | "text/*" | "*/*":
            return Format.TEXT
    return None


_Series = dict[tuple[str, ...], tuple[object, bytes]]
"""Rendered series by their labels: the value or the source of the numbers, and the bytes."""

_NOTHING: tuple[object, bytes] = (None, b"")


class Exposition:
    """Renderer of families that renders again only the series that have changed.

    Not thread-safe. The bytes of an unchanged series are the same object in the next answer, so an answer that is still
    being sent to a slow client needs little memory besides the latest answer.
    """

    def __init__(self) -> None:
        self._cache: dict[str, _Series] = {}

    def render(self, families: Iterable[Family]) -> list[bytes]:
        """Return the exposition in pieces: one piece for each heading and for each series."""
        before, self._cache = self._cache, {}  # drops the series of an earlier run
        pieces: list[bytes] = []
        for family in families:
            name = family.metric.name
            if series := self._rendered(family, before.pop(name, {})):
                self._cache[name] = series
                points = [point for _, point in series.values()]
                pieces += [self._heading(family, points), *points]
        return pieces

    def _rendered(self, family: Family, before: _Series) -> _Series:
        series: _Series = {}
        for point in family.points:
            # `pop` frees the old bytes of a series at once, so that two whole expositions are never in memory.
            last = before.pop(point.labels, _NOTHING)
            if isinstance(point, Point):
                state: object = point.value
                is_unchanged = last[0] == state
            else:
                state = point.source
                is_unchanged = last[0] is state is not None
            series[point.labels] = last if is_unchanged else (state, self._point(family, point))
        return series

    def _heading(self, family: Family, points: list[bytes]) -> bytes:
        """Return the bytes before the points of a family."""
        raise NotImplementedError

    def _point(self, family: Family, point: Point | HistogramPoint) -> bytes:
        """Render a point."""
        raise NotImplementedError


class TextExposition(Exposition):
    """Renderer of text 0.0.4 or OpenMetrics 1.0."""

    def __init__(self, *, is_openmetrics: bool) -> None:
        super().__init__()
        self._openmetrics = is_openmetrics

    def render(self, families: Iterable[Family]) -> list[bytes]:
        """Return the exposition in pieces; OpenMetrics ends with `# EOF`."""
        pieces = super().render(families)
        return [*pieces, b"# EOF\n"] if self._openmetrics else pieces

    def _heading(self, family: Family, points: list[bytes]) -> bytes:  # noqa: ARG002
        return header(family.metric, is_openmetrics=self._openmetrics)

    def _point(self, family: Family, point: Point | HistogramPoint) -> bytes:
        text = lines(family.metric.name, labelled(family.label_names, point.labels), point)
        if self._openmetrics and isinstance(point, HistogramPoint) and point.exemplars:
            by_line = text.split(b"\n")
            for index, exemplar in point.exemplars.items():
                ids = f'trace_id="{exemplar.trace_id}",span_id="{exemplar.span_id}"'
                by_line[index] += _encoded(f" # {{{ids}}} {exemplar.duration_s!r} {exemplar.timestamp:.3f}")
            text = b"\n".join(by_line)
        return text


def header(metric: Metric, *, is_openmetrics: bool) -> bytes:
    """Return the lines before the samples of a metric."""
    name = metric.name
    unit = ""
    if is_openmetrics:
        name = name.removesuffix("_total")
        word = UNIT_WORDS.get(metric.unit)
        if word and name.endswith(word):
            unit = f"# UNIT {name} {word}\n"
    return _encoded(f"# HELP {name} {_escape(metric.help)}\n# TYPE {name} {metric.kind.value}\n{unit}")


def lines(name: str, labels: bytes, point: Point | HistogramPoint) -> bytes:
    """Return the lines of a series; `labels` come from `labelled`."""
    if isinstance(point, Point):
        value = repr(point.value) if isinstance(point.value, float) else f"{point.value:d}"  # a bool is 0 or 1
        return b"%b%b %b\n" % (name.encode(), b"{%b}" % labels if labels else b"", value.encode())
    cumulative = point.layout.classic(point.counts)
    before = labels + b"," if labels else b""
    buckets = chain.from_iterable(zip(repeat(before), cumulative))
    return _histogram_lines(name, point.layout.classic_bounds) % (
        *buckets, labels, repr(float(point.sum)).encode(), labels, cumulative[-1]
    )  # fmt: skip


def labelled(names: tuple[str, ...], values: tuple[str, ...]) -> bytes:
    """Return labels as in the braces of a line; a label with an empty value is left out, which means the same."""
    return _encoded(",".join(filter(None, starmap(_label, zip(names, values, strict=True)))))


@lru_cache(maxsize=16_384)
def _label(name: str, value: str) -> str:
    escaped = _escape(value).replace('"', r"\"")
    return f'{name}="{escaped}"' if value else ""


@lru_cache(maxsize=256)
def _histogram_lines(name: str, bounds: tuple[float, ...]) -> bytes:
    """Return the template of the lines of a histogram; each line takes labels and a number."""
    buckets = [f'{name}_bucket{{%ble="{bound}"}} %d\n' for bound in (*map(repr, bounds), "+Inf")]
    return "".join([*buckets, f"{name}_sum{{%b}} %b\n{name}_count{{%b}} %d\n"]).encode()


def _encoded(text: str) -> bytes:
    # Python reads bytes that are not UTF-8 in a file name or an environment variable as lone surrogates.
    return text.encode("utf-8", "replace")


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
