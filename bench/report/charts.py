"""The two figures that every cell's page has, as SVG, without Matplotlib.

Matplotlib takes some 40 ms of processor time a figure, of which nearly all goes into laying out axes that look alike on
each of hundreds of pages: 20 s for the committed suites. What these figures need of it is where ticks belong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

__all__ = ["curves", "seeds"]

# Lines differ in colour, dash and mark. The colours are those of Okabe and Ito.
_LINES = (
    ("var(--blue)", "", "circle"),
    ("var(--orange)", "8 4", "square"),
    ("#009E73", "8 4 2 4", "triangle"),
    ("#CC79A7", "2 3", "diamond"),
)
_INK, _GRID = "var(--ink-2)", "var(--line)"
_LEFT, _BOTTOM, _RIGHT, _TOP = 75, 50, 20, 12
_FONT = 14
_ROOM = 0.05  # of the range of the data, left free at each end of an axis


@dataclass(frozen=True)
class _Scale:
    """A linear map from values to units of the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

    def ticks(self, count: int) -> list[float]:
        """Return round values inside the range, at most so many and one more."""
        from matplotlib.ticker import MaxNLocator

        values = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return [float(value) for value in values if self.low <= value <= self.high]


def curves(arms: Mapping[str, Sequence[Sequence[tuple[float, float]]]], y_label: str) -> str:
    """Draw each arm's quality on the validation set over training steps: thin lines a seed, a thick one their mean.

    Args:
        arms: Arm -> one sequence of (step, quality) a seed.
        y_label: What the quality is.

    Returns:
        An SVG element for an HTML page.
    """
    points = [point for runs in arms.values() for run in runs for point in run]
    picture = _picture(560, 310, f"{y_label} over training, {', '.join(arms)}")
    x = _scale([step for step, _ in points], _LEFT, 560 - _RIGHT)
    y = _scale([value for _, value in points], 310 - _BOTTOM, _TOP)
    _x_axis(picture, x, y, "training step")
    _y_axis(picture, x, y, y_label)
    for at, runs in enumerate(arms.values()):
        colour, dash, mark = _LINES[at % len(_LINES)]
        for run in runs:
            _line(picture, [(x(step), y(value)) for step, value in run], colour, 1, opacity="0.35")
        steps = sorted(set.intersection(*({step for step, _ in run} for run in runs)))
        means = [sum(dict(run)[step] for run in runs) / len(runs) for step in steps]
        marks = [(x(step), y(mean)) for step, mean in zip(steps, means, strict=True)]
        _line(picture, marks, colour, 2.4, **{"stroke-dasharray": dash} if dash else {})
        for point in marks:
            _mark(picture, mark, point, 3.5, colour)
    _legend(picture, list(arms))
    return ElementTree.tostring(picture, encoding="unicode")


def seeds(per_seed: Mapping[int, float], mean: float, low: float, high: float) -> str:
    """Draw the score of every seed, with their mean and its interval.

    Args:
        per_seed: Seed -> score.
        mean: The mean over seeds.
        low: The interval's lower end, NaN where there is none.
        high: Its upper end.

    Returns:
        An SVG element for an HTML page.
    """
    scores = ", ".join(f"seed {seed}: {value:+.3f}" for seed, value in per_seed.items())
    picture = _picture(560, 150, f"Learning denied by seed. {scores}")
    finite = [value for value in (0.0, 1.0, mean, low, high, *per_seed.values()) if not math.isnan(value)]
    x = _scale(finite, _LEFT, 560 - _RIGHT)
    y = _Scale(-0.6, 0.6, 150 - _BOTTOM, _TOP)
    _x_axis(picture, x, y, "learning denied (0: nothing, 1: all of it)")
    for value, attributes in ((0.0, {}), (1.0, {"stroke-dasharray": "2 3"})):
        _line(picture, [(x(value), y.start), (x(value), y.end)], _INK, 1.1, **attributes)
    if not math.isnan(low):
        _line(picture, [(x(low), y(0)), (x(high), y(0))], "var(--blue)", 7, opacity="0.3")
    _line(picture, [(x(mean), y(0) - 16), (x(mean), y(0) + 16)], "var(--blue)", 3.5)
    for at, value in enumerate(value for value in per_seed.values() if not math.isnan(value)):
        _mark(picture, "circle", (x(value), y(0.16 * ((at % 3) - 1))), 4.5, "var(--orange)")
    return ElementTree.tostring(picture, encoding="unicode")


def _scale(values: Sequence[float], start: float, end: float) -> _Scale:
    """Return a scale over some values with room at both ends."""
    low, high = min(values), max(values)
    room = _ROOM * (high - low) or 0.5
    return _Scale(low - room, high + room, start, end)


def _picture(width: int, height: int, label: str) -> ElementTree.Element:
    """Return an empty picture with a title for those who do not see it."""
    box = {"viewBox": f"0 0 {width} {height}", "width": f"{width}", "height": f"{height}"}
    about = {"role": "img", "aria-label": label, "class": "plot"}
    return ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **box, **about})


def _x_axis(picture: ElementTree.Element, x: _Scale, y: _Scale, label: str) -> None:
    """Draw the lower edge with its grid, ticks and label."""
    for value in x.ticks(7):
        _line(picture, [(x(value), y.start), (x(value), y.end)], _GRID, 0.8)
        _text(picture, f"{value:g}", x(value), y.start + 20, "middle")
    _line(picture, [(x.start, y.start), (x.end, y.start)], _INK, 1.1)
    _text(picture, label, (x.start + x.end) / 2, y.start + 42, "middle")


def _y_axis(picture: ElementTree.Element, x: _Scale, y: _Scale, label: str) -> None:
    """Draw the left edge with its grid, ticks and label."""
    for value in y.ticks(6):
        _line(picture, [(x.start, y(value)), (x.end, y(value))], _GRID, 0.8)
        _text(picture, f"{value:g}", x.start - 8, y(value) + 5, "end")
    _line(picture, [(x.start, y.start), (x.start, y.end)], _INK, 1.1)
    middle = (y.start + y.end) / 2
    _text(picture, label, 18, middle, "middle", transform=f"rotate(-90 18 {middle:g})")


def _legend(picture: ElementTree.Element, names: Sequence[str]) -> None:
    """Name the lines, in the lower right, where curves that rise leave room."""
    width = 44 + 7.5 * max(map(len, names))
    left, top = 560 - _RIGHT - width, 310 - _BOTTOM - 19 * len(names) - 6
    box = {"x": f"{left - 6:g}", "y": f"{top:g}", "width": f"{width + 6:g}", "height": f"{19 * len(names) + 2}"}
    ElementTree.SubElement(picture, "rect", {**box, "fill": "var(--card)", "opacity": "0.8"})
    for at, name in enumerate(names):
        colour, dash, mark = _LINES[at % len(_LINES)]
        y = top + 19 * at + 11
        _line(picture, [(left, y), (left + 32, y)], colour, 2.4, **{"stroke-dasharray": dash} if dash else {})
        _mark(picture, mark, (left + 16, y), 3.5, colour)
        _text(picture, name, left + 40, y + 5, "start")


def _line(
    picture: ElementTree.Element, points: Sequence[tuple[float, float]], colour: str, width: float, **attributes: str
) -> None:
    """Draw a line through some points."""
    shape = {"points": " ".join(f"{x:g},{y:g}" for x, y in points), "fill": "none"}
    ElementTree.SubElement(picture, "polyline", {**shape, "stroke": colour, "stroke-width": f"{width:g}", **attributes})


def _mark(picture: ElementTree.Element, shape: str, centre: tuple[float, float], size: float, colour: str) -> None:
    """Draw a mark around a place."""
    x, y = centre
    if shape == "circle":
        ElementTree.SubElement(picture, "circle", {"cx": f"{x:g}", "cy": f"{y:g}", "r": f"{size:g}", "fill": colour})
        return
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "triangle": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
        "diamond": ((0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)),
    }[shape]
    points = " ".join(f"{x + size * right:.2f},{y + size * down:.2f}" for right, down in corners)
    ElementTree.SubElement(picture, "polygon", {"points": points, "fill": colour})


def _text(picture: ElementTree.Element, text: str, x: float, y: float, anchor: str, **attributes: str) -> None:
    """Write some words."""
    look = {"font-size": f"{_FONT}", "font-family": "sans-serif", "fill": _INK, "text-anchor": anchor}
    ElementTree.SubElement(picture, "text", {"x": f"{x:g}", "y": f"{y:g}", **look, **attributes}).text = text
