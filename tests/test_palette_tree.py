"""Trees of palettes: the definition in Python's integers, exactness, degenerate content, quality, and errors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import noise, palette

Vector = list[int]


def content(seed: int, count: int, channels: int) -> NDArray[np.float32]:
    return noise.normals(seed, stream=0, offset=0, count=count * channels).reshape(count, channels)


class Reference:
    """docs/kernels.md in Python's integers: one node after another, as a recursion."""

    def __init__(self, grid: list[Vector], weights: list[int], depth: int, rounds: int) -> None:
        self.grid, self.weights, self.rounds = grid, weights, rounds
        self.centres: list[list[Vector]] = [[] for _ in range(depth + 1)]
        self.populations: list[list[int]] = [[] for _ in range(depth + 1)]
        members = list(range(len(grid)))
        self.visit(members, self.centre(members, [0] * len(grid[0])), 0, depth)

    def weight(self, members: list[int]) -> int:
        return sum(self.weights[i] for i in members)

    def sums(self, members: list[int]) -> Vector:
        return [sum(self.weights[i] * self.grid[i][c] for i in members) for c in range(len(self.grid[0]))]

    def centre(self, members: list[int], otherwise: Vector) -> Vector:
        weight = self.weight(members)
        return [(256 * s + weight // 2) // weight for s in self.sums(members)] if weight else otherwise

    def visit(self, members: list[int], centre: Vector, level: int, depth: int) -> None:
        self.centres[level].append(centre)
        self.populations[level].append(self.weight(members))
        if level < depth:
            for child in self.split(members, centre):
                self.visit(child, self.centre(child, centre), level + 1, depth)

    def split(self, members: list[int], centre: Vector) -> tuple[list[int], list[int]]:
        spread = [sum(self.weights[i] * abs(256 * self.grid[i][c] - m) for i in members) for c, m in enumerate(centre)]
        channel = spread.index(max(spread))
        total, weight = self.sums(members)[channel], self.weight(members)
        halves = self.divide(members, [self.grid[i][channel] * weight > total for i in members])
        for _ in range(self.rounds):
            zero, one = (self.centre(half, centre) for half in halves)
            moved = self.divide(members, [self.distance(i, zero) > self.distance(i, one) for i in members])
            before, after = ([(self.weight(h), self.sums(h)) for h in pair] for pair in (halves, moved))
            if before == after or 0 in (after[0][0], after[1][0]):
                break
            halves = moved
        return halves

    def distance(self, i: int, centre: Vector) -> int:
        return sum((256 * x - m) ** 2 for x, m in zip(self.grid[i], centre, strict=True))

    @staticmethod
    def divide(members: list[int], second: list[bool]) -> tuple[list[int], list[int]]:
        pairs = list(zip(members, second, strict=True))
        return [i for i, is_second in pairs if not is_second], [i for i, is_second in pairs if is_second]


def assert_is_the_definition(
    vectors: NDArray[np.float32], weights: NDArray[np.uint32] | None, depth: int, rounds: int, step: float
) -> None:
    built = palette.build_tree(vectors, depth, weights=weights, rounds=rounds, step=step)
    grid = np.rint(vectors.astype(np.float64) / step).astype(int).tolist()
    reference = Reference(grid, [1] * len(grid) if weights is None else weights.tolist(), depth, rounds)
    for level in range(depth + 1):
        np.testing.assert_array_equal(built.nodes[level] * 256 / step, np.array(reference.centres[level]))
        assert built.populations[level].tolist() == reference.populations[level]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_tree_is_that_of_the_definition(data: st.DataObject) -> None:
    count, channels = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 3))
    reach = data.draw(st.sampled_from([1, 3, 1000, 32767]))
    grid = data.draw(st.lists(st.integers(-reach, reach), min_size=count * channels, max_size=count * channels))
    weights = data.draw(st.none() | st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(any))
    assert_is_the_definition(
        np.array([x / 8 for x in grid], np.float32).reshape(count, channels),
        None if weights is None else np.array(weights, np.uint32),
        data.draw(st.integers(0, 4)),
        data.draw(st.integers(0, 5)),
        0.125,
    )


def test_a_tree_of_real_content_is_that_of_the_definition() -> None:
    assert_is_the_definition(content(1, 700, 4), None, 4, 16, 2.0**-10)


def test_the_order_of_the_content_does_not_matter() -> None:
    vectors = content(2, 3000, 5)
    first, second = palette.build_tree(vectors, 6), palette.build_tree(np.ascontiguousarray(vectors[::-1]), 6)
    for a, b in zip(first.nodes + first.populations, second.nodes + second.populations, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_weight_is_a_repetition() -> None:
    vectors, weights = content(3, 200, 2), (np.arange(200) % 4).astype(np.uint32)
    weighted = palette.build_tree(vectors, 4, weights=weights)
    repeated = palette.build_tree(np.repeat(vectors, weights, 0), 4, step=weighted.step)
    for a, b in zip(weighted.nodes + weighted.populations, repeated.nodes + repeated.populations, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_inner_node_is_the_weighted_mean_of_its_children() -> None:
    built = palette.build_tree(content(4, 5000, 3), 5)
    for level in range(5):
        pairs = built.populations[level + 1].reshape(-1, 2)
        np.testing.assert_array_equal(pairs.sum(1), built.populations[level])
        children = built.nodes[level + 1].reshape(-1, 2, 3).astype(np.float64)
        mean = (children * pairs[:, :, None]).sum(1) / built.populations[level][:, None]
        np.testing.assert_allclose(mean, built.nodes[level], atol=built.step / 256)


def test_more_depth_describes_the_content_better() -> None:
    vectors = content(5, 20_000, 2)
    errors = []
    for depth in range(7):
        leaves = palette.build_tree(vectors, depth).leaves
        errors.append(float(np.mean((vectors - leaves[palette.nearest(vectors, leaves)]) ** 2)))
    assert all(b < 0.75 * a for a, b in pairwise(errors))
    assert errors[6] < 0.035  # the bound for Gaussians at 3 bits a channel is 1/64


def test_separate_clusters_become_the_leaves() -> None:
    corners = np.array([[x, y] for x in (0, 100) for y in (0, 10)], np.float32)
    built = palette.build_tree((np.repeat(corners, 25, 0) + content(6, 100, 2) / 100).astype(np.float32), 2)
    assert built.populations[2].tolist() == [25] * 4
    np.testing.assert_allclose(built.leaves, corners, atol=0.05)


@pytest.mark.parametrize("count", [1, 50])
def test_content_of_one_value_gives_that_value_everywhere(count: int) -> None:
    value = np.array([[0.5, -3.0, 0.0]], np.float32)
    built = palette.build_tree(np.repeat(value, count, 0), 8)
    for level in range(9):
        np.testing.assert_array_equal(built.nodes[level], np.repeat(value, 1 << level, 0))
        assert built.populations[level].tolist() == [count] + [0] * ((1 << level) - 1)


def test_content_of_few_values_keeps_every_one_of_them() -> None:
    values = np.array([[-7], [1], [2], [5], [40]], np.float32)
    built = palette.build_tree(values, 6)
    np.testing.assert_array_equal(np.unique(built.leaves), values.ravel())
    assert sorted(built.populations[6].tolist()) == [0] * 59 + [1] * 5
    assert palette.build_tree(np.zeros((3, 2), np.float32), 1).step == 1.0


def test_the_step_is_the_finest_that_holds_the_content() -> None:
    for greatest, step in ((32767.0, 1.0), (-32767.0, 1.0), (32768.0, 2.0), (1.0, 2.0**-14), (1e-30, 2.0**-60)):
        assert palette.grid_step(np.array([[greatest, 0.0]], np.float32)) == step


def test_content_off_the_grid_is_named_by_index() -> None:
    vectors = content(7, 10, 2)
    vectors[3, 1] = 40000
    with pytest.raises(ValueError, match=r"vectors holds 40000.0* at flat index 7; .* 32767 steps"):
        palette.build_tree(vectors, 2, step=1.0)
    vectors[2, 0] = np.nan
    with pytest.raises(ValueError, match=r"vectors holds -?nan"):
        palette.build_tree(vectors, 2)
    with pytest.raises(ValueError, match=r"vectors holds -?nan at flat index 4"):
        palette.build_tree(vectors, 2, step=2.0)


def test_arguments_of_build_tree_are_checked() -> None:
    good = content(8, 10, 2)
    with pytest.raises(ValueError, match=r"depth is 9; it is 0\.\.8"):
        palette.build_tree(good, 9)
    with pytest.raises(ValueError, match=r"rounds is -1; it is 0\.\.1000"):
        palette.build_tree(good, 1, rounds=-1)
    with pytest.raises(TypeError, match="depth is a float; an integer is needed"):
        palette.build_tree(good, 2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"step is 0\.3; it is a power of two"):
        palette.build_tree(good, 1, step=0.3)
    with pytest.raises(ValueError, match="step is nan"):
        palette.build_tree(good, 1, step=float("nan"))
    with pytest.raises(ValueError, match=r"vectors has shape \(0, 2\)"):
        palette.build_tree(good[:0], 1)
    with pytest.raises(TypeError, match="weights is an array of int64; uint32 is needed"):
        palette.build_tree(good, 1, weights=np.ones(10, np.int64))
    with pytest.raises(ValueError, match="vectors has 10 positions, weights 9"):
        palette.build_tree(good, 1, weights=np.ones(9, np.uint32))
    for weight in (0, 2**31 // 10 + 1):
        with pytest.raises(ValueError, match=rf"weights sum to {10 * weight}; the sum is 1"):
            palette.build_tree(good, 1, weights=np.full(10, weight, np.uint32))
