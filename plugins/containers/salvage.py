"""Access units inside a packet that is no access unit.

A byte too many or too few makes libavformat read NUT's next frame header in the wrong place; the frame that it takes
from there may be as long as 64 KiB and hold every unit up to its end, minutes of a quiet scene. The units' own magic
number and header checksum find them again.
"""

from __future__ import annotations

from duoview.access_unit import MAGIC, VERSION
from duoview.plugins.containers.packet import header_of

_START = bytes((MAGIC, VERSION))
#: Starts that turn out to be none, per packet and per that many of its bytes: by chance there is one in 64 KiB. Hostile
#: bytes may hold one every few bytes, each in front of a table of 16,384 sections to be read in vain.
_FALSE_STARTS, _BYTES_PER_FALSE_START = 16, 2048


def whole_units(data: bytes, begin: int = 0) -> list[bytes]:
    """The access units at or after `begin` whose headers are undamaged and whose bytes are all there, in order.

    The search ends early in data with many more false starts than chance makes.
    """
    units = []
    left = _FALSE_STARTS + len(data) // _BYTES_PER_FALSE_START
    view = memoryview(data)
    at = data.find(_START, begin)
    while at >= 0 and left > 0:
        header = header_of(view[at:])
        if header is not None and at + header.size <= len(data):
            units.append(data[at : at + header.size])
            at = data.find(_START, at + header.size)
        else:
            left -= 1
            at = data.find(_START, at + 1)
    return units
