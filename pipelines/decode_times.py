"""Times that a demuxer could not tell: of the first packets of an RTSP stream with reordered frames, above all.

libavformat learns a stream's dts only from its first frames, and RTSP cannot rewind to tell them. Packets are held back
until one has its dts, and those before it are counted back from there. Pure: it looks at times only.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

_HELD = 32  # packets at most; no codec reorders by more than 16 frames


class Timed(Protocol):
    """What has times in ticks; None is unknown."""

    pts: int | None
    dts: int | None
    duration: int | None


class Held(Protocol):
    """Something around a packet."""

    @property
    def times(self) -> Timed:
        """The times of the packet, to be filled in."""

    @property
    def reorders(self) -> bool:
        """Whether it belongs to the stream whose frames may be reordered."""


HeldT = TypeVar("HeldT", bound=Held)


class DecodeTimes(Generic[HeldT]):
    """Fills in the missing times of one connection's packets; order is kept, over all streams."""

    def __init__(self) -> None:
        self._held: list[HeldT] = []
        self._waiting = True
        self._last: int | None = None
        self._step = 1

    def add(self, item: HeldT) -> list[HeldT]:
        """Take an item; return those whose times are known as well as they ever will be."""
        if not self._waiting:
            self._fill(item)
            return [item]
        self._held.append(item)
        known = item.reorders and item.times.dts is not None
        return self.release() if known or len(self._held) >= _HELD else []

    def release(self) -> list[HeldT]:
        """Everything that is held back, as when the connection ends."""
        held, self._held = self._held, []
        self._waiting = False
        video = [item.times for item in held if item.reorders]
        following = next((times.dts for times in reversed(video) if times.dts is not None), None)
        if following is not None:
            for times in reversed(video[:-1]):
                if times.dts is None:
                    times.dts = following - (times.duration or 1)
                following = times.dts
        shown = [times.pts for times in video if times.pts is not None]
        for times in video:
            if times.pts is None and times.dts is not None:
                # The first frame is a key frame, shown before all that follow it.
                times.pts = max(times.dts, min(shown) - (times.duration or 1)) if shown else times.dts
        for item in held:
            self._fill(item)
        return held

    def _fill(self, item: HeldT) -> None:
        times = item.times
        if not item.reorders:
            return
        if times.dts is None and self._last is not None:
            times.dts = self._last + self._step
            if times.pts is not None:
                times.dts = min(times.dts, times.pts)
        if times.pts is None:
            times.pts = times.dts
        self._step = times.duration or self._step
        self._last = times.dts if times.dts is not None else self._last
