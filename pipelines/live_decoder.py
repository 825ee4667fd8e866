"""The decoding of one live source: packets in, and frames that are due into its queue. No thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av

from duoview.plugins.containers.failure import FAILURES

from .bounded_queue import BoundedQueue
from .lag import Lag
from .live_packet import Taken
from .peer import Peer
from .source_status import DropCause
from .thinning import Thinning

_REORDERED = 64  # packets whose arrival is remembered until their frames come; no codec reorders by more


class LiveDecoder:
    """For the reader's thread alone; `frames` and `lag` may be read by any.

    Frames keep to one line of time over all connections: their times rise.

    Attributes:
        queue: of the frames. frames: how many were put into it.
    """

    def __init__(
        self,
        queue: BoundedQueue[Taken],
        *,
        max_staleness: float,
        thinning: Thinning | None,
        drop: Callable[[DropCause], None],
    ) -> None:
        """`drop` is told of what is not handed out. `max_staleness`: seconds decoding may be behind before it skips."""
        self.queue = queue
        self.frames = 0
        self._max_staleness, self._thinning, self._drop = max_staleness, thinning, drop
        self._lag = Lag()
        self._arrivals: dict[int, tuple[int, int]] = {}  # by pts of packets: when they came, and their epoch
        self._last_time: Fraction | None = None  # of the last frame, in seconds
        self._epoch = self._connection = 0
        self._undecoded = self._skips = False

    @property
    def lag(self) -> float:
        """Seconds by which decoding is behind the peer."""
        return self._lag.seconds

    def begin(self, connection: int, *, skips: bool) -> None:
        """A new connection, of this number; `skips`: packets may be left undecoded."""
        self._lag.reset()
        self._arrivals.clear()
        self._undecoded, self._skips, self._connection = False, skips, connection
        self._epoch += 1

    def jump(self) -> None:
        """The next frame does not follow the one before."""
        self._epoch += 1

    def note(self, arrival: float, media: float, waited: float) -> None:
        """A packet that is decoded at `media` seconds came at `arrival`, after a read of `waited` seconds."""
        self._lag.note(arrival, media, waited)

    def decode(self, peer: Peer, packet: av.Packet[Any], utc: int) -> None:
        """Decode a packet, or leave it out while decoding is behind; its times are known."""
        assert packet.pts is not None
        lag = self.lag
        if self._skips and lag > self._max_staleness:
            self._undecoded = True
        if self._undecoded:
            if lag > self._max_staleness or not packet.is_keyframe:
                self._drop(DropCause.BEHIND)
                return
            peer.flush()
            self._undecoded = False
            self._epoch += 1
        self._arrivals[packet.pts] = utc, self._epoch
        if len(self._arrivals) > _REORDERED:
            del self._arrivals[next(iter(self._arrivals))]
        self._put_all(peer, packet, utc)

    def drain(self, peer: Peer, utc: int) -> None:
        """The frames the decoder still holds, when a connection ends."""
        if not self._undecoded:
            self._put_all(peer, None, utc)

    def _put_all(self, peer: Peer, packet: av.Packet[Any] | None, utc: int) -> None:
        try:
            frames = peer.decode(packet)
        except FAILURES:
            self._drop(DropCause.DAMAGED)
            return
        for frame in frames:
            arrived, epoch = utc, self._epoch
            if frame.pts is not None:
                arrived, epoch = self._arrivals.pop(frame.pts, (arrived, epoch))
            base = Fraction(frame.time_base or 1)
            if self._last_time is not None and (frame.pts is None or frame.pts * base <= self._last_time):
                frame.pts = self._last_time // base + 1
            self._last_time = frame.pts * base if frame.pts is not None else None
            at = self._last_time
            if self._thinning is not None and at is not None and not self._thinning.is_due(at):
                continue
            self.frames += 1
            self.queue.put(Taken(frame, arrived, self._connection, epoch))
