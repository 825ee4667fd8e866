"""A run of libavfilter's own filters between two of our pads, inside one av.filter.Graph.

The graph is made from the properties of the first frame. When size, pixel format, colour or time base change in
mid-stream, the old graph is drained and a new one made, as the ffmpeg command does.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import av.filter
import av.filter.context
import av.logging

from .errors import LinkError, OptionError
from .flow import Flow, end_of_stream, more_input_needed
from .grammar import FilterText, OptionText, split_options
from .links import Item, Link, LinkType, link_of

_DYNAMIC_INPUTS, _DYNAMIC_OUTPUTS = 1, 2  # AVFILTER_FLAG_DYNAMIC_*
_LINEAR = "; a linear chain takes filters with one input and one output"
_TIME_BASE = Fraction(1, 1000)  # stands in for frames without one


@dataclasses.dataclass(frozen=True)
class _Source:
    """All that libavfilter's buffer source must be told, and whose change needs a new graph."""

    width: int
    height: int
    format: str
    time_base: Fraction
    colorspace: int
    color_range: int


class NativeFilters(Flow):
    """Consecutive native filters as one flow of video frames."""

    input = LinkType.VIDEO
    output = LinkType.VIDEO

    def __init__(self, filters: Sequence[FilterText], *, threads: int = 0) -> None:
        """`threads` is libavfilter's own number of slice threads, 0 for one per core.

        Raises LinkError for a filter that has not one input and one output, OptionError for its options.
        """
        self.filters = tuple(filters)
        self.label = ",".join(item.label for item in self.filters)
        self.link: Link | None = None
        self.before: Link | None = None
        self._threads = threads
        self._waiting: deque[av.VideoFrame] = deque()
        self._graph: av.filter.Graph | None = None
        self._entry: av.filter.context.FilterContext | None = None
        self._exit: av.filter.context.FilterContext | None = None
        self._source: _Source | None = None
        self._draining = False
        self._ended = False
        self._complete = False  # a filter such as trim has given all it will ever give
        for item in self.filters:
            _check_options(item)

    def push(self, item: Item | None) -> None:
        """Take a frame; it is filtered when the caller pulls."""
        if item is None:
            self._ended = True
            return
        if not isinstance(item, av.VideoFrame):
            raise LinkError(f"{self.label}: its input takes video frames (av.VideoFrame), not a {type(item).__name__}")
        if self._ended:
            raise end_of_stream()
        if not self._complete:
            self._waiting.append(item)

    def pull(self) -> av.VideoFrame:
        """Give the next filtered frame. Raises OptionError when the filters refuse the frame's size or format."""
        while True:
            if self._exit is not None:
                try:
                    frame = self._exit.pull()
                except av.error.BlockingIOError:
                    pass
                except av.error.EOFError:
                    self._graph = self._entry = self._exit = None
                    if not self._draining:
                        self._complete = True
                        self._waiting.clear()
                else:
                    assert isinstance(frame, av.VideoFrame)  # no audio filter passed _check_options
                    self._describe(frame)
                    return frame
            if self._complete:
                raise end_of_stream()
            if self._waiting:
                self._feed()
            elif not self._ended:
                raise more_input_needed()
            elif self._entry is not None and not self._draining:
                self._draining = True
                self._entry.push(None)
            else:
                raise end_of_stream()

    def reset(self) -> None:
        """Forget all frames and the graph with its state."""
        self.close()
        self._ended = self._complete = False

    def close(self) -> None:
        """Free the graph."""
        self._waiting.clear()
        self._graph = self._entry = self._exit = None
        self._source = None
        self.link = None
        self._draining = False

    def __repr__(self) -> str:
        return f"<duoview.plugins.NativeFilters {self.label}>"

    def _feed(self) -> None:
        frame = self._waiting[0]
        source = _Source(
            frame.width,
            frame.height,
            frame.format.name,
            Fraction(frame.time_base) if frame.time_base else _TIME_BASE,
            frame.colorspace,
            frame.color_range,
        )
        if self._entry is not None and source != self._source and not self._draining:
            self._draining = True
            self._entry.push(None)
            return
        if self._entry is None:
            self._build(source, link_of(frame, self.before))
            self._draining = False
        assert self._entry is not None and not self._draining  # a drained graph was dropped at its av.EOFError
        self._waiting.popleft()
        self._entry.push(frame)

    def _build(self, source: _Source, link: Link) -> None:
        arguments = {
            "video_size": f"{source.width}x{source.height}",
            "pix_fmt": source.format,
            "time_base": str(source.time_base),
            "pixel_aspect": str(link.sample_aspect),
            "colorspace": str(int(source.colorspace)),
            "range": str(int(source.color_range)),
        }
        if link.rate:
            arguments["frame_rate"] = str(link.rate)
        try:
            graph, entry, sink = self._connect(arguments)
        except av.error.FFmpegError as error:
            self._waiting.popleft()
            said = _said(lambda: self._connect(arguments)) or error.strerror
            raise OptionError(
                f"{self.label} (column {self.filters[0].column}): cannot take frames of {source.width}x{source.height} "
                f"{source.format}: {said}"
            ) from error
        self._graph, self._entry, self._exit = graph, entry, sink
        self._source = source
        self.link = None

    def _connect(
        self, arguments: dict[str, str]
    ) -> tuple[av.filter.Graph, av.filter.context.FilterContext, av.filter.context.FilterContext]:
        graph = av.filter.Graph()
        graph.threads = self._threads
        nodes = [graph.add("buffer", **arguments)]
        for item in self.filters:
            nodes.append(graph.add(item.name, item.options.text if item.options else None, name=item.label))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        return graph, nodes[0], nodes[-1]

    def _describe(self, frame: av.VideoFrame) -> None:
        if self.link is not None and (self.link.width, self.link.height, self.link.format) == (
            frame.width,
            frame.height,
            frame.format.name,
        ):
            return
        assert self._source is not None
        rate = self.before.rate if self.before is not None else None
        if frame.time_base and Fraction(frame.time_base) != self._source.time_base:
            # A filter that makes its own rate (fps, minterpolate, framerate, ...) counts in frames.
            rate = 1 / (Fraction(frame.time_base) * (frame.duration or 1))
        aspect = self.before.sample_aspect if self.before is not None else Fraction(1)
        self.link = dataclasses.replace(link_of(frame), rate=rate, sample_aspect=aspect)


def _check_options(item: FilterText) -> None:
    """Try the options on a filter of its own, so that a mistake is named before the first frame comes."""
    options = split_options(item.options)
    for text in options:
        if text.key is not None and text.key.startswith("/"):
            raise OptionError(
                f"{item.label} (column {text.column}): {text.key}={text.value}: option values from files are not in "
                f"this version; give the value itself as {text.key[1:]}=..."
            )
    graph = av.filter.Graph()
    source = graph.add("buffer", video_size="16x16", pix_fmt="yuv420p", time_base="1/1000")
    arguments = item.options.text if item.options else None
    try:
        native = graph.add(item.name, arguments)
    except (av.error.FFmpegError, ValueError) as error:
        said = _said(lambda: av.filter.Graph().add(item.name, arguments)) or str(error)
        raise OptionError(_culprit(item, said)) from error
    _check_pads(item, native)
    try:
        source.link_to(native)
    except av.error.FFmpegError as error:
        raise LinkError(
            f"{item.label} (column {item.column}): it takes audio; its input here is video frames"
        ) from error


def _check_pads(item: FilterText, native: av.filter.context.FilterContext) -> None:
    kind: Any = av.filter.Filter(item.name)  # its pads are missing in PyAV's type stubs
    inputs, outputs = len(kind.inputs), len(kind.outputs)
    if kind.flags & _DYNAMIC_OUTPUTS:  # the number depends on the options: count by linking
        outputs = sum(_links(native, index) for index in range(3))
    if kind.flags & _DYNAMIC_INPUTS and not inputs:
        raise LinkError(f"{item.label} (column {item.column}): it joins several inputs{_LINEAR}")
    for count, side in ((inputs, "input"), (outputs, "output")):
        if count != 1:
            number = "several" if count > 2 else ("no", "one", "two")[count]
            raise LinkError(f"{item.label} (column {item.column}): it has {number} {side}{'s' * (count > 1)}{_LINEAR}")


def _links(native: av.filter.context.FilterContext, index: int) -> bool:
    try:
        native.link_to(native.graph.add("nullsink"), output_idx=index)
    except av.error.FFmpegError:
        return False
    return True


def _culprit(item: FilterText, said: str) -> str:
    """Name the option that libavfilter refuses, the one without which it takes the rest; `said` is its own message."""
    options = split_options(item.options)
    named = [option.key is not None for option in options]
    for index, option in enumerate(options):
        if option.key is None and any(named[:index]):
            return f"{item.label} (column {option.column}): value {option.value!r} after a named option needs a name"
    for index, option in enumerate(options):
        if not _accepts(item.name, [*options[:index], *options[index + 1 :]]):
            continue
        if option.key is not None and "No such option" in said:
            help_text = f"`ffmpeg -h filter={item.name}` lists those it has"
            return f"{item.label} (column {option.column}): no option {option.key!r}; {help_text}"
        shown = repr(option.value) if option.key is None else f"{option.key}={option.value!r}"
        return f"{item.label} (column {option.column}): {shown}: {said}"
    return f"{item.label} (column {item.column}): {said}"


def _accepts(name: str, options: Sequence[OptionText]) -> bool:
    parts = [(f"{item.key}=" if item.key else "") + re.sub(r"([\\':])", r"\\\1", item.value) for item in options]
    try:
        av.filter.Graph().add(name, ":".join(parts) or None)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _said(work: Callable[[], object]) -> str:
    """Do again what failed and return what libavfilter logs about it; its messages are not in PyAV's errors."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines:
            try:
                work()
            except (av.error.FFmpegError, ValueError):
                return "; ".join(line.strip() for _, _, line in lines)
            return ""
    finally:
        av.logging.set_level(level)
