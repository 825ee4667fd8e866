"""A second reader of access units, after docs/bitstream.md alone: both forms, what the texture layer needs of them."""

from __future__ import annotations

import runpy
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

RANS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("reference_rans.py"))))
Refused, varint = RANS.Refused, RANS.varint
QUALITY, PALETTE, TEXTURE, DEPTH_MAP = 3, 16, 17, 18


@dataclass(frozen=True)
class Sequence:
    """Of a sequence header, what texture needs."""

    width: int
    height: int
    groups: int
    depth: int
    tile_log2: int


@dataclass(frozen=True)
class Unit:
    """One unit. sections: payloads by type and sub-index (0 where a type has none), None for those that are damaged."""

    key: bool
    index: int
    key_count: int
    sequence: Sequence | None
    sections: dict[tuple[int, int], bytes | None] = field(default_factory=dict)


def crc32c(data: bytes) -> int:
    """RFC 3720, bit by bit."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def _crc_at(data: bytes, at: int) -> int:
    return int.from_bytes(data[at:at + 4], "little")


def read_unit(data: bytes) -> Unit:
    """A unit of either form; Refused where none of it can be used."""
    if 0x80 <= data[0] < 0xC0:
        return _compact(data)
    if data[:2] != b"\xd5\x02":
        raise Refused("no access unit of version 2")
    return _long(data)


def _compact(data: bytes) -> Unit:
    if _crc_at(data, len(data) - 4) != crc32c(b"\xd5" + data[:-4]):
        raise Refused("the CRC of the unit is wrong")
    key, kind, sequence = bool(data[0] & 32), 2 if data[0] & 16 else 1, None
    sections: dict[tuple[int, int], bytes | None] = {}
    if key:
        index, sections[QUALITY, 0] = 0, data[1:2]
        sequence, at = _sequence(data, 2)
    else:
        index, at = varint(data, 1)
    sections[kind, 0] = data[at:-4]
    return Unit(key, index, data[0] & 15, sequence, sections)


def _long(data: bytes) -> Unit:
    flags, sequence = data[2], None
    index, at = varint(data, 3)
    if flags & 4:
        sequence, at = _sequence(data, at)
    if flags & 8:
        at += 8
    count, at = varint(data, at)
    table = []
    for _ in range(count):
        if at >= len(data):
            raise Refused("the header is cut off")
        type_, sub_index = data[at], 0
        at += 1
        if type_ in (PALETTE, TEXTURE):
            sub_index, at = varint(data, at)
        length, at = varint(data, at)
        table.append((type_, sub_index, length))
    if at + 4 > len(data) or _crc_at(data, at) != crc32c(data[:at]):
        raise Refused("the CRC of the header is wrong")
    at += 4
    sections: dict[tuple[int, int], bytes | None] = {}
    for type_, sub_index, length in table:
        payload = data[at:at + length]
        whole = at + length + 4 <= len(data) and _crc_at(data, at + length) == crc32c(payload)
        sections[type_, sub_index] = payload if whole else None
        at += length + 4
    return Unit(bool(flags & 1), index, flags >> 4, sequence, sections)


def _sequence(data: bytes, at: int) -> tuple[Sequence, int]:
    width, at = varint(data, at)
    height, at = varint(data, at)
    for _ in range(2):  # frame rate
        _, at = varint(data, at)
    length, at = varint(data, at)
    at += length + 16  # name and hash of the profile
    flags = data[at]
    at += 1
    groups, depth, tile_log2 = data[at:at + 3] if flags & 4 else (0, 0, 0)
    at += 3 * bool(flags & 4) + 4 * bool(flags & 8)
    for _ in range(2 * bool(flags & 16)):
        _, at = varint(data, at)
    named = data[at] == 0
    at += 1
    if named:
        length, at = varint(data, at)
        at += length
    return Sequence(width, height, groups, depth, tile_log2), at


def read_records(data: bytes) -> list[bytes]:
    """The units of a raw .dv file without damage, as its module describes it."""
    if data[:8] != b"DUOVIEW\x01":
        raise Refused("no .dv file")
    at = 8
    for _ in range(2):  # time base
        _, at = varint(data, at)
    at += 4
    units = []
    while at < len(data):
        flags, start = data[at + 2], at
        length, at = varint(data, at + 3)
        for _ in range(3 if flags & 2 else 2):  # pts, pts - dts, duration
            _, at = varint(data, at)
        if data[start:start + 2] != b"\xd5\x52" or _crc_at(data, at) != crc32c(data[start:at]):
            raise Refused(f"no record at {start}")
        units.append(data[at + 4:at + 4 + length])
        at += 4 + length
    return units
