"""Drawing: figures in SVG that follow the colours of the page they stand in, and say in words what they show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#010203"
FAINT = "#010204"
COLOURS = {"blue": "#0072b2", "orange": "#e69f00", "red": "#d55e00", "green": "#009e73", "purple": "#cc79a7"}
"""Of Okabe and Ito, whom colour-blind people can tell apart; every line differs in its dashes as well."""

_WIDTH_IN = 8.4
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "font.family": ["DejaVu Sans"],
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "grid.color": FAINT,
    "grid.alpha": 0.6,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "path.simplify_threshold": 0.3,
}


@contextmanager
def drawing(height_in: float, name: str) -> Iterator[Figure]:
    """Give a figure to draw into, under our settings."""
    settings: Any = {**_SETTINGS, "svg.hashsalt": name}
    with mpl.rc_context(settings):
        yield Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")


def svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Return a figure as an SVG element for a page, with its text alternative.

    Its name is the prefix of its ids, which are unique in the page then.
    """
    out = StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(out, metadata=metadata)
    text = out.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for own, page in ((INK, "currentColor"), (FAINT, "var(--faint)")):
        text = text.replace(own, page)
    for colour, value in COLOURS.items():
        text = text.replace(value, f"var(--{colour})")
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px; font-family: inherit", text)
    box = re.findall(r'viewBox="([^"]+)"', text)[0]
    root = (
        f'<svg class="picture" viewBox="{box}" role="img" aria-labelledby="{name}-title {name}-desc" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    )
    return root + text[text.index(">") + 1 :].strip()
