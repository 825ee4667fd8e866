"""The caller's side of stages, native filters and graphs: PyAV's verbs and errors, and the iterator PyAV lacks."""

from __future__ import annotations

import abc
import errno
from collections.abc import Iterable, Iterator
from typing import Any

import av

from .links import Item, Link, LinkType

_EOF_CODE = av.error.tag_to_code(b"EOF ")  # AVERROR_EOF


class Flow(abc.ABC):
    """Something items are pushed into and pulled out of.

    `link` describes the output and is None until the first item came out or its properties were settled; `before`
    describes the input as far as the upstream neighbour knows it, and may be set before the first push.
    """

    label: str
    input: LinkType
    output: LinkType
    link: Link | None
    before: Link | None

    @abc.abstractmethod
    def push(self, item: Item | None) -> None:
        """Take one item; None marks the end of the stream. After the end av.EOFError, except for another None."""

    @abc.abstractmethod
    def pull(self) -> Any:
        """Give the next item, a frame or a packet as `output` says.

        Raises av.BlockingIOError when items must be pushed first, av.EOFError when drained, now and for ever after.
        """

    @property
    def makes_items(self) -> bool:
        """Whether items come out that none went in for: it has a source inside."""
        return False

    # A flow with several pads overrides these, which number them; others have one input and one output, pad 0.

    @property
    def input_types(self) -> tuple[LinkType, ...]:
        """What each input takes."""
        return (self.input,)

    @property
    def output_types(self) -> tuple[LinkType, ...]:
        """What each output gives."""
        return (self.output,)

    def feed(self, item: Item | None, pad: int) -> None:
        """Push into input `pad`."""
        self.push(item)

    def poll(self, pad: int) -> Any:
        """Pull from output `pad`; None where `pull` raises av.BlockingIOError, which costs more than a frame's way."""
        try:
            return self.pull()
        except av.error.BlockingIOError:
            return None

    def describe(self, pad: int, link: Link | None) -> None:
        """Tell what is known of input `pad`."""
        self.before = link

    def link_at(self, pad: int) -> Link | None:
        """The properties of output `pad`."""
        return self.link

    @abc.abstractmethod
    def reset(self) -> None:
        """Forget every item and all state, as after a seek; takes items again, also after the end."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release what is held. May be called more than once."""

    def process(self, items: Iterable[Item]) -> Iterator[Any]:
        """Push all items, then the end, and give what comes out, as soon as it comes out."""
        for item in items:
            self.push(item)
            yield from self.ready()
        self.push(None)
        yield from self.ready()

    def ready(self) -> Iterator[Any]:
        """Pull until more input is needed or the end is reached."""
        while True:
            try:
                item = self.poll(0)
            except av.error.EOFError:
                return
            if item is None:
                return
            yield item


def item_time(item: Item) -> float:
    """Time of an item in seconds, only ever to compare; without a time stamp before all others."""
    if item.pts is None or not item.time_base:
        return float("-inf")
    if isinstance(item, av.Packet):
        return item.pts * float(item.time_base)
    return item.time or 0.0


def more_input_needed() -> av.error.BlockingIOError:
    """The error `pull` raises when an item must be pushed first, as a native graph raises it."""
    return av.error.BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def end_of_stream() -> av.error.EOFError:
    """The error `pull`, and `push` of an item, raise after the end, as a native graph raises it."""
    return av.error.EOFError(_EOF_CODE, "End of file")
