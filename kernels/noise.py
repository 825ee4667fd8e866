"""Counter-based random numbers: the same bits on every path, addressed instead of drawn.

There is no generator object and no state: element ``offset + i`` of a stream depends on (seed, stream, offset + i)
alone, so a tile, a step or a frame can be computed anywhere, in any order, and a seek gives what playing gives.
Philox4x32-10 (Salmon et al., SC 2011) makes the bits, an integer table of the inverse normal CDF makes normals of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoview.kernels import _native
from duoview.kernels.arrays import checked_integer, checked_output, checked_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LAST = (1 << 64) - 1


def checked_address(**arguments: int) -> tuple[int, int, int, int]:
    """Seed, stream, offset and count as Python's integers; raises TypeError or ValueError, by name, if one is not."""
    seed, stream, offset, count = (checked_integer(name, value, 0, _LAST) for name, value in arguments.items())
    if offset + count > _LAST + 1:
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
    checked_output("out", out, np.float32, (address[3],), "(count,)")
    _native.normals_into(*address[:3], out, checked_threads(threads), path)
    return out


def paths() -> tuple[str, ...]:
    """What this machine can run of noise, palettes and latents, slowest first: ``"scalar"``, ``"avx2"``, ``"avx512"``.

    Sums of products of integers run on AVX-512 where it has VNNI; elsewhere they run as on AVX2.
    """
    return tuple(_native.all_paths())
