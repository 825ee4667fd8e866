"""Zones and lines: read from text, points and pixels inside, crossings and their side."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.plugins.errors import OptionError
from duoview.plugins.zones import Line, Zone, check_inside, parse_lines, parse_zones

COORDINATE = st.floats(0, 1, width=32)
POINT = st.tuples(COORDINATE, COORDINATE)
POLYGON = st.lists(POINT, min_size=3, max_size=8).map(tuple)
SIZE = st.tuples(st.integers(1, 40), st.integers(1, 40))


def test_points_are_divided_by_spaces_or_commas_and_zones_by_bars() -> None:
    zones = parse_zones("s", "zones", "gate=0.1 0.2 0.5,0.2 0.5,0.9 | 0.6,0,1,0.3", "relative")
    assert zones[0] == Zone("gate", ((0.1, 0.2), (0.5, 0.2), (0.5, 0.9)))
    assert zones[1] == Zone("zone2", ((0.6, 0), (1, 0), (1, 0.3), (0.6, 0.3)))
    assert parse_zones("s", "zones", "", "relative") == ()


@given(st.lists(st.lists(POINT, min_size=3, max_size=6), min_size=1, max_size=4))
def test_what_is_written_is_read(shapes: list[list[tuple[float, float]]]) -> None:
    usable = [shape for shape in shapes if np.linalg.matrix_rank(np.array(shape) - shape[0]) == 2]
    text = "|".join(f"z{index}=" + " ".join(f"{x!r} {y!r}" for x, y in shape) for index, shape in enumerate(usable))
    found = parse_zones("s", "zones", text, "relative")
    assert [zone.points for zone in found] == [tuple(shape) for shape in usable]


@given(st.text(alphabet=" ,|=.-+e019xz\n", max_size=60), st.sampled_from(("relative", "pixels")))
def test_any_text_is_read_or_refused_by_the_stages_name(text: str, units: str) -> None:
    for parse in (parse_zones, parse_lines):
        try:
            found = parse("dv_x", "zones", text, units)
        except OptionError as error:
            assert str(error).startswith("dv_x: zones: ")
        else:
            assert len(found) == sum(1 for part in text.split("|") if part.strip())


@pytest.mark.parametrize(("text", "message"), [
    ("0.1 0.2 0.5", "dv_x: zones: zone 'zone1': 3 numbers: expected x and y of every point"),
    ("gate=0.1 zwei", "zone 'gate': 'zwei': expected numbers"),
    ("gate=0.1 nan 1 1", "zone 'gate': 'nan': expected numbers"),
    ("gate=0.1 1.5 1 1", "zone 'gate': 1.5: expected 0 to 1; units=pixels counts pixels"),
    ("gate=0.1 -0.5 1 1", "zone 'gate': -0.5: expected 0 to 1"),
    ("0 0 1 1|zone1=0 0 1 1", "zone 'zone1' is there twice"),
    ("=0 0 1 1", "expected a name before ="),
    ("a=", "zone 'a': 0 numbers"),
    ("a=0.5 0.5", "zone 'a' has one point: expected three or more, or two corners of a rectangle"),
    ("a=0 0 0.5 0.5 1 1", "zone 'a' has no area"),
    ("a=0 0 0 1", "zone 'a' has no area"),
    ("a=" + "0 0 1 1 1 0 " * 100, "300 points: expected 256 at most"),
    ("|".join(["0 0 1 1"] * 65), "65 of them: expected 64 at most"),
])
def test_what_is_wrong_with_a_zone_is_said_by_name(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_zones("dv_x", "zones", text, "relative")
    assert message in str(caught.value)


def test_lines_have_two_points_that_differ() -> None:
    assert parse_lines("s", "lines", "a=0 0 1 1", "relative") == (Line("a", ((0, 0), (1, 1))),)
    for text in ("a=0 0 1 1 0 1", "a=0.5 0.5 0.5 0.5", "a=1 1"):
        with pytest.raises(OptionError, match="line 'a': expected two points that differ"):
            parse_lines("s", "lines", text, "relative")


def test_pixels_count_up_to_the_largest_picture_and_must_touch_the_one_there_is() -> None:
    zones = parse_zones("dv_x", "zones", "a=700 10 900 20", "pixels")
    check_inside("dv_x", zones, 800, 100)
    with pytest.raises(OptionError, match="dv_x: 'a' lies outside of the picture, which is 640x360 here"):
        check_inside("dv_x", zones, 640, 360)
    with pytest.raises(OptionError, match="20000: expected 0 to 16384 pixels"):
        parse_zones("dv_x", "zones", "a=20000 10 900 20", "pixels")


@given(POLYGON, SIZE)
def test_the_mask_holds_the_pixels_whose_middle_is_inside(points: tuple[tuple[float, float], ...],
                                                          size: tuple[int, int]) -> None:
    zone, (width, height) = Zone("z", points), size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    inside = zone.contains(np.stack([x.ravel(), y.ravel()], axis=1), width, height)
    assert np.array_equal(zone.mask(width, height), inside.reshape(height, width))


@given(POLYGON, SIZE)
def test_touched_is_every_pixel_of_which_any_part_is_inside(points: tuple[tuple[float, float], ...],
                                                            size: tuple[int, int]) -> None:
    zone, (width, height) = Zone("z", points), size
    fine = 16  # points of a grid in every pixel: where one is inside, the pixel is touched
    x, y = np.meshgrid((np.arange(width * fine) + 0.5) / fine, (np.arange(height * fine) + 0.5) / fine)
    inside = zone.contains(np.stack([x.ravel(), y.ravel()], axis=1), width, height)
    some = inside.reshape(height, fine, width, fine).any(axis=(1, 3))
    touched = zone.touched(width, height)
    assert touched[some].all() and touched[zone.mask(width, height)].all()
    x0, y0, x1, y1 = zone.bounds(width, height)
    rows, columns = np.nonzero(touched)
    assert ((columns + 1 > x0) & (columns < x1) & (rows + 1 > y0) & (rows < y1)).all()


def test_a_zone_that_ends_between_pixels_touches_none_beyond() -> None:
    zone = parse_zones("s", "zones", "3 2 7 5", "pixels")[0]
    assert np.array_equal(zone.touched(10, 10), zone.mask(10, 10)) and zone.mask(10, 10).sum() == 12


@given(st.tuples(POINT, POINT, POINT), POINT)
def test_in_a_triangle_is_where_opencv_says_it_is(points: tuple[tuple[float, float], ...],
                                                  point: tuple[float, float]) -> None:
    corners = np.array(points, np.float32) * 1000
    place = point[0] * 1000, point[1] * 1000
    distance = cv2.pointPolygonTest(corners.reshape(-1, 1, 2), place, measureDist=True)
    if abs(distance) > 1e-2:  # on an edge, the two have rules of their own
        assert Zone("z", points).contains(np.array([place]), 1000, 1000)[0] == (distance > 0)


@given(st.lists(POINT, min_size=1, max_size=30))
def test_zones_that_share_an_edge_share_no_point_and_miss_none(points: list[tuple[float, float]]) -> None:
    left = Zone("a", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
    right = Zone("b", ((0.5, 0), (1, 0), (1, 1), (0.5, 1)))
    places = np.array(points) * 0.999
    assert (left.contains(places, 1, 1) ^ right.contains(places, 1, 1)).all()


def test_right_is_below_for_who_walks_to_the_right() -> None:
    line = Line("l", ((0.2, 0.5), (0.8, 0.5)))
    assert line.side(50, 60, 100, 100) == 1 and line.side(50, 40, 100, 100) == -1 and line.side(9, 50, 100, 100) == 0
    assert line.crossed((50, 40), (52, 60), 100, 100) == "right"
    assert line.crossed((52, 60), (50, 40), 100, 100) == "left"


def test_beside_the_ends_of_a_line_nothing_is_crossed() -> None:
    line = Line("l", ((0.2, 0.5), (0.8, 0.5)))
    assert line.crossed((10, 40), (10, 60), 100, 100) is None and line.crossed((81, 40), (81, 60), 100, 100) is None
    assert line.crossed((10, 40), (70, 60), 100, 100) == "right"  # slanted, over the line itself


@given(POINT, POINT, POINT, POINT)
def test_who_goes_back_the_same_way_crosses_to_the_other_side(
        a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]) -> None:
    if a != b:
        line = Line("l", (a, b))
        there, back = line.crossed(c, d, 1, 1), line.crossed(d, c, 1, 1)
        assert {there, back} in ({None}, {"left", "right"})
