"""Arrays of device memory given out by DLPack: as capsules that whoever takes them keeps the memory by."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from duoview.kernels import _native

#: DLPack's type of a CUDA device.
CUDA = 2
#: By numpy's kind, DLPack's code of a type.
KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}


class Tensor(ctypes.Structure):
    """DLPack's ``DLTensor``, which a ``DLManagedTensor`` begins with, as capsules of others are read."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def capsule(pointer: int, dtype: np.dtype[Any], shape: tuple[int, ...], device: tuple[int, int], owner: object) -> Any:
    """A DLPack capsule of a contiguous array. device: DLPack's type and number. owner: kept until it is given back.

    Raises BufferError for a dtype that DLPack has no name for.
    """
    if dtype.kind not in KINDS:
        raise BufferError(f"an array of {dtype} cannot be given out by DLPack; integers, floats or bool are needed")
    return _native.dlpack_capsule(pointer, KINDS[dtype.kind], 8 * dtype.itemsize, list(shape), *device, owner)
