"""The CUDA programs between pictures, float networks and coder, and device memory, run on the CPU lane by lane."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.kernels.cuda import Device
from duoview.kernels.cuda_array import DeviceArray, device_array
from duoview.kernels.cuda_driver import HostDriver

DEVICES = [Device.on_cpu(), Device.on(HostDriver(backwards=True))]


@given(st.sampled_from(DEVICES), st.integers(0, 3), st.integers(1, 70), st.integers(1, 70), st.integers(0, 70),
       st.integers(0, 70))
def test_a_picture_is_extended_by_its_last_row_and_column(device: Device, planes: int, height: int, width: int,
                                                          below: int, right: int) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (planes, height, width), np.uint8)
    padded = np.zeros((planes, height + below, width + right), np.uint8)
    device.pad_picture(picture, padded)
    np.testing.assert_array_equal(padded, np.pad(picture, ((0, 0), (0, below), (0, right)), "edge"))


@given(st.sampled_from(DEVICES), st.integers(0, 2500), st.integers(0, 2**32 - 1))
def test_symbols_become_numbers_and_symbols_again(device: Device, count: int, seed: int) -> None:
    symbols = np.random.default_rng(seed).integers(-127, 128, count).astype(np.int16)
    values, again, status = np.zeros(count, np.float32), np.zeros(count, np.int16), np.zeros(1, np.uint64)
    device.widen_symbols(symbols, values)
    np.testing.assert_array_equal(values, symbols)
    device.narrow_values(values, again, limit=127, status=status)
    device.check(status)
    np.testing.assert_array_equal(again, symbols)


@pytest.mark.parametrize("wrong", [0.5, 128.0, -128.0, 1e30, np.inf, np.nan])
def test_the_first_value_that_is_no_symbol_is_told_and_becomes_zero(wrong: float) -> None:
    values, symbols, status = np.full(2100, 5, np.float32), np.zeros(2100, np.int16), np.zeros(1, np.uint64)
    values[[1500, 1700]] = wrong
    DEVICES[1].narrow_values(values, symbols, limit=127, status=status)
    with pytest.raises(ValueError, match=r"flat index 1500 that is no integer, or beyond the limit"):
        DEVICES[1].check(status)
    assert (symbols == np.where(values == 5, 5, 0)).all()


def test_memory_is_cleared() -> None:
    memory = np.full(5000, 7, np.float64)
    DEVICES[0].clear(memory)
    assert not memory.any()
    with pytest.raises(ValueError, match="12 bytes"):
        DEVICES[0].clear(np.zeros(3, np.float32))


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 3, 4), (3, 4, 3)])
def test_a_picture_does_not_go_into_fewer_planes_rows_or_columns(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="padded has shape"):
        DEVICES[0].pad_picture(np.zeros((3, 4, 4), np.uint8), np.zeros(shape, np.uint8))


def test_memory_is_written_read_and_freed_with_its_last_array() -> None:
    driver = HostDriver()
    memory = driver.allocate(24)
    assert memory.pointer % 16 == 0 and memory.nbytes == 24
    driver.write(memory.pointer, bytes(range(24)), 0)
    array: Any = driver.at(memory.pointer + 8, (2, 2), np.int16, memory)
    driver.wait(0)
    assert array.tobytes() == bytes(range(8, 16)) == driver.read(memory.pointer + 8, 8, 0)
    gone = weakref.ref(memory.owner)
    del memory
    gc.collect()
    assert gone() is not None and array.tobytes() == bytes(range(8, 16))
    del array
    gc.collect()
    assert gone() is None


def test_an_array_of_device_memory_is_one_that_other_libraries_read() -> None:
    array = DeviceArray(4096, np.dtype(np.float32), (2, 3), False, None)
    assert device_array("array", array) == DeviceArray(4096, np.dtype(np.float32), (2, 3), False, array)
