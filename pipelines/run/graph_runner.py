"""A thread that feeds filtergraphs with frames of live sources and writes what comes out.

Sources that are read by one graph, or by several that share a source, have one thread; all others have their own. So a
camera that is slow or gone delays only the graphs that read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from duoview.events import Event
from duoview.findings import events_of
from duoview.pipelines.errors import SourceLostError
from duoview.pipelines.live_packet import Capture, capture_of
from duoview.pipelines.live_source import LiveSource
from duoview.plugins.graph import Graph
from duoview.plugins.links import Link, LinkType
from duoview.plugins.references import References

from .graph_output import GraphOutput, seconds_of
from .runner import Runner

MAX_GAP = 2.0  # seconds without frames after which graphs begin anew, so that fps= does not fill the gap
_LATE = 2.5  # the same in frames, where a source is thinned to fewer than one in MAX_GAP
HOLD_AFTER = 1.0  # seconds by which a live input of a graph with several may lag before its last frame is repeated
RESTART_AFTER = 1.0  # seconds after a failure in which frames of that graph are left out
_WAIT = 0.25  # seconds in which a thread sees that it is to stop
_POLL = 0.005  # seconds between looks at several live sources of which none has a frame


@dataclass(frozen=True)
class Watch:
    """Who is told what; the calls come from the runner's thread.

    failed: a graph failed, and why. event: an event that lasts or ends at a frame.
    step: the work of a filter and its seconds. delay: seconds from a frame's arrival to its last output.
    """

    failed: Callable[[str], None] = lambda words: None
    event: Callable[[Event], None] = lambda event: None
    step: Callable[[str, float], None] | None = None
    delay: Callable[[float], None] = lambda seconds: None


class RunningGraph:
    """A graph, which source feeds which of its inputs, and where its outputs go.

    Attributes:
        failures: how often it failed and began anew. lost: frames that were left out for it.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Mapping[str, str],
        outputs: Mapping[str, GraphOutput],
        *,
        duration: Fraction | None = None,
    ) -> None:
        """`inputs`: source by input pad; `outputs`: by output pad; `duration`: seconds of frames to take in."""
        self.graph, self.inputs, self.outputs, self.duration = graph, dict(inputs), dict(outputs), duration
        self.done = False
        self.failures = self.lost = 0
        self.not_before = 0.0

    @property
    def sources(self) -> frozenset[str]:
        """The sources that feed it."""
        return frozenset(self.inputs.values())

    def describe(self, source: str, link: Link) -> None:
        """Tell the graph what is known of a source's frames."""
        for pad, name in self.inputs.items():
            if name == source:
                self.graph.describe(pad, link)

    def push(self, source: str, frame: av.VideoFrame | None) -> None:
        """Feed a frame of a source, or its end."""
        for pad, name in self.inputs.items():
            if name == source:
                self.graph.push(frame, pad)

    def ready(self) -> Iterator[tuple[str, Any]]:
        """What the outputs have by now, each as soon as it is there.

        Access units come first: what is found in frames takes longer, and a crash in that time shall not cost them.
        """
        for pad in sorted(self.outputs, key=lambda pad: self.outputs[pad].takes is not LinkType.ACCESS_UNITS):
            while True:
                try:
                    item = self.graph.poll(pad)  # type: ignore[arg-type]
                except av.error.EOFError:
                    break
                if item is None:
                    break
                yield pad, item


@dataclass
class _Feed:
    """A source as its runner sees it."""

    name: str
    source: LiveSource
    shift: Fraction | None = None  # seconds added to its times, so that several sources share a line of time
    last: av.VideoFrame | None = None
    time: float | None = None  # of the last frame
    arrived: float = 0.0  # by the clock
    described: bool = False
    ended: bool = False
    references: References = field(default_factory=References)


class GraphRunner(Runner):
    """Runs graphs that share sources, in a thread of its own between `start` and `join`."""

    def __init__(
        self,
        name: str,
        sources: Mapping[str, LiveSource],
        graphs: Sequence[RunningGraph],
        *,
        watch: Watch | None = None,
        restart: bool = False,
        interval: float = 0.0,
    ) -> None:
        """Run `graphs` on `sources`, which are started and closed by the caller.

        `restart`: a graph that fails begins anew after a second; otherwise its failure ends the runner and is in
        `error`. `interval`: seconds between frames of sources that are thinned, which is no gap. Graphs and outputs are
        closed at the end.
        """
        super().__init__(f"graph {name}")
        self.name = name
        self.graphs = tuple(graphs)
        self._feeds = [_Feed(key, source) for key, source in sources.items()]
        self._watch = watch or Watch()
        self._restart, self._interval = restart, interval
        self._base_utc: int | None = None
        self.capture: Capture | None = None  # of the last frame that came
        self.time: float | None = None  # of that frame, in seconds
        self.generation = 1  # how often graphs began anew, from 1 on
        for running in self.graphs:
            running.graph.observe(self._watch.step)

    # What follows runs in the thread.

    def _run(self) -> None:
        try:
            try:
                while not self._stop.is_set() and not all(running.done for running in self.graphs):
                    if not self._step():
                        break
            finally:
                self._finish()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to: its owner looks at `error`
            self.error = error
        finally:
            self.finished.set()
        while self.error is None and not self._stop.is_set() and self._discard():
            pass

    def _discard(self) -> bool:
        """Take what comes all the same: of a file, packets wait behind frames that nobody takes."""
        open_ = [feed for feed in self._feeds if not feed.source.frames_ended]
        try:
            for feed in open_:
                feed.source.read_frame(_WAIT / len(open_))
        except SourceLostError:
            return False  # whoever still reads the source is told
        return bool(open_)

    def _step(self) -> bool:
        """Take one frame; False when all sources have ended."""
        open_ = [feed for feed in self._feeds if not feed.ended]
        if not open_:
            return False
        if len(self._feeds) == 1:
            self._take(open_[0], open_[0].source.read_frame(_WAIT))
            return True
        # A graph of several inputs cannot begin before each of them has: files wait for cameras to come up.
        starting = any(feed.time is None and not self._is_file(feed) for feed in open_)
        if starting:
            open_ = [feed for feed in open_ if not self._is_file(feed)]
        # The one that lags most first; a file always answers, a camera may have nothing.
        open_.sort(key=lambda feed: float("-inf") if feed.time is None else feed.time)
        for feed in open_:
            frame = feed.source.read_frame(_WAIT if self._is_file(feed) else 0.0)
            if frame is not None or feed.source.frames_ended:
                self._take(feed, frame)
                return True
        self._hold()
        self._stop.wait(_POLL)
        return True

    @staticmethod
    def _is_file(feed: _Feed) -> bool:
        return feed.source.finite

    def _take(self, feed: _Feed, frame: av.VideoFrame | None) -> None:
        if frame is None:
            if feed.source.frames_ended:
                feed.ended = True
                self._end(feed)
            return
        capture = capture_of(frame)
        if len(self._feeds) > 1 and not self._is_file(feed):
            self._align(feed, frame, capture)
        at, now = seconds_of(frame), time.monotonic()
        alone = len(self._feeds) == 1 and not self._is_file(feed)
        if alone and feed.time is not None and at is not None and at - feed.time > max(MAX_GAP, _LATE * self._interval):
            self._begin_anew(feed)
        if not feed.described and feed.source.layout is not None:
            feed.described = True
            for running in self.graphs:
                running.describe(feed.name, Link(LinkType.VIDEO, rate=feed.source.layout.video.rate))
        feed.time, feed.arrived = at, now
        if len(self._feeds) > 1:
            feed.last = frame
            if any(other.time is None and not other.ended and not self._is_file(other) for other in self._feeds):
                self._lose()  # it would wait for a camera that has not come up
                return
        self.capture, self.time = capture, at  # not sooner: what a gap drains out of the graphs is of the frame before
        self._push(feed, frame)
        if capture is not None and not self._is_file(feed):
            self._watch.delay(max(0.0, time.time() - capture.utc_us / 1e6))

    def _lose(self) -> None:
        for running in self.graphs:
            running.lost += 1

    def _align(self, feed: _Feed, frame: av.VideoFrame, capture: Capture | None) -> None:
        """Put cameras on one line of time: each counts from its own first packet, all were seen by one clock."""
        if feed.shift is None:
            assert capture is not None  # live sources give one with every frame
            self._base_utc = capture.utc_us if self._base_utc is None else self._base_utc
            began = capture.utc_us / 1e6 - float(frame.time or 0.0)
            feed.shift = Fraction(round((began - self._base_utc / 1e6) * 1000), 1000)
        if frame.pts is not None and frame.time_base:
            frame.pts += round(feed.shift / Fraction(frame.time_base))

    def _hold(self) -> None:
        """Repeat the last frame of a camera that lags, so that the others need not wait for it."""
        times = [feed.time for feed in self._feeds if feed.time is not None and not feed.ended]
        now = time.monotonic()
        for feed in self._feeds:
            if feed.ended or self._is_file(feed) or feed.last is None or feed.time is None:
                continue
            ahead = max(times)
            if now - feed.arrived > HOLD_AFTER and ahead - feed.time > HOLD_AFTER:
                again = feed.references.reference(feed.last)
                again.pts = round(Fraction(ahead) / Fraction(feed.last.time_base or 1))
                feed.time = ahead
                self._push(feed, again)

    def _push(self, feed: _Feed, frame: av.VideoFrame) -> None:
        at = seconds_of(frame)
        for running in self.graphs:
            if running.done or feed.name not in running.sources:
                continue
            if running.duration is not None and at is not None and at >= running.duration:
                self._drain(running)
                running.done = True
                continue
            if time.monotonic() < running.not_before:
                running.lost += 1
                continue
            self._guard(running, lambda running=running: self._feed(running, feed.name, frame))  # type: ignore[misc]

    def _feed(self, running: RunningGraph, source: str, frame: av.VideoFrame | None) -> None:
        running.push(source, frame)
        self._write(running)

    def _write(self, running: RunningGraph) -> None:
        for pad, item in running.ready():
            if isinstance(item, av.VideoFrame):
                for event in events_of(item):
                    self._watch.event(event)
            link = running.graph.link_at(pad)
            assert link is not None  # an item came out
            running.outputs[pad].write(item, link)

    def _end(self, feed: _Feed) -> None:
        for running in self.graphs:
            if not running.done and feed.name in running.sources:
                self._guard(running, lambda running=running: self._feed(running, feed.name, None))  # type: ignore[misc]

    def _begin_anew(self, feed: _Feed) -> None:
        """After a gap: what is in the graphs comes out, and they forget all they know."""
        for running in self.graphs:
            if not running.done:
                self._drain(running)
                running.graph.reset()
        self.generation += 1
        feed.described = False

    def _drain(self, running: RunningGraph) -> None:
        def drain() -> None:
            running.graph.push(None)
            self._write(running)

        self._guard(running, drain)

    def _guard(self, running: RunningGraph, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # a stage or output may raise anything; it is told, and raised where nobody restarts
            if not self._restart:
                raise
            running.failures += 1
            running.not_before = time.monotonic() + RESTART_AFTER
            self._watch.failed(f"{running.graph.label}: {type(error).__name__}: {error}")
            running.graph.reset()
            self.generation += 1

    def _finish(self) -> None:
        """Drain and close everything, whatever fails on the way; the first failure is raised."""
        first: BaseException | None = None
        for running in self.graphs:
            steps: list[Callable[[], None]] = [running.graph.close, *(one.close for one in running.outputs.values())]
            if not running.done:
                steps.insert(0, lambda running=running: self._drain(running))  # type: ignore[misc]
            for step in steps:
                try:
                    step()
                except Exception as error:  # noqa: BLE001 - the others are finished all the same
                    first = first or error
        for feed in self._feeds:
            feed.references.close()
        if first is not None:
            raise first
