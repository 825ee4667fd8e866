"""Unsigned LEB128 integers, seven bits a byte, least significant first, and their zigzag form for signed values.

Only the shortest form of a value is valid, so that one value has one encoding.
"""

from __future__ import annotations

from duoview.errors import BitstreamError, LimitError

#: Largest value in an access unit: 32 bits, five bytes.
MAX_VALUE = (1 << 32) - 1


def write(out: bytearray, value: int, limit: int = MAX_VALUE) -> None:
    """Append `value` to `out`. LimitError unless 0 <= value <= limit."""
    if not 0 <= value <= limit:
        raise LimitError(f"cannot write {value} as a varint here: the range is 0 to {limit}")
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def read(data: bytes | bytearray | memoryview, offset: int, limit: int = MAX_VALUE) -> tuple[int, int]:
    """Read one varint of `data` at `offset`; returns (value, offset after it).

    BitstreamError when the data ends inside it, when it is not the shortest form, or when it exceeds `limit`.
    """
    value = shift = 0
    start, end = offset, len(data)
    while True:
        if offset >= end:
            raise BitstreamError("data ends inside a varint", offset=start)
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise BitstreamError("varint is longer than ten bytes", offset=start)
    if byte == 0 and shift:
        raise BitstreamError("varint is not in its shortest form", offset=start)
    if value > limit:
        raise BitstreamError(f"varint is {value}, at most {limit} is allowed here", offset=start)
    return value, offset


def zigzag(value: int) -> int:
    """Map a signed integer of at most 64 bits to an unsigned one: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    """The inverse of `zigzag`."""
    return value >> 1 if value & 1 == 0 else -((value + 1) >> 1)
