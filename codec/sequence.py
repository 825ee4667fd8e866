"""The sequence header: what a decoder must know before the first access unit. It travels inside key access units.

Syntax (docs/bitstream.md): width, height, rate numerator and denominator as varints; profile name (varint length,
UTF-8); SHA-256 of the profile (32 bytes); machine codec (byte); palette geometry (3 bytes); colour (4 bytes, FFmpeg's
AVCOL_* numbers, which are those of ISO/IEC 23091-2 / H.273); sample aspect ratio as two varints; pixel format of the
source (varint length, ASCII).
"""

from __future__ import annotations

import dataclasses
import enum
from fractions import Fraction

from duoview import varint
from duoview.errors import BitstreamError, LimitError

MAX_WIDTH = 16384
MAX_HEIGHT = 16384
MAX_PROFILE_NAME = 64
MAX_PIXEL_FORMAT_NAME = 32
MAX_RATIO_TERM = (1 << 31) - 1  # numerators and denominators fit FFmpeg's AVRational
PROFILE_HASH_BYTES = 32


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

    @classmethod
    def read(cls, data: bytes | memoryview, offset: int) -> tuple[SequenceHeader, int]:
        """Read a coded header of `data` at `offset`: (header, offset after it). BitstreamError when it is bad."""
        start = offset
        numbers = []
        for _ in range(4):
            value, offset = varint.read(data, offset)
            numbers.append(value)
        width, height, rate_numerator, rate_denominator = numbers
        profile, offset = _read_text(data, offset, MAX_PROFILE_NAME, "profile name")
        fixed = bytes(data[offset : offset + PROFILE_HASH_BYTES + 8])
        if len(fixed) < PROFILE_HASH_BYTES + 8:
            raise BitstreamError("data ends inside the sequence header", offset=len(data))
        offset += len(fixed)
        aspect_numerator, offset = varint.read(data, offset)
        aspect_denominator, offset = varint.read(data, offset)
        pixel_format, offset = _read_text(data, offset, MAX_PIXEL_FORMAT_NAME, "pixel format name")
        codec, groups, depth, tile_log2, primaries, transfer, matrix, colour_range = fixed[PROFILE_HASH_BYTES:]
        try:
            header = cls(
                width=width,
                height=height,
                rate=_ratio(rate_numerator, rate_denominator, "rate"),
                profile=profile.decode(),
                profile_sha256=fixed[:PROFILE_HASH_BYTES],
                machine_codec=MachineCodec(codec),
                palette=PaletteGeometry(groups, depth, tile_log2),
                colour=Colour(primaries, transfer, matrix, colour_range),
                sample_aspect_ratio=_ratio(aspect_numerator, aspect_denominator, "sample aspect ratio"),
                pixel_format=pixel_format.decode("ascii"),
            )
        except ValueError as error:  # LimitError, an unknown machine codec, bad UTF-8
            raise BitstreamError(f"sequence header: {error}", offset=start) from error
        return header, offset


def _ratio(numerator: int, denominator: int, what: str) -> Fraction:
    _check(f"denominator of the {what}", denominator, 1, MAX_RATIO_TERM)
    return Fraction(numerator, denominator)


def _write_text(out: bytearray, text: bytes) -> None:
    varint.write(out, len(text))
    out += text


def _read_text(data: bytes | memoryview, offset: int, limit: int, what: str) -> tuple[bytes, int]:
    start = offset
    length, offset = varint.read(data, offset)
    if length > limit:
        raise BitstreamError(f"{what} has {length} bytes, at most {limit} are allowed", offset=start)
    text = bytes(data[offset : offset + length])
    if len(text) < length:
        raise BitstreamError(f"data ends inside the {what}", offset=start)
    return text, offset + length
