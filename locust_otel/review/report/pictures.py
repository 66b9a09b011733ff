"""The pictures of a report: each is drawn from a timeline or a record, and says in words what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FuncFormatter, NullFormatter

from locust_otel.review.analysis.finding import Analysis, Pattern, seconds
from locust_otel.review.analysis.loads import points, steady
from locust_otel.review.analysis.timeline import Floats, Timeline, binned, even_bins, quantiles
from locust_otel.review.record.reader import Record
from locust_otel.review.report.figures import COLOURS, FAINT, INK, drawing, svg
from locust_otel.slo.objectives import Sli

_MOST_BINS = 180


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its heading and caption; `markup` is one SVG element."""

    slug: str
    title: str
    caption: str
    markup: str


def pictures(record: Record, timeline: Timeline, analysis: Analysis, baseline: Timeline | None) -> Iterator[Picture]:
    """Yield the pictures that there is something to show for."""
    if len(timeline) < 2:
        return
    yield over_time(timeline)
    if baseline is not None and len(baseline) >= 2:
        yield compared(timeline, baseline)
    if len(timeline) >= 10 and timeline.totals.good.sum() >= 20:
        yield load(timeline, analysis)
    yield heatmap(timeline)
    if record.slo is not None and any(interval.slo for interval in record.intervals):
        yield budget(record)
    yield generator(timeline)


def _bins(timeline: Timeline) -> tuple[Any, int, Floats, Floats]:
    span_s = float(timeline.end_s[-1] - timeline.start_s[0])
    width_s = max(float(np.median(timeline.length_s)) * 2, span_s / _MOST_BINS)
    at, bins = even_bins(timeline, width_s)
    length: Floats = np.maximum(binned(timeline.length_s, at, bins), 1e-9)
    middle: Floats = float(timeline.start_s[0]) + (np.arange(bins, dtype=np.float64) + 0.5) * width_s
    return at, bins, middle, length


def over_time(timeline: Timeline) -> Picture:
    """Draw latency percentiles, throughput and users, one above the other."""
    at, bins, time_s, length = _bins(timeline)
    totals = timeline.totals
    p50, p95, p99 = quantiles(timeline, totals, at, bins, (0.5, 0.95, 0.99))
    rps = binned(totals.good + totals.failed, at, bins) / length
    failing = binned(totals.failed, at, bins) / length
    users = binned(timeline.users * timeline.length_s, at, bins) / length
    with drawing(5.4, "time") as figure:
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(2.2, 1, 0.8))
        for values, name, colour, dashes in ((p99, "p99", "red", ":"), (p95, "p95", "orange", "--"),
                                             (p50, "p50", "blue", "-")):  # fmt: skip
            top.plot(time_s, values, dashes, color=COLOURS[colour], label=name)
        _durations(top)
        _objectives(top, timeline)
        top.set_title("latency")
        top.legend(loc="upper left", ncols=4, bbox_to_anchor=(0.14, 1.14), borderaxespad=0)
        middle.plot(time_s, rps, color=COLOURS["green"], label="requests/s")
        if failing.any():
            middle.fill_between(time_s, failing, color=COLOURS["red"], alpha=0.7, linewidth=0, label="failed")
        middle.set_ylim(bottom=0)
        middle.set_title("requests per second" + (", the failed ones filled" if failing.any() else ""))
        bottom.step(time_s, users, where="mid", color=COLOURS["purple"])
        bottom.set_ylim(bottom=0)
        bottom.set_title("users")
        _time_axis(bottom, time_s)
        for number, mark in enumerate(timeline.marks, 1):
            for axes in (top, middle, bottom):
                axes.axvline(mark.time_s, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
            top.annotate(str(number), (mark.time_s, 1), xycoords=("data", "axes fraction"), fontsize=8.5,
                         xytext=(2, -9), textcoords="offset points")  # fmt: skip
        told = (
            f"Median latency between {_least(p50)} and {_most(p50)}, 99th percentile up to {_most(p99)}; throughput up "
            f"to {np.max(rps):.0f} requests per second with up to {np.max(users):.0f} users."
        )
        return Picture("time", "Latency and throughput over time", told,
                       svg(figure, "time", "Latency percentiles, throughput and users over time", told))  # fmt: skip


def heatmap(timeline: Timeline) -> Picture:
    """Draw how many requests took how long, and when."""
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
    image[..., :3] = to_rgb(COLOURS["blue"])
    image[..., 3] = np.where(table > 0, 0.15 + 0.85 * depth, 0)
    with drawing(2.9, "heat") as figure:
        axes = figure.subplots()
        half = (time_s[1] - time_s[0]) / 2 if bins > 1 else 1.0
        logs = np.log10(edges)
        axes.imshow(image, origin="lower", aspect="auto", interpolation="nearest",
                    extent=(time_s[0] - half, time_s[-1] + half, logs[0], logs[-1]))  # fmt: skip
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(10**value)))
        ticks = [value for value in np.log10([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100])
                 if logs[0] <= value <= logs[-1]]  # fmt: skip
        axes.set_yticks(ticks)
        _time_axis(axes, time_s)
        told = (
            "Each column is a moment; the stronger a cell, the more requests took that long, "
            f"from {seconds(low)} to {seconds(high)}."
        )
        return Picture("heat", "Latency heatmap", told, svg(figure, "heat", "Heatmap of latencies over time", told))


def load(timeline: Timeline, analysis: Analysis) -> Picture:
    """Draw latency and throughput against users, with the knee where there is one."""
    of = points(timeline, steady(timeline))
    with drawing(2.9, "load") as figure:
        left, right = figure.subplots(1, 2)
        left.scatter(of.users, of.latency_s, s=14, color=COLOURS["blue"], linewidths=0, alpha=0.8)
        _durations(left)
        left.set_title("mean latency by users")
        right.scatter(of.users, of.rps, s=14, marker="s", color=COLOURS["green"], linewidths=0, alpha=0.8)
        right.set_title("successful requests/s by users")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xlabel("users")
            axes.set_xlim(left=0)
        low, high = of.users.min(), of.users.max()
        told = f"Latency at {low:.0f} to {high:.0f} users, from {_least(of.latency_s)} to {_most(of.latency_s)}."
        if analysis.knee:
            knee = analysis.knee
            for axes in (left, right):
                axes.axvline(knee["users"], color=COLOURS["red"], linestyle="--", linewidth=1.2)
            left.annotate(f"knee: {knee['users']:.0f} users", (knee["users"], 1), xycoords=("data", "axes fraction"),
                          xytext=(-4, -10), textcoords="offset points", ha="right")  # fmt: skip
            right.axhspan(knee["low_rps"], knee["high_rps"], color=COLOURS["red"], alpha=0.25, linewidth=0)
            told += (
                f" The knee lies at {knee['users']:.0f} users; the service carries {knee['rps']:.0f} requests per "
                f"second ({knee['low_rps']:.0f} to {knee['high_rps']:.0f} with 95 % confidence)."
            )
        elif analysis.main.pattern is Pattern.NONE:
            told += " Latency does not follow the load."
        return Picture(
            "load", "Load against latency", told, svg(figure, "load", "Latency and throughput by users", told)
        )


def budget(record: Record) -> Picture:
    """Draw how much of each error budget was spent, as the run went on."""
    slo = record.slo
    assert slo is not None  # noqa: S101  # for the type checker
    styles = ["-", "--", ":", "-."]
    worst: list[str] = []
    with drawing(2.6, "budget") as figure:
        axes = figure.subplots()
        chosen = record.intervals[:: max(1, len(record.intervals) // 400)]
        for number, objective in enumerate(o for o in slo.objectives if o.budget is not None):
            time_s, spent = [], []
            for interval in chosen:
                each = (interval.slo or {}).get(objective.name)
                if each is not None and each.good + each.bad:
                    time_s.append(interval.end_s)
                    share = min(1.0, max(0.0, interval.elapsed_s - float(slo.warmup_s)) / float(slo.period_s))
                    spent.append(100 * each.bad / (each.good + each.bad) / float(objective.budget or 1) * share)
            colour = list(COLOURS.values())[number % len(COLOURS)]
            axes.plot(time_s, spent, styles[number % len(styles)], color=colour, label=objective.name)
            worst.append(f"{objective.name} {spent[-1]:.0f} %" if spent else f"{objective.name} not judged")
        axes.axhline(100, color=INK, linewidth=0.8)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.legend(loc="upper left", ncols=3, bbox_to_anchor=(0, 1.16), borderaxespad=0)
        _time_axis(axes, np.array([interval.end_s for interval in record.intervals]))
        told = f"Share of the error budget that was spent at the end: {', '.join(worst)}; all of it is gone at 100 %."
        return Picture("budget", "Budget burn", told, svg(figure, "budget", "Error budget spent over time", told))


def generator(timeline: Timeline) -> Picture:
    """Draw how busy the load generator was, and when it fell behind."""
    at, bins, time_s, length = _bins(timeline)
    cpu = binned(np.nan_to_num(timeline.cpu) * timeline.length_s, at, bins) / length * 100
    behind = binned((~timeline.keeps_up).astype(np.float64), at, bins) > 0
    with drawing(2.0, "generator") as figure:
        axes = figure.subplots()
        axes.plot(time_s, cpu, color=COLOURS["blue"])
        half = (time_s[1] - time_s[0]) / 2 if bins > 1 else 1.0
        for moment in time_s[behind]:
            axes.axvspan(moment - half, moment + half, color=COLOURS["red"], alpha=0.3, linewidth=0)
        axes.axhline(90, color=INK, linewidth=0.8, linestyle="--")
        axes.set_ylim(0, max(100.0, float(cpu.max())))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.set_title("processor of the busiest generating process, share of a core")
        _time_axis(axes, time_s)
        share = float((~timeline.keeps_up).mean())
        told = f"The busiest generating process used up to {cpu.max():.0f} % of a core. " + (
            f"It fell behind in {share:.0%} of the run (filled): latencies are partly its own then."
            if share else "It kept up throughout, so the latencies are those of the service."
        )  # fmt: skip
        return Picture("generator", "Load generator", told, svg(figure, "generator", "Load generator over time", told))


def compared(timeline: Timeline, baseline: Timeline) -> Picture:
    """Draw the 95th percentile of two runs on one clock."""
    with drawing(2.6, "compared") as figure:
        axes = figure.subplots()
        tops = []
        for each, name, colour, dashes in ((baseline, "baseline", "orange", "--"), (timeline, "this run", "blue", "-")):
            at, bins, time_s, _ = _bins(each)
            p95 = quantiles(each, each.totals, at, bins, (0.95,))[0]
            axes.plot(time_s, p95, dashes, color=COLOURS[colour], label=name)
            tops.append(_most(p95))
        _durations(axes)
        axes.legend(loc="upper left", ncols=2, bbox_to_anchor=(0, 1.16), borderaxespad=0)
        _time_axis(axes, np.array([0.0, max(float(each.end_s[-1]) for each in (timeline, baseline))]))
        told = f"95th percentile since the start of each run: up to {tops[1]} in this run, {tops[0]} in the baseline."
        return Picture("compared", "Beside the baseline", told, svg(figure, "compared", "p95 of two runs", told))


def _durations(axes: Axes) -> None:
    low, high = axes.dataLim.intervaly
    if low > 0 and high / low > 8:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        if high / low < 100:
            axes.set_yticks(
                [t for t in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0) if low / 2 <= t <= high * 2]
            )
        axes.minorticks_off()
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == 0 else seconds(value)))


def _objectives(axes: Axes, timeline: Timeline) -> None:
    bottom, top = axes.get_ylim()
    latencies = [o for o in (timeline.slo.objectives if timeline.slo else ()) if o.sli is Sli.LATENCY and o.within_s]
    for within_s in sorted({float(objective.within_s or 0) for objective in latencies}):
        if bottom < within_s < top * 3:
            axes.axhline(within_s, color=INK, linewidth=0.9, linestyle="-.")
            axes.annotate(f"objective {seconds(within_s)}", (1, within_s), xycoords=("axes fraction", "data"),
                          xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8.5)  # fmt: skip


def _time_axis(axes: Axes, time_s: Floats) -> None:
    end = float(time_s[-1])
    step = next(
        step for step in (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400) if end / step < 12
    )
    axes.set_xlim(0, end)
    axes.set_xticks(np.arange(0, end + 1e-9, step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _clock(value)))
    axes.tick_params(colors=INK, which="both")
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _clock(value: float) -> str:
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _least(values: Floats) -> str:
    return seconds(float(np.nanmin(values)))


def _most(values: Floats) -> str:
    return seconds(float(np.nanmax(values)))
