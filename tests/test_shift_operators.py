"""Shifting cells of a latent: the numbers of the definition on every path, and the errors of callers."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import ShiftOperators, noise

CHANNELS = (1, 3, 8, 16, 48)
#: Of one whole operator: an output's magnitudes that four times over, with a latent of 1024, still fit 32 bits.
MOST = 524287


@functools.cache
def random_weights(channels: int) -> NDArray[np.int16]:
    """All kinds of operators; with 48 channels as wide as the proof allows random ones to be."""
    rng = np.random.default_rng(channels)
    limit = 1000 if channels == 48 else 4000
    return rng.integers(-limit, limit + 1, (9, 9, 9 * channels, channels)).astype(np.int16)


@functools.cache
def operators(channels: int, path: str) -> ShiftOperators:
    return ShiftOperators(random_weights(channels), path=path)


def defined(weights: NDArray[np.int16], state: NDArray[np.int16], cells: NDArray[Any], vectors: NDArray[np.int8]
            ) -> NDArray[np.int16]:
    """The definition by numpy in 64 bits, position after position."""
    height, width = state.shape[1:]
    found = np.empty((len(cells), len(state), 2, 2), np.int16)
    for number, (cell, vector) in enumerate(zip(cells.astype(np.int64), vectors.astype(np.int64), strict=True)):
        whole = vector + 8 >> 4
        dy, dx = (int(one) for one in vector - 16 * whole)
        matrix = sum(weights[4 + y, 4 + x].astype(np.int64) for y in (dy >> 1, dy + 1 >> 1)
                     for x in (dx >> 1, dx + 1 >> 1))
        for y, x in np.ndindex(2, 2):
            top, left = 2 * cell + (y, x) + whole - 1
            rows = np.clip(np.arange(top, top + 3), 0, height - 1)
            columns = np.clip(np.arange(left, left + 3), 0, width - 1)
            taken = state[:, rows[:, None], columns].astype(np.int64).reshape(-1)
            found[number, :, y, x] = np.clip((taken @ matrix + 1024) >> 11, -1024, 1024)
    return found


def latent(channels: int, height: int, width: int, seed: int = 0, share: float = 1.0) -> NDArray[np.int16]:
    """Numbers up to the limit; share: of them that are not 0, so that not every result is cut off."""
    rng = np.random.default_rng(seed)
    state = rng.integers(-1024, 1025, (channels, height, width))
    return (state * (rng.random(state.shape) < share)).astype(np.int16)


def vectors_of(*pairs: tuple[int, int]) -> NDArray[np.int8]:
    return np.array(pairs, np.int8).reshape(-1, 2)


def cells_of(*pairs: tuple[int, int]) -> NDArray[np.int64]:
    return np.array(pairs, np.int64).reshape(-1, 2)


@st.composite
def shifts(draw: st.DrawFn) -> tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.int8]]:
    """A latent, and cells and vectors of any place and size."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    state = latent(draw(st.sampled_from(CHANNELS)), 2 * rows, 2 * columns, draw(st.integers(0, 2**32 - 1)),
                   draw(st.sampled_from([0.005, 0.05, 1.0])))
    component = st.one_of(st.integers(-64, 64), st.sampled_from([-64, -8, -1, 0, 1, 7, 8, 64]))
    one = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1), component, component)
    drawn = np.array(draw(st.lists(one, max_size=12)), np.int64).reshape(-1, 4)
    return state, drawn[:, :2].copy(), drawn[:, 2:].astype(np.int8)


@settings(deadline=None)  # the first example of each number of channels packs its operators
@given(shifts(), st.sampled_from([1, 2, 5]))
def test_cells_are_shifted_as_defined_on_every_path_and_number_of_threads(
    given_: tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.int8]], threads: int
) -> None:
    state, cells, vectors = given_
    expected = defined(random_weights(len(state)), state, cells, vectors)
    for path in noise.paths():
        found = operators(len(state), path).shift(state, cells, vectors, threads=threads)
        assert found.dtype == np.int16 and found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("path", noise.paths())
@pytest.mark.parametrize("channels", [8, 48])
def test_every_share_of_a_position_is_the_mean_of_its_operators(channels: int, path: str) -> None:
    state = latent(channels, 6, 6, share=0.25 / channels)
    vectors = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), -1).reshape(-1, 2).astype(np.int8)
    cells = np.ones((len(vectors), 2), np.int64)
    found = operators(channels, path).shift(state, cells, vectors)
    assert (np.abs(found) < 1024).mean() > 0.5
    np.testing.assert_array_equal(found, defined(random_weights(channels), state, cells, vectors))


@pytest.mark.parametrize("path", noise.paths())
def test_many_cells_of_one_vector_are_shifted_alike_on_any_number_of_threads(path: str) -> None:
    state = latent(48, 24, 40, share=0.005)
    cells = np.argwhere(np.ones((12, 20))).copy()
    vectors = np.tile(vectors_of((-13, 22)), (len(cells), 1))
    alone = operators(48, path).shift(state, cells, vectors)
    np.testing.assert_array_equal(alone, defined(random_weights(48), state, cells, vectors))
    for threads in (2, 3, 256):
        np.testing.assert_array_equal(operators(48, path).shift(state, cells, vectors, threads=threads), alone)


def test_threads_share_operators() -> None:
    state, cells = latent(8, 8, 8), cells_of((0, 0), (3, 3), (1, 2))
    shared = operators(8, "auto")
    every = [np.full((3, 2), number - 64, np.int8) for number in range(129)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda vectors: shared.shift(state, cells, vectors, threads=2), every))
    for vectors, one in zip(every, found, strict=True):
        np.testing.assert_array_equal(one, defined(random_weights(8), state, cells, vectors))


def test_a_cell_that_is_named_twice_is_shifted_by_both_vectors() -> None:
    state = latent(8, 4, 4)
    cells, vectors = cells_of((1, 0), (1, 0)), vectors_of((3, -4), (-64, 64))
    np.testing.assert_array_equal(
        operators(8, "auto").shift(state, cells, vectors), defined(random_weights(8), state, cells, vectors))


def test_no_cells_give_no_numbers() -> None:
    found = operators(8, "auto").shift(latent(8, 4, 6), cells_of(), vectors_of())
    assert found.shape == (0, 8, 2, 2) and found.dtype == np.int16


def test_cells_of_32_bits_are_as_those_of_64() -> None:
    state, cells, vectors = latent(8, 4, 6), cells_of((0, 2), (1, 1)), vectors_of((1, 2), (-9, 33))
    np.testing.assert_array_equal(operators(8, "auto").shift(state, cells.astype(np.int32), vectors),
                                  operators(8, "auto").shift(state, cells, vectors))


@settings(deadline=None)
@given(shifts(), st.sampled_from([1, 2, 5]))
def test_a_field_of_vectors_moves_a_latent_as_cells_are_shifted_and_keeps_the_rest_to_the_bit(
    given_: tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.int8]], threads: int
) -> None:
    state, cells, vectors = given_
    field = np.zeros((state.shape[1] // 2, state.shape[2] // 2, 2), np.int8)
    field[cells[:, 0], cells[:, 1]] = vectors
    beside = (state + np.where(state > 0, -0.2, 0.2)) / np.float32(64)  # a little off the grid
    given_state = beside.astype(np.float32)
    moving = np.argwhere(field.any(2))
    shifted = defined(random_weights(len(state)), state, moving, field[moving[:, 0], moving[:, 1]])
    for path in noise.paths():
        found = operators(len(state), path).compensate(given_state, field, threads=threads)
        expected = given_state.copy()
        for (row, column_), cell in zip(moving, shifted, strict=True):
            expected[:, 2 * row:2 * row + 2, 2 * column_:2 * column_ + 2] = cell / np.float32(64)
        assert found.dtype == np.float32 and found.tobytes() == expected.tobytes()


def test_a_latent_in_floats_is_kept_within_its_limit_where_it_moves() -> None:
    state = np.full((8, 2, 4), 1e30, np.float32)
    field = np.zeros((1, 2, 2), np.int8)
    field[0, 1] = 3, -2
    found = operators(8, "auto").compensate(state, field)
    full = np.full((8, 2, 4), 1024, np.int16)
    assert (found[:, :, :2] == state[:, :, :2]).all()
    np.testing.assert_array_equal(found[None, :, :, 2:] * 64, defined(random_weights(8), full, cells_of((0, 1)),
                                                                       vectors_of((3, -2))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_with_its_place(value: float) -> None:
    state = np.zeros((8, 4, 6), np.float32)
    state[2, 3, 1] = value
    field = np.zeros((2, 3, 2), np.int8)
    assert operators(8, "auto").compensate(state, field).tobytes() == state.tobytes()
    field[0, 0] = 1
    with pytest.raises(ValueError, match="state is not finite at channel 2, row 3, column 1"):
        operators(8, "auto").compensate(state, field)


@pytest.mark.parametrize(("wrong", "error", "message"), [
    ({"state": np.zeros((8, 4, 6), np.int16)}, TypeError, "state is an array of int16; float32 is needed"),
    ({"state": np.zeros((9, 4, 6), np.float32)}, ValueError, r"\(8, h, w\) is needed, h and w even"),
    ({"state": np.zeros((8, 4, 5), np.float32)}, ValueError, "h and w even"),
    ({"vectors": np.zeros((2, 3, 2), np.int16)}, TypeError, "vectors is an array of int16; int8 is needed"),
    ({"vectors": np.zeros((3, 2, 2), np.int8)}, ValueError, r"vectors has shape \(3, 2, 2\); \(2, 3, 2\) is needed"),
    ({"vectors": np.full((2, 3, 2), -65, np.int8)}, ValueError, r"vectors has \(-65, -65\) at row 0, column 0"),
    ({"threads": 257}, ValueError, "threads is 257; it is 1..256"),
])
def test_arguments_of_a_field_that_do_not_fit_are_refused_by_name(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    fitting: dict[str, Any] = {"state": np.zeros((8, 4, 6), np.float32), "vectors": np.ones((2, 3, 2), np.int8)}
    assert operators(8, "auto").compensate(**fitting).shape == (8, 4, 6)
    with pytest.raises(error, match=message):
        operators(8, "auto").compensate(**fitting | wrong)


def column(magnitude: int, channels: int = 8) -> NDArray[np.int16]:
    """Operators of 0, but for output 5 of the shift by (1, -2) pixels, whose magnitudes sum to ``magnitude``."""
    weights = np.zeros((9, 9, 9 * channels, channels), np.int16)
    full, rest = divmod(magnitude, 8191)
    weights[5, 2, :full, 5], weights[5, 2, full, 5] = 8191, rest
    weights[5, 2, ::2, 5] *= -1
    return weights


@pytest.mark.parametrize("path", noise.paths())
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_products_just_below_32_bits_are_exact(path: str, sign: int) -> None:
    # Neighbours with the signs of their weights: every product counts. Without saturation the result would be 2^20 - 1.
    weights = column(MOST)
    state = np.zeros((8, 4, 4), np.int16)
    state[:, :3, :3] = sign * 1024 * np.sign(weights[5, 2, :, 5]).reshape(8, 3, 3)
    cells, vectors = cells_of((0, 1)), vectors_of((18, -20))
    found = ShiftOperators(weights, path=path).shift(state, cells, vectors)
    np.testing.assert_array_equal(found, defined(weights, state, cells, vectors))
    assert found[0, 5, 0, 0] == sign * 1024


def test_operators_whose_sums_of_products_could_overflow_are_refused_by_their_shift() -> None:
    with pytest.raises(ValueError, match=r"shift by 2 half pixels vertically and -4 horizontally, output channel 5: "
                                         r"magnitudes .* sum to 2097152; up to 2097150"):
        ShiftOperators(column(MOST + 1))


@pytest.mark.parametrize(("weight", "fits"), [(8191, True), (8192, False), (-8192, True), (-8193, False)])
def test_weights_are_refused_where_four_of_them_exceed_16_bits(weight: int, fits: bool) -> None:
    weights = np.zeros((9, 9, 72, 8), np.int16)
    weights[3, 3, 10, 7] = weight
    if fits:
        state, cells, vectors = latent(8, 4, 4), cells_of((1, 1)), vectors_of((-2, -2))
        for path in noise.paths():
            np.testing.assert_array_equal(ShiftOperators(weights, path=path).shift(state, cells, vectors),
                                          defined(weights, state, cells, vectors))
        return
    with pytest.raises(ValueError, match=rf"by -2 half .* and -2 .*channel 7: four added weights are {4 * weight};"):
        ShiftOperators(weights)


@pytest.mark.parametrize(("value", "place"), [(1025, (2, 1, 3)), (-1025, (7, 3, 5)), (-32768, (0, 0, 0))])
def test_a_number_beyond_the_range_of_the_latent_is_named_with_its_place(
    value: int, place: tuple[int, int, int]
) -> None:
    state = latent(8, 4, 6)
    state[place] = value
    with pytest.raises(ValueError, match=rf"state has {value} at channel {place[0]}, row {place[1]}, "
                                         rf"column {place[2]}; -1024..1024 is needed"):
        operators(8, "auto").shift(state, cells_of((0, 0)), vectors_of((0, 1)))


@pytest.mark.parametrize("cell", [(-1, 0), (0, -1), (2, 0), (0, 3), (2**62, 0), (0, -(2**63))])
def test_a_cell_outside_of_the_latent_is_named_with_its_index(cell: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"cells has row {cell[0]}, column {cell[1]} at index 1; there are 2 rows and "
                                         "3 columns of cells"):
        operators(8, "auto").shift(latent(8, 4, 6), cells_of((1, 2), cell), vectors_of((0, 1), (0, 1)))


@pytest.mark.parametrize("vector", [(65, 0), (0, -65), (-128, 127)])
def test_a_vector_out_of_range_is_named_with_its_index(vector: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"vectors has \({vector[0]}, {vector[1]}\) at index 1; -64..64 half pixels"):
        operators(8, "auto").shift(latent(8, 4, 6), cells_of((0, 0), (1, 1)), vectors_of((64, -64), vector))


@pytest.mark.parametrize(("weights", "error", "message"), [
    ([1], TypeError, "weights is a list"),
    (np.zeros((9, 9, 72, 8), np.int32), TypeError, "weights is an array of int32; int16 is needed"),
    (np.zeros((9, 9, 72), np.int16), ValueError, r"\(9, 9, C \* 9, C\) is needed"),
    (np.zeros((9, 9, 71, 8), np.int16), ValueError, r"shape \(9, 9, 71, 8\); \(9, 9, C \* 9, C\) is needed"),
    (np.zeros((8, 9, 72, 8), np.int16), ValueError, r"shape \(8, 9, 72, 8\)"),
    (np.zeros((9, 9, 0, 0), np.int16), ValueError, "C at least 1"),
    (np.zeros((9, 9, 8, 72), np.int16).transpose(0, 1, 3, 2), ValueError, "weights is not contiguous"),
])
def test_weights_of_another_kind_are_refused(weights: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ShiftOperators(weights)


def test_an_unknown_path_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="path is 'fast'; available on this machine are 'auto', 'scalar'"):
        ShiftOperators(random_weights(8), path="fast")


@pytest.mark.parametrize(("wrong", "error", "message"), [
    ({"state": np.zeros((8, 4, 6), np.float32)}, TypeError, "state is an array of float32; int16 is needed"),
    ({"state": np.zeros((4, 6), np.int16)}, ValueError, r"state has shape \(4, 6\); \(C, h, w\) is needed"),
    ({"state": np.zeros((9, 4, 6), np.int16)}, ValueError, r"\(8, h, w\) is needed, h and w even"),
    ({"state": np.zeros((8, 5, 6), np.int16)}, ValueError, r"shape \(8, 5, 6\); \(8, h, w\) is needed, h and w even"),
    ({"state": np.zeros((8, 4, 7), np.int16)}, ValueError, "h and w even"),
    ({"state": np.zeros((8, 6, 4), np.int16).transpose(0, 2, 1)}, ValueError, "state is not contiguous"),
    ({"state": np.zeros((8, 0, 6), np.int16)}, ValueError, "there are 0 rows and 3 columns of cells"),
    ({"cells": np.zeros((1, 2), np.uint8)}, TypeError, "cells is an array of uint8; int32 or int64 is needed"),
    ({"cells": np.zeros((1, 3), np.int64)}, ValueError, r"cells has shape \(1, 3\); \(n, 2\) is needed"),
    ({"cells": np.zeros(2, np.int64)}, ValueError, r"cells has shape \(2,\)"),
    ({"cells": np.zeros((2, 2), np.int64)}, ValueError, r"vectors has shape \(1, 2\); \(2, 2\) is needed"),
    ({"cells": np.zeros((2, 2), np.int64).T[:1]}, ValueError, "cells is not contiguous"),
    ({"vectors": np.zeros((1, 2), np.int16)}, TypeError, "vectors is an array of int16; int8 is needed"),
    ({"vectors": np.zeros((1, 1), np.int8)}, ValueError, r"vectors has shape \(1, 1\); \(1, 2\) is needed"),
    ({"threads": 0}, ValueError, "threads is 0; it is 1..256"),
    ({"threads": 1.5}, TypeError, "threads is a float"),
])
def test_arguments_that_do_not_fit_are_refused_by_name(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    fitting: dict[str, Any] = {"state": np.zeros((8, 4, 6), np.int16), "cells": np.zeros((1, 2), np.int64),
                               "vectors": np.zeros((1, 2), np.int8)}
    assert operators(8, "auto").shift(**fitting).shape == (1, 8, 2, 2)
    with pytest.raises(error, match=message):
        operators(8, "auto").shift(**fitting | wrong)
