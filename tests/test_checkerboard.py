"""Between exact networks and the entropy coder: coding order, rounding, and the errors of callers."""

from __future__ import annotations

import ctypes
import math
import platform
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import checkerboard

SHAPES = st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 21))
NO_MARGIN = np.zeros(64, np.float32)


def mask(shape: tuple[int, int, int], half: int) -> NDArray[np.bool_]:
    channel, row, column = np.indices(shape)
    first = (row + column + (channel >= shape[0] // 2)) % 2 == 0
    return first if half == 0 else ~first


def planes(shape: tuple[int, ...], seed: int = 0
           ) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.int16]]:
    """Values of all magnitudes up to the limits of int16, classes 0..63, means."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-2, 6, shape)
    return (values.astype(np.float32), rng.integers(0, 64, shape).astype(np.uint8),
            rng.integers(-2032, 2033, shape).astype(np.int16))


@given(SHAPES, st.sampled_from([0, 1]))
def test_a_half_holds_every_other_place_in_the_order_of_memory(shape: tuple[int, int, int], half: int) -> None:
    order = np.arange(math.prod(shape), dtype=np.int16).reshape(shape)
    expected = order[mask(shape, half)]
    np.testing.assert_array_equal(checkerboard.gather(order, half), expected)
    assert checkerboard.size(shape, half) == expected.size
    small = order.astype(np.uint8)
    np.testing.assert_array_equal(checkerboard.gather(small, half), small[mask(shape, half)])


def rounded(values: NDArray[np.float32], classes: NDArray[np.uint8], means: NDArray[np.int16],
            margins: NDArray[np.float32]) -> NDArray[np.int16]:
    """The rule of the docstring by numpy, every operation in float32."""
    rest = values - means.astype(np.float32) / np.float32(16)
    magnitude = np.abs(rest)
    symbols = np.minimum(np.floor(magnitude + np.float32(0.5)), np.float32(32767))
    margin = margins[classes]
    symbols -= (magnitude < symbols - np.float32(0.5) + margin * (2 * symbols - 1)) & (symbols > 0)
    symbols[classes == 0] = 0
    return np.copysign(symbols, rest).astype(np.int16)


@given(SHAPES, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 0.3]), st.booleans())
def test_both_halves_together_are_rounded_as_described(
    shape: tuple[int, int, int], seed: int, margin: float, masked: bool
) -> None:
    values, classes, means = planes(shape, seed)
    rng = np.random.default_rng(seed)
    margins = (margin * rng.random(64)).astype(np.float32)
    keep = rng.random(shape[1:]) < 0.5 if masked else None
    symbols, decoded = np.full(shape, 7, np.int16), np.full(shape, 7, np.float32)
    for half in (0, 1):
        checkerboard.quantise(values, classes, means, half, margins=margins, keep=keep, symbols=symbols,
                              decoded=decoded)
    expected = rounded(values, classes, means, margins)
    if keep is not None:
        expected[:, ~keep] = 0
    np.testing.assert_array_equal(symbols, expected)
    np.testing.assert_array_equal(decoded, 16 * expected.astype(np.int64) + means)


def test_a_half_leaves_the_places_of_the_other_alone() -> None:
    shape = 4, 5, 22
    values, classes, means = planes(shape)
    symbols, decoded = np.full(shape, 7, np.int16), np.full(shape, 7, np.float32)
    values[mask(shape, 1)], classes[mask(shape, 1)] = np.nan, 64  # not even looked at
    checkerboard.quantise(values, classes, means, 0, margins=NO_MARGIN, symbols=symbols, decoded=decoded)
    assert (symbols[mask(shape, 1)] == 7).all() and (decoded[mask(shape, 1)] == 7).all()


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_dequantising_the_coded_halves_gives_what_quantising_promised(shape: tuple[int, int, int], seed: int) -> None:
    values, classes, means = planes(shape, seed)
    symbols, decoded = np.zeros(shape, np.int16), np.zeros(shape, np.float32)
    again, received = np.zeros(shape, np.int16), np.zeros(shape, np.float32)
    for half in (0, 1):
        checkerboard.quantise(values, classes, means, half, margins=NO_MARGIN, symbols=symbols, decoded=decoded)
        checkerboard.dequantise(checkerboard.gather(symbols, half), means, half, symbols=again, decoded=received)
    np.testing.assert_array_equal(again, symbols)
    np.testing.assert_array_equal(received, decoded)


def test_a_magnitude_just_above_the_midpoint_is_lowered_by_its_margin() -> None:
    values = np.array([0.52, 0.52, -0.52, 1.55], np.float32).reshape(4, 1, 1)
    classes, means = np.array([10, 60, 10, 10], np.uint8).reshape(4, 1, 1), np.zeros((4, 1, 1), np.int16)
    margins = np.zeros(64, np.float32)
    margins[10] = 0.03
    symbols, decoded = np.zeros((4, 1, 1), np.int16), np.zeros((4, 1, 1), np.float32)
    for half in (0, 1):
        checkerboard.quantise(values, classes, means, half, margins=margins, symbols=symbols, decoded=decoded)
    assert symbols.ravel().tolist() == [0, 1, 0, 1]


# Errors of the caller


@pytest.mark.parametrize("width", [4, 19])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_place(wrong: float, width: int) -> None:
    shape = 2, 4, width
    values, classes, means = planes(shape)
    values[1, 2, 3] = wrong  # in the first half: the upper channel's colours are swapped
    out: dict[str, Any] = {"symbols": np.zeros(shape, np.int16), "decoded": np.zeros(shape, np.float32)}
    with pytest.raises(ValueError, match=r"values\[1, 2, 3\] is -?(nan|inf); finite numbers are needed"):
        checkerboard.quantise(values, classes, means, 0, margins=NO_MARGIN, **out)


def test_a_class_that_is_not_gaussian_is_named_with_its_place() -> None:
    values, classes, means = planes((2, 4, 4))
    classes[0, 1, 3] = 64
    out: dict[str, Any] = {"symbols": np.zeros((2, 4, 4), np.int16), "decoded": np.zeros((2, 4, 4), np.float32)}
    with pytest.raises(ValueError, match=r"classes\[0, 1, 3\] is 64; Gaussian classes are 0\.\.63"):
        checkerboard.quantise(values, classes, means, 0, margins=NO_MARGIN, **out)


def test_arrays_of_another_kind_are_refused_by_name() -> None:
    values, classes, means = planes((2, 4, 4))
    symbols, decoded = np.zeros((2, 4, 4), np.int16), np.zeros((2, 4, 4), np.float32)
    good: dict[str, Any] = {"margins": NO_MARGIN, "symbols": symbols, "decoded": decoded}
    with pytest.raises(TypeError, match="values is an array of float64; float32 is needed"):
        checkerboard.quantise(values.astype(float), classes, means, 0, **good)
    with pytest.raises(ValueError, match=r"classes has shape \(2, 4, 3\); \(2, 4, 4\) is needed"):
        checkerboard.quantise(values, np.ascontiguousarray(classes[..., :3]), means, 0, **good)
    with pytest.raises(ValueError, match=r"margins has shape \(63,\); \(64,\) is needed"):
        checkerboard.quantise(values, classes, means, 0, **{**good, "margins": NO_MARGIN[:63]})
    with pytest.raises(ValueError, match=r"keep has shape \(4, 5\); \(4, 4\) is needed"):
        checkerboard.quantise(values, classes, means, 0, keep=np.ones((4, 5), np.bool_), **good)
    with pytest.raises(ValueError, match=r"half is 2; it is 0\.\.1"):
        checkerboard.quantise(values, classes, means, 2, **good)
    with pytest.raises(ValueError, match="planes is not contiguous"):
        checkerboard.gather(classes.transpose(0, 2, 1), 0)
    with pytest.raises(ValueError, match=r"coded has 15 symbols; half 0 of \(2, 4, 4\) has 16"):
        checkerboard.dequantise(np.zeros(15, np.int16), means, 0, symbols=symbols, decoded=decoded)
    symbols.flags.writeable = False
    with pytest.raises(ValueError, match="symbols is read-only"):
        checkerboard.quantise(values, classes, means, 0, **good)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of rounding modes are those of x86-64")
@pytest.mark.parametrize("mode", [0x400, 0x800, 0xC00])
def test_the_rounding_mode_of_the_thread_changes_no_symbol(mode: int) -> None:
    values, classes, means = planes((4, 30, 30), 5)
    # Just below midpoints: whether adding a half gives the next integer is a matter of rounding.
    values = np.nextafter(np.rint(values % 64) + np.float32(0.5), np.float32(0)).astype(np.float32)
    means[::2] = 0
    outcomes = []
    set_rounding = ctypes.CDLL(None).fesetround
    for rounding in (0, mode):
        symbols, decoded = np.zeros(values.shape, np.int16), np.zeros(values.shape, np.float32)
        set_rounding(rounding)
        try:
            checkerboard.quantise(values, classes, means, 0, margins=NO_MARGIN, symbols=symbols, decoded=decoded)
        finally:
            set_rounding(0)
        outcomes.append(symbols.tobytes() + decoded.tobytes())
    assert outcomes[0] == outcomes[1]
