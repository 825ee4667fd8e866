"""A run of libavfilter's own filters inside one av.filter.Graph, with any number of inputs and outputs.

The graph is made from the properties of the first frame of every input. When size, pixel format, colour, sample format
or time base of one change in mid-stream, the old graph is drained and a new one made, as the ffmpeg command does. What
its filters wait for is kept inside libavfilter; this run holds only what it was given and was not asked for yet.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import av
import av.filter
import av.filter.context
import av.logging

from .buffer_source import BufferSource
from .errors import LinkError, OptionError
from .flow import Flow, end_of_stream, item_time, more_input_needed
from .grammar import FilterText, OptionText
from .links import ITEM_TYPES, Item, Link, LinkType, link_of
from .native_filter import DISCARDS, SINK_OF_TYPE, NativeFilter, join_options, log_of, logged, read_native
from .wiring import PadLink

_LINEAR = "; a linear chain takes filters with one input and one output"
_HIGHEST_RATE = 1000  # a finer time base without durations counts time, not frames
_INSERTED = re.compile(r"auto-inserting filter 'auto_scale_\d+' between the filter '(.*)' and the filter '(.*)'")
_SINKS = {LinkType.VIDEO: "buffersink", LinkType.AUDIO: "abuffersink"}


@dataclass(frozen=True)
class Run:
    """Native filters and the links between them; pads of `entries` are fed, pads of `exits` are read."""

    filters: tuple[NativeFilter, ...]
    links: tuple[PadLink, ...]
    entries: tuple[tuple[int, int], ...]
    exits: tuple[tuple[int, int], ...]
    scale_options: tuple[OptionText, ...] = ()

    @classmethod
    def chain(cls, filters: Sequence[NativeFilter]) -> Self:
        """Filters with one input and one output each, one behind the other. Raises LinkError for others."""
        for item in filters:
            for count, side in ((len(item.input_types), "input"), (len(item.output_types), "output")):
                if count != 1:
                    number = "several" if count > 2 else ("no", "one", "two")[count]
                    plural = "s" * (count > 1)
                    raise LinkError(f"{item.place}: it has {number} {side}{plural}{_LINEAR}")
            if item.input_types[0] is not LinkType.VIDEO:
                raise LinkError(f"{item.place}: it takes audio; its input here is video frames")
        links = tuple(PadLink(index, 0, index + 1, 0) for index in range(len(filters) - 1))
        return cls(tuple(filters), links, ((0, 0),), ((len(filters) - 1, 0),))

    @property
    def has_sources(self) -> bool:
        """Whether some filter makes frames of its own."""
        return any(not item.input_types for item in self.filters)


@dataclass(frozen=True)
class _Joint:
    """A link to be made inside one av.filter.Graph."""

    source: av.filter.context.FilterContext
    source_pad: int
    target: av.filter.context.FilterContext
    target_pad: int
    type: LinkType


class NativeFilters(Flow):
    """Native filters that are linked with each other, as one flow of video and audio frames.

    Made from the text of filters it is a linear chain; `of_run` takes any run.
    """

    def __init__(self, filters: Sequence[FilterText], *, threads: int = 0) -> None:
        """`threads` is libavfilter's own number of slice threads, 0 for one per core.

        Raises LinkError for a filter that has not one input and one output, OptionError for its options.
        """
        self._begin(Run.chain([read_native(item) for item in filters]), threads)

    @classmethod
    def of_run(cls, run: Run, *, threads: int = 0) -> Self:
        """A run with any number of inputs and outputs; `feed` and `poll` number its entries and exits."""
        flow = cls.__new__(cls)
        flow._begin(run, threads)
        return flow

    def _begin(self, run: Run, threads: int) -> None:
        self.run = run
        self.label = ",".join(item.label for item in run.filters)
        self._inputs = tuple(run.filters[node].input_types[pad] for node, pad in run.entries)
        self._outputs = tuple(self._exit_type(node, pad) for node, pad in run.exits)
        self._item_types = [ITEM_TYPES[kind] for kind in self._inputs]
        self._threads = threads
        self._known: list[Link | None] = [None] * len(run.entries)
        self._links: list[Link | None] = [None] * len(run.exits)
        self._waiting: list[deque[Any]] = [deque() for _ in run.entries]
        self._drained: list[deque[Any]] = [deque() for _ in run.exits]
        self._outdated = [False] * len(run.exits)  # the link told last is that of a drained graph
        self._ended = [False] * len(run.entries)
        self._told = [False] * len(run.entries)  # the graph has its end of stream
        self._over = [False] * len(run.exits)  # the exit has given all it will ever give
        self._sources: list[BufferSource | None] = [None] * len(run.entries)
        self._dry = [False] * len(run.exits)  # it gives nothing before more is fed: asking costs an exception
        self._idle = False  # nothing waits, and nothing was fed since that was found
        self._asked = [False] * len(run.exits)  # it gave nothing since the last frame went in or came out
        self._raw: list[tuple[Any, ...] | None] = [None] * len(run.entries)
        self._drop_graph()

    @property
    def input_types(self) -> tuple[LinkType, ...]:
        """What each entry takes."""
        return self._inputs

    @property
    def output_types(self) -> tuple[LinkType, ...]:
        """What each exit gives."""
        return self._outputs

    @property
    def makes_items(self) -> bool:
        """Whether one of the filters is a source."""
        return self.run.has_sources

    @property
    def input(self) -> LinkType:  # type: ignore[override]
        """What the first entry takes."""
        return self._inputs[0]

    @property
    def output(self) -> LinkType:  # type: ignore[override]
        """What the first exit gives."""
        return self._outputs[0]

    @property
    def filters(self) -> tuple[FilterText, ...]:
        """The filters as written."""
        return tuple(item.text for item in self.run.filters)

    @property
    def before(self) -> Link | None:
        """What is known of the first input."""
        return self._known[0] if self._known else None

    @before.setter
    def before(self, link: Link | None) -> None:
        self._known[0] = link

    @property
    def link(self) -> Link | None:  # type: ignore[override]
        """The properties of the first output; None before its first frame."""
        return self._links[0]

    def describe(self, pad: int, link: Link | None) -> None:
        self._known[pad] = link

    def link_at(self, pad: int) -> Link | None:
        return self._links[pad]

    def push(self, item: Item | None) -> None:
        """Take a frame; it is filtered when the caller pulls."""
        self.feed(item, 0)

    def pull(self) -> Any:
        """Give the next filtered frame. Raises OptionError when the filters refuse the frame's size or format."""
        frame = self.poll(0)
        if frame is None:
            raise more_input_needed()
        return frame

    def feed(self, item: Item | None, pad: int) -> None:
        self._idle = False
        if item is None:
            self._ended[pad] = True
            return
        if not isinstance(item, self._item_types[pad]):
            kind = self.input_types[pad]
            taken = f"{kind.value} (av.{ITEM_TYPES[kind].__name__})"
            raise LinkError(f"{self.label}: its input takes {taken}, not a {type(item).__name__}")
        if self._ended[pad]:
            raise end_of_stream()
        if not all(self._over):
            self._waiting[pad].append(item)

    def poll(self, pad: int) -> Any:
        if self._idle and self._dry[pad]:
            return None  # the usual answer: a graph is asked more often than it is fed
        drained = self._drained[pad]
        while True:
            if drained:
                frame, self._links[pad] = drained.popleft()
                self._outdated[pad] = True
                return frame
            if self._over[pad]:
                raise end_of_stream()
            if self._exits is not None and not self._dry[pad]:
                try:
                    frame = self._exits[pad].pull()
                except av.error.BlockingIOError:
                    if not self._asked[pad]:
                        self._asked[pad] = True
                        self._dry = [False] * len(self._dry)  # what it made the filters do may come out elsewhere
                    self._dry[pad] = True
                except av.error.EOFError:
                    self._over[pad] = True
                    self._finish()
                    continue
                else:
                    self._wet()
                    return self._described(frame, pad)
            if not self._advance():
                return None

    def reset(self) -> None:
        """Forget all frames and the graph with its state."""
        self.close()
        for flags in (self._ended, self._told, self._over):
            flags[:] = [False] * len(flags)

    def close(self) -> None:
        """Free the graph."""
        self._drop_graph()
        for queue in (*self._waiting, *self._drained):
            queue.clear()
        self._sources = [None] * len(self._sources)
        self._raw = [None] * len(self._raw)
        self._links = [None] * len(self._links)

    def __repr__(self) -> str:
        return f"<duoview.plugins.NativeFilters {self.label}>"

    def _exit_type(self, node: int, pad: int) -> LinkType:
        item = self.run.filters[node]
        return item.output_types[pad] if item.output_types else DISCARDS[item.text.name]

    def _drop_graph(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._entries: list[av.filter.context.FilterContext] = []
        self._exits: list[av.filter.context.FilterContext] | None = None
        self._idle = False
        self._wet()

    def _finish(self) -> None:
        """Free the graph and what waits for it when no exit will give anything more."""
        if all(self._over):
            self._drop_graph()
            for queue in self._waiting:
                queue.clear()

    def _advance(self) -> bool:
        """Give the graph what waits, of each input one frame or its end; False when nothing does."""
        if self._idle:
            return False
        if self._exits is None:
            return self._start()
        changed = [pad for pad, queue in enumerate(self._waiting) if queue and self._changed(pad, queue[0])]
        until = min((item_time(self._waiting[pad][0]) for pad in changed), default=None)
        moved = False
        for pad, queue in enumerate(self._waiting):
            if queue:
                if pad not in changed and (until is None or item_time(queue[0]) < until):
                    self._into_graph(pad, queue.popleft())
                    moved = True
            elif self._ended[pad] and not self._told[pad]:
                self._told[pad] = True
                self._into_graph(pad, None)
                moved = True
        if changed and not moved and all(queue or self._ended[pad] for pad, queue in enumerate(self._waiting)):
            self._drain()  # what lies before the change went in and comes out before, on every input
            moved = True
        self._idle = not moved
        return moved

    def _into_graph(self, pad: int, frame: Any) -> None:
        self._wet()
        self._entries[pad].push(frame)

    def _wet(self) -> None:
        """Every exit may give something: a frame was put in, or one exit made the filters work, perhaps for others."""
        for index in range(len(self._dry)):
            self._dry[index] = self._asked[index] = False

    def _changed(self, pad: int, frame: Any) -> bool:
        """Whether a frame differs from those the graph was made for."""
        if isinstance(frame, av.VideoFrame):
            raw: tuple[Any, ...] = (frame.width, frame.height, frame.format.name, frame.time_base, frame.colorspace,
                                    frame.color_range)  # fmt: skip
        else:
            raw = (frame.sample_rate, frame.layout.name, frame.format.name, frame.time_base)
        if raw == self._raw[pad]:
            return False
        source = BufferSource.of(frame)
        if source == self._sources[pad]:
            self._raw[pad] = raw
            return False
        if self.run.has_sources:
            raise LinkError(
                f"{self.label} (column {self.run.filters[0].text.column}): input pad {pad} changes from "
                f"{self._sources[pad]} to {source} in mid-stream; the graph would have to be made anew, and its own "
                f"sources would begin again: scale or convert this input before it"
            )
        return True

    def _drain(self) -> None:
        """End the graph, keep what it still gives, and forget it: the next frame makes another."""
        assert self._exits is not None
        for pad, entry in enumerate(self._entries):
            if not self._told[pad]:
                entry.push(None)
        for pad, sink in enumerate(self._exits):
            while not self._over[pad]:
                try:
                    frame = self._described(sink.pull(), pad)
                    self._drained[pad].append((frame, self._links[pad]))
                except (av.error.EOFError, av.error.BlockingIOError):
                    break
        self._drop_graph()
        self._told = [False] * len(self._told)

    def _start(self) -> bool:
        """Make the graph once the properties of all inputs are known; False while a first frame is missing."""
        found: list[BufferSource | None] = []
        for pad, queue in enumerate(self._waiting):
            if queue:
                found.append(BufferSource.of(queue[0]))
            elif self._sources[pad] is not None or self._ended[pad]:
                found.append(self._sources[pad])
            else:
                return False
        if found and all(source is None for source in found):
            if self.run.has_sources:
                raise LinkError(f"{self.label}: its inputs ended before their first frame, so their size is unknown")
            self._over = [True] * len(self._over)
            return True
        for pad, source in enumerate(found):
            if source is None:  # an input that gave no frame takes another one's properties: it is only ended
                kind = self.input_types[pad]
                found[pad] = next((item for item in found if item is not None and item.type is kind), None)
                if found[pad] is None:
                    raise LinkError(f"{self.label}: input pad {pad} ended before its first frame")
        before, self._sources = self._sources, found
        self._raw = [None] * len(found)
        known = [self._linked(pad) for pad in range(len(found))]
        try:
            self._connect(known, self._scaled(known))
        except av.error.FFmpegError as error:
            said = logged(lambda: self._connect(known, frozenset())) or error.strerror
            for queue in self._waiting:
                if queue:
                    queue.popleft()
            self._drop_graph()
            self._sources = before  # with what was refused no later frame would ever be asked for
            shown = " and ".join(f"{source}" for source in found) or "what its sources give"
            raise OptionError(
                f"{self.label} (column {self.run.filters[0].text.column}): cannot take frames of {shown}: {said}"
            ) from error
        self._links = [None] * len(self._links)
        return True

    def _linked(self, pad: int) -> Link | None:
        return link_of(self._waiting[pad][0], self._known[pad]) if self._waiting[pad] else self._known[pad]

    def _connect(self, known: Sequence[Link | None], scaled: frozenset[tuple[str, str]]) -> None:
        """Make the graph; a link between two filters named in `scaled` leads through a scaler with ``sws_flags``."""
        graph = av.filter.Graph()
        graph.threads = self._threads
        run = self.run
        # Filters come in the order of the text and buffers last, as in the ffmpeg command: formats depend on it.
        nodes = {
            index: graph.add(item.text.name, item.arguments, name=item.name)
            for index, item in enumerate(run.filters)
            if item.output_types or (index, 0) not in run.exits
        }
        entries = [source.add(graph, link) for source, link in zip(self._sources, known, strict=True) if source]
        # An exit that ended by itself before a change of the input stays ended: what it would give anew is not kept.
        exits = [
            graph.add(SINK_OF_TYPE[kind] if over else _SINKS[kind])
            for kind, over in zip(self.output_types, self._over, strict=True)
        ]
        sinks = {node: exits[index] for index, (node, _) in enumerate(run.exits) if node not in nodes}
        types = [run.filters[link.source].output_types[link.source_pad] for link in run.links]
        ends = [(nodes[link.source], link.source_pad, link.target, link.target_pad) for link in run.links]
        ends += [(entry, 0, node, pad) for entry, (node, pad) in zip(entries, run.entries, strict=True)]
        joints = [
            _Joint(left, left_pad, nodes.get(node) or sinks[node], pad, kind)
            for (left, left_pad, node, pad), kind in zip(ends, (*types, *self.input_types), strict=True)
        ]
        for sink, (node, pad), kind in zip(exits, run.exits, self.output_types, strict=True):
            if node in nodes:
                joints.append(_Joint(nodes[node], pad, sink, 0, kind))
        for joint in _told_apart(graph, joints) if run.scale_options else joints:
            left, left_pad = joint.source, joint.source_pad
            if (left.name, joint.target.name) in scaled:
                scaler = graph.add("scale", join_options(run.scale_options))
                left.link_to(scaler, left_pad, 0)
                left, left_pad = scaler, 0
            left.link_to(joint.target, left_pad, joint.target_pad)
        graph.configure()
        self._graph, self._entries, self._exits = graph, entries, exits

    def _scaled(self, known: Sequence[Link | None]) -> frozenset[tuple[str, str]]:
        """Between which filters libavfilter puts scalers of its own.

        PyAV cannot tell it their flags, so where ``sws_flags`` is given it is watched once, and we put them there.
        """
        if not self.run.scale_options:
            return frozenset()
        with log_of(av.logging.VERBOSE) as lines:
            self._connect(known, frozenset())
        found = (_INSERTED.search(line) for _, _, line in lines)
        return frozenset((match[1], match[2]) for match in found if match)

    def _described(self, frame: Any, pad: int) -> Any:
        link = self._links[pad]
        size = (0, 0) if isinstance(frame, av.AudioFrame) else (frame.width, frame.height)
        if link is not None and self._outdated[pad]:
            link = None
        if link is not None and link.format == frame.format.name and (link.width, link.height) == size:
            return frame
        self._outdated[pad] = False
        fresh = link_of(frame)
        if fresh.type is LinkType.VIDEO:
            index = next((i for i, kind in enumerate(self.input_types) if kind is LinkType.VIDEO), None)
            before = self._known[index] if index is not None else None
            source = self._sources[index] if index is not None else None
            rate = before.rate if before is not None else None
            if frame.time_base and (source is None or Fraction(frame.time_base) != source.time_base):
                # A filter that makes its own rate (fps, minterpolate, framerate, ...) counts in frames.
                rate = _rate(Fraction(frame.time_base), frame.duration)
            aspect = before.sample_aspect if before is not None else Fraction(1)
            fresh = dataclasses.replace(fresh, rate=rate, sample_aspect=aspect)
        self._links[pad] = fresh
        return frame


def _rate(time_base: Fraction, duration: int) -> Fraction | None:
    """Frames per second as a frame's duration tells, or its time base where that can be one."""
    if duration:
        return 1 / (time_base * duration)
    return 1 / time_base if 1 / time_base <= _HIGHEST_RATE else None


def _told_apart(graph: av.filter.Graph, joints: Sequence[_Joint]) -> list[_Joint]:
    """Of several links between the same two filters each goes over a null filter, so that names tell them apart."""
    count = Counter((joint.source.name, joint.target.name) for joint in joints)
    single: list[_Joint] = []
    for joint in joints:
        if count[joint.source.name, joint.target.name] > 1 and joint.type is LinkType.VIDEO:
            between = graph.add("null")
            single.append(dataclasses.replace(joint, target=between, target_pad=0))
            single.append(dataclasses.replace(joint, source=between, source_pad=0))
        else:
            single.append(joint)
    return single
