"""Plots: what is drawn stands where the numbers say."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vevolve.evolve.leaderboard.drawing import BOTTOM, LEFT, RIGHT, TOP, Line, drawing

SVG = "{http://www.w3.org/2000/svg}"


def circles(text):
    return [
        (float(dot.get("cx")), float(dot.get("cy"))) for dot in ElementTree.fromstring(text).findall(f"{SVG}circle")
    ]


def test_equal_factors_are_equal_distances_on_logarithmic_axes():
    drawn = circles(drawing([Line("a", ((0.01, 1.0), (0.1, 0.1), (1.0, 0.01)))], "cost", "error"))
    (x0, y0), (x1, y1), (x2, y2) = drawn
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert y2 > y0  # less error is lower on the page


def test_a_linear_axis_takes_negative_numbers():
    drawn = circles(
        drawing([Line("a", ((1, -2.0),)), Line("b", ((2, -1.0),)), Line("c", ((4, 0.0),))], "x", "y", log_up=False)
    )
    assert drawn[0][1] - drawn[1][1] == pytest.approx(drawn[1][1] - drawn[2][1], abs=0.2)


def test_nothing_to_draw_is_nothing():
    assert drawing([], "x", "y") == ""
    assert drawing([Line("a", ())], "x", "y") == ""


points = st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))


names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=30)
several = st.lists(points, min_size=1, max_size=6).map(tuple)


@given(st.lists(st.builds(Line, names, several, st.booleans()), min_size=1, max_size=26))
def test_every_point_and_name_is_on_the_page_and_no_name_over_another(lines):
    text = drawing(lines, "cost", "error")
    assert all(LEFT - 1 <= x <= RIGHT + 1 and TOP - 1 <= y <= BOTTOM + 1 for x, y in circles(text))
    shown = [node for node in ElementTree.fromstring(text).findall(f"{SVG}text") if node.get("style")]
    assert sorted(node.text or "" for node in shown) == sorted(line.name for line in lines)
    places = sorted(float(node.get("y")) for node in shown)
    assert places[0] >= TOP
    assert places[-1] <= BOTTOM + 5
    assert all(after - before >= 13.9 for before, after in itertools.pairwise(places))


def test_names_are_escaped():
    text = drawing([Line("<script>", ((1, 1),))], "<b>", "&")
    assert re.search(r"<(script|b)>", text) is None
