"""Pre-roll: the last seconds of packets."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.errors import LimitError
from duoview.pipelines.live_packet import Capture, LivePacket
from duoview.pipelines.packet_ring import PacketRing
from duoview.pipelines.stream_layout import StreamInfo, StreamLayout

VIDEO = StreamInfo(0, "video", "h264", Fraction(1, 1000), Fraction(25), 64, 48)
LAYOUT = StreamLayout((VIDEO,), b"")


def packet(milliseconds: int, key: bool, size: int = 10) -> LivePacket:
    raw = av.Packet(bytes(size))
    raw.pts = raw.dts = milliseconds
    raw.is_keyframe = key
    return LivePacket(raw, VIDEO, LAYOUT, Capture("cam", 0, 1, False))


def fill(ring: PacketRing, count: int, *, group: int = 5, size: int = 10) -> list[LivePacket]:
    packets = [packet(n * 40, n % group == 0, size) for n in range(count)]
    for one in packets:
        ring.add(one)
    return packets


def test_the_ring_gives_the_last_seconds_from_the_key_frame_before_them() -> None:
    ring = PacketRing(1.0)
    packets = fill(ring, 103)
    # The newest is at 4.08 s; 3.08 s lies in the group that began at 3.0 s.
    assert ring.take() == packets[75:]
    assert (len(ring), ring.bytes) == (0, 0)


def test_nothing_is_held_before_a_key_frame() -> None:
    ring = PacketRing(1.0)
    ring.add(packet(0, False))
    assert (ring.take(), ring.left_out) == ([], 1)


def test_a_ring_of_no_seconds_holds_the_present_group() -> None:
    ring = PacketRing(0)
    packets = fill(ring, 8)
    assert ring.take() == packets[5:]


def test_a_group_larger_than_all_bytes_is_given_up_whole() -> None:
    ring = PacketRing(10, bytes=45)
    fill(ring, 5, size=10)
    assert (ring.take(), ring.overflowed) == ([], 5)


def test_what_follows_in_a_group_that_was_given_up_is_counted_with_it() -> None:
    ring = PacketRing(10, bytes=25)
    ring.add(packet(-40, False))  # left out for want of a key frame, which is no matter of bytes
    fill(ring, 10, group=8, size=10)
    assert (len(ring), ring.overflowed, ring.left_out) == (2, 8, 9)
    ring.take()
    ring.add(packet(400, False))
    assert (ring.overflowed, ring.left_out) == (8, 10)


@given(
    sizes=st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.integers(1, 400)), max_size=60),
    seconds=st.floats(0, 3),
    limit=st.integers(1, 600),
)
def test_the_limits_hold_and_what_is_given_is_contiguous_from_a_key_frame(
    sizes: list[tuple[int, bool, int]], seconds: float, limit: int
) -> None:
    ring, now, sent = PacketRing(seconds, bytes=limit), 0, []
    for size, key, step in sizes:
        now += step
        sent.append(packet(now, key, size))
        ring.add(sent[-1])
        assert ring.bytes <= limit
    overflowed, left_out = ring.overflowed, ring.left_out
    given_ = ring.take()
    assert given_ == sent[len(sent) - len(given_) :]
    assert left_out == len(sent) - len(given_)
    if given_:
        assert given_[0].is_video_key
    if not overflowed and any(key for _, key, _ in sizes):
        keys = [one for one in sent if one.is_video_key]
        needed = [one for one in keys if one.seconds <= sent[-1].seconds - seconds]
        assert given_[0] is (needed[-1] if needed else keys[0])


def test_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(LimitError, match="seconds=-1: expected 0 or more"):
        PacketRing(-1)
    with pytest.raises(LimitError, match="bytes=0: expected 1 or more"):
        PacketRing(1, bytes=0)
