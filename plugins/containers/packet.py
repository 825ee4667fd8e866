"""Packets that hold one access unit each. They belong to no libav stream: `packet.stream` is None."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

from duoview import access_unit
from duoview.access_unit import UnitHeader
from duoview.errors import BitstreamError

#: Largest pts, dts and duration in ticks, either sign. FFmpeg's have 64 bits, of which one value means "none"; a bit
#: is left over, so that a time plus a duration fits too.
MAX_TIME = (1 << 62) - 1


def unit_packet(
    data: bytes | av.Packet[Any],
    *,
    pts: int | None,
    dts: int | None,
    duration: int,
    time_base: Fraction,
    key: bool,
) -> av.Packet[Any]:
    """A packet around `data` (not copied), its fields set."""
    packet = av.Packet(data)  # type: ignore[arg-type]
    packet.time_base = time_base
    packet.pts = pts
    packet.dts = dts
    packet.duration = duration
    packet.is_keyframe = key
    return packet


def header_of(data: memoryview | bytes) -> UnitHeader | None:
    """The header of the access unit in `data`, or None when it is damaged or no access unit."""
    try:
        return access_unit.parse_header(data)
    except BitstreamError:
        return None


def rescale(value: int, source: Fraction, target: Fraction) -> int:
    """`value` ticks of `source` in ticks of `target`, to the nearest, halves up."""
    return (value * source / target + Fraction(1, 2)).__floor__()
