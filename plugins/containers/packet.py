"""Packets that hold one access unit each. They belong to no libav stream: `packet.stream` is None."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

from duoview import access_unit
from duoview.access_unit import UnitHeader
from duoview.errors import BitstreamError
from duoview.unit_origin import UnitOrigin, is_discarded

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


def with_payload(packet: av.Packet[Any], data: bytes | av.Packet[Any]) -> av.Packet[Any]:
    """A packet around `data` (not copied) with all that `packet` says: times, flags, side data, opaque.

    It refers to no stream. That it is to be discarded, which PyAV lets nobody set, is in its UnitOrigin, and so is what
    was in the opaque of `packet`, as `carried`: a user's own object too.
    """
    copy = unit_packet(data, pts=packet.pts, dts=packet.dts, duration=packet.duration or 0,
                       time_base=Fraction(packet.time_base), key=packet.is_keyframe)
    copy.is_corrupt = packet.is_corrupt
    # One of its own: PyAV forgets an object that was set on two packets as soon as one of them is freed.
    carried = packet.opaque.carried if isinstance(packet.opaque, UnitOrigin) else packet.opaque
    if is_discarded(packet) or carried is not None:
        copy.opaque = UnitOrigin(is_discarded(packet), carried)
    for side_data in packet.iter_sidedata():
        copy.set_sidedata(side_data)
    return copy


def header_of(data: memoryview | bytes) -> UnitHeader | None:
    """The header of the access unit in `data`, or None when it is damaged or no access unit."""
    try:
        return access_unit.parse_header(data)
    except BitstreamError:
        return None


def rescale(value: int, source: Fraction, target: Fraction) -> int:
    """`value` ticks of `source` in ticks of `target`, to the nearest, halves up."""
    return (value * source / target + Fraction(1, 2)).__floor__()
