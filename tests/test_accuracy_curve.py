"""BD-rate of accuracy curves: half the rate is -50 %, order does not matter, turned round it is the negative."""

from __future__ import annotations

import itertools
import math
import runpy
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
curve = BENCH.module("bench.accuracy.curve")
points = BENCH.module("bench.accuracy.points")

MEASURED = st.lists(
    st.tuples(st.floats(1, 1e5, allow_nan=False), st.floats(0, 1, allow_nan=False)), min_size=6, max_size=12,
    unique_by=lambda pair: pair[0])


def made(pairs: list[tuple[float, float]]) -> Any:
    return curve.Curve([curve.Point(rate, accuracy) for rate, accuracy in pairs])


STEPS = [(100.0 * 1.5**step, 0.4 + 0.07 * step) for step in range(8)]


@given(MEASURED)
def test_a_curve_at_half_the_rate_is_minus_fifty_percent(pairs: list[tuple[float, float]]) -> None:
    result = curve.difference(made([(rate / 2, accuracy) for rate, accuracy in pairs]), made(pairs))
    if result.log is not None:
        assert result.percent == pytest.approx(-50, abs=1e-6)


def test_half_the_rate_is_comparable_and_so_the_property_is_not_empty() -> None:
    result = curve.difference(made([(rate / 2, accuracy) for rate, accuracy in STEPS]), made(STEPS))
    assert result.percent == pytest.approx(-50) and (result.low, result.high) == pytest.approx((0.4, 0.89))


@given(MEASURED, MEASURED, st.randoms(use_true_random=False))
def test_the_order_of_points_does_not_matter(
        first: list[tuple[float, float]], second: list[tuple[float, float]], random: Random) -> None:
    shuffled = list(first)
    random.shuffle(shuffled)
    assert curve.difference(made(shuffled), made(second)) == curve.difference(made(first), made(second))


@given(MEASURED, MEASURED)
def test_turned_round_it_is_the_negative_in_logarithms(
        first: list[tuple[float, float]], second: list[tuple[float, float]]) -> None:
    there, back = curve.difference(made(first), made(second)), curve.difference(made(second), made(first))
    assert (there.log is None) == (back.log is None)
    if there.log is not None:
        assert there.log == pytest.approx(-back.log, abs=1e-9)


@given(MEASURED)
def test_the_envelope_rises_and_no_cheaper_point_is_as_good_as_one_on_it(pairs: list[tuple[float, float]]) -> None:
    envelope = made(pairs).envelope
    assert all(a.rate < b.rate and a.accuracy < b.accuracy for a, b in itertools.pairwise(envelope))
    for point in envelope:
        assert all(accuracy < point.accuracy for rate, accuracy in pairs if rate < point.rate)


def test_a_dent_in_a_curve_costs_nothing() -> None:
    assert curve.difference(made([*STEPS, (200.0, 0.1)]), made(STEPS)).log == 0


def test_only_the_accuracies_that_both_reach_count() -> None:
    cheaper = [(rate / 2, accuracy) for rate, accuracy in STEPS]
    longer = [(1.0, 0.1), *cheaper, (1e6, 1.0)]
    result = curve.difference(made(longer), made(STEPS))
    assert result.percent == pytest.approx(-50) and (result.low, result.high) == (STEPS[0][1], STEPS[-1][1])


def test_the_mean_is_over_accuracy_and_exact_between_the_points() -> None:
    # From 0.4 to 0.6 at equal rate, from 0.6 to 0.8 a gap that grows from nothing to log 4: a mean of log 2 / 2.
    flat = [(1.0, 0.4), (1.2, 0.45), (1.4, 0.5), (1.6, 0.55), (2.0, 0.6)]
    result = curve.difference(made([*flat, (32.0, 0.8)]), made([*flat, (8.0, 0.8)]))
    assert result.log == pytest.approx(math.log(2) / 2)


@pytest.mark.parametrize(
    ("test", "anchor", "reason"),
    [
        (STEPS[:5], STEPS, "5 points of the test, 6 are needed"),
        (STEPS, STEPS[:3] * 3, "3 points of the anchor, 6 are needed"),
        ([(rate, accuracy / 10) for rate, accuracy in STEPS], STEPS, "less than 0.02 of accuracy: 0.040 to 0.089"),
        ([(rate, 0.7) for rate, _ in STEPS], STEPS, "share less than 0.02 of accuracy: 0.700 to 0.700"),
    ],
)
def test_what_cannot_be_compared_says_why(
        test: list[tuple[float, float]], anchor: list[tuple[float, float]], reason: str) -> None:
    result = curve.difference(made(test), made(anchor))
    assert result.percent is None and reason in result.reason


def test_accuracy_at_a_rate_is_between_its_points_and_unknown_below_the_cheapest() -> None:
    line = made([(100.0, 0.4), (400.0, 0.8)])
    assert line.at(200) == pytest.approx(0.6)
    assert line.at(99) is None and line.at(1000) == pytest.approx(0.8)
    assert made([]).at(100) is None


def test_means_are_taken_in_logarithms() -> None:
    double, half = (curve.Difference(math.log(factor), 0, 1) for factor in (2, 0.5))
    assert curve.mean_percent([double, half, curve.Difference(None, 0, 0, "no")]) == pytest.approx(0)
    assert curve.mean_percent([]) is None


@pytest.mark.parametrize(("rate", "accuracy"), [(0, 0.5), (-1, 0.5), (math.inf, 0.5), (1, 1.5), (1, math.nan)])
def test_a_point_out_of_range_is_refused(rate: float, accuracy: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        curve.Point(rate, accuracy)


@given(st.integers(2, 60), st.floats(1, 1000), st.floats(1.05, 3), st.floats(1, 5000), st.floats(1.1, 50), st.data())
def test_chosen_qualities_span_the_range_that_was_asked_for(
        available: int, cheapest: float, growth: float, low: float, ratio: float, data: st.DataObject) -> None:
    sizes = [cheapest * growth**step for step in range(available)]
    count = data.draw(st.integers(2, available))
    asked: list[int] = []
    qualities = list(range(available, 0, -1))

    def size(quality: int) -> float:
        asked.append(quality)
        return sizes[qualities.index(quality)]

    chosen = points.choose(qualities, size, low, low * ratio, count)
    assert len(chosen) == len(set(chosen)) == count and chosen == sorted(chosen, reverse=True)
    found = [sizes[qualities.index(quality)] for quality in chosen]
    assert found[0] <= low or chosen[0] == qualities[0]
    assert found[-1] >= low * ratio or chosen[-1] == qualities[-1]
    assert len(asked) <= 2 * (available.bit_length() + 1)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 1500))
def test_the_best_quality_within_a_limit_is_found(steps: list[int], limit: int) -> None:
    sizes = [sum(steps[:count + 1]) for count in range(len(steps))]
    qualities = list(range(len(steps), 0, -1))
    inside = [quality for quality, size in zip(qualities, sizes, strict=True) if size <= limit]
    found = points.most_within(qualities, lambda quality: sizes[qualities.index(quality)], limit)
    assert found == (inside[-1] if inside else None)


def test_the_next_point_goes_into_the_widest_step_of_accuracy_of_any_judge() -> None:
    scale = range(50, 10, -1)
    values: dict[int, list[float | None]] = {
        50: [0.1, None], 42: [0.2, None], 30: [0.5, 0.5], 29: [0.9, 0.5], 11: [0.92, 0.95]}
    assert points.between(scale, values, 0.05) == 20  # the second judge's step from 29 to 11
    assert points.between(scale, {key: value[:1] for key, value in values.items()}, 0.05) == 36  # 29 follows 30
    assert points.between(scale, {50: [0.5], 30: [0.54], 11: [0.55]}, 0.05) is None
    assert points.between(scale, {50: [None]}, 0.05) is None


def test_points_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(ValueError, match="9 points: expected 1 to 8"):
        points.choose(range(8), float, 1, 2, 9)
    with pytest.raises(ValueError, match="expected two rising numbers above 0"):
        points.choose(range(8), float, 2, 1, 6)
