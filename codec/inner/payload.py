"""The payload of an inner section (docs/bitstream.md), and what is looked up inside the packets of standard codecs.

Packets are Annex B byte streams of H.264 and HEVC, and temporal units of AV1 in the low-overhead format. What every
packet begins (and in AV1 ends) with is left out of the payload and put back when it is read, bit for bit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from duoview import varint
from duoview.errors import BitstreamError

from .settings import InnerCodec

_H264_IDR, _H264_SEI, _H264_SPS = 5, 6, 7
_HEVC_RASL = (8, 9)
_HEVC_IDR, _HEVC_CRA, _HEVC_SPS = (16, 17, 18, 19, 20), 21, 33
_OBU_SEQUENCE_HEADER = 1
#: In front of a packet that stands in the payload as it is.
_AS_IT_IS = 0xFF
#: The first bit of a NAL unit and of an AV1 OBU is 0 by their standards; in a payload it tells which of the two usual
#: beginnings was left out: start codes of 4 or 3 bytes; a temporal delimiter, or nothing.
_OTHER_BEGINNING = 0x80
_BEGINNINGS = {
    InnerCodec.H264: (b"\0\0\0\1", b"\0\0\1"),
    InnerCodec.HEVC: (b"\0\0\0\1", b"\0\0\1"),
    InnerCodec.AV1: (b"\x12\0", b""),
}
# Beside the codec's number: the coded size follows, since it is not the sequence's; and what background is referred to.
_OWN_SIZE, _BACKGROUND = 0x80, 0x40
_OBU_HAS_SIZE = 2
_LONGEST_OBU = (1 << 32) - 1


@dataclass(frozen=True)
class BackgroundReference:
    """The background picture that a key unit's packet is predicted from.

    crc: CRC-32C of its section, which holds its packet as `write_packet` makes it. age: milliseconds from the key unit
    that carries it to this one, rounded up and not less than 1; 0 in the unit that carries it.
    """

    crc: int
    age: int

    def __str__(self) -> str:
        return f"background picture {self.crc:08x}, carried {self.age / 1000:g} s before"


@dataclass(frozen=True)
class KeyHeader:
    """What stands before the packet in a key unit: the codec, and the size of its picture in pixels.

    background: what the packet refers to, None where it needs nothing else.
    """

    codec: InnerCodec
    width: int
    height: int
    background: BackgroundReference | None = None


def write_key(header: KeyHeader, packet: bytes, width: int, height: int) -> bytes:
    """The payload of a key unit in a sequence of width x height."""
    out = bytearray((header.codec,))
    if (header.width, header.height) != (width, height):
        out[0] |= _OWN_SIZE
        varint.write(out, header.width)
        varint.write(out, header.height)
    if header.background is not None:
        out[0] |= _BACKGROUND
        out += struct.pack("<I", header.background.crc)
        varint.write(out, header.background.age)
    return bytes(out) + write_packet(header.codec, packet)


def read_key(payload: bytes, width: int, height: int) -> tuple[KeyHeader, bytes]:
    """Header and packet of a key unit in a sequence of width x height. BitstreamError when a rule is broken."""
    if not payload:
        raise BitstreamError("inner section of a key unit is empty", offset=0)
    number = payload[0] & ~(_OWN_SIZE | _BACKGROUND)
    try:
        codec = InnerCodec(number)
    except ValueError:
        raise BitstreamError(f"inner codec {number} is unknown: 1 H.264, 2 HEVC, 3 AV1", offset=0) from None
    coded_width, coded_height, offset = width, height, 1
    if payload[0] & _OWN_SIZE:
        coded_width, offset = varint.read(payload, 1)
        coded_height, offset = varint.read(payload, offset)
        if not 1 <= coded_width <= width or not 1 <= coded_height <= height:
            raise BitstreamError(
                f"coded size {coded_width}x{coded_height}, expected 1x1 to the sequence's {width}x{height}", offset=1)
        if (coded_width, coded_height) == (width, height):
            raise BitstreamError(f"coded size {width}x{height} is the sequence's, and goes without saying", offset=1)
    background = None
    if payload[0] & _BACKGROUND:
        if offset + 4 > len(payload):
            raise BitstreamError("inner section ends inside the CRC of the background picture", offset=offset)
        (crc,) = struct.unpack_from("<I", payload, offset)
        age, offset = varint.read(payload, offset + 4)
        background = BackgroundReference(crc, age)
    return KeyHeader(codec, coded_width, coded_height, background), read_packet(codec, payload[offset:])


def write_packet(codec: InnerCodec, packet: bytes) -> bytes:
    """A packet as it stands in a payload: without what most packets of its codec begin and end with."""
    body = _without_last_size(packet) if codec is InnerCodec.AV1 else packet
    for beginning, mark in zip(_BEGINNINGS[codec], (0, _OTHER_BEGINNING), strict=True):
        if body.startswith(beginning):
            rest = body[len(beginning) :]
            if rest and not rest[0] & _OTHER_BEGINNING and rest[0] | mark != _AS_IT_IS:
                return bytes((rest[0] | mark,)) + rest[1:]
    return bytes((_AS_IT_IS,)) + packet


def read_packet(codec: InnerCodec, payload: bytes) -> bytes:
    """The inverse of `write_packet`. BitstreamError when it holds no packet, or is not what `write_packet` makes."""
    if payload[:1] == bytes((_AS_IT_IS,)):
        packet = payload[1:]
    elif payload:
        beginning = _BEGINNINGS[codec][payload[0] >> 7]
        packet = beginning + bytes((payload[0] & ~_OTHER_BEGINNING,)) + payload[1:]
        if codec is InnerCodec.AV1:
            packet = _with_last_size(packet)
    else:
        packet = b""
    if not packet:
        raise BitstreamError("inner section holds no packet", offset=0)
    if write_packet(codec, packet) != payload:  # one packet, one payload
        raise BitstreamError("inner section holds a packet in another than its shortest form", offset=0)
    return packet


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



def _last_obu(packet: bytes) -> int:
    """Where the last OBU of a temporal unit begins; its size, if it tells one, need not be right."""
    last = at = 0
    for _, data in _obus(packet):
        last, at = at, at + len(data)
    return last


def _without_last_size(packet: bytes) -> bytes:
    """The temporal unit without the size of its last OBU, which goes to the end; empty where that cannot be undone."""
    at = _last_obu(packet)
    if at >= len(packet) or not packet[at] & _OBU_HAS_SIZE:
        return b""
    head = 1 + (packet[at] >> 2 & 1)
    short = packet[:at] + bytes((packet[at] & ~_OBU_HAS_SIZE,)) + packet[at + 1 : at + head]
    size = bytearray()
    for count in range(1, 6):
        rest = packet[at + head + count :]
        size.clear()
        varint.write(size, len(rest), _LONGEST_OBU)
        if packet[at + head : at + head + count] == size:
            return short + rest
    return b""


def _with_last_size(packet: bytes) -> bytes:
    """The inverse of `_without_last_size`; the packet itself where its last OBU tells its size already."""
    at = _last_obu(packet)
    if packet[at] & _OBU_HAS_SIZE:
        return packet
    head = 1 + (packet[at] >> 2 & 1)
    size = bytearray()
    rest = packet[at + head :]
    varint.write(size, len(rest), _LONGEST_OBU)
    return packet[:at] + bytes((packet[at] | _OBU_HAS_SIZE,)) + packet[at + 1 : at + head] + size + rest
