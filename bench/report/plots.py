"""Figures of a page as inline SVG, drawn by Matplotlib.

Every distinction is made twice: by colour (Okabe and Ito, safe for colour-blind readers) and by shape or dash. Ink and
grid are written as CSS variables, so that one picture serves light and dark pages alike.
"""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["COLOURS", "Point", "figure", "front"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Colours that no figure uses, put in place of CSS variables while Matplotlib draws.
_INK, _GRID = "#010203", "#040506"
_MOST_LABELS = 24  # beyond that only the front is named
_MARGINS = (0.75, 0.5, 0.2, 0.1)  # inches: left, bottom, right, top
_VARIABLES = {_INK: "ink-2", _GRID: "line", COLOURS[0]: "blue", COLOURS[1]: "orange"}
_LEAST_SPAN = 0.3  # of learning denied: a closer look would show noise
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Point:
    """A row in the plane of audibility and learning denied."""

    label: str
    x: float
    y: float
    low: float = math.nan
    high: float = math.nan
    front: bool = False
    control: bool = False
    link: str = ""
    ranking_group: str = ""  # points of different ranking groups are not compared


def figure(width: float, height: float) -> tuple[Any, Any]:
    """Return an empty figure without a window, and its axes. Margins are fixed, since Matplotlib's layouts draw twice.

    Args:
        width: Inches.
        height: Inches.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(width, height))
    FigureCanvasSVG(canvas)
    left, bottom, right, top = _MARGINS
    return canvas, canvas.add_axes(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    )


def front(points: Sequence[Point], x_label: str, better: str, name: str) -> str:
    """Draw learning denied over audibility, with the front of each ranking group joined.

    Args:
        points: The rows.
        x_label: The measure of audibility.
        better: Which direction along x is less audible.
        name: A prefix for the ids of the figure, unique on its page.

    Returns:
        An SVG element.
    """
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        canvas, axes = figure(7.6, 4.2)
        axes.axhline(0, color=_INK, linewidth=0.8)
        for at, point in enumerate(points):
            shape = "x" if point.control else ("o" if point.front else "s")
            colour = "#7f858d" if point.control else COLOURS[0 if point.front else 1]
            if not math.isnan(point.low):
                axes.plot([point.x] * 2, [point.low, point.high], color=colour, linewidth=1.2, alpha=0.45)
            face = {} if point.control else {"markerfacecolor": colour if point.front else "none"}
            mark = axes.plot(point.x, point.y, shape, color=colour, markersize=7, gid=f"point-{at}", **face)[0]
            mark.set_url(point.link)
        for ranking_group in dict.fromkeys(point.ranking_group for point in points):
            ends = sorted(
                (point.x, point.y) for point in points if point.front and point.ranking_group == ranking_group
            )
            axes.plot(
                [x for x, _ in ends],
                [y for _, y in ends],
                color=COLOURS[0],
                linewidth=1,
                alpha=0.6,
                linestyle="--",
                zorder=1,
            )
        axes.set_xlabel(f"{x_label}   ({better})")
        axes.set_ylabel("learning denied, best response")
        axes.margins(0.1, 0.12)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -0.05), max(high, low + _LEAST_SPAN))
        _label(axes, points)
        return _svg(canvas, name, f"Learning denied over {x_label}: {_listed(points)}")


def _label(axes: Any, points: Sequence[Point]) -> None:
    """Write names beside the points, shifted apart where they would overlap."""
    low, high = axes.get_ylim()
    spread = max(high - low, 1e-9)
    if len(points) > _MOST_LABELS:
        points = [point for point in points if point.front][:_MOST_LABELS]
    positions: list[tuple[float, float]] = []
    leftmost = min((p.x for p in points), default=0.0)
    width = max((p.x for p in points), default=0.0) - leftmost or 1.0
    for point in sorted(points, key=lambda p: (p.y, p.x)):
        y = point.y
        while any(abs(x - point.x) < 0.3 * width and abs(y - height) < 0.055 * spread for x, height in positions):
            y += 0.02 * spread
        positions.append((point.x, y))
        on_left = point.x - leftmost > 0.6 * width  # a name would leave the picture on the right
        axes.annotate(
            point.label, (point.x, point.y), xytext=(point.x + (-0.018 if on_left else 0.018) * width, y), fontsize=8.5,
            va="center", ha="right" if on_left else "left",
            arrowprops={"arrowstyle": "-", "color": "#9aa0a7", "linewidth": 0.7} if y != point.y else None,
            parse_math=False,
        )  # fmt: skip


def _svg(canvas: Any, name: str, title: str) -> str:
    """Return the figure as SVG for a page: with ids of its own, ink and grid by CSS, and a title for screen readers."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text: the reader's fonts have it
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.S)
    # Only tags are changed: text between them may look like one.
    text = re.sub(r"<[^>]*>", lambda tag: _own(tag[0], name), text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" class="plot" ', 1)


def _own(tag: str, name: str) -> str:
    """Return an SVG tag with prefixed ids, and CSS variables in place of the colours that stand for them."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="#|url\(#)(?!row-)', rf"\g<1>{name}-", tag)
    for colour, variable in _VARIABLES.items():
        tag = re.sub(colour, f"var(--{variable})", tag, flags=re.I)
    return tag


def _listed(points: Sequence[Point]) -> str:
    """Describe the points as text."""
    return "; ".join(f"{point.label} denies {point.y:+.3f} at {point.x:.3g}" for point in points)
