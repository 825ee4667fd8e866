"""The sequence header: what a decoder must know before the first access unit. It travels inside key access units.

Syntax (docs/bitstream.md): width, height, rate numerator and denominator as varints; profile name (varint length,
UTF-8); first half of the profile's SHA-256 (16 bytes); a byte with the machine codec and one flag for each of palette
geometry (3 bytes), colour (4 bytes, FFmpeg's AVCOL_* numbers, which are those of ISO/IEC 23091-2 / H.273) and sample
aspect ratio (two varints), which are left out where they have their defaults; pixel format of the source (its number in
PIXEL_FORMATS, or 0 and its name as varint length and ASCII). Both ratios in lowest terms.

Reading has two steps, since a CRC may stand behind the header: `read_sequence` finds its end, `CodedSequence.header`
checks the fields.
"""

from __future__ import annotations

import dataclasses
import enum
from fractions import Fraction
from typing import NamedTuple

from duoview import varint
from duoview.errors import BitstreamError, LimitError

MAX_WIDTH = 16384
MAX_HEIGHT = 16384
MAX_PROFILE_NAME = 64
MAX_PIXEL_FORMAT_NAME = 32
MAX_RATIO_TERM = (1 << 31) - 1  # numerators and denominators fit FFmpeg's AVRational
PROFILE_HASH_BYTES = 16
#: Pixel formats that are one byte in the stream: their place here, counted from 1. Others are spelled out.
PIXEL_FORMATS = (
    "", "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21", "yuyv422", "uyvy422",
    "gray", "rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "gbrp", "yuva420p", "yuv420p10le",
    "yuv422p10le", "yuv444p10le", "p010le", "yuv420p12le", "gray10le", "gray16le", "rgb48le", "gbrp10le", "pal8",
)
_PALETTE, _COLOUR, _ASPECT = 4, 8, 16  # flags beside the machine codec, which has the two lowest bits
_CODEC_MASK, _FLAGS_MASK = 3, 0x1F


def _check(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        expected = str(least) if least == most else f"{least} to {most}"
        raise LimitError(f"{what} is {value}, expected {expected}")


class MachineCodec(enum.IntEnum):
    """Which codec makes the machine sections."""

    NEURAL = 1
    INNER = 2


@dataclasses.dataclass(frozen=True, slots=True)
class PaletteGeometry:
    """Texture layer: channel groups, depth of the tree, log2 of the tile's side in latents. All 0: no such layer."""

    groups: int = 0
    depth: int = 0
    tile_log2: int = 0

    def __post_init__(self) -> None:
        for field in ("groups", "depth", "tile_log2"):
            _check(f"palette {field}", getattr(self, field), 0, 255)
        if (self.groups == 0) != (self.depth == 0):
            raise LimitError(f"palette of {self.groups} groups and depth {self.depth}: both are 0 or neither is")


@dataclasses.dataclass(frozen=True, slots=True)
class Colour:
    """Colour of the source, in FFmpeg's AVCOL_* numbers (H.273); the defaults mean unspecified."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0

    def __post_init__(self) -> None:
        for field in ("primaries", "transfer", "matrix", "range"):
            _check(f"colour {field}", getattr(self, field), 0, 255)


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceHeader:
    """Geometry, rate, profile and colour of the access units up to the next sequence header.

    `rate` is frames per second, 0 when it is not known; `sample_aspect_ratio` is 0 when it is not known.
    `profile_hash` is the first half of the profile's SHA-256: 128 bits keep profiles apart that differ by accident, and
    for a forger it is still as hard to make a profile that passes for a given one.
    Values outside the limits raise LimitError (a ValueError).
    """

    width: int
    height: int
    rate: Fraction
    profile: str
    profile_hash: bytes
    machine_codec: MachineCodec = MachineCodec.NEURAL
    palette: PaletteGeometry = PaletteGeometry()
    colour: Colour = Colour()
    sample_aspect_ratio: Fraction = Fraction(0)
    pixel_format: str = ""

    def __post_init__(self) -> None:
        _check("width", self.width, 1, MAX_WIDTH)
        _check("height", self.height, 1, MAX_HEIGHT)
        for field in ("rate", "sample_aspect_ratio"):
            ratio = Fraction(getattr(self, field))
            _check(f"numerator of the {field}", ratio.numerator, 0, MAX_RATIO_TERM)
            _check(f"denominator of the {field}", ratio.denominator, 1, MAX_RATIO_TERM)
            object.__setattr__(self, field, ratio)
        try:
            object.__setattr__(self, "machine_codec", MachineCodec(self.machine_codec))
        except ValueError:
            raise LimitError(f"machine codec {self.machine_codec} is unknown: 1 is neural, 2 is inner") from None
        _check("bytes of the profile hash", len(self.profile_hash), PROFILE_HASH_BYTES, PROFILE_HASH_BYTES)
        object.__setattr__(self, "profile_hash", bytes(self.profile_hash))
        _check("bytes of the profile name", len(self.profile.encode()), 0, MAX_PROFILE_NAME)
        if not self.pixel_format.isascii():
            raise LimitError(f"pixel format name {self.pixel_format!r} is not ASCII")
        _check("bytes of the pixel format name", len(self.pixel_format), 0, MAX_PIXEL_FORMAT_NAME)

    def write(self, out: bytearray) -> None:
        """Append the coded header to `out`."""
        for value in (self.width, self.height, self.rate.numerator, self.rate.denominator):
            varint.write(out, value)
        _write_text(out, self.profile.encode())
        out += self.profile_hash
        palette, colour, aspect = self.palette, self.colour, self.sample_aspect_ratio
        flags = _PALETTE * (palette != PaletteGeometry()) | _COLOUR * (colour != Colour()) | _ASPECT * (aspect != 0)
        out.append(self.machine_codec | flags)
        if flags & _PALETTE:
            out += bytes((palette.groups, palette.depth, palette.tile_log2))
        if flags & _COLOUR:
            out += bytes((colour.primaries, colour.transfer, colour.matrix, colour.range))
        if flags & _ASPECT:
            varint.write(out, aspect.numerator)
            varint.write(out, aspect.denominator)
        if self.pixel_format in PIXEL_FORMATS:
            out.append(PIXEL_FORMATS.index(self.pixel_format) + 1)
        else:
            out.append(0)
            _write_text(out, self.pixel_format.encode("ascii"))


class CodedSequence(NamedTuple):
    """The fields of a sequence header as they were read, before the CRC over them and their rules were checked."""

    offset: int
    coded: bytes
    numbers: tuple[int, ...]  # width, height, terms of the rate, terms of the sample aspect ratio
    profile: bytes
    profile_hash: bytes
    flags: int
    palette: bytes
    colour: bytes
    pixel_format: int
    pixel_format_name: bytes

    def header(self) -> SequenceHeader:
        """The header, to be called when its CRC is right. BitstreamError when a field breaks a rule."""
        width, height, *terms = self.numbers
        try:
            if self.flags & ~_FLAGS_MASK:
                raise LimitError(f"flags 0x{self.flags:02X}, at most 0x{_FLAGS_MASK:02X} is expected here")
            if self.pixel_format > len(PIXEL_FORMATS):
                raise LimitError(f"pixel format {self.pixel_format} is unknown, expected 0 to {len(PIXEL_FORMATS)}")
            named = self.pixel_format == 0
            header = SequenceHeader(
                width=width,
                height=height,
                rate=lowest_terms(terms[0], terms[1], "rate"),
                profile=self.profile.decode(),
                profile_hash=self.profile_hash,
                machine_codec=MachineCodec(self.flags & _CODEC_MASK),
                palette=PaletteGeometry(*self.palette),
                colour=Colour(*self.colour),
                sample_aspect_ratio=lowest_terms(terms[2], terms[3], "sample aspect ratio"),
                pixel_format=self.pixel_format_name.decode("ascii") if named else PIXEL_FORMATS[self.pixel_format - 1],
            )
            again = bytearray()
            header.write(again)
            if again != self.coded:
                raise LimitError(f"{len(self.coded)} bytes spell out what is left out where it is usual; expected the "
                                 f"shortest form, of {len(again)}")
        except ValueError as error:  # LimitError, an unknown machine codec, bad UTF-8
            raise BitstreamError(f"sequence header: {error}", offset=self.offset) from error
        return header


def read_sequence(data: bytes | memoryview, offset: int) -> tuple[CodedSequence, int]:
    """Read a coded header of `data` at `offset`: (its fields, offset after it).

    BitstreamError when its end cannot be found. What else may be wrong with it, `CodedSequence.header` tells.
    """
    start = offset
    numbers = []
    for _ in range(4):
        value, offset = varint.read(data, offset)
        numbers.append(value)
    profile, offset = _read_text(data, offset, MAX_PROFILE_NAME, "profile name")
    profile_hash, offset = _read_bytes(data, offset, PROFILE_HASH_BYTES)
    (flags,), offset = _read_bytes(data, offset, 1)
    palette, offset = _read_bytes(data, offset, 3 if flags & _PALETTE else 0)
    colour, offset = _read_bytes(data, offset, 4 if flags & _COLOUR else 0)
    aspect = [0, 1]
    for place in range(2 if flags & _ASPECT else 0):
        aspect[place], offset = varint.read(data, offset)
    (pixel_format,), offset = _read_bytes(data, offset, 1)
    name = b""
    if pixel_format == 0:
        name, offset = _read_text(data, offset, MAX_PIXEL_FORMAT_NAME, "pixel format name")
    coded = bytes(data[start:offset])
    return CodedSequence(start, coded, (*numbers, *aspect), profile, profile_hash, flags, palette, colour, pixel_format,
                         name), offset


def lowest_terms(numerator: int, denominator: int, what: str) -> Fraction:
    """A ratio that was read. LimitError when the denominator is 0 or too large, or the terms have a common divisor."""
    _check(f"denominator of the {what}", denominator, 1, MAX_RATIO_TERM)
    ratio = Fraction(numerator, denominator)
    if ratio.denominator != denominator:  # one value, one encoding
        lowest = f"{ratio.numerator}/{ratio.denominator}"
        raise LimitError(f"{what} is {numerator}/{denominator}, expected its lowest terms, {lowest}")
    return ratio


def _write_text(out: bytearray, text: bytes) -> None:
    varint.write(out, len(text))
    out += text


def _read_text(data: bytes | memoryview, offset: int, limit: int, what: str) -> tuple[bytes, int]:
    start = offset
    length, offset = varint.read(data, offset)
    if length > limit:  # not left for later: it bounds how far the CRC can be
        raise BitstreamError(f"{what} has {length} bytes, at most {limit} are allowed", offset=start)
    text = bytes(data[offset : offset + length])
    if len(text) < length:
        raise BitstreamError(f"data ends inside the {what}", offset=start)
    return text, offset + length


def _read_bytes(data: bytes | memoryview, offset: int, count: int) -> tuple[bytes, int]:
    found = bytes(data[offset : offset + count])
    if len(found) < count:
        raise BitstreamError("data ends inside the sequence header", offset=len(data))
    return found, offset + count
