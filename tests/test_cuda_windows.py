"""The CUDA programs of windows and pictures, run on the CPU lane by lane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver

DEVICES = st.sampled_from([Device.on_cpu(), Device.on(HostDriver(backwards=True))])
DEVICE = Device.on_cpu()
SEEDS = st.integers(0, 2**32 - 1)


def normals(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(DEVICES, SEEDS, st.integers(1, 3), st.integers(1, 20), st.integers(1, 20))
def test_windows_are_cut_out_of_planes_and_added_to_them(device: Device, seed: int, channels: int, height: int,
                                                         width: int) -> None:
    rng = np.random.default_rng(seed)
    whole, share = normals(seed, 1, channels, 24, 30), normals(seed + 1, height, width)
    top, left = int(rng.integers(25 - height)), int(rng.integers(31 - width))
    part: Any = np.zeros((1, channels, height, width), np.float32)
    device.cut_window(whole, part, top=top, left=left)
    np.testing.assert_array_equal(part, whole[:, :, top:top + height, left:left + width])
    expected = whole.copy()
    expected[:, :, top:top + height, left:left + width] += part * share
    device.blend_window(part, share, whole, top=top, left=left)
    np.testing.assert_array_equal(whole, expected)


@given(DEVICES, SEEDS, st.integers(1, 5000))
def test_any_bit_that_differs_is_found_and_only_in_its_own_word(device: Device, seed: int, count: int) -> None:
    first, status = normals(seed, count), np.zeros(3, np.uint64)
    second = first.copy()
    at = int(np.random.default_rng(seed).integers(count))
    second.view(np.uint32)[at] ^= np.uint32(1)
    device.begin_comparison(status)
    device.compare(first, second, status, word=1)
    device.compare(first, first.copy(), status, word=0)
    assert device.check_comparison(status) == [True, False, True]
    assert int(status[1]) == at


@given(DEVICES, SEEDS, st.integers(1, 4), st.integers(1, 40), st.integers(1, 40))
def test_noise_scales_and_layouts_are_those_of_the_host(device: Device, seed: int, channels: int, height: int,
                                                        width: int) -> None:
    shape = 1, channels, height, width
    one, other, third, level = (normals(seed + n, *shape) for n in range(4))
    level, scale, out = np.ascontiguousarray(level[:, :1]), normals(seed, channels), np.zeros(shape, np.float32)
    device.add_noise(one, level, other, out)
    np.testing.assert_array_equal(out, one + level * other)
    device.add_scaled(one, other, out)
    np.testing.assert_array_equal(out, one + other)
    device.add_scaled(one, other, out, scale=scale)
    np.testing.assert_array_equal(out, one + other * scale[None, :, None, None])
    values = normals(seed, height, width, channels)
    device.channels_first(values, out)
    np.testing.assert_array_equal(out[0], values.transpose(2, 0, 1))
    depths = np.random.default_rng(seed).integers(0, 3, (height, width)).astype(np.uint8)
    levels, found = np.linspace(1, 0, 256, dtype=np.float32), np.zeros((1, 1, height, width), np.float32)
    scale = np.abs(scale) + np.float32(0.1)
    device.known_residual(one, other, third, depths, scale=scale, levels=levels, known=out, level=found)
    known = np.where(depths > 0, (one + (other - third)) / scale[None, :, None, None], 0)
    np.testing.assert_array_equal(out, known)
    np.testing.assert_array_equal(found[0, 0], levels[depths])


@given(DEVICES, SEEDS, st.integers(1, 50), st.integers(1, 700))
def test_changes_to_a_picture_end_at_black_and_white(device: Device, seed: int, height: int, width: int) -> None:
    shown, changed, base = (np.random.default_rng(seed + n).integers(0, 256, (1, 3, height, width), np.uint8)
                            for n in range(3))
    output = np.zeros_like(shown)
    device.apply_change(shown, changed, base, output)
    np.testing.assert_array_equal(output, np.clip(shown + (changed.astype(np.int16) - base), 0, 255))


@given(DEVICES, SEEDS, st.integers(1, 20), st.integers(1, 100), st.sampled_from([0, 16]))
def test_nv12_is_weighed_and_chroma_lies_in_the_middle_of_two_by_two(device: Device, seed: int, height: int, width: int,
                                                                     black: int) -> None:
    rng, shape = np.random.default_rng(seed), (2 * height, 2 * width)
    picture = rng.integers(0, 256, (1, 3, *shape), np.uint8)
    frame, back = np.zeros((3 * height, 2 * width), np.uint8), np.zeros_like(picture)
    weights, inverse = (rng.integers(-40000, 40001, count).astype(np.int32) for count in (9, 5))
    device.to_nv12(picture, frame, weights, black=black)
    table, planes = weights.reshape(3, 3).astype(int), picture[0].astype(int)
    luma = (np.einsum("c,chw->hw", table[0], planes) + (1 << 15) >> 16) + black
    fours = planes.reshape(3, height, 2, width, 2).sum((2, 4))
    pairs = (np.einsum("kc,chw->hwk", table[1:], fours) + (1 << 17) >> 18) + 128
    expected = np.concatenate([luma, pairs.reshape(height, -1)])
    np.testing.assert_array_equal(frame, np.clip(expected, 0, 255))
    device.from_nv12(frame, back, inverse, black=black)
    chroma = frame[2 * height:].reshape(height, width, 2).astype(int)
    wide = np.pad(chroma, ((1, 1), (1, 1), (0, 0)), "edge")
    tall = np.stack([3 * wide[1:-1] + wide[:-2], 3 * wide[1:-1] + wide[2:]], 1).reshape(2 * height, width + 2, 2)
    u, v = np.stack([3 * tall[:, 1:-1] + tall[:, :-2], 3 * tall[:, 1:-1] + tall[:, 2:]], 2).reshape(
        *shape, 2).transpose(2, 0, 1) - 2048
    bright = 16 * int(inverse[0]) * (frame[:2 * height].astype(int) - black)
    rows = [bright + inverse[1] * v, bright + inverse[2] * u + inverse[3] * v, bright + inverse[4] * u]
    np.testing.assert_array_equal(back[0], np.clip(np.stack(rows) + (1 << 19) >> 20, 0, 255))


def test_what_is_not_as_it_must_be_is_refused_by_name() -> None:
    planes, picture = np.zeros((1, 2, 8, 12), np.float32), np.zeros((1, 3, 4, 6), np.uint8)
    with pytest.raises(ValueError, match=r"the window's place is \(4, 0, 8, 4\) \(top, left, height, width\); a part"):
        DEVICE.cut_window(planes, np.zeros((1, 2, 8, 4), np.float32), top=4, left=0)
    with pytest.raises(ValueError, match=r"window has shape \(1, 3, 4, 4\), planes \(1, 2, 8, 12\)"):
        DEVICE.cut_window(planes, np.zeros((1, 3, 4, 4), np.float32), top=0, left=0)
    with pytest.raises(ValueError, match=r"second has shape \(1, 2, 8, 11\)"):
        DEVICE.compare(planes, np.zeros((1, 2, 8, 11), np.float32), np.zeros(1, np.uint64), word=0)
    with pytest.raises(ValueError, match="status has 8 bytes; 16 are needed"):
        DEVICE.compare(planes, planes, np.zeros(1, np.uint64), word=1)
    memory = np.full(8, 7, np.uint64)
    with pytest.raises(ValueError, match="word is -1; 0 or more is needed"):
        DEVICE.compare(planes, planes + 1, memory[4:], word=-1)
    assert (memory == 7).all()
    with pytest.raises(ValueError, match=r"black is 256; 0\.\.255 is needed"):
        DEVICE.to_nv12(picture, np.zeros((6, 6), np.uint8), np.zeros(9, np.int32), black=256)
    with pytest.raises(ValueError, match=r"black is -1; 0\.\.255 is needed"):
        DEVICE.from_nv12(np.zeros((6, 6), np.uint8), picture, np.zeros(5, np.int32), black=-1)
    with pytest.raises(ValueError, match=r"output has shape \(6, 5\); \(6, 6\) is needed"):
        DEVICE.to_nv12(picture, np.zeros((6, 5), np.uint8), np.zeros(9, np.int32), black=16)
    with pytest.raises(ValueError, match="even sides are needed"):
        DEVICE.to_nv12(picture[:, :, :3].copy(), np.zeros((6, 6), np.uint8), np.zeros(9, np.int32), black=16)
    with pytest.raises(ValueError, match=r"frame has shape \(6, 5\); \(6, 6\) is needed"):
        DEVICE.from_nv12(np.zeros((6, 5), np.uint8), picture, np.zeros(5, np.int32), black=16)
    with pytest.raises(ValueError, match=r"height, width are 5, 6; 1\.\.4 and 1\.\.6 are needed"):
        DEVICE.check_generated(picture, picture, np.zeros(1, np.uint64), height=5, width=6)
    with pytest.raises(ValueError, match=r"levels has shape \(8, 11\); \(8, 12\) is needed"):
        DEVICE.gain_classes(np.zeros((2, 8, 12), np.uint8), np.zeros((8, 11), np.int8), np.zeros((2, 8, 12), np.uint8))
