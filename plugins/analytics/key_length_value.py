"""KLV local sets (SMPTE ST 336) as MISB standards use them: a key, a BER length, tagged items, a checksum at the end.

Two sets per frame. The UAS datalink set (MISB ST 0601) with its UTC time stamp and, in it, the VMTI set (ST 0903): the
objects as targets with boxes, confidences and class names, for tools that know these standards. And a set of our own,
under a key of SMPTE's experimental range, with the same time stamp and the record as JSON: all that the standards have
no place for. A packet may hold anybody's sets: `read_sets` gives all of them as they stand, by key and length alone,
and only `LocalSet.items` looks into one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from duoview.detections import Detection
from duoview.errors import ContainerError
from duoview.plugins.errors import FrameError

from .record import AS_ESCAPE, Record

#: The UAS datalink local set of MISB ST 0601.
UAS_KEY = bytes.fromhex("060e2b34020b01010e01030101000000")
#: Ours: SMPTE's experimental organisation 0f, then "duoview" and a version.
DUOVIEW_KEY = bytes.fromhex("060e2b34020b01010f") + b"duovie" + b"\x01"

# Items of all these sets, and of each.
CHECKSUM, TIME_STAMP = 1, 2
UAS_VERSION, UAS_VMTI = 65, 74
VMTI_SYSTEM, VMTI_VERSION, VMTI_DETECTED, VMTI_REPORTED, VMTI_WIDTH, VMTI_HEIGHT, VMTI_SENSOR, VMTI_TARGETS = (
    3, 4, 5, 6, 8, 9, 10, 101)  # fmt: skip
TARGET_CENTROID, TARGET_TOP_LEFT, TARGET_BOTTOM_RIGHT, TARGET_CONFIDENCE, TARGET_OBJECT = 1, 2, 3, 5, 102
OBJECT_CLASS = 2
DOCUMENT = 3

_UAS_EDITION, _VMTI_EDITION = 19, 5
_MOST_SETS = 1024  # in a packet


@dataclass(frozen=True)
class LocalSet:
    """A set that was read. key: 16 bytes. value: the payload behind the length. data: all of it, from the key on."""

    key: bytes
    value: bytes
    data: bytes

    def items(self) -> dict[int, bytes]:
        """The bytes of its items by tag, without the checksum's; for sets that end with ST 0601's checksum, as ours do.

        Raises ContainerError where an item is cut off, and where the checksum is another one or missing.
        """
        items = dict(read_items(self.value))
        told = items.pop(CHECKSUM, None)
        if told is None or int.from_bytes(told, "big") != checksum(self.data[:-2]):
            raise ContainerError(f"KLV: the checksum of the set {self.key.hex()} is wrong or missing", name="KLV")
        return items


def sets_of(record: Record) -> bytes:
    """Both sets of a record, one after the other. Raises FrameError for a record without UTC."""
    if record.utc_us is None:
        raise FrameError("KLV: a frame without UTC: expected frames that tell it, or start_utc")
    stamp = (TIME_STAMP, record.utc_us.to_bytes(8, "big"))
    datalink = [stamp, (UAS_VERSION, bytes([_UAS_EDITION])), (UAS_VMTI, _items(_targets(record)))]
    document = [stamp, (DOCUMENT, record.to_json().encode(errors=AS_ESCAPE))]
    return _local_set(UAS_KEY, datalink) + _local_set(DUOVIEW_KEY, document)


def read_sets(data: bytes) -> Iterator[LocalSet]:
    """The sets of a packet, of whatever maker. Raises ContainerError where one is cut off or has no universal key."""
    at = 0
    for _ in range(_MOST_SETS):
        if at == len(data):
            return
        key = data[at : at + 16]
        if len(key) < 16 or not key.startswith(b"\x06\x0e\x2b\x34"):
            raise ContainerError(f"KLV: byte {at}: expected a universal key, 06 0e 2b 34 ...", name="KLV")
        length, begin = _length(data, at + 16)
        end = begin + length
        if end > len(data):
            raise ContainerError(f"KLV: byte {at}: a set of {length} bytes, of which {len(data) - begin} are there",
                                 name="KLV")
        yield LocalSet(key, data[begin:end], data[at:end])
        at = end
    raise ContainerError(f"KLV: more than {_MOST_SETS} sets in a packet", name="KLV")


def read_items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and bytes of the items of a set without its key. Raises ContainerError where one is cut off."""
    at = 0
    while at < len(data):
        tag, begin = _object_identifier(data, at)
        length, begin = _length(data, begin)
        if begin + length > len(data):
            raise ContainerError(f"KLV: item {tag} of {length} bytes, of which {len(data) - begin} are there",
                                 name="KLV")
        yield tag, data[begin : begin + length]
        at = begin + length


def checksum(data: bytes) -> int:
    """ST 0601's: the sum of all 16-bit words of a set, from its key to the length of the checksum's own item."""
    return (sum(data[0::2]) * 256 + sum(data[1::2])) & 0xFFFF


def _targets(record: Record) -> list[tuple[int, bytes]]:
    width, height = record.width, record.height
    series = b""
    # Objects without a track are numbered behind those with one: a number stands for one target.
    index = max((one.track_id or 0 for one in record.objects), default=0)
    for one in record.objects:
        index += not one.track_id
        pack = _oid(one.track_id or index) + _items(_target(one, width, height))
        series += _ber(len(pack)) + pack
    count = _unsigned(len(record.objects))
    found = [(VMTI_SYSTEM, _text(f"duoview {record.model}".strip())), (VMTI_VERSION, _unsigned(_VMTI_EDITION)),
             (VMTI_DETECTED, count), (VMTI_REPORTED, count), (VMTI_WIDTH, _unsigned(width)),
             (VMTI_HEIGHT, _unsigned(height))]
    if record.source:
        found.append((VMTI_SENSOR, _text(record.source)))
    return [*found, (VMTI_TARGETS, series)] if series else found


def _target(one: Detection, width: int, height: int) -> list[tuple[int, bytes]]:
    x0, y0, x1, y1 = one.box
    return [(TARGET_CENTROID, _pixel(*one.centre, width, height)), (TARGET_TOP_LEFT, _pixel(x0, y0, width, height)),
            # The last pixel that is inside.
            (TARGET_BOTTOM_RIGHT, _pixel(math.ceil(x1) - 1, math.ceil(y1) - 1, width, height)),
            (TARGET_CONFIDENCE, bytes([round(100 * one.score)])),
            (TARGET_OBJECT, _items([(OBJECT_CLASS, _text(one.name))]))]


def _pixel(x: float, y: float, width: int, height: int) -> bytes:
    """ST 0903's number of a pixel: from 1 at the top left, row by row."""
    column, row = (min(max(math.floor(value), 0), side - 1) for value, side in ((x, width), (y, height)))
    return _unsigned(row * width + column + 1)


def _local_set(key: bytes, items: Iterable[tuple[int, bytes]]) -> bytes:
    content = _items(items)
    whole = key + _ber(len(content) + 4) + content + bytes([CHECKSUM, 2])
    return whole + checksum(whole).to_bytes(2, "big")


def _items(items: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(_oid(tag) + _ber(len(value)) + value for tag, value in items)


def _text(text: str) -> bytes:
    return text.encode(errors=AS_ESCAPE)


def _unsigned(value: int) -> bytes:
    return value.to_bytes(max(1, -(-value.bit_length() // 8)), "big")


def _ber(length: int) -> bytes:
    if length < 128:
        return bytes([length])
    digits = _unsigned(length)
    return bytes([0x80 | len(digits)]) + digits


def _oid(value: int) -> bytes:
    """BER-OID: seven bits a byte, all but the last with the highest bit set."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | (value & 0x7F))
    return bytes(reversed(digits))


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A BER length, and where what it counts begins."""
    if at < len(data) and data[at] < 128:
        return data[at], at + 1
    count = data[at] & 0x7F if at < len(data) else 0
    if not 1 <= count <= 8 or at + 1 + count > len(data):
        raise ContainerError(f"KLV: byte {at}: expected a length", name="KLV")
    return int.from_bytes(data[at + 1 : at + 1 + count], "big"), at + 1 + count


def _object_identifier(data: bytes, at: int) -> tuple[int, int]:
    """A BER-OID number, and what comes behind it."""
    value = 0
    for end in range(at, min(at + 10, len(data))):
        value = value << 7 | data[end] & 0x7F
        if data[end] < 128:
            return value, end + 1
    raise ContainerError(f"KLV: byte {at}: expected a tag", name="KLV")
