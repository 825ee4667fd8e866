"""Errors that offered vectors leave: the numbers of the definition on every path, and the errors of callers."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import ErrorForms, ShiftOperators, noise

CHANNELS = (1, 3, 8, 13, 20, 25, 48)  # registers of 8: one to three, and what is left of a block of three
#: A sum of products of a part of the Haar transform, at most 4 times 32 + 16 in 1/64, by a column fits 32 bits.
MOST_COLUMN = (2**31 - 1) // (4 * (32 + 16) * 64)


@functools.cache
def random_weights(channels: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(channels)
    return rng.normal(0, 20, (2, channels, channels)).astype(np.float32)


@functools.cache
def operators(channels: int, path: str = "auto") -> ShiftOperators:
    rng = np.random.default_rng(channels)
    return ShiftOperators(rng.integers(-60, 61, (9, 9, 9 * channels, channels)).astype(np.int16), path=path)


def integers(weights: NDArray[np.float32], bits: int) -> NDArray[np.int64]:
    scaled = weights.astype(np.float64) * 2.0**bits
    return (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).astype(np.int64)


def fixed(latent: NDArray[np.float32], limit: int) -> NDArray[np.int16]:
    """In 1/64."""
    return np.clip(np.rint(latent.astype(np.float64) * 64), -limit * 64, limit * 64).astype(np.int16)


def defined(weights: NDArray[np.float32], wanted: NDArray[np.float32], state: NDArray[np.float32],
            offered: NDArray[np.int8]) -> NDArray[np.float32]:
    """The definition by Python's integers, cell after cell: differences of positions from their mean, and the mean."""
    bits = ErrorForms(weights).fraction_bits
    apart, mean = integers(weights, bits).astype(object)
    whole, aim = fixed(state, 16), fixed(wanted, 32)
    found = np.full(offered.shape[:3], np.inf, np.float32)
    for y, x in np.ndindex(offered.shape[1:3]):
        vectors = [tuple(vector) for vector in offered[:, y, x].tolist()]
        if not offered[:, y, x].any():
            continue
        for number, vector in enumerate(vectors):
            if vector in vectors[:number]:
                continue
            here = slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2)
            cell = whole[:, here[0], here[1]] if vector == (0, 0) else operators(len(state)).shift(
                whole, np.array([[y, x]]), np.array([vector], np.int8))[0]
            difference = (aim[:, here[0], here[1]].astype(int) - cell).reshape(len(state), 4).astype(object)
            total = difference.sum(1)
            beside = 4 * difference - total[:, None]
            form = sum(one @ apart @ one for one in beside.T)
            assert form % 4 == 0
            found[number, y, x] = np.float32(math.ldexp(form // 4 + total @ mean @ total, -bits - 16))
    return found


@st.composite
def offers(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int8]]:
    """What is wanted, the state, and vectors, of which some are offered twice or are 0."""
    rows, columns, count = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.1, 3.0, 40.0]))
    shape = draw(st.sampled_from(CHANNELS)), 2 * rows, 2 * columns
    wanted, state = rng.normal(0, spread, (2, *shape)).astype(np.float32)
    pool = rng.integers(-64, 65, (2, 2)).astype(np.int8)
    pool[1] *= draw(st.integers(0, 1))
    offered = pool[rng.integers(0, 2, (count, rows, columns))]
    return wanted, state, offered


@settings(deadline=None, max_examples=40)
@given(offers(), st.sampled_from([1, 2, 5]))
def test_errors_are_those_of_the_definition_on_every_path_and_number_of_threads(
    given_: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int8]], threads: int
) -> None:
    wanted, state, offered = given_
    channels = len(state)
    expected = defined(random_weights(channels), wanted, state, offered)
    for path in noise.paths():
        forms = ErrorForms(random_weights(channels), path=path)
        found = forms.errors(operators(channels, path), wanted, state, offered, threads=threads)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("path", noise.paths())
def test_many_cells_have_the_same_errors_on_any_number_of_threads(path: str) -> None:
    rng = np.random.default_rng(3)
    wanted, state = rng.normal(0, 3, (2, 48, 24, 40)).astype(np.float32)
    offered = rng.integers(-64, 65, (3, 12, 20, 2)).astype(np.int8)
    offered[0] = 0
    forms = ErrorForms(random_weights(48), path=path)
    alone = forms.errors(operators(48, path), wanted, state, offered)
    np.testing.assert_array_equal(alone[:, 5:7], defined(random_weights(48), wanted, state, offered)[:, 5:7])
    for threads in (2, 3, 256):
        np.testing.assert_array_equal(forms.errors(operators(48, path), wanted, state, offered, threads=threads), alone)


def test_errors_are_within_two_thousandths_of_those_of_the_weights_as_they_were() -> None:
    rng = np.random.default_rng(5)
    weights = np.stack([one.T @ one for one in rng.normal(0, 1, (2, 48, 48))]).astype(np.float32)  # never negative
    wanted, state = rng.normal(0, 2, (2, 48, 8, 8)).astype(np.float32)
    offered = np.zeros((2, 4, 4, 2), np.int8)
    offered[1] = 1
    found = ErrorForms(weights).errors(operators(48), wanted, state, offered)[0]
    cells = (wanted - state).astype(np.float64).reshape(48, 4, 2, 4, 2).transpose(1, 3, 2, 4, 0).reshape(4, 4, 4, 48)
    mean = cells.mean(2, keepdims=True)
    beside = np.einsum("yxpi,ij,yxpj->yx", cells - mean, weights[0], cells - mean) / 4
    flat = np.einsum("yxpi,ij,yxpj->yx", mean, weights[1], mean)
    np.testing.assert_allclose(found, beside + flat, rtol=2e-3)


def test_a_vector_that_was_offered_before_has_an_infinite_error() -> None:
    state = np.ones((8, 2, 4), np.float32)
    offered = np.array([[[[0, 0], [2, 3]]], [[[2, 3], [0, 0]]], [[[2, 3], [0, 0]]], [[[2, -3], [2, 3]]]], np.int8)
    found = ErrorForms(random_weights(8)).errors(operators(8), state, state, offered)
    assert np.isfinite(found)[:, 0].T.tolist() == [[True, True, False, True], [True, True, False, False]]


def test_a_cell_that_is_offered_nothing_but_zero_is_not_measured() -> None:
    state = np.ones((8, 2, 4), np.float32)
    offered = np.zeros((2, 1, 2, 2), np.int8)
    offered[1, 0, 1] = 1
    found = ErrorForms(random_weights(8)).errors(operators(8), state, state, offered)
    assert np.isinf(found[:, 0, 0]).all() and found[0, 0, 1] == 0


def test_no_vectors_and_no_cells_have_no_errors() -> None:
    forms, state = ErrorForms(random_weights(8)), np.ones((8, 2, 4), np.float32)
    assert forms.errors(operators(8), state, state, np.zeros((0, 1, 2, 2), np.int8)).shape == (0, 1, 2)
    assert forms.errors(operators(8), state[:, :0], state[:, :0], np.zeros((3, 0, 2, 2), np.int8)).shape == (3, 0, 2)


@pytest.mark.parametrize("path", noise.paths())
@pytest.mark.parametrize("sign", [1, -1])
def test_the_heaviest_weights_and_farthest_latents_do_not_overflow(path: str, sign: int) -> None:
    # Columns as heavy as fits, of one sign as the differences are; latents are cut off on the way.
    weights = np.full((2, 8, 8), MOST_COLUMN // 8, np.float32)
    wanted, state = np.full((8, 2, 2), sign * 1e9, np.float32), np.full((8, 2, 2), -sign * 1e9, np.float32)
    offered = np.array([[[[0, 0]]], [[[1, 1]]]], np.int8)
    forms = ErrorForms(weights, path=path)
    assert forms.fraction_bits == 0
    found = forms.errors(operators(8, path), wanted, state, offered)
    np.testing.assert_array_equal(found, defined(weights, wanted, state, offered))
    assert found[0, 0, 0] == 64 * (MOST_COLUMN // 8) * 48.0**2


@pytest.mark.parametrize(("weights", "bits"), [
    (np.eye(8), 14), (np.eye(8) * 32767, 0), (np.eye(8) * 32768, -1), (np.full((8, 8), MOST_COLUMN // 8), 0),
    (np.full((8, 8), MOST_COLUMN // 8 + 1), -1), (np.zeros((8, 8)), 30), (np.eye(8) * 1e-12, 30),
    (np.eye(8) * 1e38, -112),
])
def test_weights_have_the_fraction_bits_that_fit(weights: NDArray[np.float64], bits: int) -> None:
    for both in ((weights, np.zeros((8, 8))), (np.zeros((8, 8)), weights)):
        assert ErrorForms(np.stack(both).astype(np.float32)).fraction_bits == bits


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_is_named_with_its_place(value: float) -> None:
    weights = np.zeros((2, 8, 8), np.float32)
    weights[1, 2, 3] = value
    with pytest.raises(ValueError, match="weights is not finite at matrix 1, row 2, column 3"):
        ErrorForms(weights)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["wanted", "state"])
def test_a_latent_that_is_not_finite_is_named_with_its_place(name: str, value: float) -> None:
    latents = {one: np.zeros((8, 4, 6), np.float32) for one in ("wanted", "state")}
    latents[name][4, 3, 1] = value
    with pytest.raises(ValueError, match=f"{name} is not finite at channel 4, row 3, column 1"):
        ErrorForms(random_weights(8)).errors(operators(8), latents["wanted"], latents["state"],
                                             np.ones((1, 2, 3, 2), np.int8), threads=2)


@pytest.mark.parametrize("vector", [(65, 0), (0, -65), (-128, 127)])
def test_a_vector_out_of_range_is_named_with_its_place(vector: tuple[int, int]) -> None:
    offered = np.zeros((3, 2, 3, 2), np.int8)
    offered[2, 1, 2] = vector
    state = np.zeros((8, 4, 6), np.float32)
    with pytest.raises(ValueError, match=rf"offered has \({vector[0]}, {vector[1]}\) at index 2, row 1, column 2; "
                                         "-64..64 half pixels are needed"):
        ErrorForms(random_weights(8)).errors(operators(8), state, state, offered)


@pytest.mark.parametrize(("weights", "error", "message"), [
    ([1], TypeError, "weights is a list"),
    (np.zeros((2, 8, 8)), TypeError, "weights is an array of float64; float32 is needed"),
    (np.zeros((2, 8, 9), np.float32), ValueError, r"shape \(2, 8, 9\); \(2, C, C\) is needed"),
    (np.zeros((1, 8, 8), np.float32), ValueError, r"shape \(1, 8, 8\); \(2, C, C\) is needed"),
    (np.zeros((2, 0, 0), np.float32), ValueError, "C at least 1"),
    (np.zeros((8, 8, 2), np.float32).transpose(2, 0, 1), ValueError, "weights is not contiguous"),
])
def test_weights_of_another_kind_are_refused(weights: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ErrorForms(weights)


def test_an_unknown_path_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="path is 'fast'; available on this machine are 'auto', 'scalar'"):
        ErrorForms(random_weights(8), path="fast")


def test_operators_of_another_number_of_channels_are_refused() -> None:
    state = np.zeros((8, 4, 6), np.float32)
    with pytest.raises(ValueError, match="operators are of 3 channels; 8 are needed"):
        ErrorForms(random_weights(8)).errors(operators(3), state, state, np.ones((1, 2, 3, 2), np.int8))


@pytest.mark.parametrize(("wrong", "error", "message"), [
    ({"operators": 8}, TypeError, "operators is a int; ShiftOperators are needed"),
    ({"wanted": np.zeros((8, 4, 6))}, TypeError, "wanted is an array of float64; float32 is needed"),
    ({"wanted": np.zeros((8, 4, 4), np.float32)}, ValueError, r"wanted has shape \(8, 4, 4\); \(8, 4, 6\) is needed"),
    ({"state": np.zeros((9, 4, 6), np.float32)}, ValueError, r"state has shape \(9, 4, 6\); \(8, 4, 6\) is needed"),
    ({"state": np.zeros((8, 6, 4), np.float32).transpose(0, 2, 1)}, ValueError, "state is not contiguous"),
    ({"offered": np.zeros((1, 2, 3, 2), np.int16)}, TypeError, "offered is an array of int16; int8 is needed"),
    ({"offered": np.zeros((2, 3, 2), np.int8)}, ValueError, r"\(n, rows, columns, 2\) is needed"),
    ({"offered": np.zeros((1, 2, 3, 3), np.int8)}, ValueError, r"shape \(1, 2, 3, 3\)"),
    ({"threads": 0}, ValueError, "threads is 0; it is 1..256"),
])
def test_arguments_that_do_not_fit_are_refused_by_name(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    state = np.zeros((8, 4, 6), np.float32)
    fitting: dict[str, Any] = {"operators": operators(8), "wanted": state, "state": state,
                               "offered": np.ones((1, 2, 3, 2), np.int8)}
    assert ErrorForms(random_weights(8)).errors(**fitting).shape == (1, 2, 3)
    with pytest.raises(error, match=message):
        ErrorForms(random_weights(8)).errors(**fitting | wrong)
