"""Frames in, access units out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from duoview import varint
from duoview.access_unit import AccessUnit, Section, SectionType, serialize
from duoview.backends import Backend, open_backend
from duoview.errors import LimitError
from duoview.machine import MachineLayer, SymbolDecision
from duoview.picture import DEFAULT_MAX_PIXELS, PictureReader, check_size
from duoview.profile import Profile
from duoview.sequence import Colour, MachineCodec, SequenceHeader

MAX_Q = 63


class Encoder:
    """Encodes video frames into packets that hold one access unit each; no lookahead, no reordering.

    Args:
        width, height: size of the first frames; a frame of another size starts a new sequence.
        rate: frames per second, also the time base when frames bring none.
        q: quality index 0..63. gop: frames from one key frame to the next.
        profile: bundled name, folder, or Profile. device: ``cpu`` or ``auto``. threads: 0 for all cores.
        max_pixels: larger pictures are refused before memory is taken for them.
    """

    def __init__(self, width: int, height: int, *, rate: Fraction | int = Fraction(25), q: int = 24, gop: int = 50,
                 profile: str | Path | Profile = "s", device: str | Backend = "cpu", threads: int = 0,
                 max_pixels: int = DEFAULT_MAX_PIXELS, decision: SymbolDecision | None = None) -> None:
        if not 0 <= q <= MAX_Q:
            raise LimitError(f"q={q}: expected 0 to {MAX_Q}")
        if gop < 1:
            raise LimitError(f"gop={gop}: expected 1 or more frames")
        check_size(width, height, max_pixels)
        self.rate = Fraction(rate)
        if self.rate <= 0:
            raise LimitError(f"rate={rate}: expected a positive number of frames per second")
        self.q, self.gop, self.max_pixels = q, gop, max_pixels
        self.profile = profile if isinstance(profile, Profile) else Profile(profile)
        self._machine = MachineLayer(self.profile, open_backend(device, threads), encode=True, decision=decision)
        self._reader = PictureReader()
        self._size = (width, height)
        self._index = 0
        self._count = 0
        self._begun = False
        self._closed = False
        self._restart = True

    def encode(self, frame: av.VideoFrame | None, *, key: bool = False) -> list[av.Packet]:
        """Encode one frame; None flushes (nothing is held back, so nothing comes) and ends the stream.

        The frame is not altered. Raises av.EOFError after the flush, LimitError on an impossible size.
        """
        if self._closed:
            raise av.EOFError(541478725, "encode() after the encoder was flushed")
        if frame is None:
            self._closed = True
            return []
        size = (frame.width, frame.height)
        if size != self._size:
            check_size(*size, self.max_pixels)
            self._size, self._restart = size, True
        is_key = key or self._restart or self._index + 1 >= self.gop
        payload = self._machine.encode(self._reader.read(frame), key=is_key, q=self.q)
        sections = [Section(SectionType.MACHINE, None, payload)]
        if is_key:
            level = bytearray()
            varint.write(level, self.q)
            sections.insert(0, Section(SectionType.QUALITY, None, bytes(level)))
        self._index = 0 if is_key else self._index + 1
        self._restart = False
        unit = AccessUnit(key=is_key, index=self._index, sequence=self._sequence(frame) if is_key else None,
                          sections=tuple(sections))
        return [self._packet(serialize(unit), frame, is_key)]

    def symbols_sha256(self) -> str:
        """Digest of all integers coded so far; a decoder of the same units has the same."""
        return self._machine.digest.hexdigest()

    def _sequence(self, frame: av.VideoFrame) -> SequenceHeader:
        return SequenceHeader(
            width=frame.width, height=frame.height, rate=self.rate, profile=self.profile.name,
            profile_sha256=self.profile.sha256, machine_codec=MachineCodec.NEURAL,
            colour=Colour(primaries=int(frame.color_primaries), transfer=int(frame.color_trc),
                          matrix=int(frame.colorspace), range=int(frame.color_range)),
            sample_aspect_ratio=_aspect(frame), pixel_format=frame.format.name)

    def _packet(self, data: bytes, frame: av.VideoFrame, is_key: bool) -> av.Packet:
        packet = av.Packet(data)
        # Frames that bring no time get the count of frames in units of the frame rate.
        if frame.pts is not None and frame.time_base:
            packet.time_base = frame.time_base
            packet.pts = packet.dts = frame.pts
        else:
            packet.time_base = 1 / self.rate
            packet.pts = packet.dts = self._count
        self._count += 1
        duration = getattr(frame, "duration", 0) or round(1 / self.rate / packet.time_base)
        packet.duration = max(1, duration)
        packet.is_keyframe = is_key
        return packet


def _aspect(frame: av.VideoFrame) -> Fraction:
    """Sample aspect ratio of a frame, 0 when unknown."""
    ratio = getattr(frame, "sample_aspect_ratio", None)
    return Fraction(ratio) if ratio else Fraction(0)
