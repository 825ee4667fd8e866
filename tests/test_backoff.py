"""Delays between attempts to connect."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.errors import LimitError
from duoview.pipelines.backoff import Backoff


def test_delays_double_up_to_the_limit() -> None:
    backoff = Backoff(first=0.5, factor=2, limit=3, jitter=0)
    assert [backoff.delay(failures, 0.3) for failures in range(1, 6)] == [0.5, 1, 2, 3, 3]


def test_jitter_spreads_a_delay_to_both_sides() -> None:
    backoff = Backoff(first=10, jitter=0.2)
    assert [backoff.delay(1, uniform) for uniform in (0, 0.5, 0.999999)] == pytest.approx([8, 10, 12], abs=1e-4)


def test_delays_can_be_held_within_a_time() -> None:
    assert [Backoff(jitter=0).within(3).delay(failures, 0) for failures in range(1, 6)] == [0.5, 1, 2, 3, 3]
    assert [Backoff(jitter=0).within(0.2).delay(failures, 0) for failures in (1, 9)] == [0.2, 0.2]
    assert Backoff(limit=2).within(100) == Backoff(limit=2)


def test_a_first_delay_of_zero_stays_zero() -> None:
    assert Backoff(first=0).delay(40, 0.9) == 0


@given(
    first=st.floats(0, 100),
    factor=st.floats(1, 1e6),
    extra=st.floats(0, 1000),
    jitter=st.floats(0, 1),
    failures=st.integers(1, 10**9),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_every_delay_is_finite_and_within_the_jittered_limit(
    first: float, factor: float, extra: float, jitter: float, failures: int, uniform: float
) -> None:
    backoff = Backoff(first=first, factor=factor, limit=first + extra, jitter=jitter)
    delay = backoff.delay(failures, uniform)
    assert math.isfinite(delay) and 0 <= delay <= (first + extra) * (1 + jitter)


@given(
    first=st.floats(0.001, 100), factor=st.floats(1, 100), extra=st.floats(0, 1000), failures=st.integers(1, 10**6)
)
def test_without_jitter_a_delay_is_never_shorter_than_the_one_before(
    first: float, factor: float, extra: float, failures: int
) -> None:
    backoff = Backoff(first=first, factor=factor, limit=first + extra, jitter=0)
    assert backoff.delay(failures, 0) <= backoff.delay(failures + 1, 0)


def test_attempts_end_only_where_a_number_was_given() -> None:
    assert [Backoff(attempts=3).exhausted(failures) for failures in (1, 2, 3)] == [False, False, True]
    assert not Backoff().exhausted(10**9)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"first": -1}, "first=-1: expected seconds, 0 or more"),
        ({"factor": 0.5}, "factor=0.5: expected 1 or more"),
        ({"first": 5, "limit": 1}, "limit=1: expected at least first=5"),
        ({"jitter": 1.5}, "jitter=1.5: expected 0 to 1"),
        ({"attempts": 0}, "attempts=0: expected 1 or more"),
        ({"limit": math.inf}, "limit=inf: expected a finite number"),
        ({"first": math.nan}, "first=nan: expected a finite number"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(values: dict[str, float], said: str) -> None:
    with pytest.raises(LimitError, match=said):
        Backoff(**values)  # type: ignore[arg-type]
