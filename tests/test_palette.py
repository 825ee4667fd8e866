"""Nearest leaf and children of nodes: definition, ties, ranges, distribution, and the same bytes on every path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from duoview.kernels import noise, palette

CLASSES = range(64, 192)


def reference_nearest(vectors: NDArray[np.float32], leaves: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The definition, in numpy's float32, channel after channel."""
    total = np.zeros((len(vectors), len(leaves)), np.float32)
    with np.errstate(over="ignore"):
        for channel in range(vectors.shape[1]):
            difference = vectors[:, None, channel] - leaves[None, :, channel]
            total = total + difference * difference
    return total.argmin(1).astype(np.uint8)


def content(seed: int, count: int, channels: int) -> NDArray[np.float32]:
    return noise.normals(seed, stream=0, offset=0, count=count * channels).reshape(count, channels)


@pytest.mark.parametrize("path", noise.paths())
@pytest.mark.parametrize("shape", [(1, 1, 1), (31, 2, 3), (33, 256, 1), (100, 17, 8), (40, 64, 65)])
def test_the_nearest_leaf_is_that_of_the_definition(path: str, shape: tuple[int, int, int]) -> None:
    count, leaves, channels = shape
    vectors, codebook = content(1, count, channels), content(2, leaves, channels)
    np.testing.assert_array_equal(palette.nearest(vectors, codebook, path=path), reference_nearest(vectors, codebook))


@given(st.integers(0, 2**32), st.integers(0, 70), st.integers(1, 9), st.integers(1, 40), st.integers(1, 3))
def test_all_paths_and_threads_find_the_same_leaf(
    seed: int, count: int, channels: int, leaves: int, threads: int
) -> None:
    vectors = np.round(content(seed, count, channels))  # coarse, so that there are ties
    codebook = np.round(content(seed + 1, leaves, channels))
    results = {palette.nearest(vectors, codebook, path=path, threads=threads).tobytes() for path in noise.paths()}
    assert results == {reference_nearest(vectors, codebook).tobytes()}


@pytest.mark.parametrize("path", noise.paths())
def test_of_equally_near_leaves_the_first_is_taken(path: str) -> None:
    vectors = np.zeros((40, 2), np.float32)
    leaves = np.array([[2, 0], [0, 1], [1, 0], [0, -1]], np.float32)
    assert set(palette.nearest(vectors, leaves, path=path).tolist()) == {1}


@pytest.mark.parametrize("path", noise.paths())
def test_distances_that_overflow_are_equal(path: str) -> None:
    vectors = np.full((40, 1), 3e38, np.float32)
    leaves = np.array([[-3e38], [-2e38], [1e37]], np.float32)
    assert set(palette.nearest(vectors, leaves, path=path).tolist()) == {0}


@pytest.mark.parametrize("path", noise.paths())
def test_tiny_distances_are_not_flushed_to_zero(path: str) -> None:
    vectors = np.full((40, 1), 1e-22, np.float32)  # squares are denormal
    leaves = np.array([[4e-22], [2e-22]], np.float32)
    assert set(palette.nearest(vectors, leaves, path=path).tolist()) == {1}


@pytest.mark.parametrize("path", noise.paths())
def test_groups_have_palettes_of_their_own(path: str) -> None:
    vectors, leaves = content(3, 50 * 3, 4).reshape(50, 3, 4), content(4, 3 * 16, 4).reshape(3, 16, 4)
    together = palette.nearest(vectors, leaves, path=path)
    for group in range(3):
        alone = palette.nearest(np.ascontiguousarray(vectors[:, group]), leaves[group], path=path)
        np.testing.assert_array_equal(together[:, group], alone)


def test_many_vectors_on_several_threads_are_those_on_one() -> None:
    vectors, leaves = content(5, 5000, 4), content(6, 16, 4)
    np.testing.assert_array_equal(palette.nearest(vectors, leaves, threads=3), palette.nearest(vectors, leaves))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("threads", [1, 3])
def test_numbers_that_are_not_finite_are_named(bad: float, threads: int) -> None:
    vectors, leaves = content(1, 5000, 3), content(2, 4, 3)
    vectors[4321, 2] = bad
    vectors[4800, 0] = bad
    with pytest.raises(ValueError, match=rf"vectors holds -?(nan|inf) at flat index {4321 * 3 + 2}; finite"):
        palette.nearest(vectors, leaves, threads=threads)
    leaves[1, 0] = bad
    with pytest.raises(ValueError, match=r"leaves holds -?(nan|inf) at flat index 3; finite"):
        palette.nearest(vectors, leaves)


def test_shapes_of_vectors_and_leaves_are_checked() -> None:
    good = content(1, 4, 3)
    with pytest.raises(TypeError, match="vectors is an array of float64; float32 is needed"):
        palette.nearest(good.astype(np.float64), good)
    with pytest.raises(TypeError, match="leaves is a list"):
        palette.nearest(good, [1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="vectors has 3 channels, leaves 2"):
        palette.nearest(good, content(1, 4, 2))
    with pytest.raises(ValueError, match=r"leaves has shape \(257, 3\); 1..256 leaves"):
        palette.nearest(good, content(1, 257, 3))
    with pytest.raises(ValueError, match=r"leaves has shape \(0, 3\); 1..256 leaves"):
        palette.nearest(good, content(1, 0, 3))
    with pytest.raises(ValueError, match="vectors is not contiguous"):
        palette.nearest(content(1, 8, 3)[::2], good)
    with pytest.raises(ValueError, match=r"vectors has shape \(12,\); \(N, C\) is needed"):
        palette.nearest(good.ravel(), good)
    with pytest.raises(ValueError, match=r"vectors has 2 groups, leaves 1"):
        palette.nearest(content(1, 8, 3).reshape(4, 2, 3), good[None])
    with pytest.raises(ValueError, match=r"path is 'sse2'.*'auto', 'scalar'"):
        palette.nearest(good, good, path="sse2")
    assert palette.nearest(content(1, 0, 3), good).shape == (0,)


def sample(nodes: object, classes: object, *, offset: int = 0, path: str = "auto", threads: int = 1) -> NDArray:
    arrays = np.asarray(nodes, np.uint8), np.asarray(classes, np.uint8)
    return palette.sample_child(*arrays, seed=7, stream=8, offset=offset, path=path, threads=threads)


@pytest.mark.parametrize("path", noise.paths())
@pytest.mark.parametrize("offset", [0, 1, 2**33 + 1])
def test_a_child_is_that_of_the_definition(path: str, offset: int) -> None:
    count = 5000
    nodes, classes = np.arange(count) % 128, 64 + np.arange(count) * 7 % 128
    words = noise.philox(7, 8, offset // 2, count // 2 + 1).astype("<u4")
    halves = words.view("<u2")[offset % 2 :][:count].astype(np.int64)
    expected = 2 * nodes + (halves // 16 < 32 * (classes - 64) + 16)
    np.testing.assert_array_equal(sample(nodes, classes, offset=offset, path=path), expected)


def test_children_have_the_probability_of_their_class() -> None:
    count = 200_000
    for path in noise.paths():
        p_values = []
        for child_class in CLASSES:
            drawn = sample(np.zeros(count), np.full(count, child_class), offset=child_class * count, path=path)
            p = (32 * (child_class - 64) + 16) / 4096
            ones = int(drawn.sum())
            p_values.append(stats.chisquare([ones, count - ones], [p * count, (1 - p) * count]).pvalue)
        assert min(p_values) > 1e-4 / len(CLASSES)
        assert stats.kstest(p_values, "uniform").pvalue > 1e-3


@given(st.integers(0, 2**64 - 500), st.integers(0, 150), st.integers(0, 150), st.integers(1, 4))
@settings(max_examples=50)
def test_a_child_depends_on_its_own_position_only(offset: int, skip: int, count: int, threads: int) -> None:
    nodes, classes = np.arange(300) % 128, 64 + np.arange(300) % 128
    whole = sample(nodes[: skip + count], classes[: skip + count], offset=offset)
    stop = skip + count
    for path in noise.paths():
        part = sample(nodes[skip:stop], classes[skip:stop], offset=offset + skip, path=path, threads=threads)
        np.testing.assert_array_equal(part, whole[skip:])


def test_many_children_on_several_threads_are_those_on_one() -> None:
    nodes, classes = np.arange(50_001) % 128, 64 + np.arange(50_001) % 128
    np.testing.assert_array_equal(sample(nodes, classes, offset=3, threads=5), sample(nodes, classes, offset=3))


@pytest.mark.parametrize("path", noise.paths())
def test_nodes_and_classes_out_of_range_are_named(path: str) -> None:
    nodes, classes = np.zeros(20_000), np.full(20_000, 64)
    nodes[12_345] = 128
    with pytest.raises(ValueError, match=r"nodes\[12345\] is 128; it is 0..127"):
        sample(nodes, classes, path=path, threads=2)
    for bad in (63, 192):
        classes[77] = bad
        with pytest.raises(ValueError, match=rf"classes\[77\] is {bad}; it is 64..191"):
            sample(nodes, classes, path=path)


def test_arguments_of_sample_child_are_checked() -> None:
    with pytest.raises(ValueError, match="nodes has 2 positions, classes 1"):
        sample([0, 0], [64])
    with pytest.raises(ValueError, match=r"threads is 0; it is 1\.\.256"):
        sample([0], [64], threads=0)
    with pytest.raises(TypeError, match="threads is a float"):
        sample([0], [64], threads=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beyond the last element of a stream"):
        sample([0, 0], [64, 64], offset=2**64 - 1)
    with pytest.raises(TypeError, match="nodes is an array of int64; uint8 is needed"):
        palette.sample_child(np.zeros(1, np.int64), np.full(1, 64, np.uint8), seed=1, stream=1)
    assert sample([], []).shape == (0,)


def test_errors_of_nodes_are_summed_group_by_group_and_channel_by_channel() -> None:
    rng = np.random.default_rng(8)
    vectors, table = (rng.standard_normal(shape).astype(np.float32) for shape in ((50, 3, 5), (3, 16, 5)))
    nodes, scale = rng.integers(0, 16, (50, 3)).astype(np.uint8), rng.random(3).astype(np.float32)
    expected = np.zeros(50, np.float32)
    for group in range(3):
        for channel in range(5):
            apart = (vectors[:, group, channel] - table[group, nodes[:, group], channel]) * scale[group]
            expected += apart * apart
    np.testing.assert_array_equal(palette.node_errors(vectors, nodes, table, scale, 0.7), expected * np.float32(0.7))


def test_without_a_table_vectors_are_all_error() -> None:
    vectors, nodes = np.full((4, 2, 3), 2, np.float32), np.full((4, 2), 200, np.uint8)
    np.testing.assert_array_equal(palette.node_errors(vectors, nodes, None, np.array([1, 3], np.float32), 1.0), 120)


@pytest.mark.parametrize(("change", "message"), [
    ({"nodes": np.zeros((4, 3), np.uint8)}, r"nodes has shape \(4, 3\); \(4, 2\) is needed"),
    ({"scale": np.ones(3, np.float32)}, r"scale has shape \(3,\); \(2,\) is needed"),
    ({"table": np.zeros((2, 8, 4), np.float32)}, r"table has shape \(2, 8, 4\); \(2, 1\.\.256, 3\) is needed"),
    ({"table": np.zeros((2, 300, 3), np.float32)}, r"table has shape \(2, 300, 3\)"),
    ({"nodes": np.full((4, 2), 8, np.uint8)}, r"nodes\[0\] is 8")])
def test_nodes_that_have_no_error_are_refused(change: dict[str, NDArray[np.generic]], message: str) -> None:
    given: dict[str, Any] = {"vectors": np.zeros((4, 2, 3), np.float32), "nodes": np.zeros((4, 2), np.uint8),
                             "table": np.zeros((2, 8, 3), np.float32), "scale": np.ones(2, np.float32), "factor": 1.0}
    with pytest.raises(ValueError, match=message):
        palette.node_errors(**{**given, **change})
