"""Families of points as Prometheus reads them: text 0.0.4 and OpenMetrics 1.0.

The text is put together here, since its speed is the point: prometheus_client holds the event loop for 195 ms at 1,000
histograms (measured 2026-11), one `%` on a template per series takes a twentieth of it, and the pieces are small. That
it is correct is left to that library to say: the tests parse every output back with its parsers.

https://prometheus.io/docs/instrumenting/exposition_formats/
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS

from locust_otel.core.catalogue import Metric
from locust_otel.core.families import Family, HistogramPoint, Point

POINTS_PER_PIECE = 40
"""Points in one piece of output: some hundred kilobytes at the most, a millisecond of work."""

_UNITS = {"s": "seconds", "By": "bytes", "1": "ratio"}


class Format(Enum):
    """An exposition format; the value is its content type."""

    TEXT = CONTENT_TYPE_PLAIN_0_0_4
    OPENMETRICS = CONTENT_TYPE_OPENMETRICS
    PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"


def negotiate(accept: str) -> Format:
    """Return the format an `Accept` header prefers; text where it names none of ours.

    Of OpenMetrics only versions 1.x count, or none named; `q` decides, then the order.
    """
    best, best_quality = Format.TEXT, 0.0
    for item in accept.split(","):
        media_type, *rest = (part.strip() for part in item.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        offered = _offered(media_type.lower(), parameters)
        quality = _quality(parameters.get("q", "1"))
        if offered is not None and quality > best_quality:
            best, best_quality = offered, quality
    return best


def _offered(media_type: str, parameters: Mapping[str, str]) -> Format | None:
    if media_type == "application/vnd.google.protobuf":
        asked = (parameters.get("proto"), parameters.get("encoding"))
        return Format.PROTOBUF if asked == ("io.prometheus.client.MetricFamily", "delimited") else None
    if media_type == "application/openmetrics-text":
        version = parameters.get("version", "").strip('"')
        return Format.OPENMETRICS if version.startswith("1.") or not version else None
    return Format.TEXT if media_type in {"text/plain", "text/*", "*/*"} else None


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


class TextExposition:
    """Renders families as text, and keeps what does not change between two scrapes.

    Several renderings may be under way at once.
    """

    def __init__(self, *, is_openmetrics: bool) -> None:
        self._openmetrics = is_openmetrics
        self._templates: dict[tuple[Metric, tuple[str, ...]], str] = {}

    def render(self, families: Iterable[Family]) -> Iterator[bytes]:
        """Yield the exposition in pieces of at most `POINTS_PER_PIECE` points."""
        used: dict[tuple[Metric, tuple[str, ...]], str] = {}
        lines: list[str] = []
        points = 0
        for family in families:
            heading: str | None = header(family.metric, is_openmetrics=self._openmetrics)
            for point in family.points:
                if heading is not None:
                    lines.append(heading)
                    heading = None
                lines.append(self._sample(family, point, used))
                points += 1
                if points % POINTS_PER_PIECE == 0:
                    yield _encoded(lines)
                    lines.clear()
        if self._openmetrics:
            lines.append("# EOF\n")
        yield _encoded(lines)
        # Only the series of this rendering stay: those of an earlier run are gone.
        self._templates = used

    def _sample(
        self, family: Family, point: Point | HistogramPoint, used: dict[tuple[Metric, tuple[str, ...]], str]
    ) -> str:
        key = (family.metric, point.labels)
        text = self._templates.get(key)
        if text is None:
            text = template(family, point)
        used[key] = text
        text = filled(text, point)
        if self._openmetrics and isinstance(point, HistogramPoint) and point.exemplars:
            return self._with_exemplars(text, point)
        return text

    @staticmethod
    def _with_exemplars(text: str, point: HistogramPoint) -> str:
        lines = text.split("\n")
        for index, exemplar in point.exemplars.items():
            lines[index] += (
                f' # {{trace_id="{exemplar.trace_id}",span_id="{exemplar.span_id}"}}'
                f" {exemplar.duration_s!r} {exemplar.timestamp:.3f}"
            )
        return "\n".join(lines)


def header(metric: Metric, *, is_openmetrics: bool) -> str:
    """Return the lines that stand before the samples of a metric."""
    name = metric.name
    unit = ""
    if is_openmetrics:
        name = name.removesuffix("_total")
        if metric.unit in _UNITS and name.endswith(_UNITS[metric.unit]):
            unit = f"# UNIT {name} {_UNITS[metric.unit]}\n"
    return f"# HELP {name} {_escape(metric.help)}\n# TYPE {name} {metric.kind.value}\n{unit}"


def filled(text: str, point: Point | HistogramPoint) -> str:
    """Return the lines of a series: its template with the numbers of a point."""
    if isinstance(point, Point):
        value = point.value
        return text % (repr(value) if isinstance(value, float) else int(value))
    cumulative = point.layout.classic(point.counts)
    return text % (*cumulative, repr(float(point.sum)), cumulative[-1])


def template(family: Family, point: Point | HistogramPoint) -> str:
    """Return the text of a series with `%s` for each number."""
    name = family.metric.name
    labels = ",".join(
        f'{label}="{_escape_label(value)}"'
        for label, value in zip(family.label_names, point.labels, strict=True)
        if value != ""  # an empty label is the same as none
    ).replace("%", "%%")
    if isinstance(point, Point):
        return f"{name}{{{labels}}} %s\n" if labels else f"{name} %s\n"
    before = f"{labels}," if labels else ""
    buckets = "".join(f'{name}_bucket{{{before}le="{bound!r}"}} %s\n' for bound in point.layout.classic_bounds)
    return f'{buckets}{name}_bucket{{{before}le="+Inf"}} %s\n{name}_sum{{{labels}}} %s\n{name}_count{{{labels}}} %s\n'


def _encoded(lines: list[str]) -> bytes:
    # What the file system or the environment held of bytes that are no UTF-8 came as lone surrogates.
    return "".join(lines).encode("utf-8", "replace")


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escape_label(text: str) -> str:
    return _escape(text).replace('"', r"\"")
