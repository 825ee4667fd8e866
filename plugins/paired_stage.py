"""A stage with two inputs, whose frames are put together by their times."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, ClassVar

import av

from .errors import FrameError, LinkError
from .flow import end_of_stream
from .links import ITEM_TYPES, Item, Link, LinkType
from .stage import Stage


class PairedStage(Stage):
    """One filter with two inputs of frames and one output. A subclass writes `pair` instead of `filter`.

    The second input leads: each of its frames is given to `pair`, with the frame of the first input that has the same
    time. Frames of the first between those are passed over. The properties of the output are made of the second's.
    """

    pads: ClassVar[tuple[str, ...]] = ("first", "second")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._queues: tuple[deque[av.VideoFrame], deque[av.VideoFrame]] = (deque(), deque())
        self._ends = [False, False]

    @abc.abstractmethod
    def pair(self, first: av.VideoFrame, second: av.VideoFrame) -> Iterable[Any]:
        """Give the outputs that two frames of one time lead to."""

    @property
    def input_types(self) -> tuple[LinkType, ...]:
        """Two of the same."""
        return (self.input, self.input)

    def describe(self, pad: int, link: Link | None) -> None:
        if pad == 1:
            self.before = link

    def push(self, item: Item | None) -> None:
        """None ends both inputs; an item needs `feed`, which is told the input. Raises LinkError for one."""
        if item is not None:
            raise LinkError(f"{self.label}: it has two inputs, {self.pads[0]} and {self.pads[1]}: feed(frame, 0) and "
                            "feed(frame, 1), or a graph that feeds it")
        for pad in range(2):
            self.feed(None, pad)

    def feed(self, item: Item | None, pad: int) -> None:
        """Take a frame of one input, or its end. Raises LinkError, FrameError for one without a time, av.EOFError."""
        if item is None:
            self._ends[pad] = True
        elif not isinstance(item, av.VideoFrame):
            raise LinkError(f"{self.label}: input {self.pads[pad]} takes {self.input.value} "
                            f"(av.{ITEM_TYPES[self.input].__name__}), not a {type(item).__name__}")
        elif self._ends[pad]:
            raise end_of_stream()
        elif item.pts is None or not item.time_base:
            raise FrameError(f"{self.label}: a frame without a time at input {self.pads[pad]}: the two inputs are put "
                             "together by time")
        elif pad == 1 or self._queues[1] or not self._ends[1]:
            self._queues[pad].append(item)
        self._put_together()

    def filter(self, item: Any) -> Iterable[Any]:
        first, second = item
        if first is None:
            raise FrameError(f"{self.label}: input {self.pads[0]} has no frame of pts {second.pts} of input "
                             f"{self.pads[1]}: expected both to be decoded from the same access units")
        return self.pair(first, second)

    def reset(self) -> None:
        super().reset()
        for queue in self._queues:
            queue.clear()
        self._ends = [False, False]

    def _settle(self, item: Any) -> None:
        super()._settle(item[1])

    def _put_together(self) -> None:
        first, second = self._queues
        while second:
            while first and _time(first[0]) < _time(second[0]):
                first.popleft()
            if first and _time(first[0]) == _time(second[0]):
                self._waiting.append((first.popleft(), second.popleft()))
            elif first or self._ends[0]:
                self._waiting.append((None, second.popleft()))
            else:
                break
        if self._ends[1] and not second:
            first.clear()
            self._ended = True


def _time(frame: av.VideoFrame) -> Fraction:
    assert frame.pts is not None and frame.time_base is not None  # `feed` refuses others
    return frame.pts * Fraction(frame.time_base)
