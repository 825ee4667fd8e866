"""The end of an encoder's stream, where the stream is too short for its own decode times."""

from __future__ import annotations

from typing import Any

import av

#: libx265 (4.1 was looked at) learns from its third picture how far decode times lie before the pictures' own. Streams
#: that end before leave them what memory held: -2, 0, or any number of 64 bits, which a muxer refuses once it is > pts.
_PICTURES_TO_KNOW = 3


def drain(encoder: Any, codec: str, pictures: int) -> list[av.Packet]:
    """The packets that an encoder held back, with decode times that can be muxed.

    Args:
        encoder: a stream or codec context of PyAV.
        codec: the name of its encoder, such as ``libx265``.
        pictures: how many it was given in all.
    Raises av.FFmpegError when the encoder fails.
    """
    packets: list[av.Packet] = encoder.encode(None)
    if codec == "libx265" and len(packets) == pictures < _PICTURES_TO_KNOW:
        for packet in packets:
            packet.dts = packet.pts  # with two pictures there is nothing to reorder
    return packets
