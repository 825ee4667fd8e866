"""What an error of a latent is in the picture: the definition's numbers on every path, and the errors of callers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import noise, picture_error, picture_gain

CHANNELS = (1, 2, 6, 7, 13, 48)


def defined(error: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """In float64, position by position."""
    channels, height, width = error.shape
    exact, (apart, mean) = error.astype(np.float64), weights.astype(np.float64)
    found = np.zeros((height // 2, width // 2))
    for y, x in np.ndindex(height, width):
        around = exact[:, max(y - 1, 0):y + 2, max(x - 1, 0):x + 2].reshape(channels, -1).mean(1)
        beside = exact[:, y, x] - around
        found[y // 2, x // 2] += (beside @ apart @ beside + around @ mean @ around) / 4
    return found


def in_order(error: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """In float32, in the order of the documentation."""
    _, height, width = error.shape
    columns = error.copy()
    columns[:, 1:] += error[:, :-1]
    columns[:, :-1] += error[:, 1:]
    mean = columns.copy()
    mean[:, :, 1:] += columns[:, :, :-1]
    mean[:, :, :-1] += columns[:, :, 1:]
    shares = [np.float32(1) / (3 - (np.arange(side) == 0) - (np.arange(side) == side - 1)).astype(np.float32)
              for side in (height, width)]
    mean *= shares[0][:, None] * shares[1]
    seen = []
    for part, matrix in ((error - mean, weights[0]), (mean, weights[1])):
        total = np.zeros((height, width), np.float32)
        for output, row in enumerate(matrix):
            sums = np.zeros_like(total)
            for value, weight in zip(part, row, strict=True):
                sums += value * weight
            total += part[output] * sums
        seen.append(total)
    both = seen[0] + seen[1]
    pairs = both[:, ::2] + both[:, 1::2]
    found: NDArray[np.float32] = (pairs[::2] + pairs[1::2]) * np.float32(0.25)
    return found


@st.composite
def errors(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.sampled_from(CHANNELS))
    shape = channels, 2 * draw(st.integers(1, 6)), 2 * draw(st.integers(1, 11))
    scale = draw(st.sampled_from([1e-20, 1.0, 1e6]))
    return (rng.normal(0, scale, shape).astype(np.float32),
            rng.normal(0, 3, (2, channels, channels)).astype(np.float32))


@settings(deadline=None)
@given(errors(), st.sampled_from([1, 2, 5, 256]))
def test_errors_are_added_up_in_the_same_order_on_every_path_and_number_of_threads(
    given_: tuple[NDArray[np.float32], NDArray[np.float32]], threads: int
) -> None:
    expected = in_order(*given_)
    for path in noise.paths():
        found = picture_error(*given_, threads=threads, path=path)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(48, 8, 10), (3, 2, 2), (1, 4, 6)])
def test_errors_are_those_of_the_definition(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(6)
    weights = np.stack([one.T @ one for one in rng.normal(0, 1, (2, shape[0], shape[0]))]).astype(np.float32)
    error = rng.normal(0, 1, shape).astype(np.float32)
    np.testing.assert_allclose(picture_error(error, weights), defined(error, weights), rtol=1e-5)


@st.composite
def gains(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Latents of which the last two differ in some places, in all or in none."""
    error, weights = draw(errors())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    before = rng.normal(0, 1, error.shape).astype(np.float32)
    changed = rng.random(error.shape[1:]) < draw(st.sampled_from([0.0, 0.01, 0.1, 1.0]))
    channel = rng.random((len(error), 1, 1)) < 0.3  # that differs in a place, of those that may
    after = np.where(changed & channel, rng.normal(0, 1, error.shape), before).astype(np.float32)
    return before + error, before, after, weights


@settings(deadline=None)
@given(gains(), st.sampled_from([1, 3, 256]))
def test_what_is_gained_is_the_difference_of_two_errors_to_the_bit(
    given_: tuple[NDArray[np.float32], ...], threads: int
) -> None:
    wanted, before, after, weights = given_
    expected = picture_error(wanted - before, weights) - picture_error(wanted - after, weights)
    for path in noise.paths():
        found = picture_gain(wanted, before, after, weights, threads=threads, path=path)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_many_blocks_gain_alike_on_any_number_of_threads() -> None:
    rng = np.random.default_rng(8)
    wanted, before, after = rng.normal(0, 1, (3, 4, 48, 176)).astype(np.float32)
    after[:, :20] = before[:, :20]
    weights = rng.normal(0, 1, (2, 4, 4)).astype(np.float32)
    alone = picture_gain(wanted, before, after, weights)
    assert not alone[:9].any() and alone[10:].all()
    for threads in (2, 7):
        np.testing.assert_array_equal(picture_gain(wanted, before, after, weights, threads=threads), alone)


def test_nothing_is_gained_where_both_are_equally_wrong_even_without_bound() -> None:
    wanted, same = np.zeros((8, 12, 12), np.float32), np.full((8, 12, 12), np.inf, np.float32)
    assert not picture_gain(wanted, same, same.copy(), np.ones((2, 8, 8), np.float32)).any()


def test_no_positions_have_no_error() -> None:
    assert picture_error(np.zeros((8, 0, 4), np.float32), np.ones((2, 8, 8), np.float32)).shape == (0, 2)
    assert picture_error(np.zeros((8, 4, 0), np.float32), np.ones((2, 8, 8), np.float32)).shape == (2, 0)


def test_what_is_not_finite_stays_in_its_neighbourhood() -> None:
    error = np.zeros((8, 12, 12), np.float32)
    error[3, 5, 5] = np.nan
    found = picture_error(error, np.ones((2, 8, 8), np.float32))
    assert np.argwhere(np.isnan(found)).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


@pytest.mark.parametrize(("wrong", "error", "message"), [
    ({"error": np.zeros((8, 4, 6))}, TypeError, "error is an array of float64; float32 is needed"),
    ({"error": np.zeros((4, 6), np.float32)}, ValueError, r"error has shape \(4, 6\); \(C, h, w\) is needed"),
    ({"error": np.zeros((8, 5, 6), np.float32)}, ValueError, r"shape \(8, 5, 6\); .* h and w even"),
    ({"error": np.zeros((8, 6, 4), np.float32).transpose(0, 2, 1)}, ValueError, "error is not contiguous"),
    ({"weights": np.zeros((2, 8, 9), np.float32)}, ValueError, r"shape \(2, 8, 9\); \(2, 8, 8\) is needed"),
    ({"weights": np.zeros((2, 8, 8))}, TypeError, "weights is an array of float64"),
    ({"threads": 0}, ValueError, "threads is 0; it is 1..256"),
    ({"path": "fast"}, ValueError, "path is 'fast'; available on this machine are 'auto', 'scalar'"),
])
def test_arguments_that_do_not_fit_are_refused_by_name(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    fitting: dict[str, Any] = {"error": np.zeros((8, 4, 6), np.float32), "weights": np.zeros((2, 8, 8), np.float32)}
    assert picture_error(**fitting).shape == (2, 3)
    with pytest.raises(error, match=message):
        picture_error(**fitting | wrong)


@pytest.mark.parametrize(("wrong", "error", "message"), [
    ({"wanted": np.zeros((8, 5, 6), np.float32)}, ValueError, r"wanted has shape \(8, 5, 6\); .* h and w even"),
    ({"before": np.zeros((8, 6, 4), np.float32)}, ValueError, r"before has shape .*; \(8, 4, 6\) is needed, as wanted"),
    ({"after": np.zeros((8, 4, 6))}, TypeError, "after is an array of float64"),
    ({"weights": np.zeros((2, 7, 7), np.float32)}, ValueError, r"shape \(2, 7, 7\); \(2, 8, 8\) is needed"),
    ({"threads": 257}, ValueError, "threads is 257; it is 1..256"),
])
def test_arguments_of_a_gain_that_do_not_fit_are_refused_by_name(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    fitting: dict[str, Any] = {name: np.zeros((8, 4, 6), np.float32) for name in ("wanted", "before", "after")}
    fitting["weights"] = np.zeros((2, 8, 8), np.float32)
    assert picture_gain(**fitting).shape == (2, 3)
    with pytest.raises(error, match=message):
        picture_gain(**fitting | wrong)
