"""Entropy coding: rANS with one integer table per symbol class.

The caller says for every symbol which class it belongs to, and the decoder must be told the same classes. Classes:

* 0: the symbol is 0; costs no bits and no time.
* 1..63: zero-mean Gaussians, ``scales()[k]`` wide; any int16 symbol can be coded, by an escape beyond the table.
* 64..191: binary decisions; in class 64 + i the symbol is 1 with probability (i + 0.5) / 128.

All arithmetic is integer, all tables are committed data (``tables_digest()``), and every path gives the same bytes. The
stream does not hold the number of symbols and has no checksum: the access unit around it has both. docs/bitstream.md
describes the bytes. This module never guesses a dtype or copies an array.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from duoview.kernels import _native
from duoview.kernels.arrays import checked, checked_integer, checked_output, checked_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

CLASSES = 192
"""Number of classes: 64 Gaussian ones (0 included), then 128 binary ones."""

LANES = (1, 4, 32)
"""Numbers of interleaved states a chunk can have."""

MAX_CHUNK = 1 << 31


def encode(
    symbols: NDArray[np.int16] | NDArray[np.int8],
    classes: NDArray[np.uint8],
    *,
    lanes: int | None = None,
    chunk: int | None = None,
    threads: int = 1,
    path: str = "auto",
) -> bytes:
    """Codes ``symbols`` so that ``Decoder`` gets them back when it is told the same ``classes``.

    Args:
        symbols: (N,) int16 or int8, contiguous. 0 where the class is 0; 0 or 1 where the class is 64 or more.
        classes: (N,) uint8, contiguous, each 0..191.
        lanes: interleaved states: 1 is the smallest, 32 the fastest to decode. ``None`` lets the size decide, so that
            the extra lanes cost at most about 0.15 %. Signalled in the stream.
        chunk: symbols (of classes other than 0) that are coded on their own, a multiple of 32: chunks can be coded side
            by side, by several threads or on a GPU, and cost 3 bytes a lane each. ``None`` makes chunks of 128 KiB or
            more of coded data, of streams of 256 KiB or more.
        threads: at most that many chunks are coded at a time.
        path: ``"auto"``, or one of ``paths()`` to force it. All give the same bytes.

    Returns:
        The coded bytes; none if every class is 0.

    Raises:
        TypeError: an argument is not an array of the right dtype.
        ValueError: shape, contiguity, alignment, a class or symbol out of range (with its index), ``lanes``, ``chunk``,
            ``threads`` or ``path``.
    """
    checked("symbols", symbols, (np.int16, np.int8), "(N,)")
    checked("classes", classes, (np.uint8,), "(N,)")
    if symbols.size != classes.size:
        raise ValueError(f"symbols has {symbols.size} elements, classes {classes.size}; both need the same number")
    if lanes is not None and checked_integer("lanes", lanes, -(1 << 63), 1 << 63) not in LANES:
        raise ValueError(f"lanes is {lanes}; it is None, 1, 4 or 32")
    if chunk is not None:
        chunk = checked_integer("chunk", chunk, -(1 << 63), 1 << 63)
        if not 32 <= chunk <= MAX_CHUNK or chunk % 32:
            raise ValueError(f"chunk is {chunk}; it is None or a multiple of 32, 32..{MAX_CHUNK}")
    return _native.rans_encode(symbols, classes, lanes or 0, chunk or 0, checked_threads(threads), path)


class Decoder:
    """Decodes one stream of ``encode``, in as many calls as the classes become known.

    ``encode`` takes the concatenation of all parts in the order in which they will be decoded. Whatever the bytes are,
    no call reads outside of them. Most damage is noticed, at the latest by ``finish``, but not all of it can be: a
    changed raw bit of an escape, or a change to another symbol of equal frequency, leaves everything else as it was.
    A checksum must see that.

    Args:
        data: any contiguous bytes-like object. It is kept, not copied, and must not change while decoding.
        threads: at most that many chunks are decoded at a time.
        path: ``"auto"``, or one of ``paths()`` to force it.

    Raises:
        BitstreamError: ``data`` does not start like a coded stream.
        TypeError, BufferError: ``data`` is not bytes-like.
        ValueError: ``threads`` or ``path`` is unknown.
    """

    __slots__ = ("_native",)

    def __init__(self, data: Buffer, *, threads: int = 1, path: str = "auto") -> None:
        self._native = _native.RansDecoder(data, checked_threads(threads), path)

    def decode(self, classes: NDArray[np.uint8], *, out: NDArray[np.int16] | None = None) -> NDArray[np.int16]:
        """The next symbols.

        Args:
            classes: (N,) uint8, contiguous, each 0..191.
            out: (N,) int16, contiguous and writable, to be filled and returned instead of a new array, whose fresh
                memory takes the system longer to hand out than decoding takes. Holds anything after an error.

        Returns:
            (N,) int16; 0 where the class is 0.

        Raises:
            BitstreamError: the data ends too early or was not made by ``encode``; every later call fails the same way.
            TypeError, ValueError: an argument is not as described; nothing has been decoded then.
            RuntimeError: another thread is decoding with this decoder.
        """
        checked("classes", classes, (np.uint8,), "(N,)")
        if out is None:
            return self._native.decode(classes)
        checked_output("out", out, np.int16, classes.shape, "(N,)")
        if np.may_share_memory(classes, out):
            raise ValueError("out shares memory with classes; it would be written over what is still to be read")
        self._native.decode_into(classes, out)
        return out

    def finish(self) -> None:
        """Checks that all bytes were used and that every state is back at its start.

        Raises:
            BitstreamError: they were not: the data is damaged, or other classes were given than at encoding.
        """
        self._native.finish()


def frequencies(class_index: int) -> NDArray[np.uint16]:
    """The integer frequencies of a class, of 4096, in coding order.

    For class 1..63 those of -m..m and last the escape (so m is ``(len - 2) // 2``), for class 64..191 those of 0 and 1,
    for class 0 none.
    """
    if not 0 <= class_index < CLASSES:
        raise ValueError(f"class_index is {class_index}; classes are 0..{CLASSES - 1}")
    return np.array(_native.rans_frequencies(class_index), np.uint16)


def scales() -> NDArray[np.float64]:
    """(64,) the standard deviation each Gaussian class was made for; 0 for class 0.

    Informative: the integer tables were computed from them once, and only the tables decide bytes.
    """
    k = np.arange(64, dtype=np.float64)
    values: NDArray[np.float64] = 0.11 * (32 / 0.11) ** ((k - 1) / 62)
    values[0] = 0.0
    return values


def tables_digest() -> str:
    """SHA-256, in hex, of all tables: equal digests mean that streams can be exchanged."""
    digest = hashlib.sha256()
    for class_index in range(CLASSES):
        table = frequencies(class_index)
        digest.update(len(table).to_bytes(2, "little"))
        digest.update(table.astype("<u2").tobytes())
    return digest.hexdigest()


def paths() -> tuple[str, ...]:
    """The implementations this machine can run, slowest first: ``"scalar"``, then ``"avx2"`` where there is one."""
    return tuple(_native.paths())
