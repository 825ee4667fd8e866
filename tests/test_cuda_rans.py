"""The CUDA programs of the entropy coder, run on the CPU lane by lane: same bytes, same symbols, same verdicts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import BitstreamError, rans
from duoview.kernels.cuda import Device

GOLDEN = Path(__file__).parent / "golden"
DEVICE = Device.on_cpu()
LANES = (1, 4, 32)
CHUNKS = (32, 64, 4096, 1 << 20)


def memory(size: int) -> NDArray[np.uint8]:
    """Memory that holds no zeros by luck."""
    return np.full(size, 0xA5, np.uint8)


def encode(
    symbols: NDArray[np.int16], classes: NDArray[np.uint8], lanes: int, chunk: int, escapes: int | None = None
) -> bytes:
    output = memory(DEVICE.encode_output_bytes(symbols.size, chunk, escapes))
    result = np.zeros(2, np.uint64)
    scratch = memory(DEVICE.encode_scratch_bytes(symbols.size, chunk, escapes))
    DEVICE.encode(symbols, classes, output, result, scratch, lanes=lanes, chunk=chunk)
    return output[: DEVICE.check_encode(result)].tobytes()


def decode(data: bytes, parts: list[NDArray[np.uint8]], chunks: int = 4096) -> NDArray[np.int16]:
    decoder = DEVICE.decoder(np.frombuffer(data, np.uint8), memory(DEVICE.decode_state_bytes(chunks)))
    symbols = []
    for classes in parts:
        symbols.append(np.full(classes.size, 77, np.int16))
        decoder.decode(classes, symbols[-1], memory(DEVICE.decode_scratch_bytes(classes.size)))
    decoder.finish()
    decoder.check()
    return np.concatenate([*symbols, np.zeros(0, np.int16)])


def decode_on_cpu(data: bytes, parts: list[NDArray[np.uint8]]) -> NDArray[np.int16]:
    decoder = rans.Decoder(data, path="scalar")
    symbols = [decoder.decode(classes) for classes in parts]
    decoder.finish()
    return np.concatenate([*symbols, np.zeros(0, np.int16)])


def drawn(seed: int, count: int, zeros: float = 0.1, wild: float = 0.01) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Symbols of all classes, some of class 0 and some far beyond their tables."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(1, rans.CLASSES, count).astype(np.uint8)
    classes[rng.random(count) < zeros] = 0
    symbols = rng.normal(0, 1, count) * rans.scales()[np.minimum(classes, 63)]
    symbols = np.where(rng.random(count) < wild, rng.integers(-32768, 32768, count), symbols)
    symbols = np.where(classes >= 64, rng.integers(0, 2, count), np.where(classes == 0, 0, symbols))
    return np.rint(symbols).clip(-32768, 32767).astype(np.int16), classes


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1023, 1024, 1025, 20000])
def test_both_devices_give_the_same_bytes_and_symbols(lanes: int, chunk: int, count: int) -> None:
    symbols, classes = drawn(count, count)
    data = rans.encode(symbols, classes, lanes=lanes, chunk=chunk)
    assert encode(symbols, classes, lanes, chunk) == data
    assert np.array_equal(decode(data, [classes]), symbols)


@given(
    seed=st.integers(0, 1 << 32),
    count=st.integers(0, 3000),
    lanes=st.sampled_from(LANES),
    chunk=st.sampled_from(CHUNKS),
    zeros=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    wild=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    cuts=st.lists(st.integers(0, 3000), max_size=4),
)
def test_any_symbols_in_any_parts_are_coded_as_on_the_cpu(
    seed: int, count: int, lanes: int, chunk: int, zeros: float, wild: float, cuts: list[int]
) -> None:
    symbols, classes = drawn(seed, count, zeros, wild)
    data = rans.encode(symbols, classes, lanes=lanes, chunk=chunk)
    assert encode(symbols, classes, lanes, chunk) == data
    assert np.array_equal(decode(data, np.split(classes, sorted(min(cut, count) for cut in cuts))), symbols)


def test_more_symbols_than_a_block_of_tiles_are_compacted_in_order() -> None:
    count = (1 << 20) + 5000
    rng = np.random.default_rng(5)
    classes = np.where(rng.random(count) < 0.97, 0, 70).astype(np.uint8)
    symbols = np.where(classes == 0, 0, rng.integers(0, 2, count)).astype(np.int16)
    data = rans.encode(symbols, classes, lanes=32, chunk=1024)
    assert encode(symbols, classes, 32, 1024, escapes=0) == data
    assert np.array_equal(decode(data, np.split(classes, [12345])), symbols)


@pytest.mark.parametrize("part", sorted(GOLDEN.glob("rans_*.bin")), ids=lambda path: path.stem)
def test_golden_streams_open(part: Path) -> None:
    decoder = DEVICE.decoder(np.frombuffer(part.read_bytes(), np.uint8), memory(DEVICE.decode_state_bytes(64)))
    decoder.check()


def test_every_symbol_of_every_class_is_found_in_the_compact_tables() -> None:
    pairs = [(0, 0)]
    for k in range(1, rans.CLASSES):
        table = rans.frequencies(k)
        width = (len(table) - 2) // 2
        pairs += [(s, k) for s in (range(2) if k >= 64 else range(-width - 1, width + 2))]
    symbols, classes = (np.array(column) for column in zip(*pairs, strict=True))
    symbols, classes = symbols.astype(np.int16), classes.astype(np.uint8)
    data = rans.encode(symbols, classes, lanes=32, chunk=1 << 20)
    assert encode(symbols, classes, 32, 1 << 20) == data
    assert np.array_equal(decode(data, [classes]), symbols)


def same_verdict(data: bytes, parts: list[NDArray[np.uint8]], header: int) -> None:
    """Both decoders accept the data, with the same symbols, or both refuse it, behind the header at the same offset."""
    try:
        expected = decode_on_cpu(data, parts)
    except BitstreamError as fault:
        with pytest.raises(BitstreamError) as found:
            decode(data, parts)
        if fault.offset is not None and fault.offset > header:
            assert found.value.offset == fault.offset
    else:
        assert np.array_equal(decode(data, parts), expected)


@pytest.mark.parametrize(("lanes", "chunk"), list(itertools.product(LANES, (64, 1 << 20))))
def test_streams_cut_off_anywhere_are_refused_as_on_the_cpu(lanes: int, chunk: int) -> None:
    symbols, classes = drawn(7, 200, zeros=0.2, wild=0.1)
    data = rans.encode(symbols, classes, lanes=lanes, chunk=chunk)
    for length in range(len(data)):
        same_verdict(data[:length], [classes], header=len(data))
        with pytest.raises(BitstreamError):
            decode(data[:length], [classes])


@given(
    seed=st.integers(0, 1 << 32),
    lanes=st.sampled_from(LANES),
    chunk=st.sampled_from([64, 256, 1 << 20]),
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=3),
    extra=st.integers(0, 3),
)
def test_damaged_streams_are_judged_as_on_the_cpu(
    seed: int, lanes: int, chunk: int, changes: list[tuple[int, int]], extra: int
) -> None:
    symbols, classes = drawn(seed, 700, zeros=0.1, wild=0.05)
    data = bytearray(rans.encode(symbols, classes, lanes=lanes, chunk=chunk) + bytes(extra))
    for place, change in changes:
        data[place % len(data)] ^= change
    same_verdict(bytes(data), np.split(classes, [100, 333]), header=len(data))


@given(data=st.binary(max_size=300), count=st.integers(0, 300), seed=st.integers(0, 1 << 32))
def test_any_bytes_are_judged_as_on_the_cpu(data: bytes, count: int, seed: int) -> None:
    _, classes = drawn(seed, count)
    same_verdict(data, [classes], header=len(data))
    same_verdict(b"\xe3\x20" + data, [classes], header=len(data) + 2)


def test_a_fault_behind_the_header_is_found_at_the_same_offset() -> None:
    symbols, classes = drawn(11, 5000, wild=0.0)
    data = bytearray(rans.encode(symbols, classes, lanes=32, chunk=1024))
    data[len(data) // 2] ^= 0x40
    with pytest.raises(BitstreamError) as expected:
        decode_on_cpu(bytes(data), [classes])
    with pytest.raises(BitstreamError) as found:
        decode(bytes(data), [classes])
    assert found.value.offset == expected.value.offset


@pytest.mark.parametrize("extra", [1, 32, 5000])
def test_more_symbols_than_coded_are_refused(extra: int) -> None:
    symbols, classes = drawn(3, 2000)
    for chunk in (64, 1 << 20):
        data = rans.encode(symbols, classes, lanes=32, chunk=chunk)
        with pytest.raises(BitstreamError):
            decode(data, [np.concatenate([classes, np.full(extra, 1, np.uint8)])])


def test_fewer_symbols_than_coded_are_refused() -> None:
    symbols, classes = drawn(3, 2000)
    for chunk, count in itertools.product((64, 1 << 20), (0, 10, 1000, 1990)):
        data = rans.encode(symbols, classes, lanes=32, chunk=chunk)
        same_verdict(data, [classes[:count]], header=len(data))


def test_behind_a_fault_symbols_are_zero() -> None:
    symbols, classes = drawn(13, 4000, zeros=0.0, wild=0.0)
    data = rans.encode(symbols, classes, lanes=32, chunk=1024)
    out = np.full(4000, 77, np.int16)
    decoder = DEVICE.decoder(np.frombuffer(data[:-200], np.uint8), memory(DEVICE.decode_state_bytes(8)))
    decoder.decode(classes, out, memory(DEVICE.decode_scratch_bytes(4000)))
    assert not out.any()  # the list of chunks does not fit the data
    short = rans.encode(symbols, classes, lanes=32, chunk=1 << 20)
    decoder = DEVICE.decoder(np.frombuffer(short[:-200], np.uint8), memory(DEVICE.decode_state_bytes(8)))
    decoder.decode(classes, out, memory(DEVICE.decode_scratch_bytes(4000)))
    with pytest.raises(BitstreamError, match="ends before its symbols"):
        decoder.check()
    good = int(np.flatnonzero(out)[-1])
    assert 3000 < good < 4000
    assert np.array_equal(out[: good + 1], symbols[: good + 1])


def test_a_class_out_of_range_decodes_nothing_and_is_named() -> None:
    symbols, classes = drawn(3, 3000)
    data = rans.encode(symbols, classes, lanes=32, chunk=1 << 20)
    bad = classes.copy()
    bad[[1500, 2500]] = [192, 255]
    out = np.full(3000, 77, np.int16)
    decoder = DEVICE.decoder(np.frombuffer(data, np.uint8), memory(DEVICE.decode_state_bytes(1)))
    decoder.decode(bad, out, memory(DEVICE.decode_scratch_bytes(3000)))
    with pytest.raises(ValueError, match=r"classes\[1500\] is 192 or more; classes are 0..191"):
        decoder.check()
    assert not out.any()
    decoder.finish()  # finds no symbol decoded, which is not the first thing that went wrong
    with pytest.raises(ValueError, match=r"classes\[1500\] is 192 or more"):
        decoder.check()


@pytest.mark.parametrize(
    ("place", "symbol", "k", "message"),
    [
        (1100, 0, 192, r"classes\[1100\] is 192 or more"),
        (1100, 5, 255, r"classes\[1100\] is 192 or more"),
        (40, 1, 0, r"symbols\[40\] is not 0 at class 0"),
        (2999, 2, 64, r"symbols\[2999\] is neither 0 nor 1 at a Bernoulli class"),
        (0, -1, 191, r"symbols\[0\] is neither 0 nor 1 at a Bernoulli class"),
    ],
)
def test_what_cannot_be_coded_is_named_by_its_index(place: int, symbol: int, k: int, message: str) -> None:
    symbols, classes = drawn(3, 3000)
    symbols[place], classes[place] = symbol, k
    symbols[2999], classes[2999] = (2, 64) if place != 2999 else (symbol, k)  # a second one behind is not the first
    with pytest.raises(ValueError, match=message):
        encode(symbols, classes, 32, 1024)


def test_memory_that_is_too_small_is_reported_with_what_is_needed() -> None:
    symbols, classes = drawn(3, 5000, wild=0.0)
    data = rans.encode(symbols, classes, lanes=32, chunk=1024)
    result = np.zeros(2, np.uint64)
    scratch = memory(DEVICE.encode_scratch_bytes(5000, 1024))
    output = memory(len(data) - 1)
    DEVICE.encode(symbols, classes, output, result, scratch, chunk=1024)
    with pytest.raises(ValueError, match=f"output is too small; {len(data)} bytes are needed"):
        DEVICE.check_encode(result)
    assert (output == 0xA5).all()
    wild, classes = drawn(3, 5000, zeros=0.0, wild=1.0)
    scratch = memory(DEVICE.encode_scratch_bytes(5000, 1024, escapes=0))
    DEVICE.encode(wild, classes, memory(1 << 20), result, scratch, chunk=1024)
    with pytest.raises(ValueError, match="scratch is too small for so many escapes"):
        DEVICE.check_encode(result)
    state = memory(DEVICE.decode_state_bytes(3))
    with pytest.raises(ValueError, match="state is too small for a stream of 5 chunks"):
        DEVICE.decoder(np.frombuffer(data, np.uint8), state).check()


def test_more_chunks_than_a_stream_may_have_are_reported() -> None:
    count = 32 * 65536 + 1
    classes = np.full(count, 64, np.uint8)
    symbols = np.zeros(count, np.int16)
    result = np.zeros(2, np.uint64)
    scratch = memory(DEVICE.encode_scratch_bytes(count, 32, escapes=0))
    DEVICE.encode(symbols, classes, memory(16), result, scratch, chunk=32)
    with pytest.raises(ValueError, match="chunk makes 65537 chunks of this stream; at most 65536"):
        DEVICE.check_encode(result)


def test_the_size_of_an_encoding_is_taken_from_the_device() -> None:
    symbols, classes = drawn(17, 3000)
    output = memory(DEVICE.encode_output_bytes(3000, 64))
    result = np.zeros(2, np.uint64)
    DEVICE.encode(symbols, classes, output, result, memory(DEVICE.encode_scratch_bytes(3000, 64)), chunk=64)
    decoder = DEVICE.decoder(output, memory(DEVICE.decode_state_bytes(64)), size=result)
    out = np.zeros(3000, np.int16)
    decoder.decode(classes, out, memory(DEVICE.decode_scratch_bytes(3000)))
    decoder.finish()
    decoder.check()
    assert np.array_equal(out, symbols)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"symbols": np.zeros(10, np.int32)}, TypeError, "symbols is an array of int32; int16 is needed"),
        ({"symbols": np.zeros((2, 5), np.int16)}, ValueError, r"symbols has shape \(2, 5\); 1 dimension needed"),
        ({"symbols": np.zeros(20, np.int16)[::2]}, ValueError, "symbols is not contiguous"),
        ({"symbols": [0] * 10}, TypeError, "symbols is a list"),
        ({"classes": np.zeros(9, np.uint8)}, ValueError, "classes has 9 elements; 10 are needed"),
        ({"scratch": np.zeros(10, np.uint8)}, ValueError, "scratch has 10 bytes; "),
        ({"result": np.zeros(1, np.uint64)}, ValueError, "result has 8 bytes; 16 are needed"),
        ({"output": np.frombuffer(bytes(64), np.uint8)}, ValueError, "output is read-only"),
        ({"chunk": 48}, ValueError, "chunk is 48; it is a multiple of 32"),
        ({"chunk": 0}, ValueError, "chunk is 0; it is 32.."),
        ({"chunk": 1.5}, TypeError, "chunk is a float"),
        ({"lanes": 8}, ValueError, "lanes is 8; it is 1, 4 or 32"),
        ({"cuda_stream": 5}, ValueError, "cuda_stream is 0x5"),
        ({"cuda_stream": "0"}, TypeError, "cuda_stream is a str"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], error: type[Exception], message: str) -> None:
    arguments: dict[str, object] = {
        "symbols": np.zeros(10, np.int16),
        "classes": np.zeros(10, np.uint8),
        "output": memory(1000),
        "result": np.zeros(2, np.uint64),
        "scratch": memory(DEVICE.encode_scratch_bytes(10, 32)),
        "chunk": 32,
    }
    with pytest.raises(error, match=message):
        DEVICE.encode(**(arguments | change))  # type: ignore[arg-type]
