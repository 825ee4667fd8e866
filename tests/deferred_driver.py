"""A stand-in for a GPU on which nothing is done before somebody waits for its stream: what a test of order needs.

Memory is freed in the order of its stream, and overwritten then, so that whoever uses it later sees it.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from duoview.kernels.cuda_array import DeviceArray
from duoview.kernels.cuda_driver import HostDriver


class DeferredDriver(HostDriver):
    """See above. ``deferred`` counts what was done later than it was asked for, ``kept`` bytes that the pool keeps."""

    def __init__(self) -> None:
        super().__init__()
        self._queues: dict[int, deque[Callable[[], None]]] = {0: deque()}
        self._lock = threading.RLock()
        self.deferred = self.kept = 0

    def _queue(self, stream: int, work: Callable[[], None]) -> None:
        self._check_stream(stream)
        self.deferred += 1
        self._queues[stream].append(work)

    def launch(self, program: str, warps: int, arguments: list[int], stream: int) -> None:
        """Queued."""
        self.check(program, warps, arguments)
        self._queue(stream, lambda: HostDriver.launch(self, program, warps, arguments, 0))

    def write(self, pointer: int, data: bytes, stream: int) -> None:
        """Queued."""
        self._queue(stream, lambda: HostDriver.write(self, pointer, data, 0))

    def copy(self, source: int, target: int, size: int, stream: int) -> None:
        """Queued."""
        self._queue(stream, lambda: HostDriver.copy(self, source, target, size, 0))

    def copy_rows(self, source: int, pitch: int, target: int, width: int, rows: int, stream: int) -> None:
        """Queued."""
        self._queue(stream, lambda: HostDriver.copy_rows(self, source, pitch, target, width, rows, 0))

    def read(self, pointer: int, size: int, stream: int) -> bytes:
        """After what is queued on its stream."""
        self.wait(stream)
        return ctypes.string_at(pointer, size)

    def wait(self, stream: int) -> None:
        """Do what is queued on this stream, and on no other."""
        self._check_stream(stream)
        with self._lock:
            queue = self._queues[stream]
            while queue:
                queue.popleft()()

    def open_stream(self) -> int:
        """As of HostDriver."""
        stream = super().open_stream()
        self._queues[stream] = deque()
        return stream

    def close_stream(self, stream: int) -> None:
        """What is queued is done all the same."""
        self.wait(stream)
        super().close_stream(stream)

    def allocate(self, size: int, stream: int = 0) -> DeviceArray:
        """Memory that is overwritten when it is freed."""
        self._check_stream(stream)
        memory = _Memory(self, size, stream)
        return DeviceArray(int(memory.values.ctypes.data), np.dtype(np.uint8), (size,), True, memory)

    def free(self, values: np.ndarray, stream: int) -> None:
        """In the order of the stream; of the default one when all of the device is done."""

        def overwrite() -> None:
            values.view(np.uint8)[:] = 0xA5
            self.kept += values.nbytes if stream else 0

        if stream:
            self._queue(stream, overwrite)
            return
        with self._lock:
            for one in list(self._queues):
                if one in self._streams:
                    self.wait(one)
            overwrite()

    def trim(self) -> None:
        """Of what was freed on streams that were waited for."""
        self.kept = 0


class _Memory:
    def __init__(self, driver: DeferredDriver, size: int, stream: int) -> None:
        self.values = np.empty(-(-size // 16) or 1, np.complex128)
        self._driver, self._stream = driver, stream

    def __del__(self) -> None:
        self._driver.free(self.values, self._stream)
