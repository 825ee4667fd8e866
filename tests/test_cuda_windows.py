"""The CUDA programs of windows, pictures and gain maps, run on the CPU lane by lane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.gain_map import GAINS, RESTORED, GainMap, Scaling
from duoview.generated import generated_share
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver
from duoview.machine import first_half
from duoview.windows import Windows

DEVICES = st.sampled_from([Device.on_cpu(), Device.on(HostDriver(backwards=True))])
DEVICE = Device.on_cpu()
SEEDS = st.integers(0, 2**32 - 1)


def normals(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(DEVICES, st.sampled_from([(40, 72, 32), (16, 20, 16), (64, 64, 16)]), st.integers(1, 3))
def test_windows_that_are_cut_out_are_put_together_as_on_the_host(device: Device, sizes: tuple[int, int, int],
                                                                  channels: int) -> None:
    windows = Windows(*sizes)
    whole = normals(1, 1, channels, *sizes[:2])
    parts: list[Any] = []
    together = np.zeros_like(whole)
    for (rows, columns), share in zip(windows.areas, windows.shares, strict=True):
        part: Any = np.zeros((1, channels, *windows.side), np.float32)
        device.cut_window(whole, part, top=rows.start, left=columns.start)
        np.testing.assert_array_equal(part, whole[:, :, rows, columns])
        parts.append(part * np.float32(1 + len(parts)))
        device.blend_window(parts[-1], share, together, top=rows.start, left=columns.start)
    np.testing.assert_array_equal(together if len(parts) > 1 else parts[0], windows.put_together(parts))


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


@given(DEVICES, SEEDS, st.integers(1, 64), st.integers(1, 128), st.sampled_from([0, 3, 60, 255]))
def test_the_share_that_was_generated_is_that_of_the_host(device: Device, seed: int, height: int, width: int,
                                                          spread: int) -> None:
    rng = np.random.default_rng(seed)
    coded = rng.integers(0, 256, (1, 3, 64, 128), np.uint8)
    shown = np.clip(coded.astype(int) + rng.integers(-spread, spread + 1, coded.shape), 0, 255).astype(np.uint8)
    found = device.check_generated(shown, coded, np.zeros(1, np.uint64), height=height, width=width)
    expected = generated_share(shown[0, :, :height, :width], coded[0, :, :height, :width])
    assert abs(found - expected) <= 1.01e-4  # one step of what is given


@given(DEVICES, SEEDS, st.integers(0, 7), st.integers(1, 16), st.integers(1, 90))
def test_gain_maps_do_what_they_do_on_the_host(device: Device, seed: int, channels: int, height: int, width: int
                                               ) -> None:
    rng, shape = np.random.default_rng(seed), (channels, height, width)
    rows, columns = -(-height // 2), -(-width // 2)
    scaling: Scaling = GainMap(rng.integers(-8, 9, (rows, columns)).astype(np.int8)).positions(height, width)
    classes, out = rng.integers(0, 64, shape).astype(np.uint8), np.zeros(shape, np.uint8)
    means, symbols = (rng.integers(-most, most + 1, shape).astype(np.int16) for most in (2032, 32767))
    values, scaled = 30 * normals(seed, *shape), np.zeros(shape, np.float32)
    device.gain_classes(classes, scaling.levels, out)
    np.testing.assert_array_equal(out, scaling.classes(classes))
    device.gain_values(values, means, scaling.levels, GAINS, scaled)
    np.testing.assert_array_equal(scaled, scaling.values(values, means))
    decoded = np.full(shape, 9, np.float32)
    device.gain_decoded(symbols, means, scaling.levels, RESTORED.astype(np.int32), 1, decoded=decoded)
    np.testing.assert_array_equal(decoded, np.where(first_half(*shape), 9, scaling.decoded(symbols, means)))


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
    with pytest.raises(ValueError, match=r"output has shape \(6, 5\); \(6, 6\) is needed"):
        DEVICE.to_nv12(picture, np.zeros((6, 5), np.uint8), np.zeros(9, np.int32), black=16)
    with pytest.raises(ValueError, match="even sides are needed"):
        DEVICE.to_nv12(picture[:, :, :3].copy(), np.zeros((6, 6), np.uint8), np.zeros(9, np.int32), black=16)
    with pytest.raises(ValueError, match=r"height, width are 5, 6; 1\.\.4 and 1\.\.6 are needed"):
        DEVICE.check_generated(picture, picture, np.zeros(1, np.uint64), height=5, width=6)
    with pytest.raises(ValueError, match=r"levels has shape \(8, 11\); \(8, 12\) is needed"):
        DEVICE.gain_classes(np.zeros((2, 8, 12), np.uint8), np.zeros((8, 11), np.int8), np.zeros((2, 8, 12), np.uint8))
