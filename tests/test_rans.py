"""The entropy coder: round trips, sizes, and the errors of callers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import rans

Part = tuple[NDArray[np.int16], NDArray[np.uint8]]
SCALES = rans.scales()
INT16 = st.integers(-32768, 32767)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    """Any classes and any symbols they allow: dense, sparse, with and without escapes."""
    count = draw(st.integers(0, 400))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    pool = draw(st.lists(st.integers(0, 191), min_size=1, max_size=5))
    classes = rng.choice(np.array(pool, np.uint8), count)
    symbols = sample(rng, classes)
    gaussian = np.flatnonzero((classes > 0) & (classes < 64))
    if gaussian.size:
        for value in draw(st.lists(INT16, max_size=6)):
            symbols[rng.choice(gaussian)] = value
    return symbols, classes


def sample(rng: np.random.Generator, classes: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Symbols as the classes expect them."""
    k = classes.astype(np.int64)
    gaussian = np.rint(rng.standard_normal(k.size) * SCALES[np.minimum(k, 63)])
    bernoulli = rng.random(k.size) < (k - 63.5) / 128
    return np.where(k < 64, gaussian, bernoulli).astype(np.int16)


def decode(data: bytes, classes: NDArray[np.uint8], path: str, cuts: tuple[int, ...] = ()) -> NDArray[np.int16]:
    decoder = rans.Decoder(data, path=path)
    ends = sorted(min(cut, classes.size) for cut in cuts)
    pieces = [decoder.decode(classes[a:b]) for a, b in zip([0, *ends], [*ends, classes.size], strict=True)]
    decoder.finish()
    return np.concatenate(pieces)


@given(parts(), st.sampled_from([None, 1, 4, 32]), st.lists(st.integers(0, 400), max_size=5))
def test_every_path_decodes_what_every_path_encoded(part: Part, lanes: int | None, cuts: list[int]) -> None:
    symbols, classes = part
    streams = {path: rans.encode(symbols, classes, lanes=lanes, path=path) for path in rans.paths()}
    assert len(set(streams.values())) == 1
    for path in rans.paths():
        np.testing.assert_array_equal(decode(streams["scalar"], classes, path, tuple(cuts)), symbols)


@pytest.mark.parametrize("path", rans.paths())
@pytest.mark.parametrize("lanes", rans.LANES)
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.99])
def test_large_arrays_come_back_in_uneven_parts(path: str, lanes: int, zeros: float) -> None:
    rng = np.random.default_rng(7)
    classes = rng.integers(1, 192, 100_000).astype(np.uint8)
    classes[rng.random(classes.size) < zeros] = 0
    symbols = sample(rng, classes)
    data = rans.encode(symbols, classes, lanes=lanes, path=path)
    np.testing.assert_array_equal(decode(data, classes, path, (1, 31, 33, 5000, 5000, 70_001)), symbols)


@pytest.mark.parametrize("path", rans.paths())
@pytest.mark.parametrize("lanes", rans.LANES)
@pytest.mark.parametrize("k", [1, 20, 63])
def test_escapes_reach_the_int16_extremes(path: str, lanes: int, k: int) -> None:
    symbols = np.array(
        [0, 32767, -32768, 1, -1, 127, -127, 128, -128, 129, -129, 255, 256, 257, *range(-300, 300)], np.int16
    )
    classes = np.full(symbols.size, k, np.uint8)
    data = rans.encode(symbols, classes, lanes=lanes, path=path)
    np.testing.assert_array_equal(decode(data, classes, path), symbols)


def test_int8_symbols_give_the_bytes_of_int16_ones() -> None:
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 64, 1000).astype(np.uint8)
    symbols = np.clip(sample(rng, classes), -128, 127)
    assert rans.encode(symbols.astype(np.int8), classes) == rans.encode(symbols, classes)


def test_nothing_coded_takes_no_bytes() -> None:
    zeros = np.zeros(1000, np.int16)
    assert rans.encode(zeros, np.zeros(1000, np.uint8)) == b""
    decoder = rans.Decoder(b"")
    assert not decoder.decode(np.zeros(1000, np.uint8)).any()
    decoder.finish()


def entropy_bytes(symbols: NDArray[np.int16], classes: NDArray[np.uint8]) -> float:
    """The ideal size under the exact discretised Gaussians and probabilities, not their 12-bit tables."""
    bits = 0.0
    for symbol, k in zip(symbols.tolist(), classes.tolist(), strict=True):
        if 0 < k < 64:
            s, a = SCALES[k] * math.sqrt(2), abs(symbol)
            bits -= math.log2((math.erfc((a - 0.5) / s) - math.erfc((a + 0.5) / s)) / 2)
        elif k >= 64:
            one = (k - 63.5) / 128
            bits -= math.log2(one if symbol else 1 - one)
    return bits / 8


def all_gaussian(rng: np.random.Generator, n: int) -> NDArray[np.uint8]:
    return rng.integers(0, 64, n).astype(np.uint8)


def like_latents(rng: np.random.Generator, n: int) -> NDArray[np.uint8]:
    return np.minimum(np.abs(rng.normal(0, 14, n)), 63).astype(np.uint8)


def all_binary(rng: np.random.Generator, n: int) -> NDArray[np.uint8]:
    return rng.integers(64, 192, n).astype(np.uint8)


Kind = Callable[[np.random.Generator, int], NDArray[np.uint8]]


@pytest.mark.parametrize("kind", [all_gaussian, like_latents, all_binary])
def test_a_hundred_thousand_symbols_stay_within_0_15_percent_of_the_entropy(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    classes = kind(rng, 100_000)
    symbols = sample(rng, classes)
    assert len(rans.encode(symbols, classes)) <= 1.0015 * entropy_bytes(symbols, classes)


@pytest.mark.parametrize("kind", [all_gaussian, like_latents, all_binary])
def test_a_stream_of_a_hundred_bytes_costs_at_most_four_more_than_its_entropy(kind: Kind) -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        classes = kind(rng, 600)
        symbols = sample(rng, classes)
        assert len(rans.encode(symbols, classes)) <= entropy_bytes(symbols, classes) + 4


def test_more_lanes_are_taken_only_where_they_are_cheap() -> None:
    rng = np.random.default_rng(2)
    for count in (100, 10_000, 100_000, 400_000):
        classes = all_gaussian(rng, count)
        symbols = sample(rng, classes)
        chosen, smallest = len(rans.encode(symbols, classes)), len(rans.encode(symbols, classes, lanes=1))
        assert chosen <= 1.0015 * smallest


def test_every_table_sums_to_4096_and_gaussian_ones_are_symmetric() -> None:
    assert rans.frequencies(0).size == 0
    for k in range(1, rans.CLASSES):
        table = rans.frequencies(k).astype(int)
        assert table.sum() == 4096 and table.min() >= 1
        if k < 64:
            width = (table.size - 2) // 2
            assert table.size % 2 == 0 and width <= min(127, math.ceil(4.42 * SCALES[k]))
            np.testing.assert_array_equal(table[:-1], table[-2::-1])
        else:
            assert table[1] == (k - 64) * 32 + 16


# Errors of the caller


def ones(count: int = 4, dtype: type = np.int16) -> NDArray[np.int16]:
    return np.ones(count, dtype)


def test_a_class_out_of_range_is_named_with_its_place_and_value() -> None:
    classes = np.array([1, 2, 192, 255], np.uint8)
    with pytest.raises(ValueError, match=r"classes\[2\] is 192; classes are 0\.\.191"):
        rans.encode(ones(), classes)
    decoder = rans.Decoder(rans.encode(ones(), np.full(4, 30, np.uint8)))
    with pytest.raises(ValueError, match=r"classes\[2\] is 192; classes are 0\.\.191"):
        decoder.decode(classes)
    # Nothing was decoded by the failed call.
    np.testing.assert_array_equal(decoder.decode(np.full(4, 30, np.uint8)), ones())


def test_a_symbol_at_class_0_is_named_with_its_place_and_value() -> None:
    with pytest.raises(ValueError, match=r"symbols\[1\] is 1 at class 0, where only 0"):
        rans.encode(ones(), np.array([5, 0, 5, 5], np.uint8))


def test_a_symbol_that_is_no_bit_is_refused_by_a_binary_class() -> None:
    with pytest.raises(ValueError, match=r"symbols\[3\] is -1 at Bernoulli class 100, which codes 0 or 1"):
        rans.encode(np.array([0, 1, 0, -1], np.int16), np.full(4, 100, np.uint8))


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint8, np.dtype(">i2")])
def test_symbols_of_another_dtype_are_refused_by_name(dtype: type) -> None:
    with pytest.raises(TypeError, match=r"symbols is an array of .*; int16 or int8 is needed"):
        rans.encode(ones(dtype=dtype), np.ones(4, np.uint8))


def test_classes_of_another_dtype_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="classes is an array of int16; uint8 is needed"):
        rans.encode(ones(), ones())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="classes is a list; a numpy array of uint8 is needed"):
        rans.Decoder(b"").decode([1, 2])  # type: ignore[arg-type]


def test_arrays_that_are_not_flat_or_not_contiguous_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"symbols has shape \(2, 2\); \(N,\) is needed"):
        rans.encode(ones().reshape(2, 2), np.ones(4, np.uint8))
    with pytest.raises(ValueError, match=r"classes is not contiguous \(strides \(2,\)\)"):
        rans.encode(ones(), np.ones(8, np.uint8)[::2])


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="symbols has 4 elements, classes 5"):
        rans.encode(ones(), np.ones(5, np.uint8))


def test_read_only_arrays_are_taken() -> None:
    symbols, classes = ones(), np.ones(4, np.uint8)
    symbols.flags.writeable = classes.flags.writeable = False
    np.testing.assert_array_equal(rans.Decoder(rans.encode(symbols, classes)).decode(classes), symbols)


def test_unknown_lanes_and_paths_are_refused_with_the_known_ones_named() -> None:
    with pytest.raises(ValueError, match="lanes is 2; it is None, 1, 4 or 32"):
        rans.encode(ones(), np.ones(4, np.uint8), lanes=2)
    with pytest.raises(ValueError, match=r"path is 'neon'.*'auto', 'scalar'"):
        rans.encode(ones(), np.ones(4, np.uint8), path="neon")
    with pytest.raises(ValueError, match=r"path is 'neon'.*'auto', 'scalar'"):
        rans.Decoder(b"", path="neon")


def test_an_array_that_starts_between_elements_is_refused() -> None:
    symbols = np.frombuffer(bytes(9), np.int16, 4, offset=1)
    with pytest.raises(ValueError, match="symbols is not aligned to its 2 bytes; use numpy"):
        rans.encode(symbols, np.ones(4, np.uint8))
