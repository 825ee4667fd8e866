"""Bundles: several access units in one MPEG-TS packet, and one large unit over several.

A transport stream grows in steps of 188 bytes and pays a PES header per packet, which would double a 200-byte access
unit; and FFmpeg gives no packet above 204,800 bytes back whole. So units are gathered for a short, bounded time, and
cut into pieces of at most 60,000 bytes (a PES packet that knows its own length, below 65,536, is delivered at once).

Times are exact whatever the container's clock: a bundle carries its own time base and pts. It also carries the 90 kHz
`clock` it was written with, so that a reader sees by how much a remux has moved the stream (docs/containers.md).
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable
from fractions import Fraction

from duoview import varint
from duoview.access_unit import MAX_UNIT_BYTES
from duoview.errors import BitstreamError, LimitError
from duoview.kernels import crc32c
from duoview.plugins.containers.packet import MAX_TIME, rescale
from duoview.sequence import lowest_terms

MAGIC = 0xD6
VERSION = 1
CLOCK = Fraction(1, 90000)
CLOCK_WRAP = 1 << 33
PIECE_BYTES = 60_000
MAX_UNITS = 64
ENOUGH_BYTES = 16_384
_LONG = (1 << 64) - 1
_MAX_TERM = (1 << 31) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """One access unit and its times in ticks of the bundle's time base. `whole` is False when a piece was lost."""

    data: bytes
    pts: int
    dts: int
    duration: int
    key: bool = False
    whole: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What goes into one MPEG-TS packet; `pts` and `dts` in ticks of 1/90000 s."""

    data: bytes
    pts: int
    dts: int
    key: bool


class Bundler:
    """Gathers units and hands out pieces. A key unit always starts a bundle, so that seeking finds it."""

    def __init__(self, time_base: Fraction, *, seconds: Fraction = Fraction(1, 2), units: int = MAX_UNITS) -> None:
        self._time_base = time_base
        self._ticks = seconds / time_base
        self._most_units = min(units, MAX_UNITS)
        self._units: list[Unit] = []
        self._bytes = 0
        self._next_dts = -(1 << 62)

    def add(self, unit: Unit) -> list[Piece]:
        """Take one unit; returns the pieces that are ready. `unit.duration` bounds how long it may wait."""
        ready = self.flush() if unit.key else []
        self._units.append(unit)
        self._bytes += len(unit.data)
        waited = unit.dts + unit.duration - self._units[0].dts
        if self._bytes >= ENOUGH_BYTES or len(self._units) >= self._most_units or waited >= self._ticks:
            ready += self.flush()
        return ready

    def flush(self) -> list[Piece]:
        """The pieces of the units gathered so far."""
        if not self._units:
            return []
        first = self._units[0]
        # Every packet gets a time of its own, a tick after the one before at least: a seek shall find the first piece
        # of a unit, and some muxers refuse equal times. The times of the units stand in the head.
        dts = max(self._next_dts, rescale(first.dts, self._time_base, CLOCK))
        pts = max(dts, rescale(first.pts, self._time_base, CLOCK))
        body = b"".join(unit.data for unit in self._units)
        pieces = [Piece(self._head(pts) + body[:PIECE_BYTES], pts, dts, first.key)]
        for number, start in enumerate(range(PIECE_BYTES, len(body), PIECE_BYTES), 1):
            head = bytearray((MAGIC, VERSION))
            varint.write(head, number)
            varint.write(head, pts % CLOCK_WRAP, _LONG)
            data = _sealed(head) + body[start : start + PIECE_BYTES]
            pieces.append(Piece(data, pts + number, dts + number, False))
        self._next_dts = dts + len(pieces)
        self._units = []
        self._bytes = 0
        return pieces

    def _head(self, clock: int) -> bytes:
        head = bytearray((MAGIC, VERSION))
        varint.write(head, 0)
        varint.write(head, clock % CLOCK_WRAP, _LONG)
        varint.write(head, self._time_base.numerator)
        varint.write(head, self._time_base.denominator)
        varint.write(head, len(self._units))
        previous = 0
        for unit in self._units:
            varint.write(head, len(unit.data))
            varint.write(head, varint.zigzag(unit.pts - previous), _LONG)
            varint.write(head, varint.zigzag(unit.pts - unit.dts), _LONG)
            varint.write(head, unit.duration, _LONG)
            previous = unit.pts
        return _sealed(head)


@dataclasses.dataclass(slots=True)
class _Assembly:
    """A bundle whose pieces are still arriving."""

    clock: int
    units: list[tuple[int, int, int, int]]  # size, pts, dts, duration
    size: int
    pieces: dict[int, bytes]

    @property
    def needed(self) -> int:
        """How many pieces the bundle has."""
        return max(1, -(-self.size // PIECE_BYTES))

    @property
    def complete(self) -> bool:
        """Whether all of them have arrived, none cut short."""
        return len(self.pieces) == self.needed and sum(map(len, self.pieces.values())) >= self.size


class Unbundler:
    """Puts units together again from the packets of the container, in order.

    `time_base` is that of the stream once the first bundle was seen. `shift` is how far, in 90 kHz ticks, the
    container's clock was ahead of the bundle's own at the first bundle; later bundles that are ahead by more or less
    (joined files) get their times moved by the difference.
    """

    def __init__(self) -> None:
        self.time_base: Fraction | None = None
        self.shift: int | None = None
        self._assembly: _Assembly | None = None
        self._moved = 0

    def feed(self, data: bytes, clock: int | None) -> list[Unit]:
        """Take one packet with its pts in 90 kHz ticks; returns the units it completes.

        BitstreamError when the packet is no piece of a bundle, or its head is damaged.
        """
        reader = _Head(data)
        number, own_clock = reader.value(), reader.value(_LONG)
        if number > 0:
            body = reader.body()
            if self._assembly is None or self._assembly.clock != own_clock:
                raise BitstreamError(f"piece {number} of a bundle whose start was lost", offset=0)
            if number >= self._assembly.needed:
                raise BitstreamError(f"piece {number} of a bundle of {self._assembly.needed} pieces", offset=2)
            self._assembly.pieces[number] = body
            return self._assembled() if self._assembly.complete else []
        numerator, denominator = reader.value(_MAX_TERM), reader.value(_MAX_TERM)
        count = reader.value(MAX_UNITS)
        units = []
        previous = size = 0
        for _ in range(count):
            length = reader.value(MAX_UNIT_BYTES)
            previous += varint.unzigzag(reader.value(_LONG))
            reorder, duration = varint.unzigzag(reader.value(_LONG)), reader.value(_LONG)
            units.append((length, previous, previous - reorder, duration))
            size += length
        body = reader.body()
        try:
            time_base = lowest_terms(numerator, denominator, "time base of a bundle")
        except LimitError as error:
            raise BitstreamError(str(error), offset=2) from error
        if time_base == 0:
            raise BitstreamError("time base of a bundle is 0", offset=2)
        if size > MAX_UNIT_BYTES + ENOUGH_BYTES:
            raise BitstreamError(f"bundle announces {size} bytes, at most {MAX_UNIT_BYTES + ENOUGH_BYTES} are allowed")
        if self.time_base is not None and self.time_base != time_base:
            factor = time_base / self.time_base
            units = [(n, round(pts * factor), round(dts * factor), round(d * factor)) for n, pts, dts, d in units]
        if any(max(abs(pts), abs(dts), duration) > MAX_TIME for _, pts, dts, duration in units):
            raise BitstreamError(f"bundle has a pts, dts or duration beyond {MAX_TIME} ticks", offset=2)
        # A bundle that never got all its pieces is given up when the next one starts.
        ready = self._assembled() if self._assembly else []
        self.time_base = self.time_base or time_base
        if clock is not None:
            shift = (clock - own_clock + CLOCK_WRAP // 2) % CLOCK_WRAP - CLOCK_WRAP // 2
            if self.shift is None:
                self.shift = shift
            self._moved = rescale(shift - self.shift, CLOCK, self.time_base)
        self._assembly = _Assembly(own_clock, units, size, {0: body})
        return ready + (self._assembled() if self._assembly.complete else [])

    def finish(self) -> list[Unit]:
        """The units of a bundle that lost its last pieces, at the end of the input; those that are not whole say so."""
        return self._assembled() if self._assembly else []

    def drop(self) -> None:
        """Forget a bundle whose pieces are still missing: the reader goes elsewhere."""
        self._assembly = None

    def _assembled(self) -> list[Unit]:
        assembly, self._assembly = self._assembly, None
        if assembly is None:
            return []
        body = bytearray(assembly.size)
        missing: list[tuple[int, int]] = []
        for start in range(0, max(assembly.size, 1), PIECE_BYTES):
            expected = min(PIECE_BYTES, assembly.size - start)
            piece = assembly.pieces.get(start // PIECE_BYTES, b"")[:expected]
            body[start : start + len(piece)] = piece
            if len(piece) < expected:
                missing.append((start + len(piece), start + expected))
        units = []
        start = 0
        for size, pts, dts, duration in assembly.units:
            whole = not any(low < start + size and high > start for low, high in missing)
            data = bytes(body[start : start + size])
            units.append(Unit(data, pts + self._moved, dts + self._moved, duration, whole=whole))
            start += size
        return units


class _Head:
    """Reads the head of a piece; `body` checks its CRC."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 2 or data[0] != MAGIC:
            raise BitstreamError("not a piece of a bundle", offset=0)
        if data[1] != VERSION:
            raise BitstreamError(f"bundle of version {data[1]}: this reader knows version {VERSION}", offset=1)
        self._data = data
        self._offset = 2

    def value(self, limit: int = varint.MAX_VALUE) -> int:
        value, self._offset = varint.read(self._data, self._offset, limit)
        return value

    def body(self) -> bytes:
        end = self._offset + 4
        if end > len(self._data):
            raise BitstreamError("data ends inside the head of a bundle", offset=self._offset)
        if crc32c(memoryview(self._data)[: self._offset]) != struct.unpack_from("<I", self._data, self._offset)[0]:
            raise BitstreamError("CRC-32C of the head of a bundle is wrong", offset=self._offset)
        return self._data[end:]


def _sealed(head: Iterable[int]) -> bytes:
    raw = bytes(head)
    return raw + struct.pack("<I", crc32c(raw))
