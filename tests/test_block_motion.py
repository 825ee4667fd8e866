"""Motion of cells against the plane before: what vectors and sums mean, what is found, and the errors of callers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import block_motion, luma

CELLS = (8, 16, 32)


def at_half_pixels(plane: NDArray[np.uint8], dy: int, dx: int) -> NDArray[np.int64]:
    """``plane(y + dy / 2, x + dx / 2)`` for all (y, x), after the docstring, with indices beyond the edges clamped."""
    height, width = plane.shape
    rows = np.arange(height)[:, None] + (dy >> 1)
    columns = np.arange(width)[None] + (dx >> 1)

    def at(down: int, right: int) -> NDArray[np.int64]:
        found = plane[np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)]
        return found.astype(np.int64)

    if dy % 2 and dx % 2:
        return (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1) + 2) >> 2
    if dy % 2 or dx % 2:
        return (at(0, 0) + at(dy % 2, dx % 2) + 1) >> 1
    return at(0, 0)


def cell_sums(
    previous: NDArray[np.uint8], current: NDArray[np.uint8], cell: int, dy: int, dx: int
) -> NDArray[np.int64]:
    """(rows, columns) sums of absolute differences at one vector."""
    differences = np.abs(at_half_pixels(previous, dy, dx) - current)
    rows, columns = current.shape[0] // cell, current.shape[1] // cell
    return differences.reshape(rows, cell, columns, cell).sum((1, 3))


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Blobs of some pixels, grey levels of the whole range."""
    plane = np.random.default_rng(seed).standard_normal((height, width))
    for axis in (0, 1):
        plane = np.sum([np.roll(plane, shift, axis) for shift in range(5)], 0)
    low, high = plane.min(), plane.max()
    return np.rint((plane - low) * (255 / (high - low))).astype(np.uint8)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Planes of 1 to 4 cells a side: unrelated, or one moved and with noise."""
    cell = draw(st.sampled_from(CELLS))
    shape = draw(st.integers(1, 4)) * cell, draw(st.integers(1, 4)) * cell
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    previous = texture(*shape, seed=draw(st.integers(0, 9)))
    if draw(st.booleans()):
        return previous, rng.integers(0, 256, shape, np.uint8), cell
    moved = at_half_pixels(previous, draw(st.integers(-64, 64)), draw(st.integers(-64, 64)))
    noise = draw(st.sampled_from([0, 1, 9]))
    return previous, (moved + rng.integers(-noise, noise + 1, shape)).clip(0, 255).astype(np.uint8), cell


@settings(max_examples=50)
@given(pairs(), st.integers(1, 32))
def test_sums_are_those_of_the_definition_at_zero_and_at_the_vector_found(
    planes: tuple[NDArray[np.uint8], NDArray[np.uint8], int], reach: int
) -> None:
    previous, current, cell = planes
    vectors, sums = block_motion(previous, current, cell=cell, reach=reach)
    assert vectors.dtype == np.int8 and sums.dtype == np.uint32
    assert vectors.shape == sums.shape == (current.shape[0] // cell, current.shape[1] // cell, 2)
    np.testing.assert_array_equal(sums[..., 0], cell_sums(previous, current, cell, 0, 0))
    for row, column in np.ndindex(*vectors.shape[:2]):
        dy, dx = map(int, vectors[row, column])
        assert sums[row, column, 1] == cell_sums(previous, current, cell, dy, dx)[row, column]


@settings(max_examples=50)
@given(pairs(), st.integers(1, 32))
def test_a_vector_is_within_reach_and_brings_half_a_grey_level_a_pixel(
    planes: tuple[NDArray[np.uint8], NDArray[np.uint8], int], reach: int
) -> None:
    previous, current, cell = planes
    vectors, sums = block_motion(previous, current, cell=cell, reach=reach)
    assert np.abs(vectors.astype(int)).max() <= 2 * reach
    needed = np.where(vectors.any(-1), cell * cell // 2, 0)
    assert (sums[..., 1] + needed <= sums[..., 0]).all()


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=30)
@given(st.integers(-64, 64), st.integers(-64, 64))
def test_a_plane_that_moved_by_whole_or_half_pixels_is_found(cell: int, dy: int, dx: int) -> None:
    previous = texture(160, 192)
    current = at_half_pixels(previous, dy, dx).astype(np.uint8)
    vectors, sums = block_motion(previous, current, cell=cell)
    # Beyond an edge is the same along it: many vectors fit. And not all are tried: a cell in some thousand is missed.
    inside = (slice(32 // cell, -32 // cell),) * 2
    found = (vectors[inside] == (dy, dx)).all(-1)
    assert found.mean() > 0.95
    assert not sums[inside][found, 1].any()


def test_what_comes_from_beyond_an_edge_repeats_the_nearest_pixel() -> None:
    previous = texture(64, 64)
    current = at_half_pixels(previous, -20, 0).astype(np.uint8)
    current[:, 32:] = at_half_pixels(previous, 0, 25).astype(np.uint8)[:, 32:]
    vectors, sums = block_motion(previous, current)
    assert not sums[..., 1].any()
    assert vectors[0, 0].tolist() == [-20, 0] and vectors[1, 3].tolist() == [0, 25]


def test_an_object_that_moves_leaves_what_is_around_it_still() -> None:
    previous = texture(128, 128)
    current = previous.copy()
    current[32:80, 48:96] = previous[32 - 7:80 - 7, 48 + 11:96 + 11]
    vectors, sums = block_motion(previous, current)
    moving = np.zeros((8, 8), bool)
    moving[2:5, 3:6] = True
    assert (vectors[moving] == (-14, 22)).all() and not vectors[~moving].any()
    assert not sums[..., 1].any()


@pytest.mark.parametrize(("deviation", "most"), [(1, 0.0), (2, 0.01), (3, 0.03)])
@pytest.mark.parametrize("contrast", [0, 1, 4])
def test_noise_does_not_move(contrast: int, deviation: int, most: float) -> None:
    # Where there is little but noise, means of two or four pixels are nearer than pixels: that is no motion.
    rng = np.random.default_rng(5)
    plane = 100 + texture(320, 320) / 256 * contrast
    previous, current = (np.rint(rng.normal(plane, deviation)).astype(np.uint8) for _ in range(2))
    vectors, sums = block_motion(previous, current)
    assert (sums[..., 0] >= 512).all() or deviation < 3
    assert vectors.any(-1).mean() <= most
    still = ~vectors.any(-1)
    np.testing.assert_array_equal(sums[still, 0], sums[still, 1])


@pytest.mark.parametrize("vector", [(1, 0), (0, -1), (-1, 1), (1, 1)])
def test_motion_by_half_a_pixel_is_found_in_noise(vector: tuple[int, int]) -> None:
    rng = np.random.default_rng(6)
    plane = texture(160, 160)
    current = rng.normal(at_half_pixels(plane, *vector), 3).clip(0, 255).astype(np.uint8)
    assert (block_motion(plane, current)[0] == vector).all(-1).mean() > 0.95


def test_a_cell_without_much_difference_follows_the_one_beside_it_or_stays() -> None:
    # A faint ramp: less than 2 grey levels a pixel change in the right half, where nothing would be searched for.
    previous = texture(64, 128)
    faint = (100 + (np.arange(64) // 4)[None] + np.zeros((64, 1), int)).astype(np.uint8)
    previous[:, 64:] = faint
    current = at_half_pixels(previous, 0, -12).astype(np.uint8)
    alone = block_motion(np.ascontiguousarray(previous[:, 80:]), np.ascontiguousarray(current[:, 80:]))
    beside = block_motion(previous, current)
    differences = beside[1][:, 5:, 0] / 256
    assert differences.min() >= 1 and differences.max() < 2
    assert not alone[0].any()
    assert (beside[0][:, 5:] == (0, -12)).all()


@pytest.mark.parametrize("cell", CELLS)
def test_any_number_of_threads_gives_the_same(cell: int) -> None:
    rng = np.random.default_rng(8)
    previous = texture(416, 320)
    current = at_half_pixels(previous, 9, -17)
    current[100:300, 50:200] = texture(416, 320, seed=1)[100:300, 50:200]
    noisy = (current + rng.integers(-9, 10, current.shape)).clip(0, 255).astype(np.uint8)
    vectors, sums = block_motion(previous, noisy, cell=cell)
    assert len(np.unique(vectors.reshape(-1, 2), axis=0)) > 2
    for threads in (2, 3, 256):
        again = block_motion(previous, noisy, cell=cell, threads=threads)
        np.testing.assert_array_equal(again[0], vectors)
        np.testing.assert_array_equal(again[1], sums)


def test_the_planes_are_not_changed() -> None:
    previous, current = texture(64, 64), texture(64, 64, seed=1)
    for plane in (previous, current):
        plane.setflags(write=False)
    block_motion(previous, current)
    np.testing.assert_array_equal(previous, texture(64, 64))


PLANE = np.zeros((32, 48), np.uint8)


@pytest.mark.parametrize(("arguments", "options", "message"), [
    ((PLANE.astype(np.int16), PLANE), {}, "previous is an array of int16; uint8 is needed"),
    ((PLANE, PLANE.tolist()), {}, "current is a list; a numpy array of uint8 is needed"),
    ((PLANE, PLANE), {"cell": 16.0}, "cell is a float; an integer is needed"),
    ((PLANE, PLANE), {"reach": "far"}, "reach is a str; an integer is needed"),
    ((PLANE, PLANE), {"threads": None}, "threads is a NoneType; an integer is needed"),
])
def test_what_is_of_a_wrong_type_is_named(arguments: tuple[Any, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        block_motion(*arguments, **options)


@pytest.mark.parametrize(("arguments", "options", "message"), [
    ((PLANE, PLANE[None]), {}, r"current has shape \(1, 32, 48\); \(H, W\) is needed"),
    ((PLANE, PLANE[:16]), {}, r"current has shape \(16, 48\); \(32, 48\) is needed"),
    ((PLANE, np.zeros((32, 96), np.uint8)[:, ::2]), {}, "current is not contiguous"),
    ((PLANE, PLANE), {"cell": 32}, r"shape \(32, 48\); multiples of the cell, 32, from 32 to 16384"),
    ((PLANE[:0], PLANE[:0]), {}, r"shape \(0, 48\); multiples of the cell, 16, from 16 to 16384"),
    ((np.zeros((16, 16400), np.uint8),) * 2, {}, r"shape \(16, 16400\); multiples of the cell"),
    ((PLANE, PLANE), {"cell": 12}, "cell is 12; it is one of 8, 16, 32"),
    ((PLANE, PLANE), {"cell": 64}, r"cell is 64; it is 8\.\.32"),
    ((PLANE, PLANE), {"reach": 0}, r"reach is 0; it is 1\.\.32"),
    ((PLANE, PLANE), {"reach": 33}, r"reach is 33; it is 1\.\.32"),
    ((PLANE, PLANE), {"threads": 0}, r"threads is 0; it is 1\.\.256"),
])
def test_what_is_out_of_range_is_named(arguments: tuple[Any, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        block_motion(*arguments, **options)


# Luma


def test_luma_is_a_quarter_of_red_and_blue_and_a_half_of_green_rounded() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (3, 37, 53), np.uint8)
    picture[:, 0, 0], picture[:, 0, 1], picture[:, 0, 2] = 255, 0, (1, 0, 1)
    red, green, blue = picture.astype(int)
    found = luma(picture)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, (red + 2 * green + blue + 2) // 4)


@pytest.mark.parametrize(("picture", "error", "message"), [
    (np.zeros((1, 3, 4, 4), np.uint8), ValueError, r"picture has shape \(1, 3, 4, 4\); \(3, H, W\) is needed"),
    (np.zeros((4, 4, 4), np.uint8), ValueError, r"picture has shape \(4, 4, 4\); \(3, H, W\) is needed"),
    (np.zeros((3, 4, 4)), TypeError, "picture is an array of float64; uint8 is needed"),
    (np.zeros((4, 4, 3), np.uint8).transpose(2, 0, 1), ValueError, "picture is not contiguous"),
])
def test_luma_of_no_picture_is_refused_by_name(picture: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        luma(picture)
