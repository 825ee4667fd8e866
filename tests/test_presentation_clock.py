"""Seconds from frame to frame: those of the time stamps, and of none that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.presentation_clock import PresentationClock


def passed(times: Sequence[float | None], rate: int = 25) -> list[float]:
    clock = PresentationClock(Fraction(rate))
    return [clock.tell(seconds) for seconds in times]


def test_time_stamps_count_as_they_are_from_the_second_frame_on() -> None:
    assert passed([5.0, 5.1, 5.3, 5.4]) == pytest.approx([0, 0.1, 0.2, 0.1])


def test_frames_without_times_last_as_long_as_the_nominal_rate_says() -> None:
    assert passed([None, None, None], rate=10) == pytest.approx([0, 0.1, 0.1])


def test_a_frame_whose_time_is_missing_counts_once() -> None:
    assert sum(passed([0.0, 0.1, 0.2, None, None, 0.5, 0.6])) == pytest.approx(0.6)


def test_frames_that_share_a_time_in_a_coarse_time_base_count_no_more_than_passes() -> None:
    times = [float(number // 10) for number in range(101)]
    assert sum(passed(times, rate=10)) == pytest.approx(10)
    assert sum(passed(times, rate=5)[20:]) == pytest.approx(8, rel=0.15)


def test_times_that_start_again_count_as_one_usual_frame() -> None:
    assert passed([9.0, 9.1, 9.2, 9.3, 0.0, 0.1])[4:] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("order", [(0, 2, 1), (0, 4, 2, 1, 3)])
def test_times_in_another_order_count_what_passes(order: tuple[int, ...]) -> None:
    period = len(order) - 1
    times = [0.0, *((start + number) / 25 for start in range(0, 400, period) for number in order[1:])]
    assert sum(passed(times)) == pytest.approx(16, rel=0.04)
    assert sum(passed(times, rate=50)) == pytest.approx(16, rel=0.04)


def test_times_of_two_sources_in_turn_count_as_usual_frames() -> None:
    times = [number // 2 / 12.5 + 1000 * (number % 2) for number in range(500)]
    assert sum(passed(times)) == pytest.approx(20 + 4, abs=0.1)  # the first jump may be a gap


def test_a_jump_counts_as_a_gap_that_may_be_one_and_does_not_move_what_is_expected() -> None:
    clock = PresentationClock(Fraction(25))
    for number in range(50):
        clock.tell(number / 25)
    assert clock.tell(3600.0) == pytest.approx(4)
    assert clock.interval < 1.5 / 25


def test_a_second_frame_an_hour_later_does_not_move_what_is_expected_either() -> None:
    clock = PresentationClock(Fraction(25))
    for seconds in (0.0, 3600.0, 3600.04):
        clock.tell(seconds)
    assert clock.interval < 0.2


def test_another_frame_rate_is_expected_within_sixteen_frames() -> None:
    clock, at = PresentationClock(Fraction(25)), 0.0
    for apart in (0.04,) * 100 + (30.0,) * 16:
        at += apart
        last = clock.tell(at)
    assert last == 30 and clock.interval == pytest.approx(30)


@given(st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), max_size=60), st.integers(1, 1000))
def test_no_times_make_a_frame_last_less_than_nothing_or_for_ever(times: list[float | None], rate: int) -> None:
    clock = PresentationClock(Fraction(rate))
    for seconds in times:
        before = clock.interval
        found = clock.tell(seconds)
        assert 0 <= found <= max(4, 8 * max(before, clock.interval)) and clock.interval > 0
