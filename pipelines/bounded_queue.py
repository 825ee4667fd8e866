"""A queue between a reader thread and its consumers that never holds more than it was told."""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from duoview.errors import LimitError

ItemT = TypeVar("ItemT")


class Overflow(enum.Enum):
    """What happens to an item that finds the queue full."""

    WAIT = "wait"  # its producer waits: nothing is dropped
    DROP_OLDEST = "drop_oldest"  # it takes the place of the oldest
    REFUSE = "refuse"  # it is not taken; the producer is told


class BoundedQueue(Generic[ItemT]):
    """First in, first out; for any number of threads."""

    def __init__(
        self,
        items: int,
        overflow: Overflow,
        *,
        bytes: int | None = None,
        size: Callable[[ItemT], int] | None = None,
        dropped: Callable[[ItemT], None] | None = None,
    ) -> None:
        """Hold at most so many items and, with `size` telling an item's bytes, so many bytes.

        `dropped` is called for every item that DROP_OLDEST puts out, by the producer's thread.
        """
        if (bytes is None) != (size is None):
            raise LimitError("queue: bytes and size are given together")
        self._bytes_limit = bytes
        self._size = size or (lambda item: 0)
        self._dropped = dropped or (lambda item: None)
        self._items: deque[ItemT] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self.configure(items, overflow)

    def configure(self, items: int, overflow: Overflow) -> None:
        """Change the limit and what happens beyond it, from the next item on."""
        if items < 1:
            raise LimitError(f"queue of {items} items: expected 1 or more")
        with self._changed:
            self._limit, self._overflow = items, overflow
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: ItemT) -> bool:
        """Add an item; return whether it was taken. A closed queue takes nothing."""
        size = self._size(item)
        with self._changed:
            if self._overflow is Overflow.WAIT:
                self._changed.wait_for(lambda: self._closed or self._fits(size))
            if self._overflow is Overflow.DROP_OLDEST:
                while self._items and not self._fits(size):
                    self._dropped(self._take())
            if self._closed or not self._fits(size):
                return False
            self._items.append(item)
            self._bytes += size
            self._changed.notify_all()
            return True

    def get(self, timeout: float | None = None) -> ItemT | None:
        """The oldest item, waiting for one up to `timeout` seconds; None when there is none in time or ever again.

        What was put in before the queue was closed comes first; then the error it was closed with is raised, by every
        call.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items, timeout)
            if self._items:
                item = self._take()
                self._changed.notify_all()
                return item
            if self._error is not None:
                # As it was raised: each call would add its own lines to those of all calls before.
                raise self._error.with_traceback(self._traceback)
            return None

    def close(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        """Nothing more comes; `discard`: what is inside is not wanted either. The first close sets the error."""
        with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
                self._traceback = error.__traceback__ if error is not None else None
            if discard:
                self._items.clear()
                self._bytes = 0
            self._changed.notify_all()

    @property
    def finished(self) -> bool:
        """Closed, and everything taken."""
        with self._changed:
            return self._closed and not self._items

    def _fits(self, size: int) -> bool:
        # Where nothing is dropped, an item larger than all bytes allowed goes in alone: else it would wait for ever.
        alone = not self._items and self._overflow is Overflow.WAIT
        within = self._bytes_limit is None or self._bytes + size <= self._bytes_limit or alone
        return len(self._items) < self._limit and within

    def _take(self) -> ItemT:
        item = self._items.popleft()
        self._bytes -= self._size(item)
        return item
