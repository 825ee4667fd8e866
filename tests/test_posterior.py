"""Reverse steps of discrete diffusions: the definition, exact probabilities, addressing, edges, and errors."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from duoview.kernels import _native, noise, palette
from duoview.kernels.palette import Transition

STEPS = [(0.5, 0.7), (1e-6, 1e-5), (0.0, 0.01), (0.999, 1.0), (0.99998, 0.99999), (0.3, 0.3), (0.0, 1.0)]
CATEGORIES = [2, 3, 16, 17, 64, 256]
DRAWS = 60_000


def draw(
    logits: NDArray[np.int16],
    states: object,
    transition: Transition,
    *,
    offset: int = 0,
    path: str = "auto",
    threads: int = 1,
) -> NDArray[np.uint8]:
    given_states = np.asarray(states, np.uint8)
    return palette.posterior_sample(
        logits, given_states, transition, seed=21, stream=22, offset=offset, path=path, threads=threads
    )


def random_logits(stream: int, rows: int, categories: int, reach: int = 2000) -> NDArray[np.int16]:
    words = noise.philox(5, stream, 0, rows * categories).astype(np.int64)
    return (words % (2 * reach + 1) - reach).astype(np.int16).reshape(rows, categories)


def defined(logits: list[int], state: int, transition: Transition, words: list[int]) -> int:
    """docs/kernels.md in Python's integers."""
    categories, first = len(logits), 0
    if isinstance(transition, palette.Tree):
        width = categories >> transition.depth
        first, logits = state * width, logits[state * width : (state + 1) * width]
    weights = [_native.octave_weight(max(logits) - logit) for logit in logits]
    target = words[1] * sum(weights) >> 32
    if isinstance(transition, palette.Absorbing) and (state < categories or words[0] < transition.masked()):
        return state
    if isinstance(transition, palette.Uniform):
        model, flat, stay, agree, own = transition.shares(categories)
        self, weights[state] = weights[state], 0
        near = self * own
        everything = (sum(weights) << 32) + near
        masses = [model * everything >> 64, flat * everything >> 64]
        masses.append((stay * everything >> 64) + (agree * (self << 32) >> 64))
        part = words[0] * sum(masses) >> 32
        if part >= masses[0]:
            return words[1] * categories >> 32 if part < masses[0] + masses[1] else state
        target = words[1] * everything >> 64
        if target >= sum(weights):
            return state
    found = next(k for k in range(len(weights)) if sum(weights[: k + 1]) > target)
    if isinstance(transition, palette.Tree):
        return (first + found) >> (categories.bit_length() - 1 - transition.target)
    return found


def exact(logits: NDArray[np.int16], state: int, transition: Transition) -> NDArray[np.float64]:
    """The probabilities of all results, from the matrices of the chain."""
    categories = logits.size
    p = 2.0 ** ((logits.astype(np.float64) - logits.max()) / 256)
    p /= p.sum()
    if isinstance(transition, palette.Tree):
        depth = categories.bit_length() - 1
        leaves = np.arange(categories)
        inside = p * (leaves >> (depth - transition.depth) == state)
        return np.bincount(leaves >> (depth - transition.target), inside / inside.sum()).astype(np.float64)
    late, early = transition.alpha_bar, transition.alpha_bar_previous
    if isinstance(transition, palette.Uniform):
        target = np.full((categories, categories), 1 / categories)
    else:
        target = np.zeros((categories + 1, categories + 1))
        target[:, categories] = 1

    def chain(kept: float) -> NDArray[np.float64]:
        return kept * np.eye(len(target)) + (1 - kept) * target

    step, to_early, to_late = chain(late / early), chain(early)[:categories], chain(late)[:categories]
    return (p[:, None] * to_early * step[None, :, state] / to_late[:, state, None]).sum(0)


def p_value(drawn: NDArray[np.uint8], probabilities: NDArray[np.float64]) -> float:
    """Chi-squared, results that are rarer than ten times taken together."""
    counts = np.bincount(drawn, minlength=probabilities.size).astype(np.float64)
    assert counts.size == probabilities.size
    expected = probabilities / probabilities.sum() * drawn.size
    rare = expected < 10
    if rare.all() or expected.max() > drawn.size - 10:  # all but certain
        return 1.0 if abs(counts[expected.argmax()] - expected.max()) < 40 else 0.0
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    if wanted[-1] < 10:  # too few even together: only that there are not many
        assert observed[-1] < 40
        observed, wanted = observed[:-1], wanted[:-1] * observed[:-1].sum() / wanted[:-1].sum()
    return float(stats.chisquare(observed, wanted).pvalue) if observed.size > 1 else 1.0


def drawn_from_one_row(row: NDArray[np.int16], state: int, transition: Transition, offset: int) -> NDArray[np.uint8]:
    return draw(np.tile(row, (DRAWS, 1)), np.full(DRAWS, state), transition, offset=offset)


def assert_fits(p_values: list[float]) -> None:
    certain = [p for p in p_values if p == 1.0]
    proper = [p for p in p_values if p < 1.0]
    assert len(proper) > len(certain)
    assert min(proper) > 1e-3 / len(proper)
    assert stats.kstest(proper, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("categories", CATEGORIES)
def test_uniform_steps_have_the_exact_probabilities(categories: int) -> None:
    p_values: list[float] = []
    for number, (late, early) in enumerate(STEPS):
        for reach in (300, 3000):
            row = random_logits(number, 1, categories, reach)[0]
            for state in {int(row.argmax()), int(row.argmin()), categories - 1}:
                transition = palette.Uniform(late, early)
                drawn = drawn_from_one_row(row, state, transition, DRAWS * len(p_values))
                p_values.append(p_value(drawn, exact(row, state, transition)))
    assert_fits(p_values)


@pytest.mark.parametrize("categories", [2, 3, 16, 17, 64, 255])
def test_absorbing_steps_have_the_exact_probabilities(categories: int) -> None:
    p_values: list[float] = []
    for number, (late, early) in enumerate(STEPS):
        for reach in (300, 3000):
            row = random_logits(100 + number, 1, categories, reach)[0]
            transition = palette.Absorbing(late, early)
            drawn = drawn_from_one_row(row, categories, transition, DRAWS * len(p_values))
            p_values.append(p_value(drawn, exact(row, categories, transition)))
    assert_fits(p_values)


@pytest.mark.parametrize("categories", [2, 4, 16, 64, 256])
def test_tree_steps_have_the_exact_probabilities(categories: int) -> None:
    p_values: list[float] = []
    deepest = categories.bit_length() - 1
    for depth in range(deepest):
        for target in range(depth + 1, deepest + 1):
            row = random_logits(200 + depth, 1, categories, 700)[0]
            transition = palette.Tree(depth, target)
            for state in {0, (1 << depth) - 1, (1 << depth) // 3}:
                drawn = drawn_from_one_row(row, state, transition, DRAWS * len(p_values))
                p_values.append(p_value(drawn, exact(row, state, transition)))
    if len(p_values) > 8:
        assert_fits(p_values)
    assert min(p_values) > 1e-4


def test_weights_are_powers_of_two_within_the_stated_error() -> None:
    f = np.arange(65536)
    weights = np.array([_native.octave_weight(int(x)) for x in f], np.float64) / (65533.5 * 128)
    truth = 2.0 ** (-f / 256)
    np.testing.assert_allclose(weights[: 8 * 256], truth[: 8 * 256], rtol=3.1e-5)
    np.testing.assert_allclose(weights[8 * 256 :], truth[8 * 256 :], atol=2.0**-22, rtol=0)
    assert not weights[23 * 256 :].any()


transitions = st.one_of(
    st.tuples(st.floats(0, 1), st.floats(0, 1))
    .map(sorted)
    .filter(lambda pair: pair[0] < 1 and pair[1] > 0)
    .flatmap(lambda pair: st.sampled_from([palette.Uniform(*pair), palette.Absorbing(*pair)])),
    st.integers(0, 7).flatmap(lambda depth: st.integers(depth + 1, 8).map(lambda target: palette.Tree(depth, target))),
)


@given(st.data(), transitions, st.integers(0, 2**63 - 40), st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_a_draw_is_that_of_the_definition(data: st.DataObject, transition: Transition, offset: int, count: int) -> None:
    if isinstance(transition, palette.Tree):
        categories = 1 << data.draw(st.integers(transition.target, 8))
        states = 1 << transition.depth
    else:
        categories = data.draw(st.integers(1, 255 if isinstance(transition, palette.Absorbing) else 256))
        states = categories + isinstance(transition, palette.Absorbing)
    reach = data.draw(st.sampled_from([0, 10, 1000, 32768]))
    logits = random_logits(data.draw(st.integers(0, 99)), count, categories, 40000).clip(-reach, min(reach, 32767))
    logits = logits.astype(np.int16)
    given_states = noise.philox(6, 7, offset, count).astype(np.int64) % states
    words = noise.philox(21, 22, 2 * offset, 2 * count).tolist()
    expected = [
        defined(logits[i].tolist(), int(given_states[i]), transition, words[2 * i : 2 * i + 2]) for i in range(count)
    ]
    for path in noise.paths():
        assert draw(logits, given_states, transition, offset=offset, path=path).tolist() == expected


@given(transitions, st.integers(0, 2**63 - 700), st.integers(0, 300), st.integers(0, 300), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_a_draw_depends_on_its_own_position_only(
    transition: Transition, offset: int, skip: int, count: int, threads: int
) -> None:
    categories = 1 << transition.target if isinstance(transition, palette.Tree) else 21
    logits, states = random_logits(1, skip + count, categories), np.zeros(skip + count)
    whole = draw(logits, states, transition, offset=offset, threads=threads)
    for path in noise.paths():
        part = draw(logits[skip:], states[skip:], transition, offset=offset + skip, path=path)
        np.testing.assert_array_equal(part, whole[skip:])


@pytest.mark.parametrize("categories", [16, 64])
def test_many_positions_on_several_threads_are_those_on_one(categories: int) -> None:
    logits, states = random_logits(3, 20_001, categories), np.arange(20_001) % categories
    one = draw(logits, states, palette.Uniform(0.4, 0.6))
    for threads in (2, 7):
        np.testing.assert_array_equal(draw(logits, states, palette.Uniform(0.4, 0.6), threads=threads), one)


def test_the_last_step_follows_the_model_or_stays() -> None:
    logits = np.full((1000, 5), -32768, np.int16)
    logits[:, 3] = 32767
    assert set(draw(logits, np.arange(1000) % 5, palette.Uniform(0.0, 1.0)).tolist()) == {3}
    assert set(draw(logits, np.full(1000, 5), palette.Absorbing(0.5, 1.0)).tolist()) == {3}


def test_a_step_without_change_keeps_what_it_was_given() -> None:
    logits, states = random_logits(4, 1000, 9), np.arange(1000) % 9
    assert draw(logits, states, palette.Uniform(0.5, 0.5)).tolist() == states.tolist()
    masks = np.where(states > 4, 9, states)
    assert draw(logits, masks, palette.Absorbing(0.5, 0.5)).tolist() == masks.tolist()


def test_what_is_not_masked_stays() -> None:
    logits, states = random_logits(5, 1000, 9), np.arange(1000) % 9
    assert draw(logits, states, palette.Absorbing(0.0, 1.0)).tolist() == states.tolist()


def test_a_descendant_lies_below_its_ancestor() -> None:
    logits, states = random_logits(6, 1000, 64), np.arange(1000) % 4
    for target in range(3, 7):
        assert (draw(logits, states, palette.Tree(2, target)) >> (target - 2)).tolist() == states.tolist()


@pytest.mark.parametrize(("late", "early"), [(0.5, 0.7), (1e-300, 1.0), (0.9999999999999999, 1.0), (0.0, 5e-324)])
@pytest.mark.parametrize("categories", [1, 2, 256])
def test_shares_are_the_exact_values_rounded_down(late: float, early: float, categories: int) -> None:
    model, flat, stay, agree, own = palette.Uniform(late, early).shares(categories)
    a, kept = Fraction(early), Fraction(late) / Fraction(early)
    b, beta = (1 - a) / categories, (1 - kept) / categories / (kept + (1 - kept) / categories)
    b_late = (1 - Fraction(late)) / categories
    share_of_own = b_late / (Fraction(late) + b_late)
    values = (beta * a, beta * b * categories, (1 - beta) * b, (1 - beta) * a * share_of_own)
    for share, value in zip((model, flat, stay, agree), values, strict=True):
        assert 0 <= value * 2**63 - share < 1
    assert model + flat + stay + agree <= 2**63
    assert own == max(1, math.floor(share_of_own * 2**32 + Fraction(1, 2)))


@pytest.mark.parametrize("categories", [2, 16, 256])
@pytest.mark.parametrize("noise", [1e-4, 1e-6, 1e-8, 1e-10])
def test_steps_with_hardly_any_noise_keep_their_probabilities(noise: float, categories: int) -> None:
    # Two categories alike, x_t one of them: at x_0 everything is decided by B_t / (A_t + B_t), however small it is.
    transition = palette.Uniform(1 - noise, 1.0)
    logits = np.full((1, categories), -32768, np.int16)
    logits[0, :2] = 0
    model, flat, stay, agree, own = transition.shares(categories)
    weight = 1 << 23
    everything = (weight << 32) + weight * own
    masses = [model * everything >> 64, flat * everything >> 64,
              (stay * everything >> 64) + (agree * (weight << 32) >> 64)]
    kept = masses[2] + masses[0] * (weight * own) / everything
    assert abs(kept / sum(masses) - exact(logits[0], 0, transition)[0]) < 1e-5


@pytest.mark.parametrize("transition", [palette.Uniform, palette.Absorbing])
def test_schedules_out_of_range_are_named(transition: type) -> None:
    for late in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=f"alpha_bar is {late}; it is at least 0 and less than 1"):
            transition(late, 1.0)
    for early in (0.4, 1.1, float("nan")):
        with pytest.raises(ValueError, match=f"alpha_bar_previous is {early}; it is more than 0"):
            transition(0.5, early)
    with pytest.raises(ValueError, match=r"alpha_bar_previous is 0\.0"):
        transition(0.0, 0.0)


def test_depths_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match=r"depth is 8; it is 0\.\.7"):
        palette.Tree(8)
    with pytest.raises(ValueError, match=r"next_depth is 3; below depth 3 is 4\.\.8"):
        palette.Tree(3, 3)
    with pytest.raises(ValueError, match="next_depth is 5; the 16 leaves are of depth 4"):
        draw(random_logits(1, 1, 16), [0], palette.Tree(4))
    with pytest.raises(ValueError, match="logits has 12 categories; a tree has a power of two"):
        draw(random_logits(1, 1, 12), [0], palette.Tree(0))


@pytest.mark.parametrize("path", noise.paths())
@pytest.mark.parametrize(
    ("transition", "greatest"),
    [(palette.Uniform(0.5, 0.6), 15), (palette.Absorbing(0.5, 0.6), 16), (palette.Tree(2), 3)],
)
def test_states_out_of_range_are_named(path: str, transition: Transition, greatest: int) -> None:
    logits, states = random_logits(7, 3000, 16), np.full(3000, greatest)
    draw(logits, states, transition, path=path)
    states[[2345, 2999]] = greatest + 1, 255
    for threads in (1, 3):
        with pytest.raises(ValueError, match=rf"states\[2345\] is {greatest + 1}; it is 0\.\.{greatest}"):
            draw(logits, states, transition, path=path, threads=threads)


def test_arguments_of_posterior_sample_are_checked() -> None:
    good, step = random_logits(8, 4, 16), palette.Uniform(0.5, 0.6)
    with pytest.raises(TypeError, match="logits is an array of float32; int16 is needed"):
        draw(good.astype(np.float32), [0] * 4, step)
    with pytest.raises(ValueError, match=r"logits has shape \(64,\); \(N, K\) is needed"):
        draw(good.ravel(), [0] * 64, step)
    with pytest.raises(ValueError, match="logits is not contiguous"):
        draw(good[:, ::2], [0] * 4, step)
    with pytest.raises(ValueError, match="logits has 4 positions, states 3"):
        draw(good, [0] * 3, step)
    with pytest.raises(TypeError, match="transition is a float; a Uniform, Absorbing or Tree"):
        draw(good, [0] * 4, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"logits has 256 categories; with Absorbing there are 1\.\.255"):
        draw(random_logits(1, 1, 256), [0], palette.Absorbing(0.5, 0.6))
    with pytest.raises(ValueError, match=r"logits has 0 categories; with Uniform there are 1\.\.256"):
        draw(good[:, :0].copy(), [0] * 4, step)
    with pytest.raises(ValueError, match=r"beyond the last position of a stream, 2\*\*63 - 1"):
        draw(good, [0] * 4, step, offset=2**63 - 3)
    with pytest.raises(ValueError, match="seed is -1"):
        palette.posterior_sample(good, np.zeros(4, np.uint8), step, seed=-1, stream=0)
    with pytest.raises(ValueError, match=r"path is 'sse2'.*'auto', 'scalar'"):
        draw(good, [0] * 4, step, path="sse2")
    assert draw(good[:0], [], step).shape == (0,)
