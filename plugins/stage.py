"""The base class of our filters. Authors write `configure`, `filter`, `drain`; callers push and pull.

No threads, no global state: all work happens inside `pull` of the caller's thread.
"""

from __future__ import annotations

import abc
import dataclasses
import inspect
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import av

from .errors import LinkError
from .flow import Flow, end_of_stream, more_input_needed
from .grammar import OptionText
from .links import ITEM_TYPES, Item, Link, LinkType, link_of
from .options import build_options, describe_options, parse_options


class Stage(Flow):
    """One filter with one input and one output.

    A subclass sets `name`, `input`, `output` and `Options`, and writes `filter`, which gets one item and gives any
    number. Items handed in are never altered and keep their owner; a new frame takes over its source's time stamps,
    colour fields and opaque with `copy_properties`. The first line of the class's docstring is its one-line help.
    """

    name: ClassVar[str]
    input: LinkType = LinkType.VIDEO
    output: LinkType = LinkType.VIDEO
    pads: ClassVar[tuple[str, ...]] = ()  # what its inputs are called, of a stage with several
    timeline: ClassVar[bool] = False  # it gives one frame for each frame, in order: graph strings may say enable=

    @dataclass(frozen=True)
    class Options:
        """A stage without options."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        """Check the options, given by position in field order or by name. Raises OptionError."""
        self.options: Any = build_options(type(self).Options, self.name, positional, named)
        self.label = self.name
        self.link: Link | None = None
        self.before: Link | None = None
        self._seen: Link | None = None
        self._facts: tuple[Any, ...] = ()  # of the last item, from which `_seen` was made
        self._waiting: deque[Any] = deque()
        self._coming: Iterator[Item] | None = None
        self._ended = False
        self._drained = False

    @classmethod
    def from_text(cls, texts: Iterable[OptionText] = (), *, label: str | None = None, column: int = 1) -> Self:
        """Make the stage from the options of a graph string. Raises OptionError with the column."""
        options = parse_options(cls.Options, label or cls.name, tuple(texts), column)
        stage = cls(**{field.name: getattr(options, field.name) for field in dataclasses.fields(options)})
        stage.label = label or cls.name
        return stage

    # What authors write.

    def configure(self, link: Link) -> Link:
        """Settle the output for an input of these properties; called before the first item and whenever they change.

        The change may come with any frame (size, pixel format, time base); what is still held stays valid.
        """
        return dataclasses.replace(link, type=self.output)

    @abc.abstractmethod
    def filter(self, item: Any) -> Iterable[Any]:
        """Give the outputs that one input leads to; an item held back is given later or by `drain`."""

    def drain(self) -> Iterable[Any]:
        """Give what is still held, at the end of the stream; not called when no item ever came."""
        return ()

    def reset(self) -> None:
        """Forget all items and state. A subclass with state overrides this and calls the base class too."""
        self._waiting.clear()
        self._coming = None
        self._seen = None
        self._facts = ()
        self.link = None
        self._ended = False
        self._drained = False

    def close(self) -> None:
        """Release what is held; a subclass that holds something overrides this. May be called more than once."""

    # What callers use.

    def push(self, item: Item | None) -> None:
        """Take one item; None marks the end. Raises LinkError for the wrong kind of item, av.EOFError after the end."""
        if item is None:
            self._ended = True
            return
        if not isinstance(item, ITEM_TYPES[self.input]):
            expected = ITEM_TYPES[self.input].__name__
            raise LinkError(
                f"{self.label}: its input takes {self.input.value} (av.{expected}), not a {type(item).__name__}"
            )
        if self._ended:
            raise end_of_stream()
        self._waiting.append(item)

    def pull(self) -> Any:
        """Give the next item; the work is done here. An error raised by the stage drops the item it was raised for."""
        item = self.poll(0)
        if item is None:
            raise more_input_needed()
        return item

    def poll(self, pad: int) -> Any:
        while True:
            if self._coming is not None:
                try:
                    return next(self._coming)
                except StopIteration:
                    self._coming = None
                except BaseException:
                    self._coming = None
                    raise
            elif self._waiting:
                item = self._waiting.popleft()
                self._settle(item)
                self._coming = iter(self.filter(item))
            elif not self._ended:
                return None
            elif not self._drained:
                self._drained = True
                self._coming = iter(self.drain()) if self._seen is not None else None
            else:
                raise end_of_stream()

    def _settle(self, item: Any) -> None:
        facts: tuple[Any, ...] = (self.before, item.time_base, item.duration)
        if isinstance(item, av.VideoFrame):
            facts += (item.width, item.height, item.format.name)
        elif isinstance(item, av.AudioFrame):
            facts += (item.sample_rate, item.layout.name, item.format.name)
        if facts == self._facts and self._seen is not None:
            return  # the usual case, which must not cost a Link for each frame
        seen = link_of(item, self.before)
        if self._seen is not None and seen.rate != self._seen.rate:
            seen = dataclasses.replace(seen, rate=self._seen.rate)  # a frame's own duration is no change of the link
        if seen != self._seen:
            self.link = self.configure(seen)
            self._seen = seen
        self._facts = facts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<duoview.Stage {self.label}: {self.input.value} -> {self.output.value}, {self.options!r}>"


def stage_summary(stage: type[Stage]) -> str:
    """The one-line help of a stage: the first line of its docstring."""
    return (inspect.getdoc(stage) or "").partition("\n")[0]


def stage_help(stage: type[Stage]) -> str:
    """The generated help text of a stage: what it does, its pads, and each option with its limits and default."""
    lines = [f"Filter {stage.name}", f"  {stage_summary(stage)}"]
    if stage.pads:
        lines.append("    Inputs: " + ", ".join(f"{pad} ({stage.input.value})" for pad in stage.pads))
    else:
        lines.append(f"    Input:  {stage.input.value}")
    lines.append(f"    Output: {stage.output.value}")
    if stage.timeline:
        lines.append("    Takes part in the timeline: enable=EXPRESSION")
    options = describe_options(stage.Options)
    lines.append(f"{stage.name} options, in positional order:" if options else f"{stage.name} has no options.")
    for item in options:
        alias = f", {item.limits.alias}" if item.limits.alias else ""
        default = f"default {item.default}" if item.default not in ("", None) else "default: none"
        default = "required" if item.required else default
        lines.append(f"  {item.name + alias:<14} {item.limits.help} ({item.allowed}; {default})")
    return "\n".join(lines)
