"""Frames with their times in, coded frames in decode order out: runs one standard encoder after the other.

A frame of another size, format or colour, or another quality, starts a new run with a key frame.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction

import av

from duoview.errors import BackendUnavailableError, LimitError
from duoview.kernels import crc32c
from duoview.sequence import SequenceHeader

from .background import Background
from .encoder import InnerEncoder
from .importance import Map
from .payload import BackgroundReference, KeyHeader, write_key, write_packet
from .pictures import coded_colour
from .settings import CODEC_NAMES, InnerCodec, InnerSettings
from .standard import InnerPacket

#: Where frames are reordered, packets begin before their frames; ticks this fine hold those times between the first two
#: frames, so that no time lies before the first frame's (most containers cannot hold that, or would move everything).
_FINE_ENOUGH = Fraction(1, 8000)
_FINER = 32
#: Decode times refer to frames at most this far back: no codec holds more than 16 pictures, encoders' runs included.
_REMEMBERED = 1024


@dataclass(frozen=True)
class FrameTimes:
    """Times of a frame in ticks of its time base."""

    pts: int
    duration: int
    time_base: Fraction

    @property
    def seconds(self) -> Fraction:
        """Presentation time."""
        return self.pts * self.time_base

    def finer(self) -> FrameTimes:
        """The same times in ticks of a fraction of the time base."""
        return FrameTimes(self.pts * _FINER, self.duration * _FINER, self.time_base / _FINER)


def needs_finer_ticks(time_base: Fraction) -> bool:
    """True where the decode times of reordered packets would not fit between the first two frames."""
    return time_base > _FINE_ENOUGH


@dataclass(frozen=True)
class CodedFrame:
    """A frame's inner section and packet; `dts` in ticks of the frame's time base, `q` it was coded with.

    `background`, `background_packet`: section and packet of the background picture that this unit carries, if any.
    """

    payload: bytes
    packet: bytes
    background: bytes | None
    background_packet: bytes
    key: bool
    times: FrameTimes
    dts: int
    q: int
    sequence: SequenceHeader


class DecodeTimes:
    """Gives packets decode times that rise, are never later than their frame's, and never before the first frame's."""

    def __init__(self) -> None:
        self._first: Fraction | None = None
        self._last: Fraction | None = None

    def next(self, wanted: Fraction | None, times: FrameTimes) -> int:
        """The dts of the next packet, in ticks of its frame's time base, as near to `wanted` (seconds) as can be."""
        base = times.time_base
        self._first = times.seconds if self._first is None else self._first
        dts = ((self._first if wanted is None else max(wanted, self._first)) / base).__floor__()
        if self._last is not None and dts * base <= self._last:
            dts = (self._last / base).__floor__() + 1
        dts = min(dts, times.pts)
        self._last = dts * base
        return dts


class InnerStream:
    """The inner encoders of one stream, run after run."""

    def __init__(self, settings: InnerSettings, *, rate: Fraction) -> None:
        self.settings = settings
        self._rate = rate
        self._encoder: InnerEncoder | None = None
        self._sequence: SequenceHeader | None = None
        self._ticket = 0
        self._times: dict[int, FrameTimes] = {}
        self._order = DecodeTimes()
        self._last: Fraction | None = None
        #: The background that was carried last, and the time of the frame it came with.
        self._carried: tuple[Background, Fraction] | None = None
        #: What a run that failed gave in the end; it comes with the next frame.
        self._rescued: list[CodedFrame] = []

    def check(self, times: FrameTimes) -> None:
        """Raise LimitError for a frame that is not later than the one before."""
        if self._last is not None and times.seconds <= self._last:
            raise LimitError(f"pts {times.pts} ({float(times.seconds):.6f} s) follows {float(self._last):.6f} s: "
                             "frames must come in ascending time")

    def coming(self) -> set[Fraction]:
        """Times of the frames whose packets may still come."""
        found = {one.times.seconds for one in self._rescued}
        if self._encoder is not None:
            found |= {times.seconds for times in self._times.values()}
        return found

    def encode(self, frame: av.VideoFrame, sequence: SequenceHeader, times: FrameTimes, *, q: int,
               key: bool, importance: Map | None = None) -> list[CodedFrame]:
        """Encode a frame; what earlier frames still had to come is in front of it where a new run starts.

        LimitError when the frame is not later than the one before. The frame is not altered.
        """
        self.check(times)
        colour = coded_colour(frame)
        if self._encoder is None or sequence != self._sequence or q != self.settings.q or (
                colour != self._encoder.colour):
            settings = dataclasses.replace(self.settings, q=q)
            encoder = InnerEncoder(settings, frame.width, frame.height, rate=self._rate, colour=colour)
            found = self.flush()
            self.settings, self._encoder, self._sequence, key = settings, encoder, sequence, True
        else:
            found, self._rescued = self._rescued, []
        if self.settings.reorders and needs_finer_ticks(times.time_base):
            times = times.finer()
        ticket, self._ticket = self._ticket, self._ticket + 1
        self._times[ticket] = times
        self._times.pop(ticket - _REMEMBERED, None)
        self._last = times.seconds
        try:
            return found + [self._coded(packet) for packet in self._encoder.encode(
                frame, ticket, key=key, importance=importance, seconds=times.seconds)]
        except BaseException:
            rescued = found
            try:
                with contextlib.suppress(BackendUnavailableError):  # that it fails is told already
                    rescued = found + self.flush()
            finally:
                self.drop()
                self._rescued = rescued
            raise

    def flush(self) -> list[CodedFrame]:
        """What is still to come; the next frame starts a new run."""
        found, self._rescued = self._rescued, []
        if self._encoder is not None:
            found += [self._coded(packet) for packet in self._encoder.flush()]
            self._encoder = None
        return found

    def drop(self) -> None:
        """Forget the run that is under way: the next frame is a key frame of a new one. Nothing is encoded any more."""
        encoder, self._encoder, self._rescued = self._encoder, None, []
        if encoder is not None:
            encoder.abandon()

    def _coded(self, packet: InnerPacket) -> CodedFrame:
        assert self._sequence is not None and self._encoder is not None
        times = self._times[packet.ticket]
        before = self._times.get(packet.order)
        dts = self._order.next(before.seconds if before is not None else None, times)
        kind, background = CODEC_NAMES[self.settings.codec], packet.background
        if packet.key:
            reference = self._reference(kind, background, times)
            header = KeyHeader(kind, *self._encoder.size, reference)
            payload = write_key(header, packet.data, self._sequence.width, self._sequence.height)
        else:
            payload = write_packet(kind, packet.data)
        coded = CodedFrame(payload, packet.data, None, b"", packet.key, times, dts, self.settings.q, self._sequence)
        if background is None or background.ticket != packet.ticket:
            return coded
        return dataclasses.replace(coded, background=write_packet(kind, background.packet),
                                   background_packet=background.packet)

    def _reference(self, kind: InnerCodec, background: Background | None, times: FrameTimes
                   ) -> BackgroundReference | None:
        """What a key unit says of the background that its packet refers to."""
        if background is None:
            return None
        if self._carried is None or self._carried[0] != background:
            self._carried = background, times.seconds
        age = (times.seconds - self._carried[1]) * 1000
        return BackgroundReference(crc32c(write_packet(kind, background.packet)), math.ceil(age))
