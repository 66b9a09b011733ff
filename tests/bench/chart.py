"""Line charts as SVG, without a library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_COLOURS = ("#0b62a4", "#c44e00", "#2a7d3c", "#7a3e9d", "#5a5a5a")  # dark enough for text on white
_DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2")  # distinct without colours too
_WIDTH, _HEIGHT = 760, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 210, 34, 44

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: Name of the figure, with its unit.
        x: Label of the horizontal axis.
        lines: Points by name, in the order of the legend.
        is_log: Whether both axes are logarithmic; no value may be 0 then.
    """

    title: str
    x: str
    lines: Mapping[str, Points]
    is_log: bool = False


def svg(title: str, description: str, panels: Sequence[Panel]) -> str:
    """Return the panels one below the other; `description` is the text for screen readers."""
    height = _HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title description" font-family="sans-serif" font-size="12">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(description)}</desc>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        parts += [f'<g transform="translate(0 {number * _HEIGHT})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel) -> list[str]:
    points = [point for line in panel.lines.values() for point in line]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    ticks = _log_ticks if panel.is_log else _ticks
    x_ticks, y_ticks = sorted(set(xs)) if panel.is_log else ticks(0, max(xs)), ticks(min(ys), max(ys))
    x_at = _scale((x_ticks[0], x_ticks[-1]), (_LEFT, _WIDTH - _RIGHT), is_log=panel.is_log)
    y_at = _scale((y_ticks[0], y_ticks[-1]), (_HEIGHT - _BOTTOM, _TOP), is_log=panel.is_log)
    parts = [f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(panel.title)}</text>']
    parts += (
        f'<path d="M{_LEFT} {y_at(y):.1f}H{_WIDTH - _RIGHT}" stroke="#d9d9d9"/>'
        f'<text x="{_LEFT - 6}" y="{y_at(y) + 4:.1f}" text-anchor="end">{_short(y)}</text>'
        for y in y_ticks
    )
    parts += (
        f'<text x="{x_at(x):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_short(x)}</text>' for x in x_ticks
    )
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(panel.x)}</text>'
    )
    for number, (name, line) in enumerate(panel.lines.items()):
        colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
        stroke = f'stroke="{colour}" stroke-width="2" fill="none" stroke-dasharray="{dash}"'
        path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in line)
        y_legend = _TOP + 12 + number * 20
        parts.append(f'<polyline points="{path}" {stroke}/>')
        if panel.is_log:
            parts += [f'<circle cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="3" fill="{colour}"/>' for x, y in line]
        parts.append(
            f'<path d="M{_WIDTH - _RIGHT + 12} {y_legend - 4}h26" {stroke}/>'
            f'<text x="{_WIDTH - _RIGHT + 44}" y="{y_legend}" fill="{colour}">{escape(name)}</text>'
        )
    return parts


def _scale(values: tuple[float, float], to: tuple[float, float], *, is_log: bool) -> Callable[[float], float]:
    def place(value: float) -> float:
        return math.log(value) if is_log else value

    low, high = map(place, values)

    def at(value: float) -> float:
        return to[0] + (to[1] - to[0]) * ((place(value) - low) / (high - low) if high > low else 0.5)

    return at


def _ticks(low: float, high: float) -> list[float]:
    """Return four to eight round numbers from 0, or below, to the highest value or above."""
    span = max(high, 0) - min(low, 0) or 1.0
    rough = span / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first, last = math.floor(min(low, 0) / step), math.ceil(max(high, 0) / step)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return the powers of ten around all values."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
