"""Counter-based noise: known answers, addressing, distribution, and the same bits on every path."""

from __future__ import annotations

import hashlib
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from duoview.kernels import _native, noise

GOLDEN = Path(__file__).resolve().parent / "golden"
U64 = st.integers(0, 2**64 - 1)

# The three vectors that the authors of Philox publish for philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_the_block_function_gives_the_published_answers(counter: str, key: str, result: str) -> None:
    assert list(_native.philox_block(words(counter), words(key))) == words(result)


@pytest.mark.parametrize("path", noise.paths())
def test_the_first_block_of_seed_0_stream_0_is_the_published_one(path: str) -> None:
    assert noise.philox(0, 0, 0, 4, path=path).tolist() == words(KNOWN[0][2])


@pytest.mark.parametrize("path", noise.paths())
def test_seed_stream_and_index_fill_key_and_counter_as_documented(path: str) -> None:
    seed, stream, block = 0x1111111122222222, 0x3333333344444444, 0x1555555566666666
    expected = _native.philox_block([0x66666666, 0x15555555, 0x44444444, 0x33333333], [0x22222222, 0x11111111])
    assert noise.philox(seed, stream, 4 * block, 64, path=path)[:4].tolist() == list(expected)


@given(U64, U64, st.integers(0, 2**64 - 1000), st.integers(0, 100), st.integers(0, 100))
def test_an_element_depends_on_its_own_index_only(seed: int, stream: int, offset: int, skip: int, count: int) -> None:
    whole = noise.normals(seed, stream=stream, offset=offset, count=skip + count)
    part = noise.normals(seed, stream=stream, offset=offset + skip, count=count)
    np.testing.assert_array_equal(whole[skip:], part)


@given(U64, U64, st.integers(0, 2**64 - 1000), st.integers(0, 300))
def test_all_paths_give_the_same_bits(seed: int, stream: int, offset: int, count: int) -> None:
    for function in (
        lambda path: noise.philox(seed, stream, offset, count, path=path),
        lambda path: noise.normals(seed, stream=stream, offset=offset, count=count, path=path),
    ):
        assert len({function(path).tobytes() for path in noise.paths()}) == 1


@pytest.mark.parametrize("path", noise.paths())
def test_the_counter_carries_across_its_32_bit_words(path: str) -> None:
    edge = 4 * 2**32
    whole = noise.philox(9, 9, edge - 32, 64, path=path)
    np.testing.assert_array_equal(whole[32:], noise.philox(9, 9, edge, 32, path=path))
    assert np.unique(whole).size == 64


@pytest.mark.parametrize("path", noise.paths())
def test_golden_normals(path: str) -> None:
    values = noise.normals(0x0123456789ABCDEF, stream=7, offset=(1 << 34) + 5, count=257, path=path)
    assert values.astype("<f4").tobytes() == (GOLDEN / "noise_normals.bin").read_bytes()


def test_a_million_normals_hash_to_the_known_value() -> None:
    digest = hashlib.sha256(noise.normals(1, stream=2, offset=3, count=1_000_000).astype("<f4").tobytes()).hexdigest()
    assert digest == "5915fa5f392d469639b42fd64100556b4c074126ec01e8477f5bdb2c53d0eb3d"


def test_normals_are_normal() -> None:
    values = noise.normals(42, stream=0, offset=0, count=1_000_000).astype(np.float64)
    assert stats.kstest(values, "norm").pvalue > 0.01
    n = values.size
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(values**power) - mean) < 4 * (variance / n) ** 0.5


def test_neighbours_streams_and_seeds_are_uncorrelated() -> None:
    n = 500_000
    a = noise.normals(1, stream=1, offset=0, count=n)
    others = [
        noise.normals(1, stream=1, offset=1, count=n),
        noise.normals(1, stream=1, offset=4, count=n),
        noise.normals(1, stream=2, offset=0, count=n),
        noise.normals(2, stream=1, offset=0, count=n),
    ]
    for other in others:
        assert abs(np.mean(a.astype(np.float64) * other)) < 4 / n**0.5


def test_squares_of_neighbours_streams_and_seeds_are_uncorrelated() -> None:
    n = 500_000
    a = noise.normals(1, stream=1, offset=0, count=n).astype(np.float64) ** 2 - 1  # variance 2
    for lag in (1, 2, 3, 4, 8, 1 << 32, 1 << 34):
        other = noise.normals(1, stream=1, offset=lag, count=n).astype(np.float64) ** 2 - 1
        assert abs(np.mean(a * other)) < 4 * 2 / n**0.5
    for seed, stream in ((2, 1), (1, 2), (1 << 32 | 1, 1), (1, 1 << 32 | 1)):
        other = noise.normals(seed, stream=stream, offset=0, count=n).astype(np.float64) ** 2 - 1
        assert abs(np.mean(a * other)) < 4 * 2 / n**0.5


def test_bits_are_balanced_and_bytes_uniform() -> None:
    n = 400_000
    words = noise.philox(3, 4, 0, n)
    for bit in range(32):
        assert abs(np.count_nonzero(words >> np.uint32(bit) & 1) - n / 2) < 4.5 * (n / 4) ** 0.5
    counts = np.bincount(words.view(np.uint8), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("path", noise.paths())
def test_several_threads_give_the_same_bits(path: str) -> None:
    count = 200_003
    for threads in (2, 5):
        many = noise.normals(1, stream=2, offset=3, count=count, threads=threads, path=path)
        np.testing.assert_array_equal(many, noise.normals(1, stream=2, offset=3, count=count, path="scalar"))
        words = noise.philox(1, 2, 3, count, threads=threads, path=path)
        np.testing.assert_array_equal(words, noise.philox(1, 2, 3, count, path="scalar"))


def test_normals_can_fill_an_array_that_is_there() -> None:
    out = np.zeros(1000, np.float32)
    assert noise.normals(1, stream=2, offset=3, count=500, out=out[250:750]).base is out
    np.testing.assert_array_equal(out[250:750], noise.normals(1, stream=2, offset=3, count=500))
    assert not out[:250].any() and not out[750:].any()


def test_an_array_that_does_not_fit_is_refused() -> None:
    out = np.zeros(10, np.float32)
    with pytest.raises(ValueError, match=r"out has shape \(10,\); \(9,\) is needed"):
        noise.normals(1, stream=2, offset=3, count=9, out=out)
    with pytest.raises(ValueError, match="out is not contiguous"):
        noise.normals(1, stream=2, offset=3, count=5, out=out[::2])
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only; a writable array is needed"):
        noise.normals(1, stream=2, offset=3, count=10, out=out)
    with pytest.raises(TypeError, match="out is an array of float64; float32 is needed"):
        noise.normals(1, stream=2, offset=3, count=9, out=np.zeros(9))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="out is a list; a numpy array of float32 is needed"):
        noise.normals(1, stream=2, offset=3, count=9, out=[0.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"threads is 257; it is 1\.\.256"):
        noise.normals(1, stream=2, offset=3, count=9, threads=257)


def test_a_normal_is_the_quantile_of_its_bits() -> None:
    bits = noise.philox(5, 6, 0, 20_000)
    values = noise.normals(5, stream=6, offset=0, count=20_000)
    exact = [
        NormalDist().inv_cdf(1 - (2 * (b & 0x7FFFFFFF) + 1) / 2**33) * (-1 if b >> 31 else 1) for b in bits.tolist()
    ]
    np.testing.assert_allclose(values, exact, atol=1e-5)


def test_arguments_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match=r"seed is -1; it is 0\.\.18446744073709551615"):
        noise.normals(-1, stream=0, offset=0, count=1)
    with pytest.raises(ValueError, match=r"offset \d+ \+ count 2 is beyond the last element"):
        noise.philox(0, 0, 2**64 - 1, 2)
    with pytest.raises(ValueError, match=r"path is 'sse2'.*'auto', 'scalar'"):
        noise.philox(0, 0, 0, 1, path="sse2")


@pytest.mark.parametrize("path", noise.paths())
def test_the_last_elements_of_a_stream_can_be_had(path: str) -> None:
    assert noise.philox(0, 0, 2**64 - 40, 40, path=path).size == 40
    assert noise.philox(0, 0, 2**64 - 1, 0, path=path).size == 0


def test_an_argument_that_is_no_integer_is_named() -> None:
    with pytest.raises(TypeError, match="offset is a float; an integer is needed"):
        noise.philox(0, 0, 0.5, 1)  # type: ignore[arg-type]


def test_numbers_of_numpy_cannot_wrap_past_the_end_of_a_stream() -> None:
    last = np.uint64(2**64 - 1)
    with pytest.raises(ValueError, match="beyond the last element"):
        noise.philox(0, 0, last, np.uint64(5))  # type: ignore[arg-type]
