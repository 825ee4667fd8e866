"""Boxes that are held after their object was lost, and mosaics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from duoview.plugins.held_boxes import HeldBoxes
from duoview.plugins.mosaic import block_means, blurred, pixelated

NONE = np.zeros((0, 4))


def covered(boxes: np.ndarray, x: float, y: float) -> bool:
    return bool(((boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])).any())


def test_a_lost_box_stays_for_so_many_frames_and_not_one_more() -> None:
    held = HeldBoxes(3)
    held.update(np.array([[10.0, 10, 20, 20]]))
    assert [len(held.update(NONE)) for _ in range(5)] == [1, 1, 1, 0, 0]


def test_a_box_that_moves_leaves_none_behind() -> None:
    held = HeldBoxes(10)
    for x in range(0, 60, 3):
        assert len(held.update(np.array([[x, 10.0, x + 20, 40]]))) == 1


def test_a_lost_box_covers_where_the_object_would_have_gone() -> None:
    held = HeldBoxes(4)
    for x in (0.0, 5.0, 10.0):
        held.update(np.array([[x, 10.0, x + 20, 40]]))
    for frame in range(1, 5):
        cover = held.update(NONE)
        assert covered(cover, 10 + 5 * frame + 19, 20) and covered(cover, 11, 20)


def test_an_object_beside_a_lost_one_does_not_take_its_place() -> None:
    held = HeldBoxes(5)
    both = np.array([[10.0, 10, 30, 50], [24.0, 10, 44, 50]])
    held.update(both)
    cover = held.update(both[1:])
    assert len(cover) == 2 and covered(cover, 12, 30)


def test_an_object_that_is_found_again_moved_in_all_the_frames_between() -> None:
    held = HeldBoxes(5)
    held.update(np.array([[0.0, 0, 20, 20]]))
    held.update(NONE)
    held.update(np.array([[4.0, 0, 24, 20]]))
    assert held.update(NONE).tolist() == [[4, 0, 26, 20]]


def test_an_object_that_comes_in_front_of_a_lost_one_does_not_take_its_place() -> None:
    held = HeldBoxes(5)
    held.update(np.array([[40.0, 30, 80, 70]]))
    cover = held.update(np.array([[60.0, 30, 100, 70]]))
    assert covered(cover, 41, 50) and covered(cover, 99, 50)


def test_tracks_say_which_box_takes_whose_place() -> None:
    held = HeldBoxes(5)
    held.update(np.array([[40.0, 30, 80, 70]]), np.array([1]))
    assert len(held.update(np.array([[42.0, 30, 82, 70]]), np.array([2]))) == 2
    held = HeldBoxes(5)
    held.update(np.array([[40.0, 30, 80, 70]]), np.array([1]))
    assert held.update(np.array([[90.0, 30, 130, 70]]), np.array([1])).tolist() == [[90, 30, 130, 70]]


def test_nothing_is_held_where_nothing_is_to_be() -> None:
    held = HeldBoxes(0)
    held.update(np.array([[10.0, 10, 20, 20]]))
    assert len(held.update(NONE)) == 0
    held = HeldBoxes(9)
    held.update(np.array([[10.0, 10, 20, 20]]))
    held.reset()
    assert len(held.update(NONE)) == 0


BOX = st.tuples(*[st.floats(0, 100)] * 2, *[st.floats(1, 50)] * 2).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(st.lists(st.lists(BOX, max_size=4), min_size=1, max_size=8), st.integers(0, 4))
def test_what_is_there_is_always_covered_and_memory_is_bounded(frames: list[list[tuple[float, ...]]],
                                                               hold: int) -> None:
    held = HeldBoxes(hold)
    for number, boxes in enumerate(frames):
        given_boxes = np.array(boxes).reshape(-1, 4)
        cover = held.update(given_boxes)
        assert np.allclose(cover[:len(boxes)], given_boxes)
        assert len(cover) <= sum(len(frame) for frame in frames[max(0, number - hold):number + 1])


PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)))
SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(PICTURES, SIDES)
def test_every_block_holds_its_mean(picture: np.ndarray, sides: tuple[int, int]) -> None:
    out, (across, down) = pixelated(picture, *sides), sides
    for y in range(0, picture.shape[0], down):
        for x in range(0, picture.shape[1], across):
            part = picture[y:y + down, x:x + across]
            assert (out[y:y + down, x:x + across] == np.floor(part.mean() + 0.5)).all()


@given(PICTURES, SIDES)
def test_a_blurred_picture_depends_on_the_means_alone(picture: np.ndarray, sides: tuple[int, int]) -> None:
    (across, down), shuffled = sides, picture.copy()
    for y in range(0, picture.shape[0], down):
        for x in range(0, picture.shape[1], across):
            part = shuffled[y:y + down, x:x + across]
            part[...] = np.sort(part, axis=None).reshape(part.shape)
    assert np.array_equal(blurred(picture, *sides), blurred(shuffled, *sides))
    assert np.allclose(block_means(picture, *sides), block_means(shuffled, *sides))


def test_a_blurred_picture_goes_straight_from_block_to_block() -> None:
    picture = np.repeat(np.array([[0, 80]], np.uint8), 8, axis=1)
    assert blurred(picture, 8, 1)[0].tolist() == [0, 0, 0, 0, 5, 15, 25, 35, 45, 55, 65, 75, 80, 80, 80, 80]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_type_of_samples_stays(dtype: type) -> None:
    samples: np.ndarray = np.full((4, 4), 200, dtype)
    assert pixelated(samples, 2, 2).dtype == blurred(samples, 2, 2).dtype == dtype
