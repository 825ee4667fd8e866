"""Frames in, access units out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from duoview import varint
from duoview.access_unit import KEY_COUNTS, AccessUnit, Section, SectionType, serialize
from duoview.backends import Backend, open_backend
from duoview.decision import SymbolDecision
from duoview.errors import LimitError
from duoview.machine import MAX_Q, MachineLayer
from duoview.picture import DEFAULT_MAX_PIXELS, PictureReader, check_size
from duoview.profile import Profile
from duoview.sequence import Colour, MachineCodec, SequenceHeader


class Encoder:
    """Encodes video frames into packets that hold one access unit each; no lookahead, no reordering.

    Args:
        width, height: size of the first frames; a frame of another size starts a new sequence.
        rate: frames per second, also the time base when frames bring none.
        q: quality index 0..63; may be set later too and holds from the next frame on. gop: frames from one key frame
            to the next.
        profile: bundled name, folder, or Profile. device: ``cpu`` or ``auto``. threads: 0 for all cores.
        sample_aspect: width to height of a sample, for the sequence header; 0 when it is not known.
        max_pixels: larger pictures are refused before memory is taken for them.
        decision: how symbols are rounded and what is not coded at all; None for the default.
    """

    def __init__(self, width: int, height: int, *, rate: Fraction | int = Fraction(25), q: int = 24, gop: int = 50,
                 profile: str | Path | Profile = "s", device: str | Backend = "cpu", threads: int = 0,
                 sample_aspect: Fraction | int = Fraction(0), max_pixels: int = DEFAULT_MAX_PIXELS,
                 decision: SymbolDecision | None = None) -> None:
        self.q = q
        if gop < 1:
            raise LimitError(f"gop={gop}: expected 1 or more frames")
        check_size(width, height, max_pixels)
        self.rate = Fraction(rate)
        if self.rate <= 0:
            raise LimitError(f"rate={rate}: expected a positive number of frames per second")
        self.gop, self.max_pixels, self.sample_aspect = gop, max_pixels, Fraction(sample_aspect)
        self.profile = profile if isinstance(profile, Profile) else Profile(profile)
        self._machine = MachineLayer(self.profile, open_backend(device, threads), encode=True, decision=decision)
        self._reader = PictureReader()
        self._size = (width, height)
        self._index = 0
        self._keys = 0
        self._count = 0
        self._closed = False
        self._restart = True
        self._told_q: int | None = None

    @property
    def q(self) -> int:
        """Quality index of the next frame. Setting one outside of 0..63 raises LimitError."""
        return self._q

    @q.setter
    def q(self, value: int) -> None:
        if not 0 <= value <= MAX_Q:
            raise LimitError(f"q={value}: expected 0 to {MAX_Q}")
        self._q = value

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
        picture = self._reader.read(frame)
        # Until this unit is out: if anything fails on the way, no later frame may refer to what nobody received.
        self._restart = True
        sections = [Section(SectionType.MACHINE, None, self._machine.encode(picture, key=is_key, q=self.q))]
        if is_key or self.q != self._told_q:
            level = bytearray()
            varint.write(level, self.q)
            sections.insert(0, Section(SectionType.QUALITY, None, bytes(level)))
        index = 0 if is_key else self._index + 1
        keys = self._keys + is_key
        unit = AccessUnit(key=is_key, index=index, key_count=(keys - 1) % KEY_COUNTS,
                          sequence=self._sequence(frame) if is_key else None, sections=tuple(sections))
        packet = self._packet(serialize(unit), frame, is_key)
        self._index, self._keys, self._told_q, self._restart = index, keys, self.q, False
        return [packet]

    def symbols_sha256(self) -> str:
        """Digest of all integers coded so far; a decoder of the same units has the same."""
        return self._machine.digest.hexdigest()

    def _sequence(self, frame: av.VideoFrame) -> SequenceHeader:
        return SequenceHeader(
            width=frame.width, height=frame.height, rate=self.rate, profile=self.profile.name,
            profile_sha256=self.profile.sha256, machine_codec=MachineCodec.NEURAL,
            colour=Colour(primaries=int(frame.color_primaries), transfer=int(frame.color_trc),
                          matrix=int(frame.colorspace), range=int(frame.color_range)),
            sample_aspect_ratio=self.sample_aspect, pixel_format=frame.format.name)

    def _packet(self, data: bytes, frame: av.VideoFrame, is_key: bool) -> av.Packet:
        packet = av.Packet(data)
        # Frames that bring no time get the count of frames in units of the frame rate; what duration they bring is in
        # a time base of which nothing else is known then.
        if frame.pts is not None and frame.time_base:
            packet.time_base = frame.time_base
            packet.pts = packet.dts = frame.pts
            duration = frame.duration or round(1 / self.rate / packet.time_base)
        else:
            packet.time_base = 1 / self.rate
            packet.pts = packet.dts = self._count
            duration = 1
        self._count += 1
        packet.duration = max(1, duration)
        packet.is_keyframe = is_key
        return packet
