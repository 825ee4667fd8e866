"""The entropy decoder on bad data: never a crash, never a read beyond, and an error that says where."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import BitstreamError, rans


def stream(lanes: int, count: int = 3000, seed: int = 5) -> tuple[bytes, NDArray[np.int16], NDArray[np.uint8]]:
    """A stream with all kinds of classes and some escapes."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 192, count).astype(np.uint8)
    k = classes.astype(np.int64)
    symbols = np.where(k < 64, np.rint(rng.standard_normal(count) * k), rng.random(count) < 0.5)
    symbols = np.where(k == 0, 0, symbols).astype(np.int16)
    return rans.encode(symbols, classes, lanes=lanes), symbols, classes


STREAMS = {lanes: stream(lanes) for lanes in rans.LANES}


def outcome(data: bytes, classes: NDArray[np.uint8], path: str) -> tuple[NDArray[np.int16] | None, str]:
    """The decoded symbols (None at an error) and the error's text."""
    try:
        decoder = rans.Decoder(data, path=path)
        symbols = decoder.decode(classes)
        decoder.finish()
    except BitstreamError as error:
        assert error.offset is None or 0 <= error.offset <= len(data)
        return None, str(error)
    return symbols, ""


def damaged(data: bytes, classes: NDArray[np.uint8]) -> str:
    """Decodes on all paths, which must agree; the error's text, empty where none was noticed."""
    results = [outcome(data, classes, path) for path in rans.paths()]
    assert len({error for _, error in results}) == 1
    assert len({None if symbols is None else symbols.tobytes() for symbols, _ in results}) == 1
    return results[0][1]


@given(st.sampled_from(rans.LANES), st.data())
def test_a_truncated_stream_is_always_noticed(lanes: int, data: st.DataObject) -> None:
    coded, _, classes = STREAMS[lanes]
    assert damaged(coded[: data.draw(st.integers(0, len(coded) - 1))], classes)


@given(st.sampled_from(rans.LANES), st.data())
def test_a_flipped_bit_is_noticed_or_changes_one_symbol_alone(lanes: int, data: st.DataObject) -> None:
    coded, symbols, classes = STREAMS[lanes]
    bit = data.draw(st.integers(0, 8 * len(coded) - 1))
    flipped = bytearray(coded)
    flipped[bit // 8] ^= 1 << bit % 8
    if not damaged(bytes(flipped), classes):
        # Raw bits of an escape, or another symbol of the same frequency: the states cannot tell, a checksum must.
        assert np.count_nonzero(rans.Decoder(bytes(flipped)).decode(classes) != symbols) == 1


@pytest.mark.parametrize("lanes", rans.LANES)
def test_nearly_every_flipped_bit_is_noticed_where_there_are_no_escapes(lanes: int) -> None:
    rng = np.random.default_rng(11)
    classes = rng.integers(1, 64, 1500).astype(np.uint8)
    symbols = np.rint(rng.standard_normal(1500) * rans.scales()[classes]).astype(np.int16)
    coded = rans.encode(symbols, classes, lanes=lanes)
    unnoticed = 0
    for bit in range(8 * len(coded)):
        flipped = bytearray(coded)
        flipped[bit // 8] ^= 1 << bit % 8
        unnoticed += not outcome(bytes(flipped), classes, "auto")[1]
    assert unnoticed <= 0.01 * 8 * len(coded)


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.integers(0, 2000))
def test_any_bytes_at_all_decode_or_fail_alike_on_all_paths(data: bytes, seed: int, count: int) -> None:
    damaged(data, np.random.default_rng(seed).integers(0, 192, count).astype(np.uint8))


@given(st.sampled_from([0xE1, 0xE2]), st.integers(0, 2**32 - 1), st.integers(0, 1500))
def test_any_words_behind_valid_states_decode_or_fail_alike_on_all_paths(first: int, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    states = rng.integers(1 << 16, 1 << 32, 4 if first == 0xE1 else 32).astype("<u4").tobytes()
    words = rng.integers(0, 256, 2 * int(rng.integers(0, 800))).astype(np.uint8).tobytes()
    damaged(bytes([first]) + states + words, rng.integers(0, 192, count).astype(np.uint8))


@pytest.mark.parametrize("lanes", rans.LANES)
def test_extra_bytes_are_noticed(lanes: int) -> None:
    coded, _, classes = STREAMS[lanes]
    assert "2 bytes of entropy-coded data are left over" in damaged(coded + b"\0\0", classes)
    assert "in the middle of a 16-bit word" in damaged(coded + b"\0", classes)


@pytest.mark.parametrize("lanes", rans.LANES)
def test_other_classes_than_at_encoding_are_noticed(lanes: int) -> None:
    coded, symbols, classes = STREAMS[lanes]
    other = classes.copy()
    place = np.flatnonzero((classes > 20) & (classes < 63) & (np.abs(symbols) <= 2))[0]  # no escape
    other[place] += 1
    assert damaged(coded, other)


@pytest.mark.parametrize("path", rans.paths())
def test_data_that_ends_too_early_says_at_which_byte(path: str) -> None:
    coded, _, classes = STREAMS[4]
    with pytest.raises(BitstreamError, match=rf"ends before its symbols do \(at byte {len(coded) - 500}\)") as caught:
        rans.Decoder(coded[:-500], path=path).decode(classes)
    assert caught.value.offset == len(coded) - 500


@pytest.mark.parametrize("path", rans.paths())
def test_a_decoder_that_failed_keeps_failing_the_same_way(path: str) -> None:
    coded, _, classes = STREAMS[32]
    decoder = rans.Decoder(coded[:-500], path=path)
    texts = []
    for call in (lambda: decoder.decode(classes), lambda: decoder.decode(classes[:1]), decoder.finish):
        with pytest.raises(BitstreamError) as caught:
            call()
        texts.append(str(caught.value))
    assert len(set(texts)) == 1


@pytest.mark.parametrize(
    "data", [b"\x00\x00\x01", b"\x80\x01\x00\x00", b"\xc0\x00\x01\x00\x00", b"\xc1\0\0\0\0", b"\xff" * 9]
)
def test_a_start_that_encode_never_writes_is_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        rans.Decoder(data)


def test_a_lane_below_its_range_is_named() -> None:
    data = b"\xe1" + b"\0\0\1\0" * 3 + b"\xff\xff\0\0"
    with pytest.raises(BitstreamError, match=r"state of lane 3 is 65535; states start at 65536 \(at byte 13\)"):
        rans.Decoder(data)


def test_data_for_no_symbols_is_refused_by_finish() -> None:
    decoder = rans.Decoder(b"\x01\x00\x00")
    decoder.decode(np.zeros(5, np.uint8))
    with pytest.raises(BitstreamError, match="no symbol was to be decoded"):
        decoder.finish()


# Classes are put out of range, to 0 and back for as long as the decoder works without the lock of the interpreter.
WRITER = """
import sys, threading
import numpy as np
from duoview.kernels import rans

rng = np.random.default_rng(3)
classes = rng.integers(1, 64, 1 << 18).astype(np.uint8)
if sys.argv[1] == "sparse":
    classes[::5] = 0
symbols = np.rint(rng.standard_normal(classes.size) * rans.scales()[classes]).astype(np.int16)
symbols[classes == 0] = 0
coded = rans.encode(symbols, classes, chunk=1 << 16)
right, meant, done = classes.copy(), symbols.copy(), threading.Event()

def write():
    while not done.is_set():
        for wrong in (255, 0, 192):
            classes[7::1000] = wrong
            symbols[5::1000] = 30000
            classes[:] = right
            symbols[:] = meant

sys.setswitchinterval(1e-5)
writer = threading.Thread(target=write)
writer.start()
try:
    for turn in range(300):
        try:
            rans.Decoder(coded, threads=1 + turn % 2).decode(classes)
            rans.encode(symbols, classes, chunk=None if turn % 2 else 1 << 16)
        except ValueError:  # BitstreamError is one
            pass
finally:
    done.set()
    writer.join()
assert np.array_equal(rans.Decoder(coded).decode(right), meant)
"""


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_arrays_that_another_thread_overwrites_lead_to_no_memory_outside_of_the_tables(kind: str) -> None:
    # In a process of its own: reading outside of the tables would end it.
    done = subprocess.run([sys.executable, "-P", "-c", WRITER, kind], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_coded_bytes_cannot_shrink_under_the_decoder() -> None:
    data = bytearray(STREAMS[1][0])
    decoder = rans.Decoder(data)
    with pytest.raises(BufferError):
        data.clear()
    np.testing.assert_array_equal(decoder.decode(STREAMS[1][2]), STREAMS[1][1])


def test_the_decoded_array_outlives_its_decoder() -> None:
    coded, symbols, classes = STREAMS[32]
    decoder = rans.Decoder(coded)
    decoded = decoder.decode(classes)
    del decoder
    np.testing.assert_array_equal(decoded, symbols)


def test_a_bitstream_error_is_a_value_error_and_survives_pickling() -> None:
    error: BitstreamError = pickle.loads(pickle.dumps(BitstreamError("it broke", 7)))
    assert isinstance(error, ValueError)
    assert (str(error), error.offset) == ("it broke (at byte 7)", 7)
