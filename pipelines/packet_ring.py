"""The last seconds of a camera as packets, for recordings that begin before the event that starts them."""

from __future__ import annotations

import math
from collections import deque

from duoview.errors import LimitError

from .live_packet import LivePacket


class _Group:
    """A key frame and what depends on it, with the sound between."""

    def __init__(self, first: LivePacket) -> None:
        self.packets: list[LivePacket] = []
        self.bytes = 0
        self.start = first.seconds


class PacketRing:
    """Holds whole groups of pictures: at least `seconds` of them as soon as so much came, within a limit of bytes.

    What it gives always begins with a key frame, so that all of it can be decoded.

    Attributes:
        left_out: packets that were never given: too old, too many bytes, or before the first key frame.
        overflowed: those of them that went because of the limit of bytes: with them go the rest of their group, which
            nothing could decode.
        seconds, limit: as given; limit: of bytes.
    """

    def __init__(self, seconds: float, *, bytes: int = 64 << 20) -> None:
        """Hold `seconds` and at most so many bytes of payload. Raises LimitError for values that make no sense."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise LimitError(f"packet ring: seconds={seconds:g}: expected 0 or more")
        if bytes < 1:
            raise LimitError(f"packet ring: bytes={bytes}: expected 1 or more")
        self.seconds, self.limit = seconds, bytes
        self._groups: deque[_Group] = deque()
        self._bytes = 0
        self.left_out = 0
        self.overflowed = 0
        self._cut = False  # the limit took the group that goes on

    @property
    def bytes(self) -> int:
        """Payload held."""
        return self._bytes

    def __len__(self) -> int:
        return sum(len(group.packets) for group in self._groups)

    def add(self, packet: LivePacket) -> None:
        """Hold a packet and let go of what is older than needed. Packets before the first key frame are not held.

        Where `seconds` do not fit into the bytes allowed, whole groups are given up, the oldest first, and the
        last one too.
        """
        if packet.is_video_key:
            self._groups.append(_Group(packet))
            self._cut = False
        elif not self._groups:
            self.left_out += 1
            self.overflowed += self._cut
            return
        group = self._groups[-1]
        size = packet.packet.size
        group.packets.append(packet)
        group.bytes += size
        self._bytes += size
        while len(self._groups) > 1 and self._groups[1].start <= packet.seconds - self.seconds:
            self._give_up()
        while self._groups and self._bytes > self.limit:
            self.overflowed += self._give_up()
            self._cut = not self._groups

    def take(self) -> list[LivePacket]:
        """All that is held, oldest first; the ring is empty afterwards."""
        packets = [packet for group in self._groups for packet in group.packets]
        self._groups.clear()
        self._bytes = 0
        self._cut = False
        return packets

    def _give_up(self) -> int:
        group = self._groups.popleft()
        self._bytes -= group.bytes
        self.left_out += len(group.packets)
        return len(group.packets)
