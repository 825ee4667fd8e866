"""The sequence header: what a decoder must know before the first access unit. It travels inside key access units.

Syntax (docs/bitstream.md): width, height, rate numerator and denominator as varints; profile name (varint length,
UTF-8); SHA-256 of the profile (32 bytes); machine codec (byte); palette geometry (3 bytes); colour (4 bytes, FFmpeg's
AVCOL_* numbers, which are those of ISO/IEC 23091-2 / H.273); sample aspect ratio as two varints; pixel format of the
source (varint length, ASCII). Both ratios in lowest terms.

Reading has two steps, since the CRC stands behind the header: `read_sequence` finds its end, `CodedSequence.header`
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
PROFILE_HASH_BYTES = 32
_FIXED_BYTES = PROFILE_HASH_BYTES + 8  # machine codec, palette geometry (3) and colour (4)


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
    Values outside the limits raise LimitError (a ValueError).
    """

    width: int
    height: int
    rate: Fraction
    profile: str
    profile_sha256: bytes
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
        _check("bytes of the profile hash", len(self.profile_sha256), PROFILE_HASH_BYTES, PROFILE_HASH_BYTES)
        object.__setattr__(self, "profile_sha256", bytes(self.profile_sha256))
        _check("bytes of the profile name", len(self.profile.encode()), 0, MAX_PROFILE_NAME)
        if not self.pixel_format.isascii():
            raise LimitError(f"pixel format name {self.pixel_format!r} is not ASCII")
        _check("bytes of the pixel format name", len(self.pixel_format), 0, MAX_PIXEL_FORMAT_NAME)

    def write(self, out: bytearray) -> None:
        """Append the coded header to `out`."""
        for value in (self.width, self.height, self.rate.numerator, self.rate.denominator):
            varint.write(out, value)
        _write_text(out, self.profile.encode())
        out += self.profile_sha256
        out.append(self.machine_codec)
        out += bytes((self.palette.groups, self.palette.depth, self.palette.tile_log2))
        out += bytes((self.colour.primaries, self.colour.transfer, self.colour.matrix, self.colour.range))
        varint.write(out, self.sample_aspect_ratio.numerator)
        varint.write(out, self.sample_aspect_ratio.denominator)
        _write_text(out, self.pixel_format.encode("ascii"))


class CodedSequence(NamedTuple):
    """The fields of a sequence header as they were read, before the CRC over them and their rules were checked."""

    offset: int
    numbers: tuple[int, ...]  # width, height, terms of the rate, terms of the sample aspect ratio
    profile: bytes
    fixed: bytes  # profile hash, machine codec, palette geometry, colour
    pixel_format: bytes

    def header(self) -> SequenceHeader:
        """The header, to be called when its CRC is right. BitstreamError when a field breaks a rule."""
        width, height, *terms = self.numbers
        codec, groups, depth, tile_log2, primaries, transfer, matrix, colour_range = self.fixed[PROFILE_HASH_BYTES:]
        try:
            return SequenceHeader(
                width=width,
                height=height,
                rate=lowest_terms(terms[0], terms[1], "rate"),
                profile=self.profile.decode(),
                profile_sha256=self.fixed[:PROFILE_HASH_BYTES],
                machine_codec=MachineCodec(codec),
                palette=PaletteGeometry(groups, depth, tile_log2),
                colour=Colour(primaries, transfer, matrix, colour_range),
                sample_aspect_ratio=lowest_terms(terms[2], terms[3], "sample aspect ratio"),
                pixel_format=self.pixel_format.decode("ascii"),
            )
        except ValueError as error:  # LimitError, an unknown machine codec, bad UTF-8
            raise BitstreamError(f"sequence header: {error}", offset=self.offset) from error


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
    fixed = bytes(data[offset : offset + _FIXED_BYTES])
    if len(fixed) < _FIXED_BYTES:
        raise BitstreamError("data ends inside the sequence header", offset=len(data))
    offset += len(fixed)
    for _ in range(2):
        value, offset = varint.read(data, offset)
        numbers.append(value)
    pixel_format, offset = _read_text(data, offset, MAX_PIXEL_FORMAT_NAME, "pixel format name")
    return CodedSequence(start, tuple(numbers), profile, fixed, pixel_format), offset


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
