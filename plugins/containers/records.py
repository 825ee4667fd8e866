"""Raw `.dv`: access units behind small record heads, for tests, for sockets, for tools without libavformat.

    file head     "DUOVIEW", byte version 1 | varint time base numerator, denominator | CRC-32C of all that
    record head   2 bytes 0xD5 0x52 | byte flags: 1 key, 2 has dts | varint unit length | zigzag varint pts
                  [zigzag varint pts - dts] | varint duration | CRC-32C of all that
    the unit

Each record stands alone: a reader that meets damage looks for the next head whose CRC is right. Nothing is written at
the end, so a file that was cut off holds every record before the cut.
"""

from __future__ import annotations

import bisect
import dataclasses
import os
import struct
from fractions import Fraction
from typing import BinaryIO

from duoview import varint
from duoview.access_unit import MAX_UNIT_BYTES
from duoview.errors import BitstreamError, ContainerFormatError, LimitError
from duoview.kernels import crc32c
from duoview.plugins.containers.packet import MAX_TIME
from duoview.sequence import lowest_terms

MAGIC = b"DUOVIEW\x01"
_SYNC = b"\xd5\x52"
_KEY, _HAS_DTS = 1, 2
_LONG = (1 << 64) - 1
_MAX_TERM = (1 << 31) - 1
_LONGEST_HEAD = 2 + 1 + 5 + 10 + 10 + 10 + 4
_READ_BYTES = 16 << 10


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One access unit and its times in ticks of the file's time base."""

    data: bytes
    pts: int
    dts: int
    duration: int
    key: bool


def file_head(time_base: Fraction) -> bytes:
    """The first bytes of a file."""
    head = bytearray(MAGIC)
    varint.write(head, time_base.numerator, _MAX_TERM)
    varint.write(head, time_base.denominator, _MAX_TERM)
    return _sealed(head)


def record_head(record: Record) -> bytes:
    """The bytes before the unit itself."""
    head = bytearray(_SYNC)
    head.append(_KEY * record.key | _HAS_DTS * (record.dts != record.pts))
    varint.write(head, len(record.data), MAX_UNIT_BYTES)
    varint.write(head, varint.zigzag(record.pts), _LONG)
    if record.dts != record.pts:
        varint.write(head, varint.zigzag(record.pts - record.dts), _LONG)
    varint.write(head, record.duration, _LONG)
    return _sealed(head)


class RecordReader:
    """Reads records of a file object from its current position on.

    `skipped_bytes` counts bytes that belong to no record (damage). ContainerFormatError when the head of the file is
    foreign or damaged.
    """

    def __init__(self, source: BinaryIO, name: str) -> None:
        self._source = source
        self._buffer = bytearray()
        self._start = 0  # of the unread part of the buffer
        self._ended = False
        self.skipped_bytes = 0
        self._index: tuple[list[int], list[int], int] | None = None
        self._fill(len(MAGIC) + 5 + 5 + 4)
        if self._buffer[: len(MAGIC)] != MAGIC:
            raise ContainerFormatError(
                f"{name}: not a raw duoview file: it starts with {bytes(self._buffer[:8])!r}, expected {MAGIC!r}",
                name=name,
            )
        try:
            numerator, offset = varint.read(self._buffer, len(MAGIC), _MAX_TERM)
            denominator, offset = varint.read(self._buffer, offset, _MAX_TERM)
            _check_seal(self._buffer, 0, offset)
            self.time_base = lowest_terms(numerator, denominator, "time base")
            if self.time_base == 0:
                raise BitstreamError("time base is 0")
        except (BitstreamError, LimitError) as error:
            raise ContainerFormatError(f"{name}: head of the raw file is damaged: {error}", name=name) from error
        self._first = offset + 4
        self._start = self._first

    def read(self) -> Record | None:
        """The next whole record, or None at the end. A record that was cut off is not given."""
        while (head := self._next_head()) is not None:
            key, length, pts, dts, duration, size = head
            if self._fill(size + length):
                begin = self._start + size
                data = bytes(self._buffer[begin : begin + length])
                self._start = begin + length
                return Record(data, pts, dts, duration, key)
            # The unit is cut off, or its length was forged: records may still follow in what is there.
            self._skip(1)
        self._skip(len(self._buffer) - self._start)
        return None

    def seek_key(self, target: int | None) -> int | None:
        """Go to the last key record with pts <= `target` (the first key record if there is none); returns its pts.

        None, and the position at the end, when the file has no key record. Needs a seekable source.
        """
        pts, offsets, _ = self._keys()
        if not pts:
            self._go(self._source.seek(0, os.SEEK_END))
            return None
        at = max(0, bisect.bisect_right(pts, target) - 1) if target is not None else 0
        self._go(offsets[at])
        return pts[at]

    def end(self) -> int:
        """The largest pts + duration of the file, in ticks; 0 where it holds no record. Needs a seekable source."""
        return self._keys()[2]

    def _keys(self) -> tuple[list[int], list[int], int]:
        """Pts and file offsets of all key records in ascending pts, and the largest end; reads the heads once."""
        if self._index is None:
            here, skipped = self._offset(), self.skipped_bytes
            size = self._source.seek(0, os.SEEK_END)
            self._go(self._first)
            keys = []
            end: int | None = None
            while (head := self._next_head()) is not None:
                key, length, pts, _, duration, head_size = head
                offset = self._offset()
                if offset + head_size + length > size:
                    self._skip(1)
                    continue
                end = pts + duration if end is None else max(end, pts + duration)
                if key:
                    keys.append((pts, offset))
                self._start += head_size + length
                if self._start > len(self._buffer):
                    self._go(offset + head_size + length)
            keys.sort()
            self._index = [pts for pts, _ in keys], [offset for _, offset in keys], end or 0
            self._go(here)
            self.skipped_bytes = skipped
        return self._index

    def _next_head(self) -> tuple[bool, int, int, int, int, int] | None:
        """(key, unit length, pts, dts, duration, size) of the head at the position, after skipping what is none."""
        while True:
            found = self._buffer.find(_SYNC, self._start)
            if found < 0:
                # The last byte may be the first of the next sync word.
                self._skip(max(0, len(self._buffer) - self._start - 1))
                if not self._more():
                    return None
                continue
            self._skip(found - self._start)
            try:
                return self._parse_head()
            except BitstreamError:
                # Asking for more only where a head could be cut off keeps a live reader from waiting for nothing.
                if len(self._buffer) - self._start >= _LONGEST_HEAD or not self._more():
                    self._skip(1)

    def _parse_head(self) -> tuple[bool, int, int, int, int, int]:
        start = self._start
        head = bytes(self._buffer[start : start + _LONGEST_HEAD])
        if len(head) < 3 or head[2] & ~(_KEY | _HAS_DTS):
            raise BitstreamError("no record head", offset=start)
        length, at = varint.read(head, 3, MAX_UNIT_BYTES)
        coded, at = varint.read(head, at, _LONG)
        pts = dts = varint.unzigzag(coded)
        if head[2] & _HAS_DTS:
            coded, at = varint.read(head, at, _LONG)
            dts = pts - varint.unzigzag(coded)
        duration, at = varint.read(head, at, _LONG)
        _check_seal(head, 0, at)
        if max(abs(pts), abs(dts), duration) > MAX_TIME:
            raise BitstreamError(f"pts {pts}, dts {dts} or duration {duration} is beyond {MAX_TIME}", offset=start)
        return bool(head[2] & _KEY), length, pts, dts, duration, at + 4

    def _skip(self, count: int) -> None:
        self._start += count
        self.skipped_bytes += count

    def _fill(self, count: int) -> bool:
        """Make `count` bytes available after the position; False when the source ends before."""
        while len(self._buffer) - self._start < count:
            if not self._more():
                return False
        return True

    def _more(self) -> bool:
        """Read once; False when the source has ended."""
        data = b"" if self._ended else self._source.read(_READ_BYTES)
        self._ended = not data
        del self._buffer[: self._start]
        self._start = 0
        self._buffer += data
        return bool(data)

    def _offset(self) -> int:
        """Where in the file the position is."""
        return self._source.tell() - (len(self._buffer) - self._start)

    def _go(self, offset: int) -> None:
        self._source.seek(offset)
        self._buffer.clear()
        self._start = 0
        self._ended = False


def _sealed(head: bytearray) -> bytes:
    return bytes(head) + struct.pack("<I", crc32c(head))


def _check_seal(data: bytes | bytearray, start: int, end: int) -> None:
    if end + 4 > len(data) or crc32c(bytes(data[start:end])) != struct.unpack_from("<I", data, end)[0]:
        raise BitstreamError("CRC-32C is wrong", offset=end)
