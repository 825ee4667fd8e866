"""Streams of several chunks: the container, its damages, and coding by several threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import BitstreamError, rans


def elements(count: int, seed: int, zeros: float = 0.0) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Symbols and classes of all kinds, escapes among them."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(1, 192, count).astype(np.uint8)
    classes[rng.random(count) < zeros] = 0
    k = classes.astype(np.int64)
    symbols = np.where(k < 64, np.rint(rng.standard_normal(count) * k), rng.random(count) < 0.5)
    return np.where(k == 0, 0, symbols).astype(np.int16), classes


def varints(data: bytes, position: int, count: int) -> tuple[list[int], int]:
    values = []
    for _ in range(count):
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        values.append(value)
    return values, position


@given(st.integers(0, 3000), st.integers(1, 40), st.sampled_from([0.0, 0.7]), st.sampled_from([None, 1, 4, 32]),
       st.integers(1, 3), st.lists(st.integers(0, 3000), max_size=4))
def test_chunks_of_any_size_come_back_in_uneven_parts_on_every_path(
    count: int, chunk: int, zeros: float, lanes: int | None, threads: int, cuts: list[int]
) -> None:
    symbols, classes = elements(count, count, zeros)
    streams = {rans.encode(symbols, classes, lanes=lanes, chunk=32 * chunk, threads=t, path=path)
               for path in rans.paths() for t in (1, threads)}
    assert len(streams) == 1
    for path in rans.paths():
        decoder = rans.Decoder(next(iter(streams)), threads=threads, path=path)
        ends = sorted(min(cut, count) for cut in cuts)
        parts = [decoder.decode(classes[a:b]) for a, b in zip([0, *ends], [*ends, count], strict=True)]
        decoder.finish()
        np.testing.assert_array_equal(np.concatenate(parts), symbols)


@pytest.mark.parametrize("lanes", rans.LANES)
def test_every_chunk_is_a_stream_of_its_own_symbols(lanes: int) -> None:
    symbols, classes = elements(1000, 3, zeros=0.3)
    data = rans.encode(symbols, classes, lanes=lanes, chunk=96)
    coded = np.flatnonzero(classes)
    (per_chunk, chunks), position = varints(data, 1, 2)
    assert data[0] == 0xE3 and per_chunk == 96 and chunks == -(-coded.size // 96)
    lengths, position = varints(data, position, chunks)
    for number, length in enumerate(lengths):
        part = coded[96 * number : 96 * number + 96]
        assert data[position : position + length] == rans.encode(symbols[part], classes[part], lanes=lanes)
        position += length
    assert position == len(data)


def test_symbols_that_fit_one_chunk_are_no_container() -> None:
    symbols, classes = elements(96, 4)
    assert rans.encode(symbols, classes, chunk=96) == rans.encode(symbols, classes)


def test_large_streams_are_cut_into_chunks_of_128_kib_or_more() -> None:
    rng = np.random.default_rng(5)
    classes = np.full(700_000, 60, np.uint8)
    symbols = np.rint(rng.standard_normal(classes.size) * rans.scales()[60]).astype(np.int16)
    data = rans.encode(symbols, classes)
    whole = rans.encode(symbols, classes, chunk=1 << 20)
    (_, chunks), position = varints(data, 1, 2)
    lengths, _ = varints(data, position, chunks)
    assert data[0] == 0xE3 and min(lengths) >= 128 << 10
    assert whole[0] == 0xE2 and len(data) <= 1.001 * len(whole)


def test_small_streams_are_one_chunk() -> None:
    symbols, classes = elements(100_000, 6)
    assert rans.encode(symbols, classes)[0] != 0xE3


def test_many_escapes_outgrow_the_first_buffer_and_are_coded_all_the_same() -> None:
    classes = np.full(50_000, 1, np.uint8)
    symbols = np.where(np.arange(classes.size) % 2, 32767, -32768).astype(np.int16)
    for lanes in rans.LANES:
        streams = {rans.encode(symbols, classes, lanes=lanes, path=path) for path in rans.paths()}
        assert len(streams) == 1
        np.testing.assert_array_equal(rans.Decoder(streams.pop()).decode(classes), symbols)


@pytest.mark.parametrize("path", rans.paths())
def test_symbols_are_decoded_into_a_given_array(path: str) -> None:
    symbols, classes = elements(5000, 7, zeros=0.4)
    out = np.full(classes.size, 99, np.int16)
    decoder = rans.Decoder(rans.encode(symbols, classes), path=path)
    assert decoder.decode(classes, out=out) is out
    np.testing.assert_array_equal(out, symbols)


# Damage

SYMBOLS, CLASSES = elements(4000, 8)
STREAM = rans.encode(SYMBOLS, CLASSES, chunk=512)


def verdict(data: bytes, threads: int, path: str) -> str | bytes:
    try:
        decoder = rans.Decoder(data, threads=threads, path=path)
        symbols = decoder.decode(CLASSES)
        decoder.finish()
    except BitstreamError as error:
        assert error.offset is not None and 0 <= error.offset <= len(data)
        return str(error)
    return symbols.tobytes()


@given(st.integers(0, len(STREAM) - 1))
def test_a_container_cut_anywhere_is_noticed(size: int) -> None:
    results = {verdict(STREAM[:size], threads, path) for threads in (1, 3) for path in rans.paths()}
    assert len(results) == 1 and isinstance(results.pop(), str)


@given(st.integers(0, 8 * len(STREAM) - 1))
def test_a_flipped_bit_gives_the_same_outcome_on_every_path_and_thread_count(bit: int) -> None:
    data = bytearray(STREAM)
    data[bit // 8] ^= 1 << bit % 8
    assert len({verdict(bytes(data), threads, path) for threads in (1, 3) for path in rans.paths()}) == 1


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_mark_of_a_container_decode_or_fail_alike(tail: bytes) -> None:
    assert len({verdict(b"\xe3" + tail, threads, path) for threads in (1, 3) for path in rans.paths()}) == 1


def test_damage_in_two_chunks_is_reported_for_the_first_of_them() -> None:
    symbols, classes = SYMBOLS[:1024], CLASSES[:1024]
    parts = [rans.encode(symbols[a : a + 512], classes[a : a + 512]) for a in (0, 512)]
    cut = [part[:-200] for part in parts]
    head = bytes([0xE3, 0x80, 0x04, 2]) + b"".join(bytes([len(p) & 0x7F | 0x80, len(p) >> 7]) for p in cut)
    for threads in (1, 2):
        with pytest.raises(BitstreamError, match="ends before its symbols do") as caught:
            rans.Decoder(head + b"".join(cut), threads=threads).decode(classes)
        assert caught.value.offset is not None and caught.value.offset <= len(head) + len(cut[0])


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"\xe3\x00\x02", "chunks are of 0 symbols; a multiple of 32 is needed"),
        (b"\xe3\x21\x02", "chunks are of 33 symbols; a multiple of 32 is needed"),
        (b"\xe3\x20\x01\x03\x01\x00\x00", "1 chunks; 2..65536 are possible"),
        (b"\xe3\x20\x81\x80\x04", "65537 chunks; 2..65536 are possible"),
        (b"\xe3\x20\xff\xff\x03", "ends within its list of chunks"),
        (b"\xe3\xa0\x00\x02", "not in its shortest form"),
        (b"\xe3\xa0\x80\x80\x80\x10\x02", "beyond 32 bits"),
        (b"\xe3\x20\x02\x03\x03\x01\x00\x00\x01\x00", "chunk 1 of 3 bytes ends behind the data"),
        (b"\xe3\x20\x02\x03\x03\x01\x00\x00\x01\x00\x00\x00", "1 bytes of entropy-coded data are left over"),
        (b"\xe3\x20\x02\x03\x00\x01\x00\x00", "ends within its first 1 bytes"),
        (b"\xe3\x20\x02\x03\x03\x01\x00\x00\xe3\x20\x02", "chunk 1 consists of chunks itself"),
    ],
)
def test_a_wrong_list_of_chunks_is_refused_with_what_is_wrong(head: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        rans.Decoder(head)


def test_more_symbols_than_the_chunks_hold_are_refused() -> None:
    decoder = rans.Decoder(STREAM)
    with pytest.raises(BitstreamError, match="ends before its symbols do"):
        decoder.decode(np.full(5000, 30, np.uint8))


def test_a_last_chunk_that_was_never_begun_is_noticed() -> None:
    decoder = rans.Decoder(rans.encode(SYMBOLS[:1024], CLASSES[:1024], chunk=512))
    decoder.decode(CLASSES[:512])
    with pytest.raises(BitstreamError, match="last chunk of entropy-coded data was not begun"):
        decoder.finish()


# Errors of the caller


@pytest.mark.parametrize("chunk", [0, -32, 31, 33, (1 << 31) + 32])
def test_a_chunk_that_is_no_multiple_of_32_or_out_of_range_is_refused(chunk: int) -> None:
    with pytest.raises(ValueError, match=rf"chunk is {chunk}; it is None or a multiple of 32"):
        rans.encode(SYMBOLS, CLASSES, chunk=chunk)


def test_a_chunk_that_is_no_integer_is_refused() -> None:
    with pytest.raises(TypeError, match="chunk is a float; an integer is needed"):
        rans.encode(SYMBOLS, CLASSES, chunk=64.0)  # type: ignore[arg-type]


def test_more_chunks_than_a_stream_may_have_are_refused() -> None:
    count = 32 * 65536 + 1
    with pytest.raises(ValueError, match="which makes 65537 chunks of 2097153 coded symbols; at most 65536"):
        rans.encode(np.zeros(count, np.int16), np.full(count, 30, np.uint8), chunk=32)


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_an_impossible_number_of_threads_is_refused(threads: int) -> None:
    with pytest.raises(ValueError, match=rf"threads is {threads}; it is 1\.\.256"):
        rans.encode(SYMBOLS, CLASSES, threads=threads)
    with pytest.raises(ValueError, match=rf"threads is {threads}; it is 1\.\.256"):
        rans.Decoder(STREAM, threads=threads)


def test_an_output_array_of_another_kind_is_refused_by_name() -> None:
    decoder = rans.Decoder(STREAM)
    with pytest.raises(TypeError, match="out is an array of int32; int16 is needed"):
        decoder.decode(CLASSES, out=np.zeros(CLASSES.size, np.int32))
    with pytest.raises(ValueError, match=r"out has shape \(3,\); \(4000,\) is needed"):
        decoder.decode(CLASSES, out=np.zeros(3, np.int16))
    with pytest.raises(ValueError, match="out is not contiguous"):
        decoder.decode(CLASSES, out=np.zeros(2 * CLASSES.size, np.int16)[::2])
    frozen = np.zeros(CLASSES.size, np.int16)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        decoder.decode(CLASSES, out=frozen)
    np.testing.assert_array_equal(decoder.decode(CLASSES), SYMBOLS)
