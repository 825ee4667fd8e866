"""Counter-based random numbers: the same bits on every path, addressed instead of drawn.

There is no generator object and no state: element ``offset + i`` of a stream depends on (seed, stream, offset + i)
alone, so a tile, a step or a frame can be computed anywhere, in any order, and a seek gives what playing gives.
Philox4x32-10 (Salmon et al., SC 2011) makes the bits, an integer table of the inverse normal CDF makes normals of them.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import numpy as np

from duoview.kernels import _native

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD = 1 << 64


MAX_THREADS = 256


def checked_threads(threads: int) -> int:
    """``threads`` as Python's integer; raises TypeError or ValueError unless it is 1..256."""
    try:
        number = operator.index(threads)
    except TypeError:
        raise TypeError(f"threads is a {type(threads).__name__}; an integer is needed") from None
    if not 1 <= number <= MAX_THREADS:
        raise ValueError(f"threads is {threads}; it is 1..{MAX_THREADS}")
    return number


def checked_address(**arguments: int) -> tuple[int, int, int, int]:
    """Seed, stream, offset and count as Python's integers, since the sums of numpy's wrap around."""
    for name, value in arguments.items():
        try:
            arguments[name] = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} is a {type(value).__name__}; an integer is needed") from None
        if not 0 <= arguments[name] < _WORD:
            raise ValueError(f"{name} is {value}; it is an unsigned 64-bit integer")
    seed, stream, offset, count = arguments.values()
    if offset + count > _WORD:
        raise ValueError(f"offset {offset} + count {count} is beyond the last element of a stream, 2**64 - 1")
    return seed, stream, offset, count


def philox(
    seed: int, stream: int, offset: int, count: int, *, threads: int = 1, path: str = "auto"
) -> NDArray[np.uint32]:
    """Uniform 32-bit words ``offset .. offset + count - 1`` of a stream.

    Args:
        seed: 0 .. 2**64 - 1, the key.
        stream: 0 .. 2**64 - 1; streams of one seed are independent of each other.
        offset: index of the first element.
        count: number of elements.
        threads: 1..256. Any number gives the same bits.
        path: ``"auto"``, or one of ``paths()`` to force it. All give the same bits.

    Returns:
        (count,) uint32.

    Raises:
        TypeError: an argument is no integer.
        ValueError: an argument is out of its range, or the path is unknown.
    """
    address = checked_address(seed=seed, stream=stream, offset=offset, count=count)
    return _native.philox(*address, checked_threads(threads), path)


def normals(
    seed: int,
    *,
    stream: int,
    offset: int,
    count: int,
    threads: int = 1,
    path: str = "auto",
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Standard normals ``offset .. offset + count - 1`` of a stream; element i is made of word i of ``philox``.

    Every value is a multiple of 2**-21 and at most 6.34 in magnitude; the table is within 1e-5 of the exact quantile.

    Args: as ``philox``, and
        out: (count,) float32, contiguous and writeable, to be filled: no new memory is taken. ``None``: a new array.

    Returns:
        (count,) float32: ``out``, or the new array.

    Raises:
        TypeError, ValueError: as ``philox``; ``out`` is not as described.
    """
    address = checked_address(seed=seed, stream=stream, offset=offset, count=count)
    if out is None:
        return _native.normals(*address, checked_threads(threads), path)
    if not isinstance(out, np.ndarray) or out.dtype != np.float32:
        raise TypeError(f"out is {getattr(out, 'dtype', type(out).__name__)}; a numpy array of float32 is needed")
    if out.shape != (address[3],):
        raise ValueError(f"out has shape {out.shape}; ({address[3]},) is needed")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ValueError("out is not contiguous, aligned and writeable")
    _native.normals_into(*address[:3], out, checked_threads(threads), path)
    return out


def paths() -> tuple[str, ...]:
    """What this machine can run of noise and palettes, slowest first: ``"scalar"``, ``"avx2"``, ``"avx512"``."""
    return tuple(_native.sampling_paths())
