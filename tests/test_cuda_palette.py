"""The CUDA programs of noise and palettes, run on the CPU lane by lane: the same results as the CPU's own paths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import noise, palette
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_palette import posterior_program

DEVICE = Device.on_cpu()
WORDS = st.integers(0, 2**64 - 1)


def status() -> NDArray[np.uint64]:
    return np.zeros(1, np.uint64)


@given(seed=WORDS, stream=WORDS, offset=st.integers(0, 1 << 40), count=st.integers(0, 5000))
def test_noise_is_that_of_the_cpu(seed: int, stream: int, offset: int, count: int) -> None:
    normals = np.full(count, np.nan, np.float32)
    DEVICE.normals(normals, seed, stream=stream, offset=offset)
    assert normals.tobytes() == noise.normals(seed, stream=stream, offset=offset, count=count).tobytes()
    words = np.zeros(count, np.uint32)
    DEVICE.philox(words, seed, stream, offset)
    assert np.array_equal(words, noise.philox(seed, stream, offset, count))


@given(seed=WORDS, offset=st.integers(0, 1 << 40), count=st.integers(0, 3000), shift=st.integers(0, 8))
def test_children_are_those_of_the_cpu(seed: int, offset: int, count: int, shift: int) -> None:
    rng = np.random.default_rng(count)
    nodes = rng.integers(0, 128, count + shift).astype(np.uint8)[shift:]
    classes = rng.integers(64, 192, count).astype(np.uint8)
    out, error = np.zeros(count, np.uint8), status()
    DEVICE.sample_child(nodes, classes, out, error, seed=seed, stream=3, offset=offset)
    DEVICE.check(error)
    assert np.array_equal(out, palette.sample_child(nodes, classes, seed=seed, stream=3, offset=offset))


@given(
    count=st.integers(0, 200), groups=st.sampled_from([0, 1, 3]), leaves=st.integers(1, 256), channels=st.integers(1, 9)
)
def test_nearest_leaves_are_those_of_the_cpu(count: int, groups: int, leaves: int, channels: int) -> None:
    rng = np.random.default_rng(leaves)
    middle = (groups,) if groups else ()
    vectors = np.rint(rng.normal(0, 3, (count, *middle, channels))).astype(np.float32)  # many ties
    tree = np.rint(rng.normal(0, 3, (*middle, leaves, channels))).astype(np.float32)
    out, error = np.zeros((count, *middle), np.uint8), status()
    DEVICE.nearest(vectors, tree, out, error)
    DEVICE.check(error)
    assert np.array_equal(out, palette.nearest(vectors, tree))


def test_vectors_without_groups_have_no_leaves() -> None:
    error = status()
    DEVICE.nearest(np.zeros((5, 0, 3), np.float32), np.zeros((0, 4, 3), np.float32), np.zeros((5, 0), np.uint8), error)
    DEVICE.check(error)


def transitions(categories: int) -> list[palette.Uniform | palette.Absorbing | palette.Tree]:
    found: list[palette.Uniform | palette.Absorbing | palette.Tree] = [
        palette.Uniform(0.3, 0.5),
        palette.Uniform(0.0, 1.0),
        palette.Uniform(0.99, 0.999),
    ]
    if categories < 256:
        found += [palette.Absorbing(0.2, 0.6), palette.Absorbing(0.0, 1.0)]
    depth = categories.bit_length() - 1
    if categories == 1 << depth:
        found += [palette.Tree(d, e) for d in range(depth) for e in {d + 1, depth}]
    return found


@pytest.mark.parametrize("categories", [1, 2, 7, 8, 15, 16, 32, 37, 64, 128, 255, 256])
@pytest.mark.parametrize("sharpness", [0, 40, 1500, 32767])
def test_posterior_samples_are_those_of_the_cpu(categories: int, sharpness: int) -> None:
    rng = np.random.default_rng(categories)
    count = 700
    logits = rng.integers(-sharpness - 1, sharpness + 1, (count, categories)).astype(np.int16)
    for number, transition in enumerate(transitions(categories)):
        states = 1 << transition.depth if isinstance(transition, palette.Tree) else categories
        states += isinstance(transition, palette.Absorbing)
        given_states = rng.integers(0, states, count).astype(np.uint8)
        for offset in (0, 5, 1 << 33):
            out, error = np.full(count, 255, np.uint8), status()
            DEVICE.posterior_sample(logits, given_states, out, error, transition, seed=9, stream=number, offset=offset)
            DEVICE.check(error)
            expected = palette.posterior_sample(logits, given_states, transition, seed=9, stream=number, offset=offset)
            assert np.array_equal(out, expected), (transition, offset)


def test_rows_of_sixteen_bytes_multiples_take_the_fast_programs() -> None:
    assert posterior_program(palette.Uniform(0.3, 0.5), 16, 4096) == "posterior_uniform_16"
    assert posterior_program(palette.Tree(2), 64, 4096) == "posterior_tree_16"
    assert posterior_program(palette.Tree(0), 256, 4096) == "posterior_tree_256"
    assert posterior_program(palette.Uniform(0.3, 0.5), 64, 4098) == "posterior_any"
    assert posterior_program(palette.Absorbing(0.3, 0.5), 255, 4096) == "posterior_any"


def test_logits_at_an_odd_address_give_the_same_samples() -> None:
    rng = np.random.default_rng(2)
    flat = rng.integers(-900, 900, 1 + 300 * 64).astype(np.int16)
    logits = flat[1:].reshape(300, 64)
    states = rng.integers(0, 64, 300).astype(np.uint8)
    out, error = np.zeros(300, np.uint8), status()
    transition = palette.Uniform(0.3, 0.5)
    DEVICE.posterior_sample(logits, states, out, error, transition, seed=1, stream=2)
    assert np.array_equal(out, palette.posterior_sample(logits, states, transition, seed=1, stream=2))


def built(
    vectors: NDArray[np.float32], depth: int, step: float, weights: NDArray[np.uint32] | None = None, rounds: int = 16
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    count, channels = vectors.shape
    nodes = np.full((2 ** (depth + 1) - 1, channels), np.nan, np.float32)
    populations = np.full(len(nodes), -1, np.int64)
    scratch = np.full(DEVICE.tree_scratch_bytes(count, channels, depth), 0xA5, np.uint8)
    error = status()
    DEVICE.build_tree(
        vectors, depth, nodes, populations, error, scratch, step=step, weights=weights, rounds=rounds
    )
    DEVICE.check(error)
    return nodes, populations


@given(
    seed=st.integers(0, 1 << 32),
    count=st.integers(1, 400),
    channels=st.sampled_from([1, 2, 8, 33]),
    depth=st.integers(0, 8),
    rounds=st.sampled_from([0, 1, 16]),
    weighted=st.booleans(),
    distinct=st.sampled_from([1, 5, 1000]),
)
def test_trees_are_those_of_the_cpu(
    seed: int, count: int, channels: int, depth: int, rounds: int, weighted: bool, distinct: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 50, (distinct, channels)).astype(np.float32)[rng.integers(0, distinct, count)]
    weights = rng.integers(1, 1000, count).astype(np.uint32) if weighted else None
    expected = palette.build_tree(vectors, depth, weights=weights, rounds=rounds)
    nodes, populations = built(vectors, depth, expected.step, weights, rounds)
    assert nodes.tobytes() == np.concatenate(expected.nodes).tobytes()
    assert np.array_equal(populations, np.concatenate(expected.populations))


def test_content_that_no_tree_can_be_built_of_is_named() -> None:
    vectors = np.zeros((40, 4), np.float32)
    vectors[20, 3] = 32768
    with pytest.raises(ValueError, match="vectors holds a number at flat index 83 "):
        built(vectors, 2, 1.0)
    vectors[20, 3] = 0
    with pytest.raises(ValueError, match="weights sum to 2400000000; "):
        built(vectors, 2, 1.0, np.full(40, 60_000_000, np.uint32))
    with pytest.raises(ValueError, match="weights sum to 0; "):
        built(vectors, 2, 1.0, np.zeros(40, np.uint32))
    with pytest.raises(ValueError, match=r"step is 3\.0"):
        built(vectors, 2, 3.0)


def test_elements_out_of_range_are_named_by_the_first_index() -> None:
    logits = np.zeros((500, 16), np.int16)
    out, error = np.zeros(500, np.uint8), status()
    states = np.zeros(500, np.uint8)
    states[[77, 400]] = 16
    DEVICE.posterior_sample(logits, states, out, error, palette.Uniform(0.3, 0.5), seed=1, stream=2)
    with pytest.raises(ValueError, match=r"states\[77\] is none of the transition's states"):
        DEVICE.check(error)
    DEVICE.posterior_sample(logits, states, out, error, palette.Absorbing(0.3, 0.5), seed=1, stream=2)
    DEVICE.check(error)
    states[9] = 17
    DEVICE.posterior_sample(logits[:, :7].copy(), states, out, error, palette.Absorbing(0.3, 0.5), seed=1, stream=2)
    with pytest.raises(ValueError, match=r"states\[9\] "):
        DEVICE.check(error)
    nodes, classes = np.full(500, 127, np.uint8), np.full(500, 64, np.uint8)
    nodes[300], classes[100] = 128, 63
    DEVICE.sample_child(nodes, classes, out, error, seed=1, stream=2)
    with pytest.raises(ValueError, match=r"classes\[100\] is no binary class; those are 64..191"):
        DEVICE.check(error)
    vectors, leaves = np.zeros((500, 3), np.float32), np.zeros((4, 3), np.float32)
    vectors[50, 1] = np.inf
    DEVICE.nearest(vectors, leaves, out, error)
    with pytest.raises(ValueError, match="vectors holds a number that is not finite at flat index 151"):
        DEVICE.check(error)
    vectors[50, 1], leaves[3, 2] = 0, np.nan
    DEVICE.nearest(vectors, leaves, out, error)
    with pytest.raises(ValueError, match="leaves holds a number that is not finite at flat index 11"):
        DEVICE.check(error)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": np.zeros((10, 16), np.int32)}, TypeError, "logits is an array of int32; int16 is needed"),
        ({"logits": np.zeros(160, np.int16)}, ValueError, r"logits has shape \(160,\); 2 dimensions needed"),
        ({"logits": np.zeros((10, 257), np.int16)}, ValueError, "logits has 257 categories"),
        ({"states": np.zeros(9, np.uint8)}, ValueError, "states has 9 elements; 10 are needed"),
        ({"output": np.zeros(11, np.uint8)}, ValueError, "output has 11 elements; 10 are needed"),
        ({"status": np.zeros(4, np.uint8)}, ValueError, "status has 4 bytes; 8 are needed"),
        ({"transition": 0.5}, TypeError, "transition is a float"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"offset": 1 << 63}, ValueError, "beyond the last position"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], error: type[Exception], message: str) -> None:
    arguments: dict[str, object] = {
        "logits": np.zeros((10, 16), np.int16),
        "states": np.zeros(10, np.uint8),
        "output": np.zeros(10, np.uint8),
        "status": status(),
        "transition": palette.Uniform(0.3, 0.5),
        "seed": 1,
        "stream": 2,
    }
    with pytest.raises(error, match=message):
        DEVICE.posterior_sample(**(arguments | change))  # type: ignore[arg-type]
