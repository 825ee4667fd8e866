"""One line of time over all connections of a live source: it never goes back, and a gap is as long as it was.

Cameras begin anew at any time after a reconnect, jump when their clock is set, and MPEG-TS wraps after 26.5 hours.
Within a connection the camera's own intervals are kept, tick by tick; at a jump the line goes on at the time of
arrival. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

MAX_STEP = 10.0  # seconds of video between two packets of a stream, beyond what passed meanwhile; more is a jump
_MAX_DELAY = 5.0  # seconds from decoding a frame to showing it; more is a damaged time
_JITTER = 0.5  # seconds a time may lie before its predecessor and still be no jump
_NANO = 1_000_000_000


@dataclass(frozen=True)
class Stamp:
    """Times of a packet on the line, in ticks of its own time base; `jump`: the camera's clock jumped before it."""

    pts: int
    dts: int
    jump: bool


@dataclass
class _Track:
    """Where a stream was last: its dts in nanoseconds and in ticks on the line, and when that packet arrived.

    `delay`: ticks from its dts to its pts.
    """

    place: int
    dts: int
    time_base: Fraction
    arrival: float
    delay: int


class Timeline:
    """Turns the times of packets into times of one line that begins at 0 with the first packet ever.

    Per stream, dts rise strictly; pts are never before dts, nor so long after it that only damage explains it: one such
    time would push all frames after it there, too.
    """

    def __init__(self) -> None:
        self._zero: float | None = None  # arrival of the first packet ever
        self._offsets: list[int] = []  # nanoseconds, the current one first, then the one before the last jump
        self._tracks: dict[int, _Track] = {}

    def begin(self) -> None:
        """A new connection: its first packet sets the offset anew."""
        self._offsets.clear()

    def place(self, stream: int, time_base: Fraction, pts: int | None, dts: int | None, arrival: float) -> Stamp:
        """The times of a packet on the line. `arrival` is the monotonic time in seconds it came at."""
        if self._zero is None:
            self._zero = arrival
        raw = dts if dts is not None else pts
        if raw is None:  # no time at all, as in a raw stream: when it came
            place = round((arrival - self._zero) * _NANO)
            ticks, delay, jump = _ticks(place, time_base), 0, False
        else:
            time = _nanoseconds(raw, time_base)
            offset, jump = self._offset(stream, time, arrival)
            place = time + offset
            # By the offset in ticks, so that intervals stay what they were to the tick.
            ticks = raw + _ticks(offset, time_base)
            delay = max(pts - raw, 0) if pts is not None else 0
        track = self._tracks.get(stream)
        if delay * time_base > _MAX_DELAY:
            delay = track.delay if track is not None and track.time_base == time_base else 0
        if track is not None:
            floor = track.dts if track.time_base == time_base else (track.dts * track.time_base / time_base).__ceil__()
            ticks, place = max(ticks, floor + 1), max(place, track.place)
        self._tracks[stream] = _Track(place, ticks, time_base, arrival, delay)
        return Stamp(ticks + delay, ticks, jump)

    def _offset(self, stream: int, time: int, arrival: float) -> tuple[int, bool]:
        """The offset that puts a time on the line, and whether it had to be made for a jump.

        The offset before the last jump is tried too: of two streams that jump together, one does so first.
        """
        track = self._tracks.get(stream)
        newest = max((one.place for one in self._tracks.values()), default=0)
        for offset in self._offsets:
            if track is None:  # its first packet: near the others, or by a clock of its own
                if abs(time + offset - newest) <= MAX_STEP * _NANO:
                    return offset, False
                continue
            step = (time + offset - track.place) / _NANO
            if -_JITTER <= step <= MAX_STEP + max(0.0, arrival - track.arrival):
                return offset, False
        jump = bool(self._offsets)
        # At the end of all streams at the earliest: no packet of any is pushed behind another.
        elapsed = round((arrival - (self._zero or 0.0)) * _NANO)
        place = max(elapsed, newest + 1) if self._tracks else elapsed
        self._offsets = [place - time, *self._offsets[:1]]
        return self._offsets[0], jump


def _nanoseconds(ticks: int, time_base: Fraction) -> int:
    return ticks * time_base.numerator * _NANO // time_base.denominator


def _ticks(nanoseconds: int, time_base: Fraction) -> int:
    """To the nearest, halves up."""
    return (2 * nanoseconds * time_base.denominator + _NANO * time_base.numerator) // (2 * _NANO * time_base.numerator)
