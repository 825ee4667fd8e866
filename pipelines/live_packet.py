"""What a live source hands out: packets on one line of time, and what is known of a frame's origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av

from duoview.findings import FrameFindings
from duoview.plugins.containers.packet import with_payload

from .stream_layout import StreamInfo, StreamLayout


@dataclass(frozen=True)
class Capture:
    """In ``frame.opaque``: where and when a frame was taken.

    Attributes:
        source: the name of the source.
        utc_us: microseconds since 1970-01-01 UTC, by our clock, when its data arrived; `utc_of` and analytics find it.
        connection: number of the connection it came by, 1 for the first.
        discontinuity: it does not follow the frame given before it: the first of a connection, after a jump of the
            camera's clock, or after frames that were not decoded.
    """

    source: str
    utc_us: int
    connection: int
    discontinuity: bool


def capture_of(frame: av.VideoFrame) -> Capture | None:
    """Where and when a frame was taken, also after detectors looked at it; None where no live source gave it."""
    opaque = frame.opaque
    if isinstance(opaque, FrameFindings):
        opaque = opaque.carried
    return opaque if isinstance(opaque, Capture) else None


@dataclass(frozen=True)
class LivePacket:
    """A packet as it came, its times on the source's line of time.

    `packet` belongs to no stream of libav: it stays valid after the connection is gone. The first of a connection is a
    key frame of the video stream.
    """

    packet: av.Packet[Any]
    stream: StreamInfo
    layout: StreamLayout
    capture: Capture

    @property
    def is_video_key(self) -> bool:
        """Whether decoding can begin here."""
        return self.stream.type == "video" and self.packet.is_keyframe

    @property
    def seconds(self) -> float:
        """When it is to be decoded, on the source's line of time."""
        assert self.packet.dts is not None
        return float(self.packet.dts * self.stream.time_base)


@dataclass(frozen=True)
class Taken:
    """A frame or packet in a source's queue. `epoch` counts discontinuities of what was put into that queue."""

    item: Any
    utc: int
    connection: int
    epoch: int
    stream: StreamInfo | None = None
    layout: StreamLayout | None = None


def detached(packet: av.Packet[Any], pts: int, dts: int, data: bytes | None = None) -> av.Packet[Any]:
    """A copy of a packet that no longer refers to its stream, with other times and, if given, another payload.

    An object in its opaque is in that of the copy's UnitOrigin, as ``carried``.
    """
    copy = with_payload(packet, bytes(packet) if data is None else data)
    copy.pts, copy.dts = pts, dts
    return copy
