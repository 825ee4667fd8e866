"""The map of importance, and the regions that encoders get from it."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from duoview.detections import Detections
from duoview.errors import LimitError
from duoview.inner.importance import CELL, Importance, Region, cells_of, of_answers, of_detections
from duoview.inner.regions import RegionMarker, coarser_at, rectangles, told_regions

maps = arrays.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(0, 255))


def found(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score, np.float32),
                      np.zeros(len(boxes), np.int32), ("person",), "test", 320, 240)


def picture(width: int = 64, height: int = 48) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.arange(width * height * 3 // 2, dtype=np.uint32).astype(np.uint8)
                                       .reshape(-1, width), "yuv420p")
    frame.pts, frame.time_base = 7, Fraction(1, 10)
    return frame


def test_a_detected_object_and_what_is_around_it_count() -> None:
    cells = of_detections(found((100, 80, 140, 160)), 320, 240)
    assert cells.shape == (30, 40) and (cells[10:20, 12:18] == 255).all() and cells[8, 10] == 255
    assert cells[0, 0] == 0 and (cells > 0).sum() < 200


def test_an_uncertain_object_counts_less() -> None:
    assert 0 < of_detections(found((100, 80, 140, 160), score=0.15), 320, 240).max() < 255
    assert of_detections(found((100, 80, 140, 160), score=0.04), 320, 240).max() == 0


def test_an_object_at_the_edge_stays_within_the_map() -> None:
    cells = of_detections(found((0, 0, 10, 10), (300, 230, 320, 240)), 320, 240)
    assert cells.shape == (30, 40) and cells[0, 0] == 255 and cells[-1, -1] == 255


def test_an_answer_counts_for_its_neighbours_too() -> None:
    answers = np.zeros((5, 5), np.float32)
    answers[2, 2] = 1
    cells = of_answers(answers)
    assert (cells[1:4, 1:4] == 255).all() and cells[0].max() == cells[:, 4].max() == 0


def test_a_lost_object_counts_for_half_a_second_more() -> None:
    importance = Importance(320, 240, rate=10)
    importance.update(of_detections(found((100, 80, 140, 160)), 320, 240))
    nothing = np.zeros((30, 40), np.uint8)
    values = [int(importance.update(nothing)[12, 14]) for _ in range(8)]
    assert values[:5] == [255] * 5 and values[5:] == [0] * 3


def test_importance_rises_at_once() -> None:
    importance = Importance(320, 240, rate=10)
    importance.update(np.zeros((30, 40), np.uint8))
    assert importance.update(np.full((30, 40), 200, np.uint8)).min() == 200


def test_a_region_raises_or_lowers_what_lies_in_it() -> None:
    importance = Importance(320, 240, rate=10, regions=(Region(0, 0, 80, 80), Region(160, 0, 80, 240, -1)))
    cells = importance.update(np.full((30, 40), 100, np.uint8))
    assert cells[0, 0] == 255 and cells[29, 25] == 0 and cells[29, 0] == 100


@pytest.mark.parametrize("text", ["", "1:2:3", "a:b:c:d", "0:0:0:4", "-1:0:4:4", "0:0:4:4:2", "0:0:4:4:nan"])
def test_a_region_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(LimitError, match="roi"):
        Region.parse(text)


def test_a_region_beyond_the_picture_is_refused() -> None:
    with pytest.raises(LimitError, match="320x240"):
        Importance(320, 240, rate=10, regions=(Region(300, 0, 40, 40),))


@given(maps)
def test_rectangles_are_disjoint_and_as_fine_as_the_most_important_cell(cells: np.ndarray) -> None:
    seen = np.full((cells.shape[0] * CELL, cells.shape[1] * CELL), 1.0)
    for one in rectangles(cells, 1.0):
        part = seen[one.y:one.y + one.height, one.x:one.x + one.width]
        assert (part == 1.0).all() and one.offset < 1
        part[:] = one.offset
    for (y, x), value in np.ndenumerate(cells):
        inside = seen[y * CELL:(y + 1) * CELL, x * CELL:(x + 1) * CELL]
        assert inside.max() <= 1 - value / 255 + 1e-9  # never coarser than it is worth


def test_noise_does_not_make_more_rectangles_than_are_worth_it() -> None:
    cells = np.random.default_rng(1).integers(0, 2, cells_of(1920, 1080)).astype(np.uint8) * 255
    assert len(rectangles(cells, 0.1)) <= 160


@pytest.mark.parametrize("shape", [(1, 2048), (2048, 1)])
def test_nor_does_a_picture_of_one_row_or_column(shape: tuple[int, int]) -> None:
    cells = np.zeros(shape, np.uint8)
    cells.reshape(-1)[::4] = 255
    assert 1 <= len(rectangles(cells, 0.1)) <= 160


def test_the_best_quality_has_no_coarser_parts() -> None:
    assert coarser_at(63) == 0 and coarser_at(0) == coarser_at(20) > coarser_at(50) > 0


def test_marked_regions_are_read_back_and_samples_and_times_stay() -> None:
    cells = np.zeros(cells_of(64, 48), np.uint8)
    cells[2:4, 2:4] = 255
    source = picture()
    marked = RegionMarker(20).mark(source, cells)
    (important, whole) = told_regions(marked)
    assert (important.x, important.y, important.width, important.height, important.offset) == (16, 16, 16, 16, 0)
    assert (whole.x, whole.y, whole.width, whole.height) == (0, 0, 64, 48)
    assert whole.offset == pytest.approx(coarser_at(20), abs=1e-3)
    assert np.array_equal(marked.to_ndarray(), source.to_ndarray())
    assert (marked.pts, marked.time_base) == (source.pts, source.time_base)
    assert told_regions(source) == []


def test_regions_that_a_frame_brings_come_first() -> None:
    marker = RegionMarker(20)
    told = told_regions(marker.mark(picture(), np.zeros(cells_of(64, 48), np.uint8)))
    marked = told_regions(marker.mark(picture(), np.full(cells_of(64, 48), 255, np.uint8), told))
    assert marked[0] == told[0] and len(marked) == 3
