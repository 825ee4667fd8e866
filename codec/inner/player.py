"""Inner packets in, pictures in the order in which they are shown out; lost units among them, in their places.

A standard decoder is never handed a stream with a hole: at the first loss it is drained and dropped, and the next one
starts at a key unit. What is lost until then is shown as a repetition, at its own time. Since a decoder may give frames
in another order than their packets came, repetitions wait until nothing earlier can come.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av

from duoview.captions import Caption
from duoview.errors import BitstreamError
from duoview.kernels import crc32c

from .decoder import MAX_PADDING, InnerDecoder, first_picture
from .payload import BackgroundReference, KeyHeader, can_start, read_packet
from .settings import InnerCodec

#: Packets without a frame (second fields, damage that a decoder does not report) are forgotten beyond this many.
_MAX_WAITING = 64
#: Pictures that may come before a picture and be shown after it, at most, in H.264 and HEVC. How many there really are
#: is known when so many packets were decoded.
_DEEPEST = 16


@dataclass(frozen=True)
class UnitTimes:
    """What a frame takes over from its access unit: times in ticks of the time base, whether it is to be shown, q.

    ``group`` counts key units: frames of two groups are decoded independently of one another. ``caption``, ``seed``:
    those that were sent, None where none was.
    """

    pts: int | None = None
    duration: int | None = None
    time_base: Fraction | None = None
    discard: bool = False
    q: int = 0
    group: int = 0
    caption: Caption | None = None
    seed: int | None = None

    @classmethod
    def of(cls, packet: av.Packet[Any] | bytes, *, discard: bool = False, q: int = 0,
           caption: Caption | None = None, seed: int | None = None) -> UnitTimes:
        """The times of a packet; bytes have none."""
        if not isinstance(packet, av.Packet):
            return cls(discard=discard, q=q, caption=caption, seed=seed)
        base = Fraction(packet.time_base) if packet.time_base else None
        return cls(packet.pts, packet.duration or None, base, discard, q, caption=caption, seed=seed)

    @property
    def seconds(self) -> Fraction | None:
        """Presentation time, None where there is none."""
        return self.pts * Fraction(self.time_base) if self.pts is not None and self.time_base else None


@dataclass(frozen=True)
class Shown:
    """One picture to show: a decoded frame and the coded size in it, or None for a repetition of the last picture."""

    times: UnitTimes
    frame: av.VideoFrame | None = None
    size: tuple[int, int] = (0, 0)


class InnerPlayer:
    """Feeds standard decoders with the packets of one stream and keeps their frames in order."""

    def __init__(self, *, threads: int = 0) -> None:
        self._threads = threads
        self._decoder: InnerDecoder | None = None
        self._header: KeyHeader | None = None
        self._ticket = 0
        self._waiting: dict[int, UnitTimes] = {}
        self._held: list[Shown] = []
        self._depth = self._fed = self._group = 0
        self._unknown = False
        #: The last background picture: CRC-32C of its section, and its packet. It outlives a loss and a seek.
        self._background: tuple[int, bytes] | None = None
        #: True once a packet was fed since the start or the last reset: there is, or will be, a picture to repeat.
        self.started = False

    @property
    def codec(self) -> InnerCodec:
        """The codec of the packets to come. BitstreamError before the first key unit."""
        if self._header is None:
            raise BitstreamError("inner packet without a key unit before it", offset=0)
        return self._header.codec

    @property
    def group(self) -> int:
        """Number of the group that the last key unit began."""
        return self._group

    def begin(self, header: KeyHeader, carried: bytes | None = None) -> tuple[list[Shown], bytes]:
        """Get ready for a key unit: with another header, or after a flush or a loss, a new decoder takes over.

        carried: the section of the background picture that the unit carries. Returns what was still to come of the
        group before, and the packet in that section, empty without it. BitstreamError when what the unit refers to is
        not there or no picture.
        """
        background = self._background_of(header, carried)
        self._group += 1
        header = replace(header, background=None)
        left: list[Shown] = []
        if self._decoder is None or header != self._header:
            left = self.flush()
            if header != self._header:
                self._depth = self._fed = 0
            self._decoder = InnerDecoder(header.codec, header.width, header.height, threads=self._threads)
            self._header = header
        if background is not None:
            # It is not shown: no frame waits for its ticket.
            ticket, self._ticket = self._ticket, self._ticket + 1
            try:
                left += self._take(self._decoder.decode(background, ticket))
            except BitstreamError:
                self._held = left + self._held
                raise
        return left, background if background is not None and carried is not None else b""

    def _background_of(self, header: KeyHeader, carried: bytes | None) -> bytes | None:
        """The packet of the background picture that a key unit refers to."""
        wanted = header.background
        if carried is not None:
            crc = crc32c(carried)
            if wanted is None or wanted != BackgroundReference(crc, 0):
                said = "none" if wanted is None else str(wanted)
                raise BitstreamError(f"key unit carries background picture {crc:08x} and refers to {said}", offset=0)
            packet = read_packet(header.codec, carried)
            if self._background != (crc, packet):
                # A decoder that makes no picture of it would make none of what refers to it either, and say nothing.
                if not can_start(header.codec, packet, True, first=True):
                    raise BitstreamError(f"background picture {crc:08x} is none that decoding can begin with", offset=0)
                first_picture(header.codec, packet, (header.width + MAX_PADDING) * (header.height + MAX_PADDING))
                self._background = crc, packet
        if wanted is None:
            return None
        if self._background is None or self._background[0] != wanted.crc:
            raise BitstreamError(f"key unit refers to a {wanted}, which was not received", offset=0)
        return self._background[1]

    def feed(self, packet: bytes, times: UnitTimes) -> list[Shown]:
        """Decode the packet of an intact unit. BitstreamError when the decoder refuses it; then call `lose`."""
        if self._decoder is None:
            raise BitstreamError("inner packet without a key unit before it", offset=0)
        ticket, self._ticket = self._ticket, self._ticket + 1
        self._waiting[ticket] = replace(times, group=self._group)
        try:
            frames = self._decoder.decode(packet, ticket)
        except BitstreamError:
            del self._waiting[ticket]
            raise
        self.started = True
        shown = self._take(frames)
        self._fed += 1
        self._depth = max(self._depth, len(self._waiting))
        self._unknown = self._fed < _DEEPEST and self._decoder.reorders
        while len(self._waiting) > _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        return shown

    def lose(self, times: UnitTimes) -> list[Shown]:
        """A unit that cannot be decoded: returns what can be shown by now."""
        self.interrupt()
        self._held.append(Shown(times))
        self._sort()
        ready = max(0, len(self._held) - (_DEEPEST if self._unknown else self._depth))
        shown, self._held = self._held[:ready], self._held[ready:]
        return shown

    def flush(self) -> list[Shown]:
        """All that is left; the next unit must be a key unit."""
        self.interrupt()
        self._sort()
        shown, self._held = self._held, []
        return shown

    def reset(self) -> None:
        """Forget everything, after a seek."""
        self._decoder, self._header, self._depth, self._fed, self.started = None, None, 0, 0, False
        self._waiting.clear()
        self._held.clear()

    def interrupt(self) -> None:
        """Drain and drop the decoder: what it was fed is still shown, and the next unit must be a key unit."""
        if self._decoder is None:
            return
        with contextlib.suppress(BitstreamError):  # a loss is told already; what came before it was shown
            self._held += self._take(self._decoder.flush())
        self._decoder = None
        self._waiting.clear()

    def _take(self, frames: list[tuple[int, av.VideoFrame]]) -> list[Shown]:
        assert self._header is not None
        size = (self._header.width, self._header.height)
        return [Shown(self._waiting.pop(ticket), frame, size) for ticket, frame in frames if ticket in self._waiting]

    def _sort(self) -> None:
        """Into the order of presentation; pictures without a time stay where they are."""
        if all(shown.times.seconds is not None for shown in self._held):
            self._held.sort(key=lambda shown: shown.times.seconds or Fraction(0))
