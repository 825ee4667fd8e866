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

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

CLASSES = 192
"""Number of classes: 64 Gaussian ones (0 included), then 128 binary ones."""

LANES = (1, 4, 32)
"""Numbers of interleaved states a stream can have."""


def _checked(name: str, array: object, dtypes: tuple[type, ...]) -> None:
    """Raises TypeError or ValueError, by name, unless ``array`` is a contiguous 1-D array of one of ``dtypes``."""
    wanted = " or ".join(np.dtype(dtype).name for dtype in dtypes)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}; a numpy array of {wanted} is needed")
    if array.dtype not in dtypes:  # a dtype of foreign byte order differs from the native one
        raise TypeError(f"{name} is an array of {array.dtype}; {wanted} is needed")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; one dimension is needed")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not contiguous (strides {array.strides}); use numpy.ascontiguousarray")
    if not array.flags.aligned:  # a view into packed bytes; compiled loops rely on whole elements at their own places
        raise ValueError(f"{name} is not aligned to its {array.itemsize} bytes; use numpy.array to copy it")


def encode(
    symbols: NDArray[np.int16] | NDArray[np.int8],
    classes: NDArray[np.uint8],
    *,
    lanes: int | None = None,
    path: str = "auto",
) -> bytes:
    """Codes ``symbols`` so that ``Decoder`` gets them back when it is told the same ``classes``.

    Args:
        symbols: (N,) int16 or int8, contiguous. 0 where the class is 0; 0 or 1 where the class is 64 or more.
        classes: (N,) uint8, contiguous, each 0..191.
        lanes: interleaved states: 1 is the smallest, 32 the fastest to decode. ``None`` lets the size decide, so that
            the extra lanes cost at most about 0.15 %. Signalled in the stream.
        path: ``"auto"``, or one of ``paths()`` to force it. All give the same bytes.

    Returns:
        The coded bytes; none if every class is 0.

    Raises:
        TypeError: an argument is not an array of the right dtype.
        ValueError: shape, contiguity, alignment, a class or symbol out of range (with its index), unknown ``lanes`` or
            ``path``.
    """
    _checked("symbols", symbols, (np.int16, np.int8))
    _checked("classes", classes, (np.uint8,))
    if symbols.size != classes.size:
        raise ValueError(f"symbols has {symbols.size} elements, classes {classes.size}; both need the same number")
    if lanes is not None and lanes not in LANES:
        raise ValueError(f"lanes is {lanes}; it is None, 1, 4 or 32")
    return _native.rans_encode(symbols, classes, lanes or 0, path)


class Decoder:
    """Decodes one stream of ``encode``, in as many calls as the classes become known.

    ``encode`` takes the concatenation of all parts in the order in which they will be decoded. Whatever the bytes are,
    no call reads outside of them. Most damage is noticed, at the latest by ``finish``, but not all of it can be: a
    changed raw bit of an escape, or a change to another symbol of equal frequency, leaves everything else as it was.
    A checksum must see that.

    Args:
        data: any contiguous bytes-like object. It is kept, not copied, and must not change while decoding.
        path: ``"auto"``, or one of ``paths()`` to force it.

    Raises:
        BitstreamError: ``data`` does not start like a coded stream.
        TypeError, BufferError: ``data`` is not bytes-like.
        ValueError: the path is unknown.
    """

    __slots__ = ("_native",)

    def __init__(self, data: Buffer, *, path: str = "auto") -> None:
        self._native = _native.RansDecoder(data, path)

    def decode(self, classes: NDArray[np.uint8]) -> NDArray[np.int16]:
        """The next symbols.

        Args:
            classes: (N,) uint8, contiguous, each 0..191. Copied first; what another thread writes to it later is not
                seen.

        Returns:
            (N,) int16; 0 where the class is 0.

        Raises:
            BitstreamError: the data ends too early or was not made by ``encode``; every later call fails the same way.
            TypeError, ValueError: ``classes`` is not as described; nothing has been decoded then.
            RuntimeError: another thread is decoding with this decoder.
        """
        _checked("classes", classes, (np.uint8,))
        return self._native.decode(classes)

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
