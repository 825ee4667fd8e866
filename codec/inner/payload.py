"""The payload of an inner section (docs/bitstream.md), and what is looked up inside the packets of standard codecs.

Packets are Annex B byte streams of H.264 and HEVC, and temporal units of AV1 in the low-overhead format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from duoview import varint
from duoview.errors import BitstreamError

from .settings import InnerCodec

_H264_IDR, _H264_SEI, _H264_SPS = 5, 6, 7
_HEVC_RASL = (8, 9)
_HEVC_IDR, _HEVC_CRA, _HEVC_SPS = (16, 17, 18, 19, 20), 21, 33
_OBU_SEQUENCE_HEADER = 1


@dataclass(frozen=True)
class KeyHeader:
    """What stands before the packet in a key unit: the codec, and the size of its picture in pixels."""

    codec: InnerCodec
    width: int
    height: int

    def write(self) -> bytes:
        """The coded header."""
        out = bytearray((self.codec,))
        varint.write(out, self.width)
        varint.write(out, self.height)
        return bytes(out)


def read_key(payload: bytes, width: int, height: int) -> tuple[KeyHeader, bytes]:
    """Header and packet of a key unit in a sequence of width x height. BitstreamError when a rule is broken."""
    if not payload:
        raise BitstreamError("inner section of a key unit is empty", offset=0)
    try:
        codec = InnerCodec(payload[0])
    except ValueError:
        raise BitstreamError(f"inner codec {payload[0]} is unknown: 1 H.264, 2 HEVC, 3 AV1", offset=0) from None
    coded_width, offset = varint.read(payload, 1)
    coded_height, offset = varint.read(payload, offset)
    if not 1 <= coded_width <= width or not 1 <= coded_height <= height:
        raise BitstreamError(
            f"coded size {coded_width}x{coded_height}, expected 1x1 to the sequence's {width}x{height}", offset=1)
    if offset == len(payload):
        raise BitstreamError("inner section of a key unit holds no packet", offset=offset)
    return KeyHeader(codec, coded_width, coded_height), payload[offset:]


def nal_units(packet: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B packet, each with its start code and what padding follows it."""
    start = packet.find(b"\0\0\1")
    while start >= 0:
        following = packet.find(b"\0\0\1", start + 3)
        # A zero byte before the start code belongs to it.
        end = len(packet) if following < 0 else following - (packet[following - 1] == 0)
        first = start - (start > 0 and packet[start - 1] == 0)
        yield packet[first:end]
        start = following


def nal_type(codec: InnerCodec, unit: bytes) -> int:
    """The type of a NAL unit with its start code; -1 when nothing follows it."""
    at = unit.find(b"\0\0\1") + 3
    if at >= len(unit):
        return -1
    return unit[at] & 0x1F if codec is InnerCodec.H264 else unit[at] >> 1 & 0x3F


def without_messages(packet: bytes) -> bytes:
    """An H.264 packet without its SEI messages: an encoder's banner costs more than many a frame."""
    units = list(nal_units(packet))
    kept = [unit for unit in units if nal_type(InnerCodec.H264, unit) != _H264_SEI]
    return packet if len(kept) == len(units) else b"".join(kept)


def parameter_sets(codec: InnerCodec, packet: bytes) -> bytes:
    """The bytes that say of what size and format the pictures are: SPS, or AV1's sequence header; none without."""
    if codec is InnerCodec.AV1:
        return b"".join(data for kind, data in _obus(packet) if kind == _OBU_SEQUENCE_HEADER)
    wanted = _H264_SPS if codec is InnerCodec.H264 else _HEVC_SPS
    return b"".join(unit for unit in nal_units(packet) if nal_type(codec, unit) == wanted)


def can_start(codec: InnerCodec, packet: bytes, flagged: bool, *, first: bool) -> bool:
    """True when decoding may begin with this packet and nothing behind it refers to what is before.

    An HEVC picture of clean random access is that only at the very start (`first`), without its leading pictures; an
    H.264 picture only when it is an IDR, whatever the container's key flag (`flagged`) says.
    """
    if codec is InnerCodec.AV1:
        return flagged
    kinds = {nal_type(codec, unit) for unit in nal_units(packet)}
    if codec is InnerCodec.H264:
        return _H264_IDR in kinds
    return bool(kinds & set(_HEVC_IDR)) or (first and _HEVC_CRA in kinds)


def is_random_access(packet: bytes) -> bool:
    """True for an HEVC picture at which decoding may begin, except for the leading pictures behind it."""
    return any(nal_type(InnerCodec.HEVC, unit) in (*_HEVC_IDR, _HEVC_CRA) for unit in nal_units(packet))


def is_skipped_leading(packet: bytes) -> bool:
    """True for an HEVC picture that refers to what is before the random access picture it follows (RASL)."""
    return any(nal_type(InnerCodec.HEVC, unit) in _HEVC_RASL for unit in nal_units(packet))


def _obus(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of the open bitstream units of a temporal unit; ends where they are damaged."""
    at = 0
    while at < len(packet):
        start, head = at, packet[at]
        at += 1 + (head >> 2 & 1)
        if head & 0x80 or not head & 2:  # forbidden bit; without a size the unit takes the rest
            yield head >> 3 & 15, packet[start:]
            return
        size = shift = 0
        while at < len(packet) and shift <= 56:
            byte = packet[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += size
        yield head >> 3 & 15, packet[start:at]
