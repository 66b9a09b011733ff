"""Families of points as Prometheus reads them: text 0.0.4 and OpenMetrics 1.0.

The text is put together here, since prometheus_client needs 195 ms for 1,000 histograms (measured 2026-11), twenty
times as long. The tests parse every output back with that library's parsers.

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
    """Return the format an `Accept` header prefers; text if it names none of ours.

    Of OpenMetrics only versions 1.x count, or none named; `q` decides, then the order.
    """
    best, best_quality = Format.TEXT, 0.0
    for item in accept.split(","):
        media_type, *rest = (part.strip() for part in item.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        try:
            quality = min(float(parameters.get("q", "1")), 1.0)
        except ValueError:
            continue
        offered = _offered(media_type.lower(), parameters)
        if offered is not None and quality > best_quality:
            best, best_quality = offered, quality
    return best


def _offered(media_type: str, parameters: Mapping[str, str]) -> Format | None:
    match media_type:
        case "application/vnd.google.protobuf":
            asked = parameters.get("proto"), parameters.get("encoding")
            return Format.PROTOBUF if asked == ("io.prometheus.client.MetricFamily", "delimited") else None
        case "application/openmetrics-text":
            version = parameters.get("version", "").strip('"')
            return Format.OPENMETRICS if version.startswith("1.") or not version else None
        case "text/plain" | "text/*" | "*/*":
            return Format.TEXT
    return None


_Series = dict[tuple[str, ...], tuple[object, bytes]]
"""By the labels of a series: its value or the source of its numbers, and the bytes rendered of it."""


class Exposition:
    """Renders families, and renders again only the series that have changed since the last time.

    One rendering at a time. The bytes of a series that has not changed are the same object in the next answer, so an
    answer that is still on its way to a slow client costs little memory beyond the latest one.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Series] = {}

    def render(self, families: Iterable[Family]) -> list[bytes]:
        """Return the exposition in pieces: the series one by one, and the headings between them."""
        before, self._kept = self._kept, {}  # series of an earlier run go
        pieces: list[bytes] = []
        for family in families:
            name = family.metric.name
            if series := self._rendered(family, before.pop(name, {})):
                self._kept[name] = series
                points = [point for _, point in series.values()]
                pieces += [self._heading(family, points), *points]
        return pieces

    def _rendered(self, family: Family, before: _Series) -> _Series:
        series: _Series = {}
        for point in family.points:
            # Taken out, so that the old bytes of a series go when there are new ones: never two renderings in memory.
            last = before.pop(point.labels, None)
            state: object
            if isinstance(point, Point):
                state = point.value
                is_known = last is not None and last[0] == state
            else:
                state = point.source
                is_known = last is not None and last[0] is state is not None
            series[point.labels] = last if is_known and last is not None else (state, self._point(family, point))
        return series

    def _heading(self, family: Family, points: list[bytes]) -> bytes:
        """Return the bytes before the points of a family."""
        raise NotImplementedError

    def _point(self, family: Family, point: Point | HistogramPoint) -> bytes:
        """Render a point."""
        raise NotImplementedError


class TextExposition(Exposition):
    """Renders families as text."""

    def __init__(self, *, is_openmetrics: bool) -> None:
        super().__init__()
        self._openmetrics = is_openmetrics

    def render(self, families: Iterable[Family]) -> list[bytes]:
        """Return the exposition in pieces: the series one by one, and the headings between them."""
        pieces = super().render(families)
        return [*pieces, b"# EOF\n"] if self._openmetrics else pieces

    def _heading(self, family: Family, points: list[bytes]) -> bytes:  # noqa: ARG002
        return header(family.metric, is_openmetrics=self._openmetrics)

    def _point(self, family: Family, point: Point | HistogramPoint) -> bytes:
        text = lines(family.metric.name, labelled(family.label_names, point.labels), point)
        if self._openmetrics and isinstance(point, HistogramPoint) and point.exemplars:
            text = _with_exemplars(text, point)
        return text


def _with_exemplars(text: bytes, point: HistogramPoint) -> bytes:
    by_line = text.split(b"\n")
    for index, exemplar in point.exemplars.items():
        by_line[index] += _encoded(
            f' # {{trace_id="{exemplar.trace_id}",span_id="{exemplar.span_id}"}}'
            f" {exemplar.duration_s!r} {exemplar.timestamp:.3f}"
        )
    return b"\n".join(by_line)


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
    """Return the lines of a series, whose labels are as `labelled` returns them."""
    if isinstance(point, Point):
        return _value_line(name, is_labelled=bool(labels)) % (labels, _number(point.value))
    cumulative = point.layout.classic(point.counts)
    before = labels + b"," if labels else b""
    buckets = chain.from_iterable(zip(repeat(before), cumulative))
    return _histogram_lines(name, point.layout.classic_bounds) % (
        *buckets, labels, _number(float(point.sum)), labels, cumulative[-1]
    )  # fmt: skip


def labelled(names: tuple[str, ...], values: tuple[str, ...]) -> bytes:
    """Return labels as they stand in braces; an empty one is the same as none."""
    return _encoded(",".join(filter(None, starmap(_label, zip(names, values, strict=True)))))


@lru_cache(maxsize=16_384)
def _label(name: str, value: str) -> str:
    escaped = _escape(value).replace('"', r"\"")
    return f'{name}="{escaped}"' if value else ""


@lru_cache(maxsize=256)
def _value_line(name: str, *, is_labelled: bool) -> bytes:
    """Return the line of a counter or gauge, to be filled with labels and value."""
    return f"{name}{{%b}} %b\n".encode() if is_labelled else f"{name}%b %b\n".encode()


@lru_cache(maxsize=256)
def _histogram_lines(name: str, bounds: tuple[float, ...]) -> bytes:
    """Return the lines of a histogram, to be filled with labels and count, line by line."""
    buckets = [f'{name}_bucket{{%ble="{bound}"}} %d\n' for bound in (*map(repr, bounds), "+Inf")]
    return "".join([*buckets, f"{name}_sum{{%b}} %b\n{name}_count{{%b}} %d\n"]).encode()


def _number(value: float) -> bytes:
    return repr(value).encode() if isinstance(value, float) else b"%d" % value


def _encoded(text: str) -> bytes:
    # Bytes that are not UTF-8 in a file name or an environment variable arrive as lone surrogates.
    return text.encode("utf-8", "replace")


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
