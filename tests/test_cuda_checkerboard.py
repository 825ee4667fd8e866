"""The CUDA programs of the planes between networks and coder, run on the CPU lane by lane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.kernels import checkerboard
from duoview.kernels.cuda import Device

DEVICE = Device.on_cpu()
SHAPES = st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 150))


@given(SHAPES, st.sampled_from([0, 1]), st.sampled_from([np.uint8, np.int16]))
def test_coding_order_is_that_of_the_cpu(shape: tuple[int, int, int], half: int, dtype: type) -> None:
    planes: Any = np.random.default_rng(1).integers(0, 256, shape).astype(dtype)
    out: Any = np.zeros(checkerboard.size(shape, half), dtype)
    DEVICE.gather_half(planes, out, half)
    np.testing.assert_array_equal(out, checkerboard.gather(planes, half))


@given(SHAPES, st.integers(0, 2**32 - 1), st.booleans())
def test_rounding_and_its_inverse_are_those_of_the_cpu(shape: tuple[int, int, int], seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-2, 6, shape)).astype(np.float32)
    classes = rng.integers(0, 64, shape).astype(np.uint8)
    means = rng.integers(-2032, 2033, shape).astype(np.int16)
    margins = (0.1 * rng.random(64)).astype(np.float32)
    keep = rng.random(shape[1:]) < 0.5 if masked else None
    planes: list[Any] = [np.zeros(shape, np.int16), np.zeros(shape, np.float32)]
    ours: list[Any] = [np.zeros(shape, np.int16), np.zeros(shape, np.float32)]
    status = np.zeros(1, np.uint64)
    for half in (0, 1):
        checkerboard.quantise(values, classes, means, half, margins=margins, keep=keep, symbols=planes[0],
                              decoded=planes[1])
        DEVICE.quantise_half(values, classes, means, half, margins=margins, keep=keep, symbols=ours[0],
                             decoded=ours[1], status=status)
        DEVICE.check(status)
    for expected, found in zip(planes, ours, strict=True):
        assert expected.tobytes() == found.tobytes()
    again: list[Any] = [np.zeros(shape, np.int16), np.zeros(shape, np.float32)]
    for half in (0, 1):
        DEVICE.dequantise_half(checkerboard.gather(planes[0], half), means, half, symbols=again[0], decoded=again[1])
    for expected, found in zip(planes, again, strict=True):
        assert expected.tobytes() == found.tobytes()


def test_the_first_bad_element_is_named_when_the_status_is_checked() -> None:
    values, means = np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 4), np.int16)
    classes = np.ones((2, 4, 4), np.uint8)
    out = {"symbols": np.zeros((2, 4, 4), np.int16), "decoded": np.zeros((2, 4, 4), np.float32)}
    margins, status = np.zeros(64, np.float32), np.zeros(1, np.uint64)
    values[1, 2, 3] = np.nan
    DEVICE.quantise_half(values, classes, means, 0, margins=margins, status=status, **out)
    with pytest.raises(ValueError, match="values holds a number that is not finite at flat index 27"):
        DEVICE.check(status)
    classes[0, 0, 2] = 64
    DEVICE.quantise_half(values, classes, means, 0, margins=margins, status=status, **out)
    with pytest.raises(ValueError, match="classes holds a class at flat index 2 that is not Gaussian"):
        DEVICE.check(status)


def test_planes_of_another_kind_are_refused_by_name() -> None:
    values, means = np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 4), np.int16)
    classes = np.ones((2, 4, 4), np.uint8)
    out = {"symbols": np.zeros((2, 4, 4), np.int16), "decoded": np.zeros((2, 4, 4), np.float32)}
    margins, status = np.zeros(64, np.float32), np.zeros(1, np.uint64)
    with pytest.raises(ValueError, match=r"classes has shape \(2, 4, 3\); \(2, 4, 4\) is needed"):
        DEVICE.quantise_half(values, classes[..., :3].copy(), means, 0, margins=margins, status=status, **out)
    with pytest.raises(ValueError, match=r"keep has shape \(4, 5\); \(4, 4\) is needed"):
        DEVICE.quantise_half(values, classes, means, 0, margins=margins, keep=np.ones((4, 5), np.bool_), status=status,
                             **out)
    with pytest.raises(TypeError, match="planes is an array of float32; uint8 or int16 is needed"):
        DEVICE.gather_half(values, np.zeros(16, np.float32), 0)
    with pytest.raises(ValueError, match=r"half is 2; it is 0\.\.1"):
        DEVICE.gather_half(classes, np.zeros(16, np.uint8), 2)
    with pytest.raises(ValueError, match="coded has 15 elements; 16 are needed"):
        DEVICE.dequantise_half(np.zeros(15, np.int16), means, 0, **out)
