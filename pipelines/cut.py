"""Cutting in time: ``-ss``, ``-t``, ``-to`` and ``-frames:v``, and the times of frames and packets in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import av

from .options import FileArguments


@dataclass(frozen=True)
class Cut:
    """The part of a stream that is written. Times in seconds, counted from `zero` on the stream's own clock.

    What is kept is shifted so that `start` becomes the stream's zero, as ffmpeg does with ``-ss`` before an output.
    """

    zero: Fraction = Fraction(0)
    start: Fraction = Fraction(0)
    duration: Fraction | None = None
    frames: int | None = None

    @classmethod
    def of(cls, output: FileArguments) -> Self:
        """What the options of an output ask for."""
        return cls(start=output.get("ss", Fraction(0)), duration=output.get("t"),
                   frames=output.get("frames:v", output.get("frames")))

    def is_before(self, item: Any) -> bool:
        """True for what lies before the part that is kept."""
        at = item_time(item)
        return bool(self.start) and at is not None and at - self.zero < self.start

    def is_after(self, item: Any, frames: int) -> bool:
        """True for what lies behind it, when `frames` frames were kept already."""
        if self.frames is not None and frames >= self.frames:
            return True
        at = item_time(item)
        return self.duration is not None and at is not None and at - self.zero >= self.start + self.duration

    def expected(self, total: Fraction | None, rate: Fraction | None) -> Fraction | None:
        """Seconds of output to come from `total` seconds of input, None where unknown."""
        ends = [total - self.start] if total is not None else []
        ends += [self.duration] if self.duration is not None else []
        ends += [self.frames / rate] if self.frames is not None and rate else []
        return max(min(ends), Fraction(0)) if ends else None


class TimeOrder:
    """Lets frames through whose time is later than that of the one before; encoders and containers need that."""

    def __init__(self) -> None:
        self.dropped = 0
        self._last: Fraction | None = None

    def admits(self, frame: Any) -> bool:
        """True when the frame may follow; otherwise it is counted as dropped."""
        at = item_time(frame)
        if at is not None and self._last is not None and at <= self._last:
            self.dropped += 1
            return False
        self._last = at if at is not None else self._last
        return True

    def complaint(self, name: str) -> str:
        """What to tell about dropped frames; empty when there were none."""
        return f"{name}: {self.dropped} frames dropped: not later than the one before" if self.dropped else ""


def item_time(item: av.VideoFrame | av.Packet[Any]) -> Fraction | None:
    """Presentation time in seconds, None where there is none."""
    if item.pts is None or not item.time_base:
        return None
    return item.pts * Fraction(item.time_base)


def is_priming(packet: av.Packet[Any]) -> bool:
    """True for a packet that ends at or before time 0: what audio encoders put in front for decoders to warm up.

    Most containers cannot hold negative times and would move the video for it.
    """
    at = item_time(packet)
    return at is not None and at < 0 and at + (packet.duration or 0) * Fraction(packet.time_base) <= 0


def shift_item(item: av.VideoFrame | av.Packet[Any], seconds: Fraction) -> None:
    """Take `seconds` off the times of a frame or packet."""
    if not item.time_base:
        return
    ticks = round(seconds / Fraction(item.time_base))
    if item.pts is not None:
        item.pts -= ticks
    if isinstance(item, av.Packet) and item.dts is not None:
        item.dts -= ticks
