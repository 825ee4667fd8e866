"""Missing decoding times at the start of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from duoview.pipelines.decode_times import DecodeTimes


@dataclass
class Times:
    pts: int | None
    dts: int | None
    duration: int | None = 3600


@dataclass
class Packet:
    times: Times
    reorders: bool = True


def video(pts: int | None, dts: int | None) -> Packet:
    return Packet(Times(pts, dts))


def filled(packets: list[Packet]) -> list[tuple[int | None, int | None]]:
    return [(packet.times.pts, packet.times.dts) for packet in packets]


def test_an_rtsp_streams_first_packets_are_counted_back_from_the_first_known_time() -> None:
    times: DecodeTimes[Packet] = DecodeTimes()
    start = [video(None, None), video(14400, None), video(7200, None)]
    assert [times.add(packet) for packet in start] == [[], [], []]
    assert filled(times.add(video(3600, 3600))) == [(0, -7200), (14400, -3600), (7200, 0), (3600, 3600)]
    assert filled(times.add(video(10800, 7200))) == [(10800, 7200)]


def test_packets_with_their_times_are_not_held_back() -> None:
    times: DecodeTimes[Packet] = DecodeTimes()
    assert filled(times.add(video(5, 5))) == [(5, 5)]


def test_sound_waits_with_the_video_and_keeps_its_place() -> None:
    times: DecodeTimes[Packet] = DecodeTimes()
    sound = Packet(Times(1, 1), reorders=False)
    assert times.add(video(0, None)) == [] and times.add(sound) == []
    given_ = times.add(video(3600, 3600))
    assert given_[1] is sound and filled(given_) == [(0, 0), (1, 1), (3600, 3600)]


def test_a_time_missing_later_follows_its_predecessor() -> None:
    times: DecodeTimes[Packet] = DecodeTimes()
    times.add(video(0, 0))
    assert filled(times.add(video(7200, None))) == [(7200, 3600)]
    assert filled(times.add(video(None, None))) == [(7200, 7200)]


def test_a_stream_without_any_times_is_let_go_after_a_while() -> None:
    times: DecodeTimes[Packet] = DecodeTimes()
    let_go = [len(times.add(video(None, None))) for _ in range(40)]
    assert sum(let_go) == 40 and max(let_go) == 32


def test_what_is_held_back_at_the_end_is_given_up() -> None:
    times: DecodeTimes[Packet] = DecodeTimes()
    times.add(video(None, None))
    times.add(video(7200, None))
    assert len(times.release()) == 2
    assert times.release() == []


@given(st.lists(st.tuples(st.none() | st.integers(-(1 << 40), 1 << 40), st.none() | st.integers(-(1 << 40), 1 << 40),
                          st.booleans()), max_size=80))  # fmt: skip
def test_no_packet_is_lost_doubled_or_overtaken(raw: list[tuple[int | None, int | None, bool]]) -> None:
    times: DecodeTimes[Packet] = DecodeTimes()
    packets = [Packet(Times(pts, dts), reorders) for pts, dts, reorders in raw]
    out = [given_ for packet in packets for given_ in times.add(packet)] + times.release()
    assert [id(packet) for packet in out] == [id(packet) for packet in packets]
