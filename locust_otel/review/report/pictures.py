"""Pictures of a report: SVG with the colours of the page, and with a text alternative."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from locust_otel.core.words import clock, duration
from locust_otel.review.analysis.finding import Analysis, Pattern
from locust_otel.review.analysis.timeline import Floats, Timeline, binned, even_bins, points, quantiles, steady
from locust_otel.review.record.decode import Interval
from locust_otel.review.record.reader import Record
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Slo
from locust_otel.slo.verdict import budget_spent

_INK = "#010203"
_FAINT = "#010204"
_COLOURS = {"blue": "#0072b2", "orange": "#e69f00", "red": "#d55e00", "green": "#009e73", "purple": "#cc79a7"}
"""Colours of Okabe and Ito, which colour-blind people can distinguish; lines also differ in their dashes."""

_WIDTH_IN = 8.4
_SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("axes.labelcolor", "text.color", "xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), _FAINT),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "svg.fonttype"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon", "text.parse_math"), False),
    **dict.fromkeys(("axes.axisbelow", "axes.grid"), True),
    "axes.grid.axis": "y", "axes.titlelocation": "left", "axes.titlesize": 10, "font.family": ["DejaVu Sans"],
    "font.size": 9.5, "grid.alpha": 0.6, "grid.linewidth": 0.5, "legend.fontsize": 9, "lines.linewidth": 1.5,
    "path.simplify_threshold": 0.3,
}  # fmt: skip
_MOST_BINS = 180
_TICKS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True, slots=True)
class Picture:
    """Picture with its heading and caption; `markup` is one SVG element."""

    slug: str
    title: str
    caption: str
    markup: str


def pictures(record: Record, timeline: Timeline, analysis: Analysis, baseline: Timeline | None) -> Iterator[Picture]:
    """Yield the pictures that have data; each function below draws one and returns its caption."""
    if len(timeline) < 2:
        return
    yield _picture("time", "Latency and throughput over time", 5.4, over_time, timeline)
    if baseline is not None and len(baseline) >= 2:
        yield _picture("compared", "Comparison with the baseline", 2.6, compared, timeline, baseline)
    if len(timeline) >= 10 and timeline.totals.good.sum() >= 20:
        yield _picture("load", "Latency and throughput by load", 2.9, load, timeline, analysis)
    yield _picture("heat", "Latency heatmap", 2.9, heatmap, timeline)
    if record.slo is not None and any(interval.slo for interval in record.intervals):
        yield _picture("budget", "Budget burn", 2.6, budget, record.slo, record.intervals)
    yield _picture("generator", "Load generator", 2.0, generator, timeline)


def _bins(timeline: Timeline) -> tuple[Any, int, Floats, Floats]:
    span_s = float(timeline.end_s[-1] - timeline.start_s[0])
    width_s = max(float(np.median(timeline.length_s)) * 2, span_s / _MOST_BINS)
    at, bins = even_bins(timeline, width_s)
    length: Floats = np.maximum(binned(timeline.length_s, at, bins), 1e-9)
    middle: Floats = float(timeline.start_s[0]) + (np.arange(bins, dtype=np.float64) + 0.5) * width_s
    return at, bins, middle, length


def over_time(figure: Figure, timeline: Timeline) -> str:
    """Draw latency percentiles, throughput and users, one above the other."""
    at, bins, time_s, length = _bins(timeline)
    totals = timeline.totals
    p50, p95, p99 = quantiles(timeline, totals, at, bins, (0.5, 0.95, 0.99))
    rps = binned(totals.good + totals.failed, at, bins) / length
    failing = binned(totals.failed, at, bins) / length
    users = binned(timeline.users * timeline.length_s, at, bins) / length
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(2.2, 1, 0.8))
    top.plot(time_s, p99, ":", color=_COLOURS["red"], label="p99")
    top.plot(time_s, p95, "--", color=_COLOURS["orange"], label="p95")
    top.plot(time_s, p50, "-", color=_COLOURS["blue"], label="p50")
    _durations(top)
    _objectives(top, timeline)
    top.set_title("latency")
    top.legend(loc="upper left", ncols=4, bbox_to_anchor=(0.14, 1.14), borderaxespad=0)
    middle.plot(time_s, rps, color=_COLOURS["green"], label="requests/s")
    if failing.any():
        middle.fill_between(time_s, failing, color=_COLOURS["red"], alpha=0.7, linewidth=0, label="failed")
    middle.set(ylim=(0, None), title="requests per second" + (", the failed ones filled" if failing.any() else ""))
    bottom.step(time_s, users, where="mid", color=_COLOURS["purple"])
    bottom.set(ylim=(0, None), title="users")
    _time_axis(bottom, time_s[-1])
    for number, mark in enumerate(timeline.marks, 1):
        for axes in (top, middle, bottom):
            axes.axvline(mark.time_s, color=_INK, linewidth=0.8, linestyle=(0, (2, 2)))
        top.annotate(str(number), (mark.time_s, 1), xycoords=("data", "axes fraction"), fontsize=8.5,
                     xytext=(2, -9), textcoords="offset points")  # fmt: skip
    return (
        f"Median latency between {duration(np.nanmin(p50))} and {duration(np.nanmax(p50))}, 99th percentile up to "
        f"{duration(np.nanmax(p99))}; throughput up to {np.max(rps):.0f} requests per second with up to "
        f"{np.max(users):.0f} users."
    )


def heatmap(figure: Figure, timeline: Timeline) -> str:
    """Draw the number of requests by time and latency."""
    at, bins, time_s, _ = _bins(timeline)
    cells, weights = timeline.totals.cells, timeline.totals.weights
    middle = timeline.midpoints[np.minimum(cells[:, 1], len(timeline.midpoints) - 1)]
    positive = middle > 0
    low, high = (float(value) for value in np.quantile(middle[positive], [0, 1]))
    edges = np.geomspace(low / 1.15, high * 1.15, max(8, min(48, round(np.log2(high / low + 1) * 6))))
    table, _, _ = np.histogram2d(
        np.log(middle[positive]), at[cells[positive, 0]].astype(np.float64),
        bins=(np.log(edges), np.arange(bins + 1) - 0.5), weights=weights[positive],
    )  # fmt: skip
    depth = np.log1p(table) / np.log1p(table.max())
    image = np.zeros((*table.shape, 4))
    image[..., :3] = to_rgb(_COLOURS["blue"])
    image[..., 3] = np.where(table > 0, 0.15 + 0.85 * depth, 0)
    axes = figure.subplots()
    half = (time_s[1] - time_s[0]) / 2 if bins > 1 else 1.0
    logs = np.log10(edges)
    axes.imshow(image, origin="lower", aspect="auto", interpolation="nearest",
                extent=(time_s[0] - half, time_s[-1] + half, logs[0], logs[-1]))  # fmt: skip
    axes.yaxis.set_major_formatter(lambda value, _: duration(10**value))
    axes.set_yticks([tick for tick in np.log10(_TICKS_S) if logs[0] <= tick <= logs[-1]])
    _time_axis(axes, time_s[-1])
    return (
        "Each column is a time; a cell of a stronger colour has more requests of that latency, "
        f"from {duration(low)} to {duration(high)}."
    )


def load(figure: Figure, timeline: Timeline, analysis: Analysis) -> str:
    """Draw latency and throughput by users, with the knee of a cliff."""
    loads = points(timeline, steady(timeline))
    left, right = figure.subplots(1, 2)
    left.scatter(loads.users, loads.latency_s, s=14, color=_COLOURS["blue"], linewidths=0, alpha=0.8)
    _durations(left)
    left.set_title("mean latency by users")
    right.scatter(loads.users, loads.rps, s=14, marker="s", color=_COLOURS["green"], linewidths=0, alpha=0.8)
    right.set(ylim=(0, None), title="successful requests/s by users")
    for axes in (left, right):
        axes.set(xlabel="users", xlim=(0, None))
    fastest, slowest = duration(np.nanmin(loads.latency_s)), duration(np.nanmax(loads.latency_s))
    caption = f"Latency at {loads.users.min():.0f} to {loads.users.max():.0f} users, from {fastest} to {slowest}."
    if analysis.knee:
        knee = analysis.knee
        for axes in (left, right):
            axes.axvline(knee["users"], color=_COLOURS["red"], linestyle="--", linewidth=1.2)
        left.annotate(f"knee: {knee['users']:.0f} users", (knee["users"], 1), xycoords=("data", "axes fraction"),
                      xytext=(-4, -10), textcoords="offset points", ha="right")  # fmt: skip
        right.axhspan(knee["low_rps"], knee["high_rps"], color=_COLOURS["red"], alpha=0.25, linewidth=0)
        caption += (
            f" The knee is at {knee['users']:.0f} users; the capacity is {knee['rps']:.0f} requests per second "
            f"({knee['low_rps']:.0f} to {knee['high_rps']:.0f} with 95 % confidence)."
        )
    elif analysis.main.pattern is Pattern.NONE:
        caption += " Latency does not depend on the load."
    return caption


def budget(figure: Figure, slo: Slo, intervals: Sequence[Interval]) -> str:
    """Draw the spent share of each error budget over time."""
    styles, colours = cycle(("-", "--", ":", "-.")), cycle(_COLOURS.values())
    ends: list[str] = []
    axes = figure.subplots()
    for objective in (objective for objective in slo.objectives if objective.budget is not None):
        time_s, spent = [], []
        for interval in intervals[:: max(1, len(intervals) // 400)]:
            judged = (interval.slo or {}).get(objective.name)
            judged_s = max(0.0, interval.elapsed_s - float(slo.warmup_s))
            counts = Counts() if judged is None else Counts(judged.good, judged.bad)
            if (share := budget_spent(slo, objective, counts, judged_s)) is not None:
                time_s.append(interval.end_s)
                spent.append(100 * share)
        axes.plot(time_s, spent, next(styles), color=next(colours), label=objective.name)
        ends.append(f"{objective.name} {spent[-1]:.0f} %" if spent else f"{objective.name} not judged")
    axes.axhline(100, color=_INK, linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.legend(loc="upper left", ncols=3, bbox_to_anchor=(0, 1.16), borderaxespad=0)
    _time_axis(axes, intervals[-1].end_s)
    return f"Spent share of the error budget at the end of the run: {', '.join(ends)}; 100 % is the whole budget."


def generator(figure: Figure, timeline: Timeline) -> str:
    """Draw the processor use of the load generator, and the times at which it was behind."""
    at, bins, time_s, length = _bins(timeline)
    cpu = binned(np.nan_to_num(timeline.cpu) * timeline.length_s, at, bins) / length * 100
    behind = binned((~timeline.keeps_up).astype(np.float64), at, bins) > 0
    axes = figure.subplots()
    axes.plot(time_s, cpu, color=_COLOURS["blue"])
    half = (time_s[1] - time_s[0]) / 2 if bins > 1 else 1.0
    for time in time_s[behind]:
        axes.axvspan(time - half, time + half, color=_COLOURS["red"], alpha=0.3, linewidth=0)
    axes.axhline(90, color=_INK, linewidth=0.8, linestyle="--")
    axes.set(ylim=(0, max(100.0, float(cpu.max()))), title="processor use of the busiest process, share of a core")
    axes.yaxis.set_major_formatter("{x:.0f} %")
    _time_axis(axes, time_s[-1])
    share = float((~timeline.keeps_up).mean())
    return f"The busiest generating process used up to {cpu.max():.0f} % of a core. " + (
        f"It was behind in {share:.0%} of the run (filled): its own delays are in those latencies."
        if share else "It was never behind, so the latencies are those of the service."
    )  # fmt: skip


def compared(figure: Figure, timeline: Timeline, baseline: Timeline) -> str:
    """Draw the 95th percentile of two runs by time since their start."""
    axes = figure.subplots()
    tops = []
    for run, name, colour, dashes in ((baseline, "baseline", "orange", "--"), (timeline, "this run", "blue", "-")):
        at, bins, time_s, _ = _bins(run)
        p95 = quantiles(run, run.totals, at, bins, (0.95,))[0]
        axes.plot(time_s, p95, dashes, color=_COLOURS[colour], label=name)
        tops.append(duration(np.nanmax(p95)))
    _durations(axes)
    axes.legend(loc="upper left", ncols=2, bbox_to_anchor=(0, 1.16), borderaxespad=0)
    _time_axis(axes, max(float(run.end_s[-1]) for run in (timeline, baseline)))
    return f"95th percentile since the start of each run: up to {tops[1]} in this run, {tops[0]} in the baseline."


def _durations(axes: Axes) -> None:
    low, high = axes.dataLim.intervaly
    if low > 0 and high / low > 8:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        if high / low < 100:
            axes.set_yticks([tick for tick in _TICKS_S[:-1] if low / 2 <= tick <= high * 2])
        axes.minorticks_off()
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: "0" if value == 0 else duration(value))


def _objectives(axes: Axes, timeline: Timeline) -> None:
    bottom, top = axes.get_ylim()
    for within_s in sorted(set(timeline.slo.thresholds_s)) if timeline.slo is not None else ():
        if bottom < within_s < top * 3:
            axes.axhline(within_s, color=_INK, linewidth=0.9, linestyle="-.")
            axes.annotate(f"objective {duration(within_s)}", (1, within_s), xycoords=("axes fraction", "data"),
                          xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8.5)  # fmt: skip


def _time_axis(axes: Axes, end_s: float) -> None:
    steps_s = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400)
    axes.set_xlim(0, end_s)
    axes.set_xticks(np.arange(0, end_s + 1e-9, next(step for step in steps_s if end_s / step < 12)))
    axes.xaxis.set_major_formatter(lambda value, _: clock(value))
    axes.tick_params(colors=_INK, which="both")
    for spine in axes.spines.values():
        spine.set_color(_FAINT)


def _picture(slug: str, title: str, height_in: float, draw: Callable[..., str], *data: Any) -> Picture:
    """Return a picture of data. Its text alternative is its title and the caption that `draw` returns."""
    settings: Any = {**_SETTINGS, "svg.hashsalt": slug}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        caption = draw(figure, *data)
        out = StringIO()
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(out, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Picture(slug, title, caption, _markup(out.getvalue(), slug, title, caption))


def _markup(text: str, slug: str, title: str, description: str) -> str:
    """Return an SVG file as an element for a page, with ids that begin with the slug."""
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{slug}-", text)
    colours = {colour: f"var(--{name})" for name, colour in _COLOURS.items()}
    for value, name in {_INK: "currentColor", _FAINT: "var(--faint)", **colours}.items():
        text = text.replace(value, name)
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px; font-family: inherit", text)
    box = re.findall(r'viewBox="([^"]+)"', text)[0]
    root = (
        f'<svg class="picture" viewBox="{box}" role="img" aria-labelledby="{slug}-title {slug}-desc" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{slug}-title">{escape(title)}</title><desc id="{slug}-desc">{escape(description)}</desc>'
    )
    return root + text[text.index(">") + 1 :].strip()
