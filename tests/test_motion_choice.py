"""Which of the vectors that are offered to cells are taken: those of the definition, and the errors of callers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import VectorPrices, choose_motion

PRICES = VectorPrices(stay=0.6, same=1.2, other=3.6, length=2.0)
Vector = tuple[int, int]


def price(prices: VectorPrices, vector: Vector, expected: Vector | None) -> float:
    dy, dx = vector
    if expected is not None:
        dy, dx = dy - expected[0], dx - expected[1]
        if not dy and not dx:
            return prices.same
    return prices.other + prices.length * (abs(dy).bit_length() + abs(dx).bit_length())


def defined(offered: NDArray[np.int8], errors: NDArray[np.float32], before: NDArray[np.int8], worth: float,
            prices: VectorPrices) -> NDArray[np.int8]:
    """Cell by cell, in Python's numbers."""
    rows, columns = before.shape[:2]
    chosen: dict[tuple[int, int], Vector] = {}
    found = np.zeros_like(before)
    for y, x in np.ndindex(rows, columns):
        old: Vector | None = (int(before[y, x, 0]), int(before[y, x, 1])) if before[y, x].any() else None
        expected = chosen.get((y, x - 1)) or chosen.get((y - 1, x)) or old
        vectors = [(int(dy), int(dx)) for dy, dx in offered[:, y, x]]
        costs = (errors[:, y, x] * np.float32(worth)).tolist()
        totals = [costs[0] + prices.stay] + [cost + price(prices, vector, expected)
                                             for cost, vector in zip(costs[1:], vectors[1:], strict=True)]
        best = min(range(len(totals)), key=lambda at: totals[at])
        if vectors[best] != (0, 0):
            chosen[y, x] = vectors[best]
            found[y, x] = vectors[best]
    return found


@st.composite
def choices(draw: st.DrawFn) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int8]]:
    """Vectors of which many are the same from cell to cell, and errors whose differences are about their bits."""
    rows, columns, count = draw(st.integers(0, 5)), draw(st.integers(0, 6)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    reach = draw(st.sampled_from([1, 5, 64]))
    pool = rng.integers(-reach, reach + 1, (draw(st.integers(1, 6)), 2)).astype(np.int8)
    offered = pool[rng.integers(0, len(pool), (count, rows, columns))]
    offered[0] = 0
    errors = (rng.integers(0, 40, (count, rows, columns)) / 2).astype(np.float32)  # many that are equal
    errors[:, rng.random((rows, columns)) < 0.1] = np.inf
    before = pool[rng.integers(0, len(pool), (rows, columns))] * (rng.random((rows, columns, 1)) < 0.5)
    return offered, errors, before.astype(np.int8)


@given(choices(), st.sampled_from([0.01, 0.4, 1.0, 7.3]))
def test_vectors_are_those_of_the_definition(
    given_: tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int8]], worth: float
) -> None:
    offered, errors, before = given_
    found = choose_motion(offered, errors, before, worth=worth, prices=PRICES)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, defined(offered, errors, before, worth, PRICES))


def choose(vectors: list[Vector], errors: list[float], before: Vector = (0, 0), worth: float = 1.0) -> list[int]:
    """Of one cell."""
    field = choose_motion(np.array(vectors, np.int8)[:, None, None], np.array(errors, np.float32)[:, None, None],
                          np.array(before, np.int8)[None, None], worth=worth, prices=PRICES)
    found: list[int] = field[0, 0].tolist()
    return found


def test_a_vector_is_taken_where_the_error_it_takes_away_is_worth_its_bits() -> None:
    bits = PRICES.other + PRICES.length * (2 + 3) - PRICES.stay
    assert choose([(0, 0), (3, -4)], [100, 100 - 1.01 * bits]) == [3, -4]
    assert choose([(0, 0), (3, -4)], [100, 100 - 0.99 * bits]) == [0, 0]
    assert choose([(0, 0), (3, -4)], [100, 100 - 0.99 * bits], worth=2.0) == [3, -4]


def test_the_vector_of_the_frame_before_is_cheap() -> None:
    assert choose([(0, 0), (3, -4)], [10, 9]) == [0, 0]
    assert choose([(0, 0), (3, -4)], [10, 9], before=(3, -4)) == [3, -4]


def test_the_vector_to_the_left_is_expected_before_that_above_and_that_of_the_frame_before() -> None:
    offered = np.zeros((4, 2, 2, 2), np.int8)
    left, above, old = (9, 0), (0, 9), (-9, -9)
    offered[1:, 1, 1] = [old, above, left]
    offered[1, 1, 0], offered[1, 0, 1] = left, above
    errors = np.full((4, 2, 2), np.inf, np.float32)
    errors[0] = 100
    errors[1, 1, 0] = errors[1, 0, 1] = 0
    errors[1:, 1, 1] = 50
    before = np.zeros((2, 2, 2), np.int8)
    before[1, 1] = old
    assert choose_motion(offered, errors, before, worth=1, prices=PRICES)[1, 1].tolist() == list(left)
    errors[1, 1, 0] = np.inf
    assert choose_motion(offered, errors, before, worth=1, prices=PRICES)[1, 1].tolist() == list(above)
    errors[1, 0, 1] = np.inf
    assert choose_motion(offered, errors, before, worth=1, prices=PRICES)[1, 1].tolist() == list(old)


def test_a_vector_of_infinite_error_is_never_taken() -> None:
    assert choose([(0, 0), (1, 0)], [math.inf, math.inf], before=(1, 0)) == [0, 0]
    assert choose([(0, 0), (1, 0)], [5, math.inf], before=(1, 0), worth=0.0) == [0, 0]


@pytest.mark.parametrize(("wrong", "error", "message"), [
    ({"offered": np.zeros((2, 3, 4, 2), np.int16)}, TypeError, "offered is an array of int16; int8 is needed"),
    ({"offered": np.zeros((0, 3, 4, 2), np.int8)}, ValueError, "n at least 1"),
    ({"offered": np.zeros((2, 3, 4, 1), np.int8)}, ValueError, r"shape \(2, 3, 4, 1\)"),
    ({"offered": np.ones((2, 3, 4, 2), np.int8)}, ValueError, "offered is not 0 at index 0, row 0, column 0"),
    ({"errors": np.zeros((2, 3, 4))}, TypeError, "errors is an array of float64; float32 is needed"),
    ({"errors": np.zeros((1, 3, 4), np.float32)}, ValueError, r"errors has shape \(1, 3, 4\); \(2, 3, 4\) is needed"),
    ({"errors": np.where(np.arange(24).reshape(2, 3, 4) == 18, np.nan, 0).astype(np.float32)}, ValueError,
     "errors is no number at index 1, row 1, column 2"),
    ({"before": np.zeros((3, 3, 2), np.int8)}, ValueError, r"before has shape \(3, 3, 2\); \(3, 4, 2\) is needed"),
    ({"before": np.zeros((4, 3, 2), np.int8).transpose(1, 0, 2)}, ValueError, "before is not contiguous"),
    ({"worth": -1.0}, ValueError, "worth is -1.0; it is 0..1e[+]30"),
    ({"worth": math.nan}, ValueError, "worth is nan"),
])
def test_arguments_that_do_not_fit_are_refused_by_name(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    fitting: dict[str, Any] = {"offered": np.zeros((2, 3, 4, 2), np.int8), "errors": np.zeros((2, 3, 4), np.float32),
                               "before": np.zeros((3, 4, 2), np.int8), "worth": 1.0}
    assert not choose_motion(**fitting, prices=PRICES).any()
    with pytest.raises(error, match=message):
        choose_motion(**fitting | wrong, prices=PRICES)


@pytest.mark.parametrize("price", [math.nan, math.inf, -0.1])
def test_a_price_that_is_negative_or_not_finite_is_refused_by_name(price: float) -> None:
    with pytest.raises(ValueError, match=f"length is {price}; a finite number, at least 0, is needed"):
        VectorPrices(stay=0.6, same=1.2, other=3.6, length=price)
