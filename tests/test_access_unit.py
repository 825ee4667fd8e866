"""Access units: syntax, limits, checksums, golden bytes."""

from __future__ import annotations

import dataclasses
import json
import pickle
import runpy
import struct
from fractions import Fraction
from pathlib import Path

import pytest

from duoview import varint
from duoview.access_unit import (
    MAX_UNIT_BYTES,
    AccessUnit,
    Damage,
    Section,
    SectionType,
    parse,
    parse_header,
    serialize,
)
from duoview.errors import BitstreamError, LimitError
from duoview.kernels import crc32c
from duoview.sequence import Colour, PaletteGeometry, SequenceHeader

GOLDEN = Path(__file__).with_name("golden")
UNITS: dict[str, AccessUnit] = runpy.run_path(str(GOLDEN / "make_access_unit.py"))["UNITS"]
BYTES: dict[str, str] = json.loads((GOLDEN / "access_unit.json").read_text(encoding="utf-8"))


def sequence(**changes: object) -> SequenceHeader:
    """A plain sequence header with some fields changed."""
    plain = SequenceHeader(640, 360, Fraction(30), "s", bytes(16))
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def predicted(payload: bytes, index: int = 1) -> AccessUnit:
    """A P unit with a machine section alone."""
    return AccessUnit(key=False, index=index, sections=(Section(SectionType.MACHINE, None, payload),))


def several(payload: bytes, index: int = 1) -> AccessUnit:
    """A P unit with a machine section and a caption, which has the long form."""
    return AccessUnit(key=False, index=index, sections=(
        Section(SectionType.MACHINE, None, payload), Section(SectionType.CAPTION, None, b"caption")))


def usual_key(**changes: object) -> AccessUnit:
    """A key unit of the compact form."""
    return AccessUnit(key=True, sequence=sequence(**changes), sections=(
        Section(SectionType.QUALITY, None, b"\x18"), Section(SectionType.MACHINE, None, b"machine")))


def sealed(header: bytes) -> bytes:
    """Header bytes of the long form followed by their right CRC."""
    return header + struct.pack("<I", crc32c(header))


def compact(content: bytes) -> bytes:
    """The bytes of a compact unit followed by their right CRC."""
    return content + struct.pack("<I", crc32c(b"\xd5" + content))


@pytest.mark.parametrize("name", list(UNITS))
def test_the_golden_units_serialize_to_the_committed_bytes(name: str) -> None:
    assert serialize(UNITS[name]).hex() == BYTES[name]


@pytest.mark.parametrize("name", list(BYTES))
def test_the_committed_bytes_parse_to_the_golden_units(name: str) -> None:
    assert parse(bytes.fromhex(BYTES[name])) == UNITS[name]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 200, 16383, 300_000])
@pytest.mark.parametrize(("index", "overhead"), [(1, 6), (127, 6), (128, 7), (16383, 7)])
def test_a_p_unit_with_only_a_machine_section_has_6_bytes_of_overhead_7_from_index_128_on(
        size: int, index: int, overhead: int) -> None:
    assert len(serialize(predicted(bytes(size), index))) - size == overhead


def test_a_usual_key_unit_has_32_bytes_of_overhead_its_quality_among_them() -> None:
    unit = usual_key(rate=Fraction(10), pixel_format="yuv420p")
    assert len(serialize(unit)) - len(unit.sections[1].payload) == 32


@pytest.mark.parametrize("name", ["key, usual", "P, machine section alone", "P, inner section alone"])
def test_any_damage_or_truncation_of_a_compact_unit_is_an_error(name: str) -> None:
    data = serialize(UNITS[name])
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            parse(flipped)
    for damaged in (*(data[:end] for end in range(len(data))), data + b"\0", data + b"\xff", data + data):
        with pytest.raises(BitstreamError):
            parse(damaged)


def test_a_compact_unit_that_is_damaged_says_so() -> None:
    with pytest.raises(BitstreamError, match="CRC-32C of the 9 bytes of the access unit is wrong"):
        parse(serialize(predicted(b"abc"))[:-1] + b"\0")


@pytest.mark.parametrize("unit", [predicted(b"abc"), usual_key()])
def test_the_long_form_of_a_unit_that_has_a_compact_one_is_refused(unit: AccessUnit) -> None:
    head = bytearray((0xD5, 2, unit.key | 4 * (unit.sequence is not None)))
    varint.write(head, unit.index)
    if unit.sequence is not None:
        unit.sequence.write(head)
    head.append(len(unit.sections))
    for section in unit.sections:
        head += bytes((section.type, len(section.payload)))
    data = sealed(bytes(head))
    for section in unit.sections:
        data += section.payload + struct.pack("<I", crc32c(section.payload))
    with pytest.raises(BitstreamError, match="long form of an access unit that has a compact one"):
        parse(data)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "at least 3 bytes"),
    (b"\x80", "compact access unit has 5 bytes, expected 6"),
    (b"\x80\x00", "frame index 0, expected 1 or more"),
    (b"\x80\x81\x00", "not in its shortest form"),
    (b"\x80\x81", "data ends inside a varint"),
    (b"\xa0\x18\x01\x01", "data ends inside a varint"),
])
def test_a_compact_unit_that_breaks_a_rule_is_named(content: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        parse(compact(content) if content else b"")


def test_a_payload_of_the_long_form_and_its_crc_are_no_compact_unit() -> None:
    payload = b"\x80\x01payload"
    with pytest.raises(BitstreamError, match="CRC-32C"):
        parse(payload + struct.pack("<I", crc32c(payload)))


def test_the_usual_fields_of_a_sequence_header_are_left_out() -> None:
    usual, unusual = bytearray(), bytearray()
    sequence(pixel_format="yuv420p").write(usual)
    sequence(palette=PaletteGeometry(1, 1, 1), colour=Colour(1, 1, 1, 1), sample_aspect_ratio=Fraction(4, 3),
             pixel_format="yuv420p8000").write(unusual)
    assert len(usual) == 26 and len(unusual) == 26 + 3 + 4 + 2 + 12


@pytest.mark.parametrize(("flags", "fields", "message"), [
    (1 | 4, "00000001", "shortest form, of 26"),
    (1 | 8, "0202020001", "shortest form, of 26"),
    (1 | 16, "000101", "shortest form, of 26"),
    (1, "0000", "shortest form, of 26"),
    (1, "000779757634323070", "shortest form, of 26"),
    (1, "21", "pixel format 33 is unknown, expected 0 to 32"),
    (1 | 32, "01", "flags 0x21, at most 0x1F"),
    (0, "01", "0 is not a valid MachineCodec"),
    (3, "01", "3 is not a valid MachineCodec"),
])
def test_a_sequence_header_that_spells_out_what_is_usual_or_unknown_is_refused(
        flags: int, fields: str, message: str) -> None:
    head = bytearray()
    sequence().write(head)
    content = bytes((0xA0, 24)) + bytes(head[:-2]) + bytes((flags,)) + bytes.fromhex(fields)
    with pytest.raises(BitstreamError, match=message):
        parse(compact(content))


def test_the_header_tells_key_index_sequence_and_the_whole_size_without_the_payloads() -> None:
    unit = UNITS["key, every field and known section"]
    data = serialize(unit)
    header = parse_header(data[: len(data) - 300])
    assert (header.key, header.index, header.sequence, header.size) == (True, 0, unit.sequence, len(data))
    assert [(e.type, e.sub_index, e.length) for e in header.entries] == [
        (s.type, s.sub_index, len(s.payload)) for s in unit.sections
    ]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_object_can_be_parsed(kind: type) -> None:
    assert parse(kind(serialize(predicted(b"abc")))) == predicted(b"abc")


def test_a_damaged_payload_costs_its_section_alone() -> None:
    unit = UNITS["key, every field and known section"]
    data = bytearray(serialize(unit))
    data[data.index(b"palette 1")] ^= 0x40
    read = parse(data)
    assert [(d.type, d.sub_index) for d in read.damaged] == [(SectionType.PALETTE, 1)]
    assert read.sections == tuple(s for s in unit.sections if s.type != SectionType.PALETTE)
    assert "CRC" in read.damaged[0].reason


def test_a_cut_off_unit_keeps_the_sections_that_are_whole() -> None:
    unit = UNITS["key, every field and known section"]
    data = serialize(unit)
    read = parse(data[:-1])
    assert read.sections == unit.sections[:-1]
    assert read.damaged[0].type == 100
    assert "cut off" in read.damaged[0].reason


def test_bytes_after_the_unit_are_reported_and_cost_nothing() -> None:
    read = parse(serialize(several(b"abc")) + b"xyz")
    assert read.payload(SectionType.MACHINE) == b"abc"
    assert [(d.type, d.sub_index) for d in read.damaged] == [(0, None)]


def test_an_unknown_section_type_below_128_is_kept() -> None:
    unit = AccessUnit(key=False, index=3, sections=(Section(50, None, b"new"), Section(127, None, b"own")))
    assert parse(serialize(unit)) == unit


@pytest.mark.parametrize("count", [-1, 16])
def test_a_key_count_outside_of_four_bits_is_refused(count: int) -> None:
    with pytest.raises(LimitError, match=f"key_count is {count}, expected 0 to 15"):
        serialize(AccessUnit(key=False, index=1, key_count=count))


@pytest.mark.parametrize("type_", [0, 128, 255])
def test_a_required_section_type_that_is_unknown_is_an_error(type_: int) -> None:
    data = sealed(bytes((0xD5, 2, 0, 1, 1, type_, 0))) + struct.pack("<I", 0)
    with pytest.raises(BitstreamError, match=f"section type {type_} is required and unknown"):
        parse(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "at least 3 bytes"),
        (b"\xd5\x02", "at least 3 bytes"),
        (b"RIFF....", "first byte is 0x52, expected 0xD5 or 0x80 to 0xBF"),
        (sealed(bytes((0xD5, 1, 0, 1, 0))), "version 1: this decoder reads version 2"),
        (sealed(bytes((0xD5, 2, 1, 4, 0))), "key access unit has frame index 4"),
        (sealed(bytes((0xD5, 2, 0, 0, 0))), "frame index 0, expected 1 or more"),
        (sealed(bytes((0xD5, 2, 0, 0x81, 0x00, 0))), "not in its shortest form"),
        (sealed(bytes((0xD5, 2, 0, 1, 2, 1, 0, 1, 0))), "appears twice"),
        (bytes((0xD5, 2, 0, 1, 0, 0, 0, 0, 0)), "CRC-32C of the access unit's header is wrong"),
    ],
)
def test_a_broken_header_is_one_clear_error(data: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        parse(data)


def test_an_announced_size_above_64_mib_is_refused_without_taking_memory() -> None:
    header = bytes((0xD5, 2, 0, 1, 1, 1)) + bytes((0xFF, 0xFF, 0xFF, 0xFF, 0x0F))
    with pytest.raises(BitstreamError, match=f"at most {MAX_UNIT_BYTES} are allowed"):
        parse(sealed(header))


def test_a_section_count_that_cannot_fit_the_data_is_refused() -> None:
    with pytest.raises(BitstreamError, match="inside the table of 16384 sections"):
        parse(sealed(bytes((0xD5, 2, 0, 1, 0x80, 0x80, 0x01))))


def test_a_section_count_above_the_limit_is_refused() -> None:
    with pytest.raises(BitstreamError, match="16385 sections, at most 16384"):
        parse(sealed(bytes((0xD5, 2, 0, 1, 0x81, 0x80, 0x01)) + bytes(40000)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 16385}, "width is 16385, expected 1 to 16384"),
        ({"height": 0}, "height is 0, expected 1 to 16384"),
        ({"rate": Fraction(-1)}, "numerator of the rate is -1"),
        ({"rate": Fraction(1 << 31)}, "numerator of the rate"),
        ({"profile": "p" * 65}, "bytes of the profile name is 65"),
        ({"profile_hash": b"short"}, "bytes of the profile hash is 5, expected 16"),
        ({"machine_codec": 3}, "machine codec 3 is unknown: 1 is neural, 2 is inner"),
        ({"pixel_format": "ü"}, "not ASCII"),
        ({"pixel_format": "x" * 33}, "bytes of the pixel format name is 33"),
    ],
)
def test_a_sequence_header_outside_the_limits_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(LimitError, match=message):
        sequence(**changes)


# Changes of a key unit's header that no writer of ours makes: at which byte, what to, and what is wrong with it then.
BROKEN_FIELDS = [
    (2, "07", "flag 2 of the access unit is set, expected 0: it is reserved"),
    (3, "01", "key access unit has frame index 1, expected 0"),
    (4, "818001", "width is 16385, expected 1 to 16384"),
    (10, "00", "denominator of the rate is 0"),
    (9, "3c02", "rate is 60/2, expected its lowest terms, 30/1"),
    (12, "ff", "utf-8"),
    (29, "17", "3 is not a valid MachineCodec"),
    (30, "01", "palette of 1 groups and depth 0: both are 0 or neither is"),
    (33, "0402", "sample aspect ratio is 4/2, expected its lowest terms, 2/1"),
    (33, "0003", "sample aspect ratio is 0/3, expected its lowest terms, 0/1"),
    (36, "010180808040", "access unit announces 134217778 bytes, at most 67108864 are allowed"),
]


def key_header(at: int, changed: str) -> bytes:
    """The header of a key unit of 16384x360 without its CRC, with bytes put in at a place."""
    plain = sequence(width=16384, palette=PaletteGeometry(tile_log2=1), sample_aspect_ratio=Fraction(4, 3))
    data = bytearray(serialize(AccessUnit(key=True, sequence=plain))[:-4])
    data[at : at + len(changed) // 2] = bytes.fromhex(changed)
    return bytes(data)


@pytest.mark.parametrize(("at", "changed", "message"), BROKEN_FIELDS)
def test_a_field_that_breaks_a_rule_behind_a_good_crc_is_named(at: int, changed: str, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        parse(sealed(key_header(at, changed)))


@pytest.mark.parametrize(("at", "changed", "message"), BROKEN_FIELDS)
def test_damage_that_happens_to_break_a_rule_is_called_damage(at: int, changed: str, message: str) -> None:
    with pytest.raises(BitstreamError, match="CRC-32C of the access unit's header is wrong"):
        parse(key_header(at, changed) + bytes(4))


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (AccessUnit(key=True, index=1), "frame index 1, expected 0"),
        (AccessUnit(key=False), "frame index 0, expected 1 or more"),
        (AccessUnit(key=False, index=1, sequence=sequence()), "only key units carry one"),
        (AccessUnit(key=False, index=1 << 32), "cannot write 4294967296"),
        (AccessUnit(key=False, index=1, utc_us=-1), "utc_us is -1"),
        (AccessUnit(key=False, index=1, sections=(Section(128, None, b""),)), "section type is 128, expected 1 to 127"),
        (AccessUnit(key=False, index=1, sections=(Section(1, 0, b""),)), "has no sub-index"),
        (AccessUnit(key=False, index=1, sections=(Section(16, None, b""),)), "needs a sub-index"),
        (AccessUnit(key=False, index=1, sections=(Section(1, None, b""),) * 2), "appears twice"),
        (AccessUnit(key=False, index=1, sections=(Section(64, None, b""),) * 16385), "16385 sections, at most 16384"),
        (predicted(bytes(MAX_UNIT_BYTES)), f"at most {MAX_UNIT_BYTES} are allowed"),
    ],
)
def test_a_unit_that_breaks_a_rule_cannot_be_serialized(unit: AccessUnit, message: str) -> None:
    with pytest.raises(LimitError, match=message):
        serialize(unit)


def test_a_parsed_unit_survives_pickling() -> None:
    unit = parse(serialize(several(b"abc"))[:-1])
    assert pickle.loads(pickle.dumps(unit)) == unit
    assert isinstance(unit.damaged[0], Damage)


def test_a_utc_time_beyond_its_range_is_named_with_its_place() -> None:
    head = bytes((0xD5, 2, 8, 1)) + b"\xff" * 8 + b"\0"
    with pytest.raises(BitstreamError, match="UTC time is 18446744073709551615 us") as caught:
        parse(head + crc32c(head).to_bytes(4, "little"))
    assert caught.value.offset == 4


@pytest.mark.parametrize("second", [1, 0, 128])
def test_a_section_that_makes_a_unit_unreadable_is_reported_at_its_place(second: int) -> None:
    with pytest.raises(BitstreamError) as caught:
        parse_header(sealed(bytes((0xD5, 2, 0, 1, 2, 1, 0, second, 0))))
    assert caught.value.offset == 7
