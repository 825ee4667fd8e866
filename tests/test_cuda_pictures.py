"""The CUDA programs of windows, gain maps and generated shares beside what the host computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from duoview.gain_map import GAINS, RESTORED, GainMap, Scaling
from duoview.generated import generated_share
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver
from duoview.machine import first_half
from duoview.windows import Windows

DEVICES = st.sampled_from([Device.on_cpu(), Device.on(HostDriver(backwards=True))])
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
