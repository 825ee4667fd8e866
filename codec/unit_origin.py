"""``packet.opaque`` of an access unit: what a container said of it that nobody can set in a packet of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av


@dataclass(frozen=True)
class UnitOrigin:
    """In ``packet.opaque``. discard: decode the unit, show nothing of it (PyAV's ``is_discard`` cannot be set).

    ``carried`` is what stood there before: an object of your own. Who gives a unit one puts it there, as
    ``packet.opaque = UnitOrigin(is_discarded(packet), carried=mine)``; in its place it would take the mark away. What
    makes a packet with other bytes or times wraps an object that stands alone.
    """

    discard: bool
    carried: object = None


def is_discarded(packet: av.Packet[Any]) -> bool:
    """Whether a unit is only there for later ones, as those before the first frame of a MOV's edit list."""
    return packet.is_discard or (isinstance(packet.opaque, UnitOrigin) and packet.opaque.discard)
