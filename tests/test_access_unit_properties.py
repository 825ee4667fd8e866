"""Properties of access units under arbitrary content and arbitrary damage."""

from __future__ import annotations

import contextlib
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duoview import varint
from duoview.access_unit import AccessUnit, Section, SectionType, parse, parse_header, serialize
from duoview.errors import BitstreamError
from duoview.kernels import crc32c
from duoview.sequence import Colour, MachineCodec, PaletteGeometry, SequenceHeader

# A loaded machine is no reason to fail: no deadline, and slow generation of the first text is tolerated.
BOUNDED = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

BYTE = st.integers(0, 255)
TERM = st.integers(1, (1 << 31) - 1)
SEQUENCES = st.builds(
    SequenceHeader,
    width=st.integers(1, 16384),
    height=st.integers(1, 16384),
    rate=st.builds(Fraction, st.integers(0, (1 << 31) - 1), TERM),
    profile=st.text(max_size=16),
    profile_hash=st.binary(min_size=16, max_size=16),
    machine_codec=st.sampled_from(MachineCodec),
    palette=st.one_of(
        st.just(PaletteGeometry()), st.builds(PaletteGeometry, st.integers(1, 255), st.integers(1, 255), BYTE)
    ),
    colour=st.builds(Colour, BYTE, BYTE, BYTE, BYTE),
    sample_aspect_ratio=st.builds(Fraction, st.integers(0, (1 << 31) - 1), TERM),
    pixel_format=st.text(st.characters(max_codepoint=127), max_size=32),
)
PAYLOADS = st.binary(max_size=60)
SECTIONS = st.one_of(
    st.builds(Section, st.sampled_from([1, 2, 3, 18, 32, 33, 50, 64, 127]), st.none(), PAYLOADS),
    st.builds(
        Section, st.sampled_from([SectionType.PALETTE, SectionType.TEXTURE]), st.integers(0, (1 << 32) - 1), PAYLOADS
    ),
)
QUALITY = st.builds(Section, st.just(SectionType.QUALITY), st.none(), st.binary(max_size=2))
MACHINE = st.builds(Section, st.sampled_from((SectionType.MACHINE, SectionType.INNER)), st.none(), PAYLOADS)
SECTION_LISTS = st.one_of(
    st.lists(SECTIONS, max_size=6, unique_by=lambda s: (s.type, s.sub_index)).map(tuple),
    st.tuples(QUALITY, MACHINE),
    st.tuples(MACHINE),
)


@st.composite
def units(draw: st.DrawFn) -> AccessUnit:
    key = draw(st.booleans())
    return AccessUnit(
        key=key,
        utc_us=draw(st.none() | st.integers(0, (1 << 63) - 1)),
        index=0 if key else draw(st.integers(1, (1 << 32) - 1)),
        key_count=draw(st.integers(0, 15)),
        sequence=draw(st.none() | SEQUENCES) if key else None,
        sections=draw(SECTION_LISTS),
    )


def expect_survivors(unit: AccessUnit, damaged: bytes, *, at: int) -> None:
    """Damaged bytes must either be refused, or give true sections and a damage list that names the missing ones."""
    try:
        read = parse(damaged)
    except BitstreamError:
        return
    assert read.damaged, f"damage at byte {at} went unnoticed"
    lost = [(d.type, d.sub_index) for d in read.damaged if d.type]
    assert sorted([(s.type, s.sub_index or 0) for s in read.sections] + [(t, i or 0) for t, i in lost]) == sorted(
        (s.type, s.sub_index or 0) for s in unit.sections
    )
    assert all(section in unit.sections for section in read.sections)


def with_crc(data: bytes) -> bytes:
    """Bytes as a compact unit with the right checksum."""
    return data + crc32c(b"\xd5" + data).to_bytes(4, "little")


@BOUNDED
@given(units())
def test_what_was_serialized_is_parsed_back(unit: AccessUnit) -> None:
    assert parse(serialize(unit)) == unit


@BOUNDED
@given(units())
def test_the_announced_size_is_the_size(unit: AccessUnit) -> None:
    data = serialize(unit)
    assert parse_header(data).size == len(data)


@BOUNDED
@given(units(), st.data())
def test_any_single_byte_change_is_an_error_or_listed_as_damage(unit: AccessUnit, data: st.DataObject) -> None:
    coded = bytearray(serialize(unit))
    at = data.draw(st.integers(0, len(coded) - 1))
    coded[at] ^= data.draw(st.integers(1, 255))
    expect_survivors(unit, bytes(coded), at=at)


@BOUNDED
@given(units(), st.data())
def test_any_truncation_is_an_error_or_listed_as_damage(unit: AccessUnit, data: st.DataObject) -> None:
    coded = serialize(unit)
    at = data.draw(st.integers(0, len(coded) - 1))
    expect_survivors(unit, coded[:at], at=at)


def test_every_single_bit_flip_of_a_small_unit_is_noticed() -> None:
    unit = AccessUnit(key=False, index=7, sections=(Section(1, None, b"machine"), Section(32, None, b"caption")))
    coded = serialize(unit)
    for bit in range(len(coded) * 8):
        flipped = bytearray(coded)
        flipped[bit // 8] ^= 1 << bit % 8
        expect_survivors(unit, bytes(flipped), at=bit // 8)


@BOUNDED
@given(st.binary(max_size=300))
def test_foreign_bytes_raise_nothing_but_bitstream_errors(data: bytes) -> None:
    for candidate in (data, b"\xd5\x02" + data, with_crc(b"\x80" + data), with_crc(b"\xb0" + data)):
        with contextlib.suppress(BitstreamError):
            parse(candidate)


@BOUNDED
@given(st.binary(max_size=60), st.sampled_from((0x80, 0x90, 0xA7, 0xBF)))
def test_what_is_parsed_from_a_compact_unit_serializes_to_the_same_bytes(data: bytes, mark: int) -> None:
    candidate = with_crc(bytes((mark,)) + data)
    with contextlib.suppress(BitstreamError):
        assert serialize(parse(candidate)) == candidate


@BOUNDED
@given(st.integers(0, (1 << 64) - 1))
def test_varints_read_back_what_was_written(value: int) -> None:
    out = bytearray()
    varint.write(out, value, (1 << 64) - 1)
    assert varint.read(bytes(out), 0, (1 << 64) - 1) == (value, len(out))


@BOUNDED
@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_zigzag_is_its_own_inverse_within_64_bits(value: int) -> None:
    assert 0 <= varint.zigzag(value) < 1 << 64
    assert varint.unzigzag(varint.zigzag(value)) == value
