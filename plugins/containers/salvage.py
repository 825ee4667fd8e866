"""Access units inside a packet that is no access unit.

A byte too many or too few makes libavformat read NUT's next frame header in the wrong place; the frame that it takes
from there may be as long as 64 KiB and hold every unit up to its end, minutes of a quiet scene. The units' own
checksums find them again: those of the long form by magic number, version and header checksum, those of the compact
form, which do not say where they end, by where a CRC-32C over all from their first byte comes out right.
"""

from __future__ import annotations

import bisect

import numpy as np
from numpy.typing import NDArray

from duoview.access_unit import MAGIC, SMALLEST_COMPACT, VERSION, is_compact, parse
from duoview.errors import BitstreamError
from duoview.kernels import crc32c
from duoview.plugins.containers.packet import header_of

_START = bytes((MAGIC, VERSION))
#: Starts that turn out to be none, per packet and per that many of its bytes: by chance there is one in 64 KiB. Hostile
#: bytes may hold one every few bytes, each in front of a table of 16,384 sections to be read in vain.
_FALSE_STARTS, _BYTES_PER_FALSE_START = 16, 2048
#: Compact units are looked for in so much of a packet: torn frames of NUT are half as long at most.
_SEARCHED_BYTES = 1 << 17
_MARKS = np.array([is_compact(byte) for byte in range(256)])
_POLYNOMIAL = 0x82F63B78  # CRC-32C, the lowest bit first

_Words = NDArray[np.uint32]


def whole_units(data: bytes) -> list[tuple[int, int]]:
    """Where the access units begin and end whose bytes are all there, in order; none reaches into another.

    Where two overlap, one whose checksums are all right comes before one of which the header's is, and of those the
    shorter: real ones are short, while any two places fit together once in 2^32 times. The search ends early in data
    with many more false starts than chance makes.
    """
    found = [(not _is_sound(data[begin:end]), end - begin, begin) for begin, end in (*_long(data), *_compact(data))]
    taken = np.zeros(len(data), np.bool_)
    units = []
    for _, size, begin in sorted(found):
        if not taken[begin : begin + size].any():
            taken[begin : begin + size] = True
            units.append((begin, begin + size))
    return sorted(units)


def _is_sound(data: bytes) -> bool:
    try:
        return not parse(data).damaged
    except BitstreamError:
        return False


def _long(data: bytes) -> list[tuple[int, int]]:
    """Units of the long form whose header checksum is right."""
    units = []
    left = _FALSE_STARTS + len(data) // _BYTES_PER_FALSE_START
    view = memoryview(data)
    at = data.find(_START)
    while at >= 0 and left > 0:
        header = header_of(view[at:])
        if header is not None and at + header.size <= len(data):
            units.append((at, at + header.size))
            at = data.find(_START, at + header.size)
        else:
            left -= 1
            at = data.find(_START, at + 1)
    return units


def _compact(data: bytes) -> list[tuple[int, int]]:
    """Units of the compact form: from every possible first byte to the first place where the checksum comes out right.

    The register of the CRC after bytes a to e, the checksum among them, is M^(e-a) I + the sum of M^(e-i) d(i), where M
    steps it by a byte, I is its value before the unit and sums are exclusive ors; it is M^4 F, with all bits of F set,
    where the checksum is right. Times M^-e, that is C(a) + M^-a I = C(e) + M^-(e-4) F with C(n) the sum of M^-i d(i)
    over i < n: a number for every start, one for every end, and units where two are the same.
    """
    searched = data[:_SEARCHED_BYTES]
    size = len(searched)
    if size < SMALLEST_COMPACT:
        return []
    weights = _bit_weights(8 * size + 32)
    values = np.frombuffer(searched, np.uint8)
    bits = np.unpackbits(values, bitorder="little").astype(np.bool_)
    sums = _running(np.where(bits, weights[: 8 * size], np.uint32(0)))[::8]
    ends = np.arange(SMALLEST_COMPACT, size + 1)
    keys = np.sort(_joined(sums[ends] ^ _stepped_back(weights, 0xFFFFFFFF, size)[ends - 4], ends))
    starts = np.flatnonzero(_MARKS[values[: 1 - SMALLEST_COMPACT]])
    before = crc32c(bytes((MAGIC,))) ^ 0xFFFFFFFF
    wanted = _joined(sums[starts] ^ _stepped_back(weights, before, size)[starts], starts + SMALLEST_COMPACT)
    nearest = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    fits = (keys[nearest] >= wanted) & (keys[nearest] >> np.uint64(32) == wanted >> np.uint64(32))
    places = zip(starts[fits].tolist(), (keys[nearest[fits]] & np.uint64(0xFFFFFFFF)).tolist(), strict=True)
    return _shortest(searched, list(places))


def _shortest(data: bytes, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of the places that are units, the shorter first, without what overlaps one of them.

    Hostile bytes may hold thousands of places that reach to one end, each to be read up to there in vain.
    """
    units: list[tuple[int, int]] = []
    left = _FALSE_STARTS + len(data) // _BYTES_PER_FALSE_START
    for begin, end in sorted(places, key=lambda place: place[1] - place[0]):
        after = bisect.bisect_left(units, (end, 0))
        if after > 0 and units[after - 1][1] > begin:
            continue
        if header_of(data[begin:end]) is not None:
            units.insert(after, (begin, end))
        elif left > 1:
            left -= 1
        else:
            break
    return units


def _joined(high: _Words, low: NDArray[np.int64]) -> NDArray[np.uint64]:
    return high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64)


def _running(values: _Words) -> _Words:
    """Exclusive ors of all values before each place and, last, of all: (n,) to (n + 1,)."""
    sums = np.zeros(len(values) + 1, np.uint32)
    np.bitwise_xor.accumulate(values, out=sums[1:])
    return sums


def _stepped_back(weights: _Words, register: int, size: int) -> _Words:
    """The register stepped back by 0 to `size` - 1 bytes."""
    values = np.zeros(size, np.uint32)
    for bit in range(32):
        if register >> bit & 1:
            values ^= weights[bit : bit + 8 * size : 8]
    return values


def _bit_weights(count: int) -> _Words:
    """The register 1 stepped back by 0, 1, 2, ... bits: bit b of byte i counts as number 8i + b. Returns (count,)."""
    weights = np.zeros(count, np.uint32)
    value = 1
    for at in range(min(64, count)):
        weights[at] = value
        value = (value ^ _POLYNOMIAL) << 1 & 0xFFFFFFFF | 1 if value >> 31 else value << 1
    known = min(64, count)
    while known < count:
        # Stepping back is linear, and the register 1 << b is number b: those 32 numbers, further on, are what each bit
        # of the register becomes. A byte of it at a time, from tables.
        step = known - 32
        more = min(step, count - known)
        source = weights[32 : 32 + more]
        for byte in range(4):
            table = np.zeros(256, np.uint32)
            for bit in range(8):
                table[1 << bit : 2 << bit] = table[: 1 << bit] ^ weights[step + 8 * byte + bit]
            weights[known : known + more] ^= table[source >> np.uint32(8 * byte) & np.uint32(0xFF)]
        known += more
    return weights
