"""Arrays of other libraries, by pointer: checked by name, never copied, never owned.

Anything with ``__cuda_array_interface__`` (torch, cupy, numba, pycuda) or DLPack is taken. The order of work is the
caller's business: nothing is synchronised here, so what fills an array must be on the stream that the kernels are
given.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoview.kernels.dlpack import KINDS, Tensor, capsule

if TYPE_CHECKING:
    from collections.abc import Sequence

_CUDA = (2, 13)  # DLPack's device types: CUDA, and CUDA managed
_KINDS = {code: kind for kind, code in KINDS.items()}


@dataclass(frozen=True)
class DeviceArray:
    """A contiguous array in device memory: where it begins, what it holds, and who keeps it alive.

    device: DLPack's type and number of the device, where it is known; without it there is no giving out by DLPack.
    """

    pointer: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    writable: bool
    owner: object
    device: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.size * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """What torch, cupy and numba make arrays of theirs from, which keep this one alive."""
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.pointer, not self.writable),
                "strides": None, "version": 3}

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's type and number of the device. Raises BufferError where they are not known."""
        if self.device is None:
            raise BufferError("this array does not know its device; take it by __cuda_array_interface__")
        return self.device

    def __dlpack__(self, *, stream: object = None, max_version: object = None, dl_device: object = None,
                   copy: bool | None = None) -> Any:
        """A capsule that keeps the memory alive. What fills it has to be done: no stream is waited for.

        Raises BufferError for another device, a copy, or memory that may not be written to, which capsules do not tell.
        """
        device = self.__dlpack_device__()
        if copy or dl_device not in (None, device) or not self.writable:
            raise BufferError(f"an array on {device} is given out as it is; asked for copy={copy}, {dl_device}, "
                              f"writable={self.writable}")
        return capsule(self.pointer, self.dtype, self.shape, device, self)


def _contiguous(shape: Sequence[int], strides: Sequence[int], step: int) -> bool:
    """Whether ``strides`` are those of C order, ``step`` apart in the last dimension; dimensions of 1 do not matter."""
    if 0 in shape:
        return True
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != step:
            return False
        step *= length
    return True


def _from_interface(name: str, array: object, interface: dict[str, Any], writable: bool) -> DeviceArray:
    if interface.get("mask") is not None:
        raise TypeError(f"{name} has a mask; a plain array is needed")
    dtype = np.dtype(interface["typestr"])
    shape = tuple(int(length) for length in interface["shape"])
    strides = interface.get("strides")
    if strides is not None and not _contiguous(shape, strides, dtype.itemsize):
        raise ValueError(f"{name} is not contiguous (strides {tuple(strides)} bytes); copy it first")
    pointer, read_only = interface["data"]
    return DeviceArray(int(pointer or 0), dtype, shape, writable and not read_only, array)


@dataclass(frozen=True)
class Exported:
    """What a DLPack capsule tells of an array, contiguous or not.

    device: DLPack's type and number of a device. strides: in elements. owner: keeps it alive.
    """

    device: tuple[int, int]
    pointer: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    owner: object

    @property
    def on_cuda(self) -> bool:
        """Whether it is in the memory of a CUDA device."""
        return self.device[0] in _CUDA


def exported(name: str, array: Any, *, stream: int | None) -> Exported:  # Any: whatever has __dlpack__
    """What an array says of itself by DLPack. stream: given to its ``__dlpack__``. Raises TypeError."""
    capsule = array.__dlpack__(stream=stream)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = ctypes.cast(pointer(capsule, b"dltensor"), ctypes.POINTER(Tensor)).contents
    if tensor.code not in _KINDS or tensor.lanes != 1 or tensor.bits % 8:
        raise TypeError(
            f"{name} has DLPack type {tensor.code}/{tensor.bits}/{tensor.lanes}; integers, floats or bool are needed"
        )
    dtype = np.dtype(f"{_KINDS[tensor.code]}{tensor.bits // 8}")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    # The capsule is not consumed: it gives its memory back when it goes, the array itself stays with its owner.
    return Exported((int(tensor.device_type), int(tensor.device_id)), (tensor.data or 0) + tensor.byte_offset, dtype,
                    shape, strides, (array, capsule))


def _from_capsule(name: str, array: Any) -> DeviceArray:
    kind, _ = array.__dlpack_device__()
    if kind not in _CUDA:
        raise TypeError(
            f"{name} is not in the memory of a CUDA device (DLPack device type {int(kind)}); move it there first"
        )
    found = exported(name, array, stream=-1)  # -1: the producer must not synchronise
    if found.strides is not None and not _contiguous(found.shape, found.strides, 1):
        raise ValueError(f"{name} is not contiguous (strides {found.strides} elements); copy it first")
    return DeviceArray(found.pointer, found.dtype, found.shape, True, found.owner)


def device_array(name: str, array: object) -> DeviceArray:
    """The array behind ``array``, wherever in device memory it is.

    Raises:
        TypeError: it has neither interface, or is not in the memory of a CUDA device.
        ValueError: it is not contiguous.
    """
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is not None:
        return _from_interface(name, array, interface, writable=True)
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _from_capsule(name, array)
    raise TypeError(
        f"{name} is a {type(array).__name__}; an array with __cuda_array_interface__ or __dlpack__ is needed"
    )


def host_array(name: str, array: object) -> DeviceArray:
    """A numpy array, for kernels that run on the CPU.

    Raises:
        TypeError, ValueError: it is no numpy array, or not contiguous.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{name} is a {type(array).__name__}; a numpy array is needed where the kernels run on the CPU"
        )
    return _from_interface(name, array, dict(array.__array_interface__), writable=bool(array.flags.writeable))


def stream_handle(stream: object) -> int:
    """The handle of a CUDA stream.

    Args:
        stream: ``None`` for the default stream, a stream of torch, cupy or pycuda, or the handle itself.

    Raises:
        TypeError: it is none of these.
    """
    if stream is None:
        return 0
    if isinstance(stream, int):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int(protocol()[1])
    for attribute in ("cuda_stream", "ptr", "handle"):
        handle = getattr(stream, attribute, None)
        if isinstance(handle, int):
            return handle
    raise TypeError(
        f"cuda_stream is a {type(stream).__name__}; a stream of torch, cupy or pycuda, or its handle, is needed"
    )
