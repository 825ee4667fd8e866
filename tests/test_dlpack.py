"""Memory given out by DLPack: to numpy and PyAV, which take that of the CPU, for as long as they have it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import av
import numpy as np
import pytest

from duoview.kernels.cuda_array import DeviceArray, device_array

CPU = 1, 0


def given(values: np.ndarray, device: tuple[int, int] | None = CPU, *, writable: bool = True) -> DeviceArray:
    """Memory of numpy that says where it is."""
    return DeviceArray(int(values.ctypes.data), values.dtype, values.shape, writable, values, device)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.bool_])
def test_numpy_takes_the_memory_itself(dtype: type[np.generic]) -> None:
    values: Any = np.arange(24).reshape(2, 3, 4).astype(dtype)
    taken: Any = np.from_dlpack(given(values))
    np.testing.assert_array_equal(taken, values)
    assert taken.dtype == values.dtype and taken.ctypes.data == values.ctypes.data


def test_memory_is_kept_until_the_one_who_took_it_lets_go() -> None:
    values = np.arange(10, dtype=np.int32)
    memory = weakref.ref(values)
    taken: Any = np.from_dlpack(given(values))
    del values
    gc.collect()
    assert memory() is not None and taken.sum() == 45
    del taken
    gc.collect()
    assert memory() is None


def test_a_capsule_that_nobody_takes_lets_go_too() -> None:
    values = np.arange(10, dtype=np.int32)
    memory, array = weakref.ref(values), given(values)
    capsules = [array.__dlpack__() for _ in range(3)]
    del values, array
    gc.collect()
    assert memory() is not None
    del capsules
    gc.collect()
    assert memory() is None


def test_who_refuses_a_capsule_has_the_error_that_he_raised_and_the_memory_goes() -> None:
    values = np.arange(10, dtype=np.int32)
    memory, array = weakref.ref(values), given(values, (2, 0))  # numpy looks into the capsule, and takes none of a GPU

    class Elsewhere:
        __dlpack__ = array.__dlpack__

        def __dlpack_device__(self) -> tuple[int, int]:
            return CPU

    with pytest.raises((BufferError, RuntimeError), match="device"):
        np.from_dlpack(Elsewhere())
    del values, array, Elsewhere
    gc.collect()
    assert memory() is None


def test_pyav_makes_frames_of_planes_and_gives_them_back() -> None:
    luma, chroma = (np.arange(size, dtype=np.uint8) for size in (64, 32))
    memory = weakref.ref(luma)
    frame = av.VideoFrame.from_dlpack((given(luma.reshape(8, 8)), given(chroma.reshape(4, 4, 2))), format="nv12")
    expected = np.concatenate([luma, chroma]).reshape(12, 8)
    del luma
    np.testing.assert_array_equal(frame.to_ndarray(), expected)
    assert memory() is not None
    del frame
    gc.collect()
    assert memory() is None


def test_an_array_on_a_device_says_so_and_is_read_back_by_us() -> None:
    array = given(np.zeros((3, 4), np.float32), (2, 5))
    assert array.__dlpack_device__() == (2, 5)

    class Exported:
        __dlpack__, __dlpack_device__ = array.__dlpack__, array.__dlpack_device__

    found = device_array("picture", Exported())
    assert (found.pointer, found.shape, found.dtype) == (array.pointer, (3, 4), np.dtype(np.float32))


@pytest.mark.parametrize(("array", "options", "message"), [
    (given(np.zeros(3, np.uint8), None), {}, "does not know its device; take it by __cuda_array_interface__"),
    (given(np.zeros(3, np.uint8)), {"copy": True}, "is given out as it is; asked for copy=True"),
    (given(np.zeros(3, np.uint8)), {"dl_device": (2, 0)}, r"array on \(1, 0\) is given out as it is"),
    (given(np.zeros(3, np.uint8), writable=False), {}, "writable=False"),
    (given(np.zeros(3, "datetime64[s]")), {}, "an array of datetime64.* cannot be given out")])
def test_what_cannot_be_given_out_is_an_error(array: DeviceArray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BufferError, match=message):
        array.__dlpack__(**options)
