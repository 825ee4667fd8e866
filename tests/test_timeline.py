"""One line of time over reconnects, clock jumps and wraps."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from duoview.pipelines.timeline import Timeline

TS = Fraction(1, 90000)
FRAME = 3600  # ticks at 25 frames a second


def place(line: Timeline, dts: int | None, arrival: float, *, stream: int = 0, pts: int | None = None) -> int:
    return line.place(stream, TS, dts if pts is None else pts, dts, arrival).dts


def test_the_line_begins_at_zero_and_keeps_the_cameras_intervals() -> None:
    line = Timeline()
    times = [1_000_000, 1_003_600, 1_007_201, 1_018_000]
    assert [place(line, time, 50 + n / 25) for n, time in enumerate(times)] == [0, 3600, 7201, 18000]


def test_reordered_frames_keep_their_delay() -> None:
    line = Timeline()
    line.place(0, TS, 9000, 1800, 0)
    assert line.place(0, TS, 16200, 5400, 0.04).pts == 16200 - 1800


def test_a_gap_between_connections_is_as_long_as_it_was() -> None:
    line = Timeline()
    assert place(line, 500_000, 100.0) == 0
    line.begin()
    stamp = line.place(0, TS, 7, 7, 130.0)
    assert (stamp.dts, stamp.jump) == (30 * 90000, False)


def test_a_connection_whose_clock_ran_ahead_is_followed_without_going_back() -> None:
    line = Timeline()
    place(line, 0, 100.0)
    assert place(line, 9 * 90000, 100.1) == 9 * 90000
    line.begin()
    assert 9 * 90000 < place(line, 0, 100.2) < 9 * 90000 + 2


def test_a_jump_of_the_cameras_clock_goes_on_at_the_time_of_arrival() -> None:
    line = Timeline()
    place(line, 0, 10.0)
    stamp = line.place(0, TS, 1 << 40, 1 << 40, 10.04)
    assert (stamp.dts, stamp.jump) == (FRAME, True)


def test_a_wrap_of_transport_streams_costs_nothing_but_a_mark() -> None:
    line = Timeline()
    place(line, (1 << 33) - FRAME, 0.0)
    stamp = line.place(0, TS, 0, 0, 0.04)
    assert (stamp.dts, stamp.jump) == (FRAME, True)
    assert place(line, FRAME, 0.08) == 2 * FRAME


def test_two_streams_that_jump_together_are_marked_once_and_stay_in_step() -> None:
    line = Timeline()
    for n in range(3):
        place(line, n * FRAME, n / 25)
        place(line, n * FRAME, n / 25, stream=1)
    far = 1 << 40
    assert line.place(0, TS, far, far, 3 / 25).jump
    late = line.place(1, TS, 3 * FRAME, 3 * FRAME, 3 / 25)  # the other one has not jumped yet
    assert (late.dts, late.jump) == (3 * FRAME, False)
    then = line.place(1, TS, far + FRAME, far + FRAME, 4 / 25)
    assert (then.dts, then.jump) == (4 * FRAME, False)


def test_streams_with_clocks_of_their_own_both_stay_on_the_line() -> None:
    line, sound = Timeline(), 1 << 45
    for n in range(50):
        assert place(line, n * FRAME, n / 25) == n * FRAME
        assert abs(place(line, sound + n * FRAME, n / 25, stream=1) - n * FRAME) <= 1


def test_a_camera_that_pauses_for_long_has_not_jumped() -> None:
    line = Timeline()
    place(line, 0, 0.0)
    stamp = line.place(0, TS, 60 * 90000, 60 * 90000, 60.0)
    assert (stamp.dts, stamp.jump) == (60 * 90000, False)


def test_times_slightly_out_of_order_are_moved_on_by_a_tick() -> None:
    line = Timeline()
    place(line, 0, 0.0)
    place(line, FRAME, 0.04)
    stamp = line.place(0, TS, FRAME - 900, FRAME - 900, 0.08)
    assert (stamp.dts, stamp.jump) == (FRAME + 1, False)


def test_packets_without_times_get_the_time_they_came_at() -> None:
    line = Timeline()
    assert [place(line, None, arrival) for arrival in (7.0, 7.04, 7.04)] == [0, 3600, 3601]


def test_a_damaged_pts_does_not_carry_its_frame_hours_away() -> None:
    line = Timeline()
    stamps = [line.place(0, TS, 3600 * n + 7200 + (n == 3) * (1 << 32), 3600 * n, n / 25) for n in range(6)]
    assert [stamp.pts - stamp.dts for stamp in stamps] == [7200] * 6


STEP = st.tuples(
    st.sampled_from(("packet", "packet", "packet", "connect")),
    st.integers(0, 1),  # stream
    st.none() | st.integers(-(1 << 40), 1 << 40),  # dts
    st.integers(0, 200_000),  # pts - dts
    st.floats(0, 100),  # seconds that pass before
)


@given(st.lists(STEP, max_size=60))
def test_whatever_a_camera_sends_dts_rise_strictly_in_each_stream(
    steps: list[tuple[str, int, int | None, int, float]],
) -> None:
    line, now = Timeline(), 0.0
    bases = (TS, Fraction(1, 48000))
    last: dict[int, int] = {}
    for kind, stream, dts, delay, seconds in steps:
        now += seconds
        if kind == "connect":
            line.begin()
        stamp = line.place(stream, bases[stream], None if dts is None else dts + delay, dts, now)
        assert stream not in last or stamp.dts > last[stream]
        assert stamp.pts >= stamp.dts
        last[stream] = stamp.dts


@given(st.lists(st.integers(1, 9 * 90000), max_size=40), st.integers(-(1 << 40), 1 << 40), st.floats(0, 1e7))
def test_within_a_connection_intervals_are_kept_to_the_tick(steps: list[int], start: int, arrival: float) -> None:
    line, raw = Timeline(), start
    first = place(line, raw, arrival)
    for step in steps:
        raw += step
        assert place(line, raw, arrival) == first + raw - start
