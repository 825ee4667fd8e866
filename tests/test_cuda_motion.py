"""The CUDA programs that search for motion beside the CPU's kernels: vectors, sums, luma, and the errors of callers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import ErrorForms, ShiftOperators, block_motion
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver

DEVICES = st.sampled_from([Device.on_cpu(), Device.on(HostDriver(backwards=True))])
SEEDS = st.integers(0, 2**32 - 1)
Plane = NDArray[np.uint8]


def searched(device: Device, previous: Plane, current: Plane) -> tuple[NDArray[np.int8], NDArray[np.uint32]]:
    shape = previous.shape[0] // 16, previous.shape[1] // 16, 2
    vectors, sums = np.full(shape, 99, np.int8), np.full(shape, 99, np.uint32)
    scratch = np.full(-(-device.block_motion_scratch_bytes(*previous.shape) // 16), np.nan, np.complex128)
    device.block_motion(previous, current, vectors, sums, scratch)
    return vectors, sums


def luma(picture: NDArray[np.uint8]) -> Plane:
    """(H, W) of a picture (1, 3, H, W), after the docstring."""
    red, green, blue = picture[0].astype(np.int64)
    found: Plane = (red + 2 * green + blue + 2 >> 2).astype(np.uint8)
    return found


def assert_same(device: Device, previous: Plane, current: Plane) -> NDArray[np.int8]:
    expected, expected_sums = block_motion(previous, current, cell=16, reach=32)
    found, sums = searched(device, previous, current)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(sums, expected_sums)
    return found


def texture(seed: int, height: int, width: int, blur: int) -> Plane:
    """Blobs of ``blur`` pixels, grey levels of the whole range."""
    plane = np.random.default_rng(seed).standard_normal((height, width))
    for axis in (0, 1):
        plane = np.sum([np.roll(plane, shift, axis) for shift in range(blur)], 0)
    low, high = plane.min(), plane.max()
    return np.rint((plane - low) * (255 / (high - low))).astype(np.uint8)


def at_half_pixels(plane: Plane, dy: int, dx: int) -> NDArray[np.int64]:
    """``plane(y + dy / 2, x + dx / 2)``, with indices beyond the edges clamped."""
    height, width = plane.shape
    total = np.zeros(plane.shape, np.int64)
    for down in (dy >> 1, dy + 1 >> 1):
        for right in (dx >> 1, dx + 1 >> 1):
            rows = np.clip(np.arange(height) + down, 0, height - 1)[:, None]
            total += plane[rows, np.clip(np.arange(width) + right, 0, width - 1)]
    return (total + 2) >> 2


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Plane, Plane]:
    """Planes of 1 to 9 by 1 to 7 cells: unrelated, moved as a whole, or in parts, by any vector, with noise or none."""
    shape = 16 * draw(st.integers(1, 9)), 16 * draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(SEEDS))
    previous = texture(draw(st.integers(0, 9)), *shape, blur=draw(st.sampled_from([1, 3, 5, 16])))
    kind = draw(st.sampled_from(["unrelated", "whole", "parts", "parts"]))
    if kind == "unrelated":
        return previous, rng.integers(0, 256, shape, np.uint8)
    half = st.integers(-66, 66)
    current: NDArray[np.int64] = at_half_pixels(previous, draw(half), draw(half))
    for _ in range(draw(st.integers(1, 4)) if kind == "parts" else 0):
        top, left = (draw(st.integers(0, side - 1)) for side in shape)
        here = slice(top, top + draw(st.integers(8, 80))), slice(left, left + draw(st.integers(8, 80)))
        current[here] = at_half_pixels(previous, draw(half), draw(half))[here]
    noise = draw(st.sampled_from([0, 1, 3, 9]))
    return previous, (current + rng.integers(-noise, noise + 1, shape)).clip(0, 255).astype(np.uint8)


@settings(deadline=None, max_examples=120)
@given(DEVICES, pairs())
def test_a_device_finds_the_vectors_and_sums_of_the_cpu(device: Device, planes: tuple[Plane, Plane]) -> None:
    assert_same(device, *planes)


@settings(deadline=None, max_examples=60)
@given(DEVICES, SEEDS, st.integers(1, 6), st.integers(1, 6), st.sampled_from([2, 3, 16]))
def test_of_equal_vectors_a_device_takes_the_one_that_the_cpu_takes(device: Device, seed: int, rows: int, columns: int,
                                                                    levels: int) -> None:
    # Stripes and checks of few levels repeat within reach: many vectors bring the same.
    rng = np.random.default_rng(seed)
    period = rng.integers(1, 24, 2)
    grid = np.indices((16 * rows, 16 * columns)) // period[:, None, None]
    previous = (grid.sum(0) % levels * (255 // (levels - 1))).astype(np.uint8)
    current = np.roll(previous, tuple(rng.integers(-20, 21, 2)), (0, 1))
    assert_same(device, previous, current)


@pytest.mark.parametrize(("previous", "current"), [(0, 255), (255, 0), (7, 7), (0, 1), (0, 2)])
def test_flat_planes_have_the_sums_of_the_cpu(previous: int, current: int) -> None:
    planes = (np.full((80, 48), level, np.uint8) for level in (previous, current))
    assert not assert_same(Device.on_cpu(), *planes).any()


def test_a_photograph_that_moves_by_is_followed_into_the_last_half_pixel() -> None:
    photograph = luma(np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut().transpose(2, 0, 1))[None])
    for dy, dx in ((0, 9), (-13, 6), (64, -64), (-64, 64), (1, -1)):
        previous = np.ascontiguousarray(photograph[100:260, 100:292])
        current = at_half_pixels(photograph, dy, dx)[100:260, 100:292].astype(np.uint8)
        found = assert_same(Device.on_cpu(), previous, current)
        assert (found[4:-4, 4:-4] == (dy, dx)).all(2).mean() > 0.5


@given(DEVICES, SEEDS, st.integers(1, 40), st.integers(1, 40))
def test_a_device_makes_the_luma_of_the_host(device: Device, seed: int, height: int, quarter: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (1, 3, height, 4 * quarter), np.uint8)
    found = np.full(picture.shape[2:], 9, np.uint8)
    device.luma(picture, found)
    np.testing.assert_array_equal(found, luma(picture))


@given(DEVICES, SEEDS, st.integers(1, 5), st.integers(1, 9), st.sampled_from([0.0, 0.3, 1.0]))
def test_a_device_takes_a_frame_over_where_it_changed_the_latent(device: Device, seed: int, rows: int, columns: int,
                                                                 share: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 256, (2, 8 * rows, 8 * columns), np.uint8)
    changed = rng.random((rows, columns)) < share
    found = first.copy()
    device.update_reference(second, changed.astype(np.uint8) * np.uint8(7), found)
    np.testing.assert_array_equal(found, np.where(changed.repeat(8, 0).repeat(8, 1), second, first))


class Noting(HostDriver):
    """Notes what is launched and copied, and with how many warps."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def launch(self, program: str, warps: int, arguments: list[int], stream: int) -> None:
        self.calls.append((program, warps))
        super().launch(program, warps, arguments, stream)

    def copy(self, source: int, target: int, size: int, stream: int) -> None:
        self.calls.append(("copy", size))
        super().copy(source, target, size, stream)


def test_what_is_launched_depends_on_the_sizes_of_arrays_alone() -> None:
    # So a CUDA graph of it is right for whatever the arrays hold when it is replayed.
    rng, calls = np.random.default_rng(8), []
    operators = ShiftOperators(rng.integers(-99, 100, (9, 9, 27, 3)).astype(np.int16))
    form = ErrorForms(rng.normal(0, 1, (2, 3, 3)).astype(np.float32))
    previous, zeros = texture(1, 64, 96, 5), np.zeros((3, 4, 6, 2), np.int8)
    three = np.arange(3)[:, None, None, None]
    for current, offered in ((previous, zeros), (np.roll(previous, 5, 1), zeros + three)):
        driver = Noting()
        device, status = Device.on(driver), np.zeros(2, np.uint64)
        searched(device, previous, current)
        reference, picture = previous.copy(), np.zeros((1, 3, 64, 96), np.uint8)
        device.luma(picture, reference)
        device.update_reference(current, np.ones((8, 12), np.uint8), reference)
        latent, scratch = np.zeros((1, 3, 8, 12), np.float32), np.zeros(4096, np.uint8)
        vectors = offered.astype(np.int8)
        device.compensate(latent, vectors[2].copy(), operators.summed(), latent.copy(), scratch, status)
        device.vector_errors(latent, latent, vectors, operators.summed(), form.integers(),
                             np.zeros((3, 4, 6), np.float32), scratch, status, unit_bits=form.unit_bits)
        calls.append(driver.calls)
    assert calls[0] == calls[1] and len({name for name, _ in calls[0]}) == 12


def test_what_a_caller_got_wrong_is_named() -> None:
    device, plane = Device.on_cpu(), np.zeros((32, 48), np.uint8)
    vectors, sums = np.zeros((2, 3, 2), np.int8), np.zeros((2, 3, 2), np.uint32)
    scratch = np.zeros(device.block_motion_scratch_bytes(32, 48) // 16, np.complex128)

    def search(**wrong: Any) -> None:
        given: dict[str, Any] = {"previous": plane, "current": plane, "vectors": vectors, "sums": sums,
                                 "scratch": scratch} | wrong
        device.block_motion(**given)

    search()
    narrow = np.zeros((32, 40), np.uint8)
    for wrong, message in (
            ({"current": narrow}, r"current has shape \(32, 40\); \(32, 48\) is needed"),
            ({"previous": narrow, "current": narrow}, "multiples of 16, from 16 to 16384, are needed"),
            ({"previous": plane.astype(np.int16)}, "uint8 is needed"),
            ({"previous": np.zeros(32 * 48 + 1, np.uint8)[1:].reshape(32, 48)}, "a multiple of 4 is needed"),
            ({"vectors": vectors[:1]}, "vectors has shape"),
            ({"sums": sums.astype(np.int32)}, "uint32 is needed"),
            ({"scratch": scratch[1:]}, "scratch has .* bytes")):
        with pytest.raises((TypeError, ValueError), match=message):
            search(**wrong)
    with pytest.raises(ValueError, match="a multiple of 4 pixels"):
        device.luma(np.zeros((1, 3, 3, 3), np.uint8), np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"reference has shape \(32, 44\); multiples of 8 are needed"):
        device.update_reference(plane[:, :44].copy(), np.zeros((4, 5), np.uint8), plane[:, :44].copy())
    with pytest.raises(ValueError, match=r"changed has shape \(4, 5\); \(4, 6\) is needed"):
        device.update_reference(plane, np.zeros((4, 5), np.uint8), plane.copy())
