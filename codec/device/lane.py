"""A CUDA stream of a device as one video stream uses it, and the memory that has to outlive what is queued there."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np

from duoview.errors import BackendUnavailableError, LimitError
from duoview.kernels.cuda_array import DeviceArray
from duoview.kernels.cuda_driver import Driver

_MIB = 1 << 20


class MemoryLimit:
    """Bytes of a device that several streams may have, counted before they are taken.

    limit: bytes at most, None for as much as there is. Raises LimitError for less than 1.
    """

    def __init__(self, limit: int | None, device: str) -> None:
        if limit is not None and limit < 1:
            raise LimitError(f"memory_limit={limit}: expected 1 or more bytes, or None")
        self.limit, self._device = limit, device
        self._taken = 0
        #: The most bytes that were ever taken.
        self.most = 0
        self._lock = threading.Lock()
        #: Counted when somebody asks: memory is freed anywhere, within `take` too, where the lock is held.
        self._given_back: deque[int] = deque()

    def _settle(self) -> int:
        while self._given_back:
            self._taken -= self._given_back.popleft()
        return self._taken

    @property
    def taken(self) -> int:
        """Bytes that are taken now."""
        with self._lock:
            return self._settle()

    def take(self, size: int) -> None:
        """Count bytes that are about to be taken. Raises BackendUnavailableError where they would be too many."""
        with self._lock:
            taken = self._settle()
            if self.limit is None or taken + size <= self.limit:
                self._taken = taken + size
                self.most = max(self.most, self._taken)
                return
        raise BackendUnavailableError(
            f"device '{self._device}': {size / _MIB:.2f} MiB more are needed, and {taken / _MIB:.2f} of "
            f"memory_limit={self.limit} bytes ({self.limit / _MIB:.2f} MiB) are taken; expected fewer or "
            "smaller streams, or a greater limit")

    def give_back(self, size: int) -> None:
        """They are free again."""
        self._given_back.append(size)


class Lane:
    """One CUDA stream, used by one thread at a time.

    What a network gave lies in memory that its next call, on whatever stream, may get as soon as nobody has it. The
    lane keeps it until kernels that were queued on its own stream by then are done with it.

    limit: counts the memory. own: the stream is this lane's, and ends with it. ordered: memory is taken and freed in
    the stream's order, which is to be there for as long as anybody has the lane; one of its own is.
    """

    def __init__(self, driver: Driver, stream: int, limit: MemoryLimit, *, own: bool = False, ordered: bool = False
                 ) -> None:
        self.driver, self.stream, self.limit, self._own, self._ordered = driver, stream, limit, own, own or ordered
        self._dropped: list[Any] = []

    def allocate(self, size: int, *, ordered: bool = True) -> DeviceArray:
        """Memory of the device; ordered: in the stream's order, where the lane's is. Raises DeviceError."""
        return self.driver.allocate(size, self.stream if self._ordered and ordered else 0)

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic], *, ordered: bool = True) -> Any:
        """An array that holds anything; its memory, a multiple of 16 bytes, is counted.

        Raises BackendUnavailableError where that is beyond the limit, DeviceError where the device has no more.
        """
        size = -(-int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize // 16) * 16
        memory = CountedMemory(self, size, ordered=ordered)
        return self.driver.at(memory.array.pointer, shape, dtype, memory)

    def wait(self) -> None:
        """Wait for all that was queued; what nobody had before that is let go of."""
        dropped, self._dropped = self._dropped, []
        try:
            self.driver.wait(self.stream)
        except BaseException:
            self._dropped += dropped
            raise

    def keep(self, value: Any) -> None:
        """Until what is queued now is done."""
        self._dropped.append(value)

    def __del__(self) -> None:
        if getattr(self, "_own", False):
            with suppress(Exception):  # of a lost device nothing is left to wait for
                self.driver.wait(self.stream)
                self.driver.close_stream(self.stream)


class Dropped:
    """Owner of an array, of whose memory its lane decides when it is free."""

    def __init__(self, value: Any, lane: Lane) -> None:
        self._value, self._lane = value, lane

    def __del__(self) -> None:
        self._lane.keep(self._value)


class CountedMemory:
    """Memory of a lane, counted for as long as somebody has it. Raises as ``MemoryLimit.take`` and the driver do."""

    def __init__(self, lane: Lane, size: int, *, ordered: bool = True) -> None:
        lane.limit.take(size)
        self._limit, self._size = lane.limit, size
        try:
            # The lane's stream has to be there when this is freed.
            self._lane, self.array = lane, lane.allocate(size, ordered=ordered)
        except BaseException:
            self._limit.give_back(size)
            self._size = 0
            raise

    def __del__(self) -> None:
        size = getattr(self, "_size", 0)
        if size:
            array: DeviceArray | None = self.array
            self.array = array = None  # type: ignore[assignment]  # freed before its stream may end
            del array
            self._limit.give_back(size)
