"""Texture at a bit rate: what units may take, by presentation time."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.texture.truncation import Budget

RATE, GOP = 8000, 10


def budget(*, every: bool = False) -> Budget:
    """A thousand bytes a second, at 10 frames a second by name, a key frame a second."""
    return Budget(RATE, Fraction(10), GOP, every)


def taken(times: list[float | None], keys: set[int], wanted: int = 1 << 30) -> list[int]:
    """Bytes of key units of frames at those times that take all they may."""
    made, found = budget(), []
    for index, seconds in enumerate(times):
        made.tell(seconds)
        if index in keys:
            found.append(min(wanted, made.grant(True)))
            made.spend(found[-1])
    return found


def test_a_group_takes_what_it_earns() -> None:
    assert taken([n / 10 for n in range(40)], {0, 10, 20, 30}) == [1000] * 4


def test_a_camera_at_half_of_its_rate_gets_twice_as_much_for_a_key_frame() -> None:
    found = taken([n / 5 for n in range(60)], set(range(0, 60, 10)))
    assert found[0] == 1000 and found[3:] == [2000] * 3
    assert sum(found) <= 12_000


def test_frames_without_times_count_by_the_nominal_rate() -> None:
    assert taken([None] * 30, {0, 10, 20}) == [1000] * 3


def test_key_frames_that_come_early_take_no_more_than_was_earned() -> None:
    found = taken([n / 10 for n in range(40)], {0, 10, 12, 15, 20, 30})
    assert found[:4] == pytest.approx([1000, 1000, 200, 300], abs=2) and sum(found) <= 4000 + 10


def test_what_a_group_leaves_over_serves_the_next_one_but_no_more_than_a_groups_worth() -> None:
    made = budget()
    for index in range(51):
        made.tell(index / 10)
        if index in (0, 10, 20, 30, 40):
            made.grant(True)
    assert made.grant(True) == 2000


def test_where_all_frames_have_texture_a_key_frame_leaves_some_for_them() -> None:
    made, found = budget(every=True), []
    for index in range(50):
        made.tell(index / 10)
        found.append(made.grant(index % GOP == 0))
        made.spend(found[-1])
    assert found[0] == 600 and found[1] == 40 and min(found) > 10
    assert 4000 < sum(found) <= 5000


@given(steps=st.lists(st.floats(0.02, 0.6), min_size=1, max_size=120), keys=st.sets(st.integers(0, 119)))
def test_no_stream_takes_more_than_its_rate_and_two_groups(steps: list[float], keys: set[int]) -> None:
    times = [sum(steps[:n]) for n in range(len(steps))]
    longest = max(1.0, GOP * max(steps))
    assert sum(taken(list(times), keys)) <= RATE / 8 * (times[-1] + 2 * longest) + len(keys)
