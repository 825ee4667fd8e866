"""Recording around events only: some seconds before, all of it, some seconds after."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

from duoview.errors import LimitError

from .errors import MediaError
from .live_packet import LivePacket
from .packet_ring import PacketRing
from .recorder import Recorder
from .segment_index import Segment


class EventRecorder:
    """Keeps the last seconds in a ring, and from `trigger` on hands everything to a recorder; passive."""

    def __init__(self, recorder: Recorder, ring: PacketRing, *, after: float = 10.0) -> None:
        """`after`: seconds to go on after the last trigger, by the time of the packets, and then to the next key frame.

        The recorder stays the caller's.
        Raises LimitError for a time below 0.
        """
        if not (math.isfinite(after) and after >= 0):
            raise LimitError(f"event recorder: after={after:g}: expected 0 or more")
        self._recorder, self._ring, self._after = recorder, ring, after
        self._until: float | None = None
        self._triggered = False
        self._left_out = 0

    @property
    def recording(self) -> bool:
        """Whether packets go to the recorder now."""
        return self._until is not None

    def trigger(self) -> None:
        """Something happened now: record from the ring on, or go on for longer. For the thread that writes."""
        self._triggered = True

    def write(self, packet: LivePacket) -> list[Segment]:
        """Take a packet; return the segments that became complete by it.

        Raises what `Recorder.write` raises, once all that is to be recorded was tried: the event goes on.
        """
        done: list[Segment | None] = []
        ready = [packet]
        if self._triggered:
            ready = [*self._begin(), packet]
            self._until = packet.seconds + self._after
        elif self._until is not None and packet.seconds > self._until and packet.is_video_key:
            # At a key frame, so that the ring can take over with this very packet.
            self._until, self._left_out = None, self._ring.left_out
            self._ring.add(packet)
            done.append(self._recorder.cut())
            ready = []
        if self._until is not None:
            done += self._write(ready)
        else:
            for held in ready:
                self._ring.add(held)
        return [segment for segment in done if segment is not None]

    def close(self) -> Segment | None:
        """End the recording that is under way, if one is; the recorder stays open.

        An event after the last packet is recorded too: a camera that is torn off sends none after it.
        """
        ready = self._begin() if self._triggered else []
        self._until, self._left_out = None, -1
        try:
            self._write(ready)
        finally:
            done = self._recorder.cut()
        return done

    def _begin(self) -> list[LivePacket]:
        """Take up a trigger: what the ring holds, where no recording is under way."""
        self._triggered = False
        if self._until is not None:
            return []
        if self._ring.left_out > self._left_out:
            self._recorder.mark_gap()
        return self._ring.take()

    def _write(self, packets: list[LivePacket]) -> list[Segment | None]:
        """Record packets; where one fails, the others all the same."""
        done: list[Segment | None] = []
        failure: MediaError | None = None
        for packet in packets:
            try:
                done.append(self._recorder.write(packet))
            except MediaError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
