"""The figures of a cell's page: where its points stand, and that nothing leaves the picture."""

from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import pytest

from bench.report import charts

SVG = "{http://www.w3.org/2000/svg}"


def test_seeds_stand_in_their_order_along_a_linear_axis() -> None:
    drawn = ElementTree.fromstring(charts.seeds({0: 0.0, 1: 0.5, 2: 1.0, 3: math.nan}, 0.5, 0.2, 0.8))
    places = [float(mark.attrib["cx"]) for mark in drawn.iter(f"{SVG}circle")]
    assert len(places) == 3  # what has no number has no place
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.02)
    ticks = {node.text: float(node.attrib["x"]) for node in drawn.iter(f"{SVG}text") if node.text}
    assert places[0] == pytest.approx(ticks["0"], abs=0.02)
    assert places[2] == pytest.approx(ticks["1"], abs=0.02)


@pytest.mark.parametrize("value", [0.5, -3.0, 1e-9, 1e6])
def test_nothing_leaves_the_picture(value: float) -> None:
    arms = {"clean": [[(0.0, value), (80.0, 2 * value)], [(0.0, value)]], "a <b> & c": [[(0.0, -value)]]}
    for text in (charts.curves(arms, "quality"), charts.seeds({0: value}, value, math.nan, math.nan)):
        drawn = ElementTree.fromstring(text)
        width, height = (float(drawn.attrib[name]) for name in ("width", "height"))
        lines = [node.attrib["points"] for node in drawn.iter(f"{SVG}polyline")]
        for x, y in (map(float, pair.split(",")) for pair in itertools.chain(*map(str.split, lines))):
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_the_thick_line_is_the_mean_over_the_seeds() -> None:
    runs = [[(0.0, 0.0), (10.0, 0.4)], [(0.0, 0.0), (10.0, 0.8)]]
    drawn = ElementTree.fromstring(charts.curves({"clean": runs}, "quality"))
    lines = [node for node in drawn.iter(f"{SVG}polyline") if node.attrib["stroke"] == "var(--blue)"]
    thin, other, mean = ([float(pair.split(",")[1]) for pair in node.attrib["points"].split()] for node in lines[:3])
    assert mean[1] == pytest.approx((thin[1] + other[1]) / 2, abs=0.02)
