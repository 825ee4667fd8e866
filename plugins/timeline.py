"""``enable=`` of our stages: libavfilter's timeline, evaluated by libavfilter itself.

A stage that takes part gives exactly one frame for each frame, in order. Where the expression is zero the frame goes
past it, unaltered and in its place among those that the stage may still hold.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import av

from .errors import LinkError, OptionError
from .flow import Flow, end_of_stream, more_input_needed
from .grammar import FilterText, OptionText, Token
from .links import Item, Link, LinkType
from .native import NativeFilters
from .native_filter import join_options
from .stage import Stage

_MARK = "duoview.enabled"


class Timeline(Flow):
    """A stage that works on some frames only. Variables are those of libavfilter: t, n, w, h and pos."""

    input = LinkType.VIDEO
    output = LinkType.VIDEO

    def __init__(self, stage: Stage, expression: OptionText) -> None:
        """Raises LinkError for a stage that does not take part, OptionError for an expression that cannot be read."""
        if not stage.timeline:
            raise LinkError(
                f"{stage.label} (column {expression.column}): enable= needs a filter that gives one frame for each "
                f"frame, which {stage.name} does not; select or trim before it leaves frames out"
            )
        self.stage = stage
        self.label = stage.label
        given = [OptionText("mode", "add", 0), OptionText("key", _MARK, 0), OptionText("value", "1", 0),
                 OptionText("enable", expression.value, 0)]  # fmt: skip
        text = join_options(given)
        # The filter metadata marks what is enabled: libavfilter has no other way to tell its answer.
        where = expression.column - 1
        token = Token(text, (where,) * len(text), where)
        try:
            self._marker = NativeFilters([FilterText("metadata", None, token, expression.column)], threads=1)
        except OptionError as error:
            said = str(error).partition("enable=")[2]  # what comes before it names the filter metadata
            raise OptionError(f"{stage.label} (column {expression.column}): enable={said}") from error
        self._order: deque[av.VideoFrame | None] = deque()  # None: the next frame of the stage
        self._ended = False

    @property
    def link(self) -> Link | None:  # type: ignore[override]
        """The stage's output, or that of its input before the stage saw a frame."""
        return self.stage.link or self.stage.before

    @property
    def before(self) -> Link | None:
        """What is known of the input."""
        return self.stage.before

    @before.setter
    def before(self, link: Link | None) -> None:
        self.stage.before = link

    def push(self, item: Item | None) -> None:
        """Take a frame and decide whether the stage works on it."""
        if item is None:
            self._ended = True
            self.stage.push(None)
            return
        if not isinstance(item, av.VideoFrame) or self._ended:
            self.stage.push(item)  # raises what is wrong
            return
        self._marker.push(item)
        if _MARK in self._marker.pull().metadata:
            self.stage.push(item)
            self._order.append(None)
        else:
            self._order.append(item)

    def pull(self) -> Any:
        """Give the next frame, in the order of the input."""
        while self._order:
            if self._order[0] is not None:
                return self._order.popleft()
            try:
                frame = self.stage.pull()
            except av.error.BlockingIOError:
                raise
            except av.error.EOFError:
                self._order.popleft()  # an error of the stage dropped more than one of its frames
                continue
            except BaseException:
                self._order.popleft()
                raise
            self._order.popleft()
            return frame
        raise end_of_stream() if self._ended else more_input_needed()

    def reset(self) -> None:
        """Forget all frames; the timeline's n counts from 0 again."""
        self.stage.reset()
        self._marker.reset()
        self._order.clear()
        self._ended = False

    def close(self) -> None:
        """Release what the stage holds."""
        self.stage.close()
        self._marker.close()
