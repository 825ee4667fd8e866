"""What launches kernels: the CUDA driver on a device's primary context, or the CPU in its stead.

The primary context is the one torch, onnxruntime and cupy use, so that buffers and streams are shared. It is retained
through pycuda and made current for the time of a call only. pycuda launches on streams of its own making alone; so that
kernels can go to the caller's, they are launched through the driver's C interface.
"""

from __future__ import annotations

import ctypes
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from typing import Any, ClassVar

import numpy as np

from duoview.kernels import _native, fatbin
from duoview.kernels.cuda_array import DeviceArray, device_array, host_array
from duoview.kernels.cuda_header import ON_DEVICE, PINNED, PoolProperties, copy_of_rows
from duoview.kernels.dlpack import CUDA
from duoview.kernels.errors import DeviceError

WARPS_PER_BLOCK = 8
_LANES = 32
_MAX_BLOCKS = (1 << 31) - 1
_POINTER_DEVICE_ORDINAL = 9
_NON_BLOCKING = 1
_RELEASE_THRESHOLD = 4


class Driver(ABC):
    """Runs warp programs by name. Arguments are words of 64 bits, in the order of the program's members."""

    name: str
    words: ClassVar[dict[str, int]] = _native.warp_programs()

    @abstractmethod
    def array(self, name: str, array: object) -> DeviceArray:
        """The memory behind ``array``; raises TypeError or ValueError naming it."""

    @abstractmethod
    def launch(self, program: str, warps: int, arguments: list[int], stream: int) -> None:
        """Queues ``warps`` warps of a program; returns at once."""

    @abstractmethod
    def read(self, pointer: int, size: int, stream: int) -> bytes:
        """Waits for the stream and copies memory to the host."""

    @abstractmethod
    def write(self, pointer: int, data: bytes, stream: int) -> None:
        """Copies bytes of the host to memory; they may be forgotten at once."""

    @abstractmethod
    def wait(self, stream: int) -> None:
        """Waits until all is done that was queued on the stream."""

    @abstractmethod
    def copy(self, source: int, target: int, size: int, stream: int) -> None:
        """Queues a copy of ``size`` bytes within memory; the two do not overlap."""

    @abstractmethod
    def copy_rows(self, source: int, pitch: int, target: int, width: int, rows: int, stream: int) -> None:
        """Queues a copy of rows of ``width`` bytes, ``pitch`` bytes apart, to rows that lie one behind the other."""

    @abstractmethod
    def open_stream(self) -> int:
        """A stream that waits for no other, nor they for it; ``close_stream`` ends it."""

    @abstractmethod
    def close_stream(self, stream: int) -> None:
        """End a stream of ``open_stream``; what is queued on it is done all the same."""

    @abstractmethod
    def allocate(self, size: int, stream: int = 0) -> DeviceArray:
        """Memory, (size,) uint8, aligned for every type and holding anything; freed when nobody has it any more.

        stream: one of ``open_stream``, in whose order it is taken and freed: nothing waits for that, and what else uses
        it has to wait for the stream. 0: all of the device is waited for.
        """

    @abstractmethod
    def trim(self) -> None:
        """Give back to the device what is kept of the memory of streams and nobody has; it waits for nothing."""

    @abstractmethod
    def at(self, pointer: int, shape: tuple[int, ...], dtype: type, owner: object) -> object:
        """An array of memory that ``owner`` keeps, as kernels take it: numpy's on the CPU."""

    @abstractmethod
    def upload(self, data: bytes) -> int:
        """Memory that holds ``data`` for as long as the driver lives; returns its address."""

    def check(self, program: str, warps: int, arguments: list[int]) -> None:
        """Raises where a launch could not be right."""
        if len(arguments) != self.words[program]:
            raise ValueError(f"{program} takes {self.words[program]} arguments, not {len(arguments)}")
        if not 0 < warps <= _MAX_BLOCKS * WARPS_PER_BLOCK:
            raise ValueError(f"{program} on {warps} warps; a launch has 1..{_MAX_BLOCKS * WARPS_PER_BLOCK}")


class HostDriver(Driver):
    """Runs the very programs of the kernels on the CPU, lane by lane, on numpy arrays: for tests, not for speed.

    Args:
        backwards: the last warp and, wherever lanes work side by side, the last lane go first. A program that gives
            another result then relies on an order that a device does not keep.
    """

    name = "CPU, lane by lane"

    def __init__(self, *, backwards: bool = False) -> None:
        self._backwards = backwards
        self._kept: list[np.ndarray[Any, Any]] = []
        self._streams, self._numbers = {0}, count(1)

    def array(self, name: str, array: object) -> DeviceArray:
        return host_array(name, array)

    def launch(self, program: str, warps: int, arguments: list[int], stream: int) -> None:
        self.check(program, warps, arguments)
        self._check_stream(stream)
        _native.warp_run(program, warps, arguments, self._backwards)

    def read(self, pointer: int, size: int, stream: int) -> bytes:
        return ctypes.string_at(pointer, size)

    def write(self, pointer: int, data: bytes, stream: int) -> None:
        ctypes.memmove(pointer, data, len(data))

    def wait(self, stream: int) -> None:
        """Nothing is ever queued."""

    def copy(self, source: int, target: int, size: int, stream: int) -> None:
        ctypes.memmove(target, source, size)

    def copy_rows(self, source: int, pitch: int, target: int, width: int, rows: int, stream: int) -> None:
        for row in range(rows):
            ctypes.memmove(target + row * width, source + row * pitch, width)

    def open_stream(self) -> int:
        stream = next(self._numbers)
        self._streams.add(stream)
        return stream

    def close_stream(self, stream: int) -> None:
        self._streams.discard(stream)

    def _check_stream(self, stream: int) -> None:
        if stream not in self._streams:
            raise ValueError(f"cuda_stream is {stream:#x}; kernels on the CPU have the default stream, 0, and those of "
                             "open_stream")

    def allocate(self, size: int, stream: int = 0) -> DeviceArray:
        memory = np.empty(-(-size // 16) or 1, np.complex128)
        return DeviceArray(int(memory.ctypes.data), np.dtype(np.uint8), (size,), True, memory)

    def trim(self) -> None:
        """Nothing is ever kept."""

    def at(self, pointer: int, shape: tuple[int, ...], dtype: type, owner: object) -> object:
        return np.asarray(_HostMemory(pointer, shape, dtype, owner))

    def upload(self, data: bytes) -> int:
        kept = np.zeros(-(-len(data) // 16), np.complex128)  # numpy aligns it to the 16 bytes of its elements
        kept.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        self._kept.append(kept)
        return int(kept.ctypes.data)


class _HostMemory:
    """What numpy makes an array from, which keeps this one and so the memory's owner."""

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype: type, owner: object) -> None:
        self.owner = owner
        self.__array_interface__ = {"shape": shape, "typestr": np.dtype(dtype).str, "data": (pointer, False),
                                    "version": 3}


class CudaDriver(Driver):
    """Launches the fatbin's kernels in whatever context ``context`` makes current.

    Args:
        ordinal: the device's number; arrays must be in its memory.
        capability: its compute capability.
        context: a factory of context managers within which the device's primary context is current.
        name: the device's name, for messages.

    Raises:
        DeviceError: the kernels are not there, or are for no such device, or the driver refuses them.
    """

    def __init__(self, ordinal: int, capability: tuple[int, int], context: Any, name: str) -> None:
        self.name = name
        self.ordinal = ordinal
        self._context = context
        data = fatbin.read()
        found = fatbin.targets(data)
        if not fatbin.runs_on(found, capability):
            raise DeviceError(
                f"{name} has compute capability {capability[0]}.{capability[1]}; "
                f"the CUDA kernels are for {', '.join(map(str, found))}: 8.0 or newer is needed"
            )
        self._library = driver_library()
        self._pool, self._pool_lock = ctypes.c_void_p(), threading.Lock()
        with self._current():
            module = ctypes.c_void_p()
            self._call("cuModuleLoadData", ctypes.byref(module), data)
            self._functions = {}
            for program in self.words:
                function = ctypes.c_void_p()
                self._call("cuModuleGetFunction", ctypes.byref(function), module, f"duoview_{program}".encode())
                self._functions[program] = function

    def __del__(self) -> None:
        pool = getattr(self, "_pool", None)
        if pool is not None and pool.value:
            with suppress(Exception), self._current():  # of a lost device nothing is left to free
                self._library.cuMemPoolDestroy(pool)

    def _current(self) -> AbstractContextManager[None]:
        current: AbstractContextManager[None] = self._context()
        return current

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            raise DeviceError(
                f"{function} failed on {self.name}: {(text.value or b'unknown error').decode()} ({code})"
            )

    def array(self, name: str, array: object) -> DeviceArray:
        found = device_array(name, array)
        if found.size:
            ordinal = ctypes.c_int()
            with self._current():
                self._call(
                    "cuPointerGetAttribute",
                    ctypes.byref(ordinal),
                    _POINTER_DEVICE_ORDINAL,
                    ctypes.c_uint64(found.pointer),
                )
            if ordinal.value != self.ordinal:
                raise ValueError(
                    f"{name} is in the memory of device {ordinal.value}; the kernels run on {self.ordinal}"
                )
        return found

    def launch(self, program: str, warps: int, arguments: list[int], stream: int) -> None:
        self.check(program, warps, arguments)
        job = (ctypes.c_uint64 * len(arguments))(*arguments)
        count = ctypes.c_uint64(warps)
        parameters = (ctypes.c_void_p * 2)(ctypes.addressof(job), ctypes.addressof(count))
        blocks = -(-warps // WARPS_PER_BLOCK)
        with self._current():
            self._call(
                "cuLaunchKernel",
                self._functions[program],
                blocks,
                1,
                1,
                WARPS_PER_BLOCK * _LANES,
                1,
                1,
                0,
                ctypes.c_void_p(stream),
                parameters,
                None,
            )

    def read(self, pointer: int, size: int, stream: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        with self._current():
            self._call(
                "cuMemcpyDtoHAsync_v2",
                buffer,
                ctypes.c_uint64(pointer),
                ctypes.c_size_t(size),
                ctypes.c_void_p(stream),
            )
            self._call("cuStreamSynchronize", ctypes.c_void_p(stream))
        return buffer.raw

    def write(self, pointer: int, data: bytes, stream: int) -> None:
        if not data:
            return
        with self._current():
            # The driver copies from pageable memory before the call returns, or to memory of its own.
            self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(pointer), data, ctypes.c_size_t(len(data)),
                       ctypes.c_void_p(stream))

    def wait(self, stream: int) -> None:
        with self._current():
            self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def copy(self, source: int, target: int, size: int, stream: int) -> None:
        with self._current():
            self._call("cuMemcpyDtoDAsync_v2", ctypes.c_uint64(target), ctypes.c_uint64(source),
                       ctypes.c_size_t(size), ctypes.c_void_p(stream))

    def copy_rows(self, source: int, pitch: int, target: int, width: int, rows: int, stream: int) -> None:
        with self._current():
            self._call("cuMemcpy2DAsync_v2", ctypes.byref(copy_of_rows(source, pitch, target, width, rows)),
                       ctypes.c_void_p(stream))

    def open_stream(self) -> int:
        stream = ctypes.c_void_p()
        with self._current():
            self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(_NON_BLOCKING))
        return stream.value or 0

    def close_stream(self, stream: int) -> None:
        with self._current():
            self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def _stream_pool(self) -> ctypes.c_void_p:
        """Where memory of streams comes from; what is given back stays there for the next one. In a current context."""
        with self._pool_lock:
            if not self._pool.value:
                pool, keep = ctypes.c_void_p(), ctypes.c_uint64((1 << 64) - 1)
                properties = PoolProperties(PINNED, 0, ON_DEVICE, self.ordinal)
                self._call("cuMemPoolCreate", ctypes.byref(pool), ctypes.byref(properties))
                self._call("cuMemPoolSetAttribute", pool, _RELEASE_THRESHOLD, ctypes.byref(keep))
                self._pool = pool
            return self._pool

    def allocate(self, size: int, stream: int = 0) -> DeviceArray:
        memory = _CudaMemory(self, size, stream)
        return DeviceArray(memory.pointer, np.dtype(np.uint8), (size,), True, memory, (CUDA, self.ordinal))

    def trim(self) -> None:
        with self._pool_lock:  # no other one is made meanwhile, nor this one twice
            if self._pool.value:
                with self._current():
                    self._call("cuMemPoolTrimTo", self._pool, ctypes.c_size_t(0))

    def at(self, pointer: int, shape: tuple[int, ...], dtype: type, owner: object) -> object:
        return DeviceArray(pointer, np.dtype(dtype), shape, True, owner, (CUDA, self.ordinal))

    def upload(self, data: bytes) -> int:
        pointer = ctypes.c_uint64()
        with self._current():
            self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(len(data)))
            self._call("cuMemcpyHtoD_v2", pointer, data, ctypes.c_size_t(len(data)))
        return pointer.value


class _CudaMemory:
    """Memory of a device, given back with the last array of it."""

    def __init__(self, driver: CudaDriver, size: int, stream: int) -> None:
        self._driver, self._stream = driver, stream
        pointer, wanted = ctypes.c_uint64(), ctypes.c_size_t(max(size, 16))
        with driver._current():
            if stream:
                driver._call("cuMemAllocFromPoolAsync", ctypes.byref(pointer), wanted, driver._stream_pool(),
                             ctypes.c_void_p(stream))
            else:
                driver._call("cuMemAlloc_v2", ctypes.byref(pointer), wanted)
        self.pointer = int(pointer.value)

    def __del__(self) -> None:
        pointer = getattr(self, "pointer", 0)
        if pointer:
            with suppress(Exception), self._driver._current():  # of a lost device nothing is left to free
                if self._stream:
                    self._driver._library.cuMemFreeAsync(ctypes.c_uint64(pointer), ctypes.c_void_p(self._stream))
                else:
                    self._driver._library.cuMemFree_v2(ctypes.c_uint64(pointer))


def driver_library() -> ctypes.CDLL:
    """NVIDIA's driver.

    Raises:
        DeviceError: there is none on this machine.
    """
    name = "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise DeviceError(f"no CUDA driver on this machine: {name} cannot be loaded ({error})") from error


def pycuda_driver(ordinal: int) -> CudaDriver:
    """The driver on a device's primary context, retained by pycuda.

    Raises:
        DeviceError: the kernels, the driver, pycuda or the device are missing; the first of these that is.
    """
    fatbin.read()
    driver_library()
    try:
        from pycuda import driver as cuda
    except ImportError as error:
        raise DeviceError(
            f"pycuda is needed for device 'cuda' and cannot be imported ({error}); pip install duoview[gpu]"
        ) from error
    try:
        cuda.init()
        count = cuda.Device.count()
        if not 0 <= ordinal < count:
            raise DeviceError(f"device is {ordinal}; this machine has {count} CUDA devices, numbered from 0")
        device = cuda.Device(ordinal)
        retained = device.retain_primary_context()
        capability, name = device.compute_capability(), device.name()
    except cuda.Error as error:
        raise DeviceError(f"CUDA device {ordinal} cannot be used: {error}") from error

    @contextmanager
    def current() -> Iterator[None]:
        retained.push()
        try:
            yield
        finally:
            cuda.Context.pop()

    return CudaDriver(ordinal, capability, current, name)


def padded(size: int) -> int:
    """Where the next part of a scratch buffer may begin: 16 bytes suit every type."""
    return -(-size // 16) * 16


def buffer(driver: Driver, name: str, array: object, size: int) -> DeviceArray:
    """Memory of at least ``size`` bytes, of whatever dtype, that kernels write to.

    Raises:
        TypeError, ValueError: it is no such array, too small, read-only or not aligned to 16 bytes.
    """
    found = driver.array(name, array)
    if found.nbytes < size:
        raise ValueError(f"{name} has {found.nbytes} bytes; {size} are needed")
    if not found.writable:
        raise ValueError(f"{name} is read-only; memory to write to is needed")
    if found.pointer % 16:
        raise ValueError(f"{name} begins at address {found.pointer:#x}; a multiple of 16 is needed")
    return found


def typed(
    driver: Driver,
    name: str,
    array: object,
    dtype: type,
    size: int | None = None,
    *,
    ndim: int = 1,
    writable: bool = False,
) -> DeviceArray:
    """An array of ``dtype`` with ``ndim`` dimensions, of ``size`` elements where that is given.

    Raises:
        TypeError, ValueError: by name: wrong dtype, dimensions, size, alignment, or read-only where it is written to.
    """
    found = driver.array(name, array)
    wanted = np.dtype(dtype)
    if found.dtype != wanted:
        raise TypeError(f"{name} is an array of {found.dtype}; {wanted} is needed")
    if len(found.shape) != ndim:
        raise ValueError(f"{name} has shape {found.shape}; {ndim} dimension{'s' * (ndim > 1)} needed")
    if size is not None and found.size != size:
        raise ValueError(f"{name} has {found.size} elements; {size} are needed")
    if found.pointer % wanted.itemsize:
        raise ValueError(
            f"{name} begins at address {found.pointer:#x}, which is not aligned to its {wanted.itemsize} bytes"
        )
    if writable and not found.writable:
        raise ValueError(f"{name} is read-only; memory to write to is needed")
    return found


def shaped(
    driver: Driver, name: str, array: object, dtype: type, shape: tuple[int, ...], *, writable: bool = False
) -> DeviceArray:
    """An array of ``dtype`` and ``shape``.

    Raises:
        TypeError, ValueError: by name: wrong dtype, shape, alignment, or read-only where it is written to.
    """
    found = typed(driver, name, array, dtype, ndim=len(shape), writable=writable)
    if found.shape != shape:
        raise ValueError(f"{name} has shape {found.shape}; {shape} is needed")
    return found


def part_of(name: str, part: tuple[int, int, int, int], rows: int, columns: int) -> tuple[int, int, int, int]:
    """A part (top, left, height, width) of planes that have so many rows and columns, or ValueError."""
    top, left, height, width = part
    if min(top, left) < 0 or min(height, width) < 1 or top + height > rows or left + width > columns:
        raise ValueError(f"{name} is {part} (top, left, height, width); a part of {rows} rows and {columns} columns "
                         "is needed")
    return part
