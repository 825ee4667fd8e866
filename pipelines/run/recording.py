"""Recordings that outlive what goes wrong with them: a full disk, a folder that is gone, a policy that says stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from duoview.errors import Error
from duoview.pipelines.event_recorder import EventRecorder
from duoview.pipelines.live_packet import Capture, LivePacket
from duoview.pipelines.packet_ring import PacketRing
from duoview.pipelines.recorder import Recorder
from duoview.pipelines.segment_index import Segment
from duoview.pipelines.unit_recorder import unit_packet
from duoview.plugins.containers.failure import FAILURES
from duoview.plugins.links import Link, LinkType

from .graph_output import GraphOutput, seconds_of

_MOST_BEHIND = 30.0  # seconds; more is no delay: a filter changed the times
_TELL_AGAIN = 60.0  # seconds after which a failure that goes on is told again


@dataclass(frozen=True)
class RecordingStatus:
    """A moment of a recording.

    segments, seconds, bytes: of complete segments, by this process. lost: packets that were not recorded because of
    failures or a pause, up to the next key frame. failures: how often writing failed. failure: why it does not record
    now, empty where it does. overflowed: packets that would have come before an event and went, as they were more
    bytes than may be held.
    """

    name: str
    segments: int
    seconds: float
    bytes: int
    lost: int
    failures: int
    failure: str
    overflowed: int = 0


class Recording:
    """A recorder of one thread that may be paused by another.

    `close` ends the last segment. Attributes: name: of the recording, as in its files.
    """

    def __init__(
        self, name: str, recorder: Recorder, *, failed: Callable[[str, str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`failed` is told of the recording's name and of what went wrong, once a minute where it goes on."""
        self.name = name
        self._recorder = recorder
        self._told = failed or (lambda name, words: None)
        self._clock = clock
        self._paused = ""  # why; set by other threads
        self._failure = ""
        self._told_at = float("-inf")
        self._segments = self._bytes = self._lost = self._failures = 0
        self._seconds = 0.0

    def write(self, packet: LivePacket) -> None:
        """Record a packet, or count it as lost."""
        if self._paused:
            self._lost += 1
            self._guard(self._interrupt)
            return
        skipped = self._recorder.skipped
        if not self._guard(lambda: self._count(self._put(packet))):
            self._lost += 1
        elif self._recorder.skipped > skipped:
            self._lost += 1  # no key frame yet since the failure, which lasts so long
        else:
            self._failure = ""

    def pause(self, reason: str) -> None:
        """Record nothing until `resume`. From any thread."""
        self._paused = reason

    def resume(self) -> None:
        """Record again, from the next key frame on. From any thread."""
        self._paused = ""

    def status(self) -> RecordingStatus:
        """Counters, and what is wrong."""
        return RecordingStatus(self.name, self._segments, self._seconds, self._bytes, self._lost, self._failures,
                               self._paused or self._failure)

    def close(self) -> None:
        """End the last segment and let go of the index; a failure is told."""
        self._guard(lambda: self._count(self._finish()))
        self._guard(self._recorder.close)

    def _put(self, packet: LivePacket) -> list[Segment]:
        done = self._recorder.write(packet)
        return [done] if done is not None else []

    def _finish(self) -> list[Segment]:
        done = self._recorder.cut()
        return [done] if done is not None else []

    def _interrupt(self) -> None:
        self._count(self._finish())
        self._recorder.mark_gap()

    def _count(self, done: list[Segment]) -> None:
        if done:
            self._guard(self._recorder.tidy)
        for segment in done:
            self._segments += 1
            self._seconds += segment.seconds
            self._bytes += segment.bytes

    def _guard(self, action: Callable[[], Any]) -> bool:
        try:
            action()
        except (Error, *FAILURES) as error:
            self._failures += 1
            self._failure = str(error)
            if self._clock() - self._told_at >= _TELL_AGAIN:
                self._told_at = self._clock()
                self._told(self.name, self._failure)
            return False
        return True


class ClipRecording(Recording):
    """Recordings around events: `trigger` may be called from any thread."""

    def __init__(self, name: str, recorder: Recorder, ring: PacketRing, *, after: float,
                 overflowed: Callable[[str, str], None] | None = None, **settings: Any) -> None:
        """As Recording; `after`: seconds to go on after the last trigger.

        `overflowed` is told of the recording's name and of how many packets the ring gave up for want of bytes, once a
        minute where it goes on.
        """
        super().__init__(name, recorder, **settings)
        self._ring, self._events = ring, EventRecorder(recorder, ring, after=after)
        self._wanted = threading.Event()
        self._overflow_told = overflowed or (lambda name, words: None)
        self._overflowed, self._overflow_told_at = 0, float("-inf")

    def status(self) -> RecordingStatus:
        """Counters, and what is wrong."""
        return replace(super().status(), overflowed=self._ring.overflowed)

    def trigger(self) -> None:
        """Something happened: keep what the ring holds, and go on."""
        self._wanted.set()

    def _put(self, packet: LivePacket) -> list[Segment]:
        if self._wanted.is_set():
            self._wanted.clear()
            self._events.trigger()
        try:
            return self._events.write(packet)
        finally:
            self._tell_overflow()

    def _tell_overflow(self) -> None:
        gone = self._ring.overflowed - self._overflowed
        if gone and self._clock() - self._overflow_told_at >= _TELL_AGAIN:
            self._overflowed, self._overflow_told_at = self._ring.overflowed, self._clock()
            self._overflow_told(self.name, f"{gone} packets before events were given up, as {self._ring.seconds:g} s "
                                           f"are more than {self._ring.limit} bytes; clips begin later: allow more "
                                           "memory")

    def _interrupt(self) -> None:
        # What came before the pause would stand right before what comes after it.
        self._wanted.clear()
        self._ring.take()
        super()._interrupt()

    def _finish(self) -> list[Segment]:
        if self._wanted.is_set():
            self._events.trigger()
        done = self._events.close()
        return [done] if done is not None else []


@dataclass(frozen=True)
class Origin:
    """The last frame that a graph was fed: its capture, its time in seconds, and how often the graph began anew."""

    capture: Capture | None
    time: float | None
    generation: int

    def utc_us(self, item: Any) -> int:
        """When what an access unit shows was captured: filters and encoders may be some frames behind."""
        if self.capture is None:
            return time.time_ns() // 1000
        at = seconds_of(item)
        behind = self.time - at if self.time is not None and at is not None else 0.0
        return self.capture.utc_us - round(behind * 1e6) if 0 < behind <= _MOST_BEHIND else self.capture.utc_us


class UnitRecording(GraphOutput):
    """The access units of a graph into a recording; what a failure costs is counted there."""

    takes = LinkType.ACCESS_UNITS

    def __init__(self, recording: Recording, origin: Callable[[], Origin]) -> None:
        """`origin` tells of the graph's last frame, as an access unit tells no UTC."""
        super().__init__(recording.name)
        self.recording, self._origin = recording, origin

    def write(self, item: Any, link: Link) -> None:
        origin = self._origin()
        # A reconnect is no gap here unless the graph began anew for it: only then does a key unit come.
        capture = Capture(self.name, origin.utc_us(item), origin.generation, False)
        self.recording.write(unit_packet(item, link, capture))
        self.count(item, item.size)

    def close(self) -> None:
        self.recording.close()
