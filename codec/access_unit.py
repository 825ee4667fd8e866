"""Access units: all that is coded for one frame, as bytes (docs/bitstream.md) and as dataclasses.

Reading one needs no network. There are two forms, and every unit has exactly one of them. In the compact form, that of
nearly all units, all sections are needed to decode the frame; one CRC-32C covers everything, and damage makes the unit
unreadable (BitstreamError). In the long form the header has a CRC-32C of its own, and so has every payload: damage of
the header makes the unit unreadable, damage of a payload costs that section alone. Every limit is checked before memory
is taken for what it limits.
"""

from __future__ import annotations

import dataclasses
import enum
import struct

from duoview import varint
from duoview.errors import BitstreamError, LimitError
from duoview.kernels import crc32c
from duoview.sequence import SequenceHeader, read_sequence

MAGIC = 0xD5
VERSION = 2
MAX_UNIT_BYTES = 64 << 20
MAX_SECTIONS = 16384
MAX_UTC_US = (1 << 63) - 1
KEY_COUNTS = 16

_KEY, _RESERVED, _SEQUENCE, _UTC = 1, 2, 4, 8
_KEY_COUNT_SHIFT = 4  # the upper half of the flags byte
# The first byte of the compact form; its lower half is the key count. Other versions will have other first bytes.
_COMPACT, _COMPACT_MASK, _COMPACT_KEY, _COMPACT_INNER = 0x80, 0xC0, 0x20, 0x10
_CRC_BYTES = 4
_PREFIX_BYTES = 3  # magic, version, flags
#: Of a compact unit: mark, frame index or quality, CRC.
SMALLEST_COMPACT = 2 + _CRC_BYTES
_SMALLEST_ENTRY = 2  # a section's type and its length
_FIRST_PRIVATE, _FIRST_REQUIRED = 64, 128


class SectionType(enum.IntEnum):
    """Known sections. 64 to 127 are private and droppable; an unknown type from 128 on makes the unit unreadable."""

    MACHINE = 1
    INNER = 2
    QUALITY = 3
    BACKGROUND = 4
    PALETTE = 16
    TEXTURE = 17
    DEPTH_MAP = 18
    CAPTION = 32
    SEED = 33


_KNOWN_TYPES = {int(type_): type_ for type_ in SectionType}
_WITH_SUB_INDEX = frozenset((SectionType.PALETTE, SectionType.TEXTURE))


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """One independently droppable piece of an access unit.

    `sub_index` is the depth for PALETTE, depth << 16 | tile for TEXTURE, and None for every other type.
    """

    type: int
    sub_index: int | None
    payload: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Damage:
    """A section that was left out because its bytes are damaged; type 0 stands for bytes that belong to no section."""

    type: int
    sub_index: int | None
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class SectionEntry:
    """A section as the header announces it: `offset` and `length` of its payload in the unit, in bytes."""

    type: int
    sub_index: int | None
    offset: int
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class UnitHeader:
    """The header of an access unit, its CRC checked; the payloads of the long form not looked at.

    `size` is the length of the whole unit in bytes as the header announces it; a compact unit is all that was given.
    """

    key: bool
    utc_us: int | None
    index: int
    key_count: int
    sequence: SequenceHeader | None
    entries: tuple[SectionEntry, ...]
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class AccessUnit:
    """One frame's header and sections.

    `index` counts access units since the last key frame, in decode order: 0 exactly for a key unit. `key_count` counts
    the stream's key units, modulo 16: a unit and the one before it belong together only if it is the same (a P unit)
    or one more (a key unit). `utc_us` is the time of capture in microseconds since 1970. `damaged` is filled by
    `parse` and ignored by `serialize`.
    """

    key: bool
    utc_us: int | None = None
    index: int = 0
    key_count: int = 0
    sequence: SequenceHeader | None = None
    sections: tuple[Section, ...] = ()
    damaged: tuple[Damage, ...] = ()

    def payload(self, type_: int, sub_index: int | None = None) -> bytes | None:
        """The payload of the section of that type and sub-index, or None when the unit has no such section."""
        for section in self.sections:
            if section.type == type_ and section.sub_index == sub_index:
                return section.payload
        return None


def is_compact(first_byte: int) -> bool:
    """Whether a unit that begins with this byte has the compact form."""
    return first_byte & _COMPACT_MASK == _COMPACT


def serialize(unit: AccessUnit) -> bytes:
    """The bytes of `unit`. LimitError (a ValueError) when it breaks a limit or a rule of the syntax."""
    fault = _rule_broken(unit.key, unit.index, unit.sequence is not None)
    if fault:
        raise LimitError(fault)
    if len(unit.sections) > MAX_SECTIONS:
        raise LimitError(f"access unit has {len(unit.sections)} sections, at most {MAX_SECTIONS} are allowed")
    if not 0 <= unit.key_count < KEY_COUNTS:
        raise LimitError(f"key_count is {unit.key_count}, expected 0 to {KEY_COUNTS - 1}")
    shape = [(section.type, len(section.payload)) for section in unit.sections]
    if _has_compact_form(unit.key, unit.utc_us, unit.sequence is not None, shape):
        return _serialize_compact(unit)
    flags = _KEY * unit.key | _SEQUENCE * (unit.sequence is not None) | _UTC * (unit.utc_us is not None)
    flags |= unit.key_count << _KEY_COUNT_SHIFT
    out = bytearray((MAGIC, VERSION, flags))
    varint.write(out, unit.index)
    if unit.sequence is not None:
        unit.sequence.write(out)
    if unit.utc_us is not None:
        if not 0 <= unit.utc_us <= MAX_UTC_US:
            raise LimitError(f"utc_us is {unit.utc_us}, expected 0 to {MAX_UTC_US}")
        out += struct.pack("<Q", unit.utc_us)
    varint.write(out, len(unit.sections))
    seen: set[tuple[int, int | None]] = set()
    size = 0
    for section in unit.sections:
        if not 1 <= section.type < _FIRST_REQUIRED:
            raise LimitError(f"section type is {section.type}, expected 1 to {_FIRST_REQUIRED - 1}")
        fault = _sub_index_broken(section) or _repeated(seen, section.type, section.sub_index)
        if fault:
            raise LimitError(fault)
        out.append(section.type)
        if section.sub_index is not None:
            varint.write(out, section.sub_index)
        varint.write(out, len(section.payload))
        size += len(section.payload) + _CRC_BYTES
    _check_size(len(out) + _CRC_BYTES + size)
    out += struct.pack("<I", crc32c(out))
    for section in unit.sections:
        out += section.payload
        out += struct.pack("<I", crc32c(section.payload))
    return bytes(out)


def _serialize_compact(unit: AccessUnit) -> bytes:
    machine = unit.sections[-1]
    out = bytearray(((_COMPACT | _COMPACT_KEY * unit.key | _COMPACT_INNER * (machine.type == SectionType.INNER)
                      | unit.key_count),))
    for section in unit.sections:
        fault = _sub_index_broken(section)
        if fault:
            raise LimitError(fault)
    if unit.sequence is not None:
        out += unit.sections[0].payload
        unit.sequence.write(out)
    else:
        varint.write(out, unit.index)
    _check_size(len(out) + len(machine.payload) + _CRC_BYTES)
    out += machine.payload
    out += struct.pack("<I", _compact_crc(out))
    return bytes(out)


def parse_header(data: bytes | bytearray | memoryview) -> UnitHeader:
    """Read and check the header of the access unit at the start of `data`.

    What follows the header of the long form need not be there; a compact unit must be there whole, with nothing behind.
    BitstreamError when it is no access unit, is cut off inside the header, fails its CRC-32C or breaks a rule.
    """
    view = data if isinstance(data, memoryview) else memoryview(data)
    if len(view) and is_compact(view[0]):
        return _parse_compact(view)
    if len(view) < _PREFIX_BYTES:
        raise BitstreamError(f"an access unit has at least {_PREFIX_BYTES} bytes, got {len(view)}", offset=0)
    if view[0] != MAGIC:
        raise BitstreamError(
            f"no access unit: the first byte is 0x{view[0]:02X}, expected 0x{MAGIC:02X} or 0x80 to 0xBF", offset=0
        )
    if view[1] != VERSION:
        raise BitstreamError(f"access unit of version {view[1]}: this decoder reads version {VERSION}", offset=1)
    flags = view[2]
    index, offset = varint.read(view, _PREFIX_BYTES)
    coded = None
    if flags & _SEQUENCE:
        coded, offset = read_sequence(view, offset)
    utc_us, utc_offset = None, offset
    if flags & _UTC:
        if offset + 8 > len(view):
            raise BitstreamError("data ends inside the UTC time", offset=offset)
        utc_us = struct.unpack_from("<Q", view, offset)[0]
        offset += 8
    table_offset = offset
    table, offset = _read_table(view, offset)
    if offset + _CRC_BYTES > len(view):
        raise BitstreamError("data ends inside the CRC of the header", offset=offset)
    if crc32c(view[:offset]) != struct.unpack_from("<I", view, offset)[0]:
        raise BitstreamError("CRC-32C of the access unit's header is wrong", offset=offset)
    # Rules come after the CRC: damage shall be called damage, and a rule broken by an intact header its own name.
    key = bool(flags & _KEY)
    fault = _rule_broken(key, index, coded is not None)
    if flags & _RESERVED:
        fault = f"flag {_RESERVED} of the access unit is set, expected 0: it is reserved"
    if fault:
        raise BitstreamError(fault, offset=2)
    sequence = coded.header() if coded is not None else None
    if utc_us is not None and utc_us > MAX_UTC_US:
        raise BitstreamError(f"UTC time is {utc_us} us, at most {MAX_UTC_US}", offset=utc_offset)
    entries = []
    seen: set[tuple[int, int | None]] = set()
    offset += _CRC_BYTES
    for at, type_, sub_index, length in table:
        if type_ == 0 or type_ >= _FIRST_REQUIRED:
            raise BitstreamError(f"section type {type_} is required and unknown: a newer decoder is needed", offset=at)
        fault = _repeated(seen, type_, sub_index)
        if fault:
            raise BitstreamError(fault, offset=at)
        entries.append(SectionEntry(_KNOWN_TYPES.get(type_, type_), sub_index, offset, length))
        offset += length + _CRC_BYTES
    if offset > MAX_UNIT_BYTES:
        raise BitstreamError(
            f"access unit announces {offset} bytes, at most {MAX_UNIT_BYTES} are allowed", offset=table_offset
        )
    if _has_compact_form(key, utc_us, sequence is not None, [(entry.type, entry.length) for entry in entries]):
        raise BitstreamError("long form of an access unit that has a compact one", offset=0)
    return UnitHeader(key, utc_us, index, flags >> _KEY_COUNT_SHIFT, sequence, tuple(entries), offset)


def _parse_compact(view: memoryview) -> UnitHeader:
    """Read a compact unit, which is all of `view`."""
    if not SMALLEST_COMPACT <= len(view) <= MAX_UNIT_BYTES:
        raise BitstreamError(
            f"compact access unit has {len(view)} bytes, expected {SMALLEST_COMPACT} to {MAX_UNIT_BYTES}", offset=0
        )
    end = len(view) - _CRC_BYTES
    if _compact_crc(view[:end]) != struct.unpack_from("<I", view, end)[0]:
        raise BitstreamError(f"CRC-32C of the {len(view)} bytes of the access unit is wrong", offset=0)
    mark, body = view[0], view[:end]
    key, index, sequence = bool(mark & _COMPACT_KEY), 0, None
    entries = []
    if key:
        entries.append(SectionEntry(SectionType.QUALITY, None, 1, 1))
        coded, offset = read_sequence(body, 2)
        sequence = coded.header()
    else:
        index, offset = varint.read(body, 1)
        fault = _rule_broken(key, index, False)
        if fault:
            raise BitstreamError(fault, offset=1)
    machine = SectionType.INNER if mark & _COMPACT_INNER else SectionType.MACHINE
    entries.append(SectionEntry(machine, None, offset, end - offset))
    return UnitHeader(key, None, index, mark % KEY_COUNTS, sequence, tuple(entries), len(view))


def parse(data: bytes | bytearray | memoryview) -> AccessUnit:
    """Read an access unit. Damaged or cut off payloads of the long form are left out and listed in `.damaged`.

    BitstreamError when the header, or anything of a compact unit, is damaged, or breaks a rule of the syntax.
    """
    view = data if isinstance(data, memoryview) else memoryview(data)
    header = parse_header(view)
    compact = is_compact(view[0])
    sections = []
    damaged = []
    for entry in header.entries:
        end = entry.offset + entry.length
        if compact:
            sections.append(Section(entry.type, entry.sub_index, bytes(view[entry.offset : end])))
        elif end + _CRC_BYTES > len(view):
            damaged.append(
                Damage(entry.type, entry.sub_index, f"cut off: {len(view)} bytes of {header.size} are there")
            )
        elif crc32c(view[entry.offset : end]) != struct.unpack_from("<I", view, end)[0]:
            damaged.append(Damage(entry.type, entry.sub_index, f"CRC-32C of bytes {entry.offset} to {end} is wrong"))
        else:
            sections.append(Section(entry.type, entry.sub_index, bytes(view[entry.offset : end])))
    if len(view) > header.size:
        damaged.append(Damage(0, None, f"{len(view) - header.size} bytes follow the unit's end at {header.size}"))
    return AccessUnit(
        key=header.key,
        utc_us=header.utc_us,
        index=header.index,
        key_count=header.key_count,
        sequence=header.sequence,
        sections=tuple(sections),
        damaged=tuple(damaged),
    )


def _read_table(view: memoryview, offset: int) -> tuple[list[tuple[int, int, int | None, int]], int]:
    """Read the section table at `offset`: (its own offset, type, sub-index, payload length) of each, and the end."""
    start = offset
    count, offset = varint.read(view, offset)
    if count > MAX_SECTIONS:
        raise BitstreamError(f"access unit has {count} sections, at most {MAX_SECTIONS} are allowed", offset=start)
    if count * _SMALLEST_ENTRY > len(view) - offset:
        raise BitstreamError(f"data ends inside the table of {count} sections", offset=start)
    table: list[tuple[int, int, int | None, int]] = []
    for _ in range(count):
        if offset >= len(view):
            raise BitstreamError("data ends inside the section table", offset=offset)
        at, type_ = offset, view[offset]
        offset += 1
        sub_index = None
        if type_ in _WITH_SUB_INDEX:
            sub_index, offset = varint.read(view, offset)
        length, offset = varint.read(view, offset)
        table.append((at, type_, sub_index, length))
    return table, offset


def _has_compact_form(key: bool, utc_us: int | None, has_sequence: bool, sections: list[tuple[int, int]]) -> bool:
    """Whether a unit whose sections have these types and lengths has the compact form, and thus not the long one."""
    *before, (last, _) = sections or [(0, 0)]
    if utc_us is not None or last not in (SectionType.MACHINE, SectionType.INNER):
        return False
    # The sequence header of a key unit comes with a quality of one byte, as all that are known have it.
    return before == [(SectionType.QUALITY, 1)] if key and has_sequence else not key and not before


def _compact_crc(data: bytearray | memoryview) -> int:
    """CRC-32C of the magic byte, which is left out, and the unit.

    Without that byte, a payload of the long form and its CRC would be a compact unit wherever its first byte fits.
    """
    return crc32c(data, crc32c(bytes((MAGIC,))))


def _check_size(size: int) -> None:
    if size > MAX_UNIT_BYTES:
        raise LimitError(f"access unit has {size} bytes, at most {MAX_UNIT_BYTES} are allowed")


def _sub_index_broken(section: Section) -> str | None:
    if (section.sub_index is not None) == (section.type in _WITH_SUB_INDEX):
        return None
    rule = "needs a" if section.type in _WITH_SUB_INDEX else "has no"
    return f"section type {section.type} {rule} sub-index, got {section.sub_index}"


def _rule_broken(key: bool, index: int, has_sequence: bool) -> str | None:
    if key and index != 0:
        return f"key access unit has frame index {index}, expected 0"
    if not key and index == 0:
        return "access unit without the key flag has frame index 0, expected 1 or more"
    if has_sequence and not key:
        return "sequence header in an access unit without the key flag: only key units carry one"
    return None


def _repeated(seen: set[tuple[int, int | None]], type_: int, sub_index: int | None) -> str | None:
    """What is wrong with a second section of one type and sub-index; only private types may repeat."""
    if type_ >= _FIRST_PRIVATE:
        return None
    if (type_, sub_index) in seen:
        return f"section of type {type_} and sub-index {sub_index} appears twice in one access unit"
    seen.add((type_, sub_index))
    return None
