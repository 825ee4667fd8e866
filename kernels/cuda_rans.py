"""Entropy coding on a device: where everything lies in the caller's memory, which programs run, what their errors mean.

The programs are those of ``kernels/include/duoview/warp_*.hpp``; structures and numbers here are theirs.
"""

from __future__ import annotations

import struct

import numpy as np

from duoview.kernels.arrays import checked_integer
from duoview.kernels.cuda_array import DeviceArray, stream_handle
from duoview.kernels.cuda_driver import Driver, buffer, padded, typed
from duoview.kernels.errors import BitstreamError
from duoview.kernels.rans import LANES, MAX_CHUNK

RESULT_BYTES = 16
MAX_CHUNKS = 65536

_TILE = 1024
_TILES_PER_BLOCK = 1024
_NO_ERROR = (1 << 64) - 1
_HEAD = struct.Struct("<8Q")  # StreamHead
_CHUNK_STATE_BYTES = 176  # ChunkState
_CHUNK_FAULT_AT = 24
_ENCODE_HEAD_BYTES = 32
_ENCODE_CHUNK_BYTES = 32
_CHUNK_HEAD_BYTES = 130  # kChunkHeadBytes
_ESCAPE_BYTES = 6
_MAX_COUNT = 1 << 48

_DAMAGE = {
    16: "entropy-coded data ends within its header",
    17: "unknown first byte of entropy-coded data",
    18: "a state of entropy-coded data is out of range",
    19: "a number in the list of chunks is out of range or not in its shortest form",
    20: "entropy-coded data ends in the middle of a 16-bit word",
    21: "entropy-coded data ends before its symbols do",
    22: "escaped symbol is beyond 16 bits",
    23: "bytes of entropy-coded data are left over",
    24: "entropy-coded data is damaged: a lane does not end at state 65536",
    25: "entropy-coded data ends before its symbols do",
    26: "the last chunk of entropy-coded data was not begun",
}


def raise_for(word: int) -> None:
    """Raises what an error word stands for (``DeviceFault`` in duoview/warp.hpp), if it stands for anything."""
    if word == _NO_ERROR:
        return
    place, kind = word >> 8, word & 0xFF
    if kind in _DAMAGE:
        raise BitstreamError(_DAMAGE[kind], place)
    raise ValueError(
        {
            1: f"classes[{place}] is 192 or more; classes are 0..191",
            2: f"symbols[{place}] is not 0 at class 0, where only 0 can be coded",
            3: f"symbols[{place}] is neither 0 nor 1 at a Bernoulli class, which codes 0 or 1",
            4: f"output is too small; {place} bytes are needed",
            5: f"scratch is too small for so many escapes; {place} bytes for words are needed",
            6: f"state is too small for a stream of {place} chunks; decode_state_bytes says what it takes",
            7: f"chunk makes {place} chunks of this stream; at most {MAX_CHUNKS} are allowed",
        }[kind]
    )


def checked_chunk(chunk: int) -> int:
    """The number of coded symbols of a chunk, or TypeError or ValueError."""
    number = checked_integer("chunk", chunk, 32, MAX_CHUNK)
    if number % 32:
        raise ValueError(f"chunk is {number}; it is a multiple of 32")
    return number


def checked_lanes(lanes: int) -> int:
    """The number of lanes, or TypeError or ValueError."""
    number = checked_integer("lanes", lanes, 1, 32)
    if number not in LANES:
        raise ValueError(f"lanes is {number}; it is 1, 4 or 32")
    return number


class _Counts:
    """Parts of a scratch buffer that every call has: sums of coded elements by tile and by block of tiles."""

    def __init__(self, count: int) -> None:
        self.count = checked_integer("count", count, 0, _MAX_COUNT)
        self.tiles = -(-self.count // _TILE)
        self.blocks = -(-self.tiles // _TILES_PER_BLOCK)
        self.size = 0
        self.tiles_at = self.part(8 * self.tiles)
        self.blocks_at = self.part(8 * self.blocks)

    def part(self, size: int) -> int:
        """The offset of a further part of ``size`` bytes."""
        at = self.size
        self.size = padded(at + size)
        return at


class DecodeScratch(_Counts):
    """The scratch of one call that decodes ``count`` symbols."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.classes_at = self.part(_TILE * self.tiles)
        self.symbols_at = self.part(2 * _TILE * self.tiles)


class EncodeScratch(_Counts):
    """The scratch of one call that encodes ``count`` symbols, ``escapes`` of them beyond their tables."""

    def __init__(self, count: int, chunk: int, escapes: int | None) -> None:
        super().__init__(count)
        self.chunk = chunk
        self.chunks = min(-(-self.count // chunk), MAX_CHUNKS)
        if escapes is None:
            escapes = self.count
        self.head_at = self.part(_ENCODE_HEAD_BYTES)
        self.chunks_at = self.part(_ENCODE_CHUNK_BYTES * self.chunks)
        self.classes_at = self.part(_TILE * self.tiles)
        self.symbols_at = self.part(2 * _TILE * self.tiles)
        self.words_bytes = 2 * self.count + _ESCAPE_BYTES * checked_integer("escapes", escapes, 0, self.count)
        self.words_bytes += _CHUNK_HEAD_BYTES * self.chunks
        self.words_at = self.part(self.words_bytes)


def encode_output_bytes(count: int, chunk: int, escapes: int | None) -> int:
    """The most bytes a stream of ``count`` symbols can have, the list of its chunks included."""
    plan = EncodeScratch(count, chunk, escapes)
    return plan.words_bytes + 11 + 5 * plan.chunks


def state_bytes(chunks: int) -> int:
    """Bytes of a decoder's state for at most ``chunks`` chunks."""
    return _HEAD.size + _CHUNK_STATE_BYTES * checked_integer("chunks", chunks, 1, MAX_CHUNKS)


def launch_encode(
    driver: Driver,
    tables: int,
    symbols: int,
    classes: int,
    output: int,
    output_bytes: int,
    result: int,
    scratch: int,
    scratch_bytes: int,
    plan: EncodeScratch,
    lanes: int,
    stream: int,
) -> None:
    """Queues all programs of an encoding; addresses and sizes have been checked."""
    count, chunk = plan.count, plan.chunk
    tiles, blocks = scratch + plan.tiles_at, scratch + plan.blocks_at
    head, chunks = scratch + plan.head_at, scratch + plan.chunks_at
    packed, packed_classes = scratch + plan.symbols_at, scratch + plan.classes_at
    words = scratch + plan.words_at

    def launch(program: str, warps: int, *arguments: int) -> None:
        if warps:
            driver.launch(program, warps, list(arguments), stream)

    launch("fill_words", 1, result, RESULT_BYTES // 8, _NO_ERROR)
    launch("fill_words", -(-4 * plan.chunks // _TILE), chunks, 4 * plan.chunks, 0)
    launch("count_symbols", plan.tiles, symbols, classes, count, tiles, result + 8)
    launch("sum_tiles", plan.blocks, tiles, plan.tiles, blocks)
    launch("begin_encode", 1, head, result, blocks, plan.blocks, chunk)
    launch(
        "pack_symbols",
        plan.tiles,
        symbols,
        classes,
        count,
        tiles,
        blocks,
        packed,
        packed_classes,
        chunk,
        chunks,
        plan.chunks,
        tables,
    )
    launch("place_words", 1, head, chunks, result, chunk, scratch_bytes - plan.words_at)
    launch("encode_chunks", plan.chunks, head, chunks, packed, packed_classes, chunk, lanes, words, tables)
    launch("place_chunks", 1, head, chunks, result, chunk, output, output_bytes)
    parts = 64 if plan.chunks <= 1024 else 8
    launch("gather_chunks", plan.chunks * parts, head, chunks, words, parts, output)


def check_result(result: bytes) -> int:
    """The size that an encoding's result holds; raises its error."""
    size, error = struct.unpack("<2Q", result)
    raise_for(error)
    return size


class Decoder:
    """Decodes one stream, in as many calls as the classes become known. Made by ``Device.decoder``.

    Like ``rans.Decoder``, but nothing is raised before ``check``: after a fault, the symbols of the chunk it is in
    are 0 from there on, and after a class that is out of range all symbols are.
    """

    def __init__(self, driver: Driver, tables: int, data: object, state: object, size: object, stream: int) -> None:
        self._driver = driver
        self._tables = tables
        self._data = typed(driver, "data", data, np.uint8)
        self._state = buffer(driver, "state", state, state_bytes(1))
        self._chunks = min((self._state.nbytes - _HEAD.size) // _CHUNK_STATE_BYTES, MAX_CHUNKS)
        self._size: DeviceArray | None = None
        if size is not None:
            self._size = driver.array("size", size)
            if self._size.nbytes < 8 or self._size.pointer % 8:
                raise ValueError("size does not hold an aligned 64-bit integer")
        self._launch(
            stream,
            "open_stream",
            1,
            self._data.pointer,
            self._data.size,
            self._size.pointer if self._size else 0,
            self._head,
            self._first,
            self._chunks,
        )
        self._launch(stream, "open_chunks", self._chunks, self._data.pointer, self._head, self._first)

    @property
    def _head(self) -> int:
        return self._state.pointer

    @property
    def _first(self) -> int:
        return self._state.pointer + _HEAD.size

    def _launch(self, stream: int, program: str, warps: int, *arguments: int) -> None:
        if warps:
            self._driver.launch(program, warps, list(arguments), stream)

    def decode(self, classes: object, symbols: object, scratch: object, *, cuda_stream: object = None) -> None:
        """The next symbols.

        Args:
            classes: (N,) uint8. Must not change before the kernels have run.
            symbols: (N,) int16, written; 0 where the class is 0.
            scratch: memory of ``Device.decode_scratch_bytes(N)``; free again once the kernels have run.
            cuda_stream: where the kernels are queued: the stream on which the decoder was begun, or one that waits
            for it.

        Raises:
            TypeError, ValueError: an argument is not as described.
        """
        stream = stream_handle(cuda_stream)
        source = typed(self._driver, "classes", classes, np.uint8)
        count = source.size
        target = typed(self._driver, "symbols", symbols, np.int16, count, writable=True)
        plan = DecodeScratch(count)
        memory = buffer(self._driver, "scratch", scratch, plan.size).pointer
        tiles, blocks = memory + plan.tiles_at, memory + plan.blocks_at
        packed, packed_symbols = memory + plan.classes_at, memory + plan.symbols_at
        error, coded = self._head + 8 * 5, self._head + 8 * 4
        self._launch(stream, "count_classes", plan.tiles, source.pointer, count, tiles, error)
        self._launch(stream, "sum_tiles", plan.blocks, tiles, plan.tiles, blocks)
        self._launch(stream, "begin_decode", 1, self._head, blocks, plan.blocks)
        self._launch(stream, "pack_classes", plan.tiles, source.pointer, count, tiles, blocks, packed)
        self._launch(
            stream,
            "decode_chunks",
            self._chunks,
            self._data.pointer,
            self._head,
            self._first,
            packed,
            packed_symbols,
            self._tables,
        )
        self._launch(
            stream,
            "spread_symbols",
            plan.tiles,
            source.pointer,
            count,
            tiles,
            blocks,
            packed_symbols,
            coded,
            target.pointer,
        )

    def finish(self, *, cuda_stream: object = None) -> None:
        """Checks, on the device, that all bytes were used and every state is back at its start.

        ``check`` says what was found.
        """
        self._launch(stream_handle(cuda_stream), "finish_stream", self._chunks, self._head, self._first)

    def check(self, *, cuda_stream: object = None) -> None:
        """Waits for the stream and raises the first error there was.

        Raises:
            BitstreamError: the data is damaged, or other classes were given than at encoding. Where more than one
                thing is wrong with a header, the offset need not be the one that the CPU's decoder names.
            ValueError: a class was out of range, or the state too small for the stream's chunks.
        """
        stream = stream_handle(cuda_stream)
        *_, error, faulty, unfinished = _HEAD.unpack(self._driver.read(self._head, _HEAD.size, stream))
        if faulty != _NO_ERROR:
            raise_for(self._fault(faulty, stream))
        raise_for(error)
        if unfinished != _NO_ERROR:
            raise_for(self._fault(unfinished, stream))

    def _fault(self, chunk: int, stream: int) -> int:
        at = self._first + chunk * _CHUNK_STATE_BYTES + _CHUNK_FAULT_AT
        return int.from_bytes(self._driver.read(at, 8, stream), "little")
