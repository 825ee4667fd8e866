"""A second reader of entropy-coded payloads, after docs/bitstream.md alone: plain Python, one symbol at a time."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

#: The tables that docs/bitstream.md calls data.
TABLES = Path(__file__).resolve().parents[1] / "kernels" / "include" / "duoview" / "gaussian_table.hpp"
_LENGTHS = (2048, 1024, 512, 256, 128, 64, 32, 16, 8, 2, 1, 1, 1, 1, 1, 1)
_SCALE, _START = 4096, 1 << 16
_LAST_GAUSSIAN, _FIRST_BINARY = 63, 64


class Refused(Exception):
    """Bytes that may not be decoded."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A value of LEB128 and the offset behind it."""
    value = 0
    for number in range(5):
        if at + number >= len(data):
            raise Refused("the data ends inside a varint")
        byte = data[at + number]
        value |= (byte & 127) << 7 * number
        if byte < 128:
            if value >= 1 << 32 or (number and not byte):
                raise Refused("a varint beyond 32 bits, or longer than it need be")
            return value, at + number + 1
    raise Refused("a varint of more than five bytes")


@functools.cache
def gaussian_tables(path: Path = TABLES) -> list[list[int]]:
    """Frequencies of -m, ..., m and the escape of every class; those of class 0 are none."""
    arrays = {name: [int(one) for one in re.findall(r"\d+", body)] for name, body in re.findall(
        r"(kGaussian\w+)\[\d+\] = \{([^}]*)\}", path.read_text())}
    halves = iter(arrays["kGaussianHalf"])
    found: list[list[int]] = [[]]
    for width, escape in list(zip(arrays["kGaussianWidth"], arrays["kGaussianEscape"], strict=True))[1:]:
        half = [next(halves) for _ in range(width + 1)]
        found.append([*half[:0:-1], *half, escape])
        assert sum(found[-1]) == _SCALE
    return found


class Chunk:
    """One chunk: its lanes' states, and the words behind them."""

    def __init__(self, data: bytes) -> None:
        self.states: list[int] = []
        first = data[0] if data else -1
        at = 0
        if 0 <= first < 0x80:
            self.states, at = [int.from_bytes(data[:3], "big")], 3
        elif 0x80 <= first < 0xC0:
            self.states, at = [int.from_bytes(data[:4], "big") & 0x3FFFFFFF], 4
            self._at_least(1 << 23)
        elif first == 0xC0:
            self.states, at = [int.from_bytes(data[1:5], "big")], 5
            self._at_least(1 << 30)
        elif first in (0xE1, 0xE2):
            lanes = 4 if first == 0xE1 else 32
            self.states = [int.from_bytes(data[1 + 4 * n:5 + 4 * n], "little") for n in range(lanes)]
            at = 1 + 4 * lanes
        elif first >= 0:
            raise Refused(f"a chunk begins with {first:02X}")
        if at > len(data) or (len(data) - at) % 2:
            raise Refused("the states are cut off, or half a word is left")
        self._at_least(_START)
        self.words = [int.from_bytes(data[n:n + 2], "little") for n in range(at, len(data), 2)]
        self.next = self.coded = 0

    def _at_least(self, least: int) -> None:
        if any(state < least for state in self.states):
            raise Refused(f"a state below {least}")

    def step(self, lane: int, frequencies: Sequence[int]) -> int:
        """One symbol of a table, as its place there."""
        state = self.states[lane]
        slot, start, place = state % _SCALE, 0, 0
        while start + frequencies[place] <= slot:
            start += frequencies[place]
            place += 1
        state = frequencies[place] * (state // _SCALE) + slot - start
        if state < _START:
            if self.next == len(self.words):
                raise Refused("the data ends too early")
            state = state << 16 | self.words[self.next]
            self.next += 1
        self.states[lane] = state
        return place

    def lane(self) -> int:
        """Of the next coded symbol."""
        if not self.states:
            raise Refused("nothing was coded")
        self.coded += 1
        return (self.coded - 1) % len(self.states)

    def finish(self) -> None:
        """Everything was used, and every state is back at its start."""
        if self.next != len(self.words) or any(state != _START for state in self.states):
            raise Refused("data is left over, or the states are not at their start")


class Symbols:
    """The symbols of a payload of one chunk or several."""

    def __init__(self, data: bytes) -> None:
        self.tables = gaussian_tables()
        self.size = self.at = 0
        if data[:1] != b"\xe3":
            self.chunks = [Chunk(data)]
            return
        self.size, at = varint(data, 1)
        count, at = varint(data, at)
        if self.size < 32 or self.size % 32 or not 2 <= count <= 65536:
            raise Refused(f"{count} chunks of {self.size} symbols")
        lengths = []
        for _ in range(count):
            length, at = varint(data, at)
            lengths.append(length)
        if not all(lengths) or sum(lengths) != len(data) - at:
            raise Refused("the chunks are not what is there")
        self.chunks = []
        for length in lengths:
            self.chunks.append(Chunk(data[at:at + length]))
            at += length

    def symbol(self, class_: int) -> int:
        """The next one."""
        if class_ == 0:
            return 0
        chunk = self.chunks[self.at]
        if self.size and chunk.coded == self.size:
            chunk.finish()
            if self.at + 1 == len(self.chunks):
                raise Refused("the data ends too early")
            self.at += 1
            chunk = self.chunks[self.at]
        lane = chunk.lane()
        if class_ >= _FIRST_BINARY:
            one = 32 * (class_ - _FIRST_BINARY) + 16  # of 4096
            return chunk.step(lane, (_SCALE - one, one))
        frequencies = self.tables[class_]
        width = len(frequencies) // 2 - 1
        place = chunk.step(lane, frequencies)
        return place - width if place < len(frequencies) - 1 else self._escaped(chunk, lane, width)

    @staticmethod
    def _escaped(chunk: Chunk, lane: int, width: int) -> int:
        length = chunk.step(lane, _LENGTHS)
        value, left, shift = 0, length + 1, 0
        while left:
            bits = min(left, 8)
            value |= chunk.step(lane, [_SCALE >> bits] * (1 << bits)) << shift
            shift, left = shift + bits, left - bits
        magnitude = (value >> 1) + (1 << length) + width
        symbol = -magnitude if value & 1 else magnitude
        if not -32768 <= symbol <= 32767:
            raise Refused(f"symbol {symbol}, beyond 16 bits")
        return symbol

    def finish(self) -> None:
        """Nothing may be left."""
        if self.at != len(self.chunks) - 1:
            raise Refused("chunks are left over")
        self.chunks[self.at].finish()
