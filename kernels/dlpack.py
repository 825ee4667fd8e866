"""Arrays of device memory given out by DLPack: as capsules that whoever takes them keeps the memory by."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

#: DLPack's type of a CUDA device.
CUDA = 2
_NAME = b"dltensor"
_KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}


class Tensor(ctypes.Structure):
    """DLPack's ``DLTensor``, which a ``DLManagedTensor`` begins with."""

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


_Deleter = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    """``DLManagedTensor``."""

    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Held:
    """What a capsule's memory is kept by: it holds one reference to itself until the deleter is called."""

    def __init__(self, pointer: int, dtype: np.dtype[Any], shape: tuple[int, ...], device: tuple[int, int],
                 owner: object) -> None:
        self.owner = owner
        self.shape = (ctypes.c_int64 * len(shape))(*shape)
        self.managed = _Managed()
        tensor = self.managed.tensor
        tensor.data, tensor.ndim, tensor.byte_offset = pointer, len(shape), 0
        tensor.device_type, tensor.device_id = device
        tensor.code, tensor.bits, tensor.lanes = _KINDS[dtype.kind], 8 * dtype.itemsize, 1
        tensor.shape = ctypes.cast(self.shape, ctypes.POINTER(ctypes.c_int64))  # without strides: contiguous
        self.managed.context, self.managed.deleter = id(self), ctypes.cast(_DELETE, ctypes.c_void_p)


# Prototypes of their own: those of ctypes.pythonapi are shared by all of the process, and by these a capsule may be one
# that is going, which no reference may be taken to.
_NEW = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi))
_IS = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_POINTER = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))
_KEEP = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_IncRef", ctypes.pythonapi))
_DROP = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("Py_DecRef", ctypes.pythonapi))


def _delete(managed: int) -> None:
    _DROP(_Managed.from_address(managed).context)


def _forget(capsule: int) -> None:
    """Of a capsule that goes: where nobody has taken it, its memory goes too."""
    if _IS(capsule, _NAME):
        _delete(_POINTER(capsule, _NAME))


#: Called from any thread, with or without Python's lock, which CFUNCTYPE takes.
_DELETE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_delete)
_FORGET = _Deleter(_forget)


def capsule(pointer: int, dtype: np.dtype[Any], shape: tuple[int, ...], device: tuple[int, int], owner: object) -> Any:
    """A DLPack capsule of a contiguous array. device: DLPack's type and number. owner: kept until it is given back.

    Raises BufferError for a dtype that DLPack has no name for.
    """
    if dtype.kind not in _KINDS:
        raise BufferError(f"an array of {dtype} cannot be given out by DLPack; integers, floats or bool are needed")
    held = _Held(pointer, dtype, shape, device, owner)
    _KEEP(held)
    try:
        return _NEW(ctypes.addressof(held.managed), _NAME, ctypes.cast(_FORGET, ctypes.c_void_p))
    except BaseException:
        _DROP(id(held))
        raise
