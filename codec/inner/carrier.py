"""Carries the packets of a video that is coded already as an inner machine layer, without decoding or encoding it."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from duoview.access_unit import Section, SectionType
from duoview.encoder import UnitWriter
from duoview.errors import BitstreamError, LimitError
from duoview.machine import MAX_Q
from duoview.picture import DEFAULT_MAX_PIXELS, check_size
from duoview.profile import Profile
from duoview.sequence import Colour, MachineCodec, SequenceHeader

from .decoder import first_picture
from .payload import (
    KeyHeader,
    can_start,
    is_random_access,
    is_skipped_leading,
    parameter_sets,
    write_key,
    write_packet,
)
from .settings import CODEC_NAMES, InnerCodec
from .stream import DecodeTimes, FrameTimes, needs_finer_ticks

_FILTERS = {InnerCodec.H264: "h264_mp4toannexb", InnerCodec.HEVC: "hevc_mp4toannexb"}


class PacketCarrier:
    """Packets of one video stream in, packets that hold one access unit each out.

    A key unit is what decoding can begin with and nothing behind refers back across: an IDR picture, or AV1's key
    frame; not every picture that a container marks as key. Packets before the first are dropped. pts stay; dts stay
    where they are not before the first unit's pts, which most containers cannot hold.

    Args:
        stream: a video stream of an open PyAV container, H.264, HEVC or AV1; LimitError for others.
        q: what the human view takes the quality for.
    """

    def __init__(self, stream: av.VideoStream, *, q: int = 48, profile: str | Path | Profile = "s",
                 rate: Fraction | None = None, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        if not 0 <= q <= MAX_Q:
            raise LimitError(f"q={q}: expected 0 to {MAX_Q}")
        name = stream.codec_context.codec.canonical_name if stream.codec_context is not None else "an unknown codec"
        if name not in CODEC_NAMES:
            raise LimitError(f"a stream of {name} cannot be carried; expected one of {', '.join(CODEC_NAMES)}")
        self.codec = CODEC_NAMES[name]
        self.profile = profile if isinstance(profile, Profile) else Profile(profile)
        self.rate = Fraction(rate or stream.average_rate or stream.guessed_rate or 0)
        self.sequence: SequenceHeader | None = None
        #: Packets that could not be carried: before the first key unit, or leading pictures that refer back across it.
        self.dropped = 0
        self._sample_aspect = Fraction(stream.sample_aspect_ratio or 0)
        self._q, self._max_pixels = q, max_pixels
        self._extradata = bytes(stream.codec_context.extradata or b"")
        self._reorders = bool(stream.codec_context.has_b_frames) and self.codec is not InnerCodec.AV1
        self._filter = BitStreamFilterContext(_FILTERS[self.codec], stream) if self.codec in _FILTERS else None
        self._units, self._order, self._digest = UnitWriter(), DecodeTimes(), hashlib.sha256()
        self._sets = b""
        self._open_start = False

    def carry(self, packet: av.Packet[Any] | None) -> list[av.Packet[Any]]:
        """The access units of a packet; None at the end of the stream. The packet is not altered.

        Raises LimitError for a packet without a pts, or a picture that is too large.
        """
        if self._filter is None:
            packets = [packet] if packet is not None else []
        else:
            packets = self._filter.filter(packet)
        return [unit for one in packets if one.size for unit in self._carry(one)]

    def symbols_sha256(self) -> str:
        """Digest of all packets carried so far; a decoder of the same units has the same."""
        return self._digest.hexdigest()

    def _carry(self, packet: av.Packet[Any]) -> list[av.Packet[Any]]:
        if packet.pts is None or not packet.time_base:
            raise LimitError("packet without a pts: expected a stream whose container tells times, such as MP4, MKV or "
                             "MPEG-TS; packets of raw streams have none")
        data = bytes(packet)
        key = can_start(self.codec, data, packet.is_keyframe, first=self.sequence is None)
        if self.codec is InnerCodec.HEVC and is_random_access(data):
            self._open_start = self.sequence is None  # leading pictures of later ones have all they refer to
        if key:
            key, data = self._begin(data)
        leading = self._open_start and is_skipped_leading(data)
        if self.sequence is None or leading:
            self.dropped += 1
            return []
        base = Fraction(packet.time_base)
        step = Fraction(1, 1) / self.rate / base if self.rate else Fraction(1)
        times = FrameTimes(packet.pts, packet.duration or max(1, round(step)), base)
        wanted = packet.dts * base if packet.dts is not None else None
        if self._reorders and needs_finer_ticks(base):
            times = times.finer()
        width, height = self.sequence.width, self.sequence.height
        payload = (write_key(KeyHeader(self.codec, width, height), data, width, height) if key
                   else write_packet(self.codec, data))
        unit = self._units.write(Section(SectionType.INNER, None, payload), key=key, q=self._q,
                                 sequence=self.sequence, times=times, dts=self._order.next(wanted, times))
        self._digest.update(data)
        return [unit]

    def _begin(self, data: bytes) -> tuple[bool, bytes]:
        """Whether decoding can really begin with a packet, and the packet with its parameter sets."""
        sets = parameter_sets(self.codec, data)
        if not sets:
            data = self._stored_sets() + data
            sets = parameter_sets(self.codec, data)
        if sets != self._sets or self.sequence is None:
            try:
                frame = first_picture(self.codec, data, self._max_pixels)
            except BitstreamError:
                return False, data
            check_size(frame.width, frame.height, self._max_pixels)
            self.sequence = SequenceHeader(
                width=frame.width, height=frame.height, rate=self.rate, profile=self.profile.name,
                profile_hash=self.profile.stream_hash, machine_codec=MachineCodec.INNER,
                colour=Colour(int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace),
                              int(frame.color_range)),
                sample_aspect_ratio=self._sample_aspect, pixel_format=frame.format.name)
            self._sets = sets
        return True, data

    def _stored_sets(self) -> bytes:
        """The parameter sets that stand in the container only, as they would stand in a packet."""
        if self.codec is InnerCodec.AV1:
            return self._extradata[4:] if self._extradata[:1] == b"\x81" else self._extradata
        return self._extradata if self._extradata.startswith((b"\0\0\1", b"\0\0\0\1")) else b""
