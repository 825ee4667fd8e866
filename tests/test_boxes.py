"""Overlap and suppression: against the plain definition, in one order, whatever comes in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.boxes import area, intersection_over_union, suppress

SIDES = st.integers(0, 12)
BOXES = st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), max_size=14)


def corners(boxes: list[tuple[int, int, int, int]]) -> NDArray[np.float32]:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    array[:, 2:] += array[:, :2]
    return array


def test_overlap_of_known_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4]])
    assert intersection_over_union(boxes[:1], boxes).tolist() == [[1, pytest.approx(50 / 150), 0, 0.04]]


def test_empty_and_inverted_boxes_overlap_nothing() -> None:
    odd = np.array([[5, 5, 5, 5], [8, 8, 2, 2]])
    assert (intersection_over_union(odd, np.array([[0, 0, 10, 10], [5, 5, 5, 5]])) == 0).all()
    assert area(odd).tolist() == [0, 0] and intersection_over_union(np.zeros((0, 4)), odd).shape == (0, 2)


@given(BOXES, BOXES)
def test_overlap_is_symmetric_and_a_share(left: list[tuple[int, int, int, int]],
                                          right: list[tuple[int, int, int, int]]) -> None:
    overlap = intersection_over_union(corners(left), corners(right))
    assert np.array_equal(overlap, intersection_over_union(corners(right), corners(left)).T)
    assert overlap.shape == (len(left), len(right)) and ((overlap >= 0) & (overlap <= 1)).all()


def plain_suppression(boxes: NDArray[np.float32], scores: list[float], classes: list[int], iou: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda index: (-scores[index], index)):
        overlaps = [float(intersection_over_union(boxes[index:index + 1], boxes[other:other + 1])[0, 0])
                    for other in kept if classes[other] == classes[index]]
        if all(overlap <= iou for overlap in overlaps):
            kept.append(index)
    return kept


@given(BOXES, st.data(), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_suppression_is_what_its_definition_says(boxes: list[tuple[int, int, int, int]], data: st.DataObject,
                                                 iou: float) -> None:
    scores = data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=len(boxes), max_size=len(boxes)))
    classes = data.draw(st.lists(st.integers(0, 1), min_size=len(boxes), max_size=len(boxes)))
    array = corners(boxes)
    kept = suppress(array, np.array(scores), np.array(classes, int), iou=iou)
    assert kept.tolist() == plain_suppression(array, scores, classes, iou)
    again = suppress(array[kept], np.array(scores)[kept], np.array(classes, int)[kept], iou=iou)
    assert again.tolist() == list(range(len(kept)))  # what stayed stays


def test_the_limit_takes_the_first_of_the_full_result() -> None:
    rng = np.random.default_rng(3)
    boxes = corners([tuple(row) for row in rng.integers(0, 40, (200, 4))])
    scores, classes = rng.random(200), rng.integers(0, 3, 200)
    full = suppress(boxes, scores, classes, iou=0.4)
    assert suppress(boxes, scores, classes, iou=0.4, limit=7).tolist() == full[:7].tolist()
    assert (np.diff(scores[full]) <= 0).all()


def test_an_overlap_of_exactly_the_threshold_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]])
    assert len(suppress(boxes, np.array([0.9, 0.8]), np.zeros(2), iou=0.5)) == 2


@pytest.mark.parametrize(
    ("boxes", "scores", "iou", "limit", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2), 0.5, None, r"boxes of shape \(2, 3\)"),
        (np.zeros((2, 4)), np.zeros(3), 0.5, None, "2 boxes with scores of shape"),
        (np.zeros((2, 4)), np.zeros(2), 1.5, None, "iou=1.5: expected 0 to 1"),
        (np.zeros((2, 4)), np.zeros(2), 0.5, 0, "limit=0: expected at least 1"),
    ],
)
def test_arguments_that_do_not_agree_are_named(boxes: NDArray[np.float64], scores: NDArray[np.float64], iou: float,
                                               limit: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suppress(boxes, scores, np.zeros(len(boxes)), iou=iou, limit=limit)
