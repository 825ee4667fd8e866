"""What every kernel asks of the arrays and numbers it is given, and the errors that name what is wrong."""

from __future__ import annotations

import functools
import operator

import numpy as np

MAX_THREADS = 256


def _names(dtypes: tuple[type, ...]) -> str:
    """For errors only: numpy takes longer to name a dtype than small kernels to run."""
    return " or ".join(np.dtype(dtype).name for dtype in dtypes)


@functools.cache
def _dimensions(shape: str) -> int:
    """Of a text like "(N, C)"."""
    return len([part for part in shape.strip("()").split(",") if part.strip()])


def checked(name: str, array: object, dtypes: tuple[type, ...], shape: str) -> tuple[int, ...]:
    """The shape of a contiguous array of one of ``dtypes``, with as many dimensions as ``shape``, e.g. "(N, C)", names.

    Raises:
        TypeError: it is no array, or of another dtype.
        ValueError: it has another number of dimensions, or is not contiguous or not aligned.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}; a numpy array of {_names(dtypes)} is needed")
    if array.dtype not in dtypes:  # a dtype of foreign byte order differs from the native one
        raise TypeError(f"{name} is an array of {array.dtype}; {_names(dtypes)} is needed")
    if array.ndim != _dimensions(shape):
        raise ValueError(f"{name} has shape {array.shape}; {shape} is needed")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not contiguous (strides {array.strides}); use numpy.ascontiguousarray")
    if not array.flags.aligned:  # a view into packed bytes; compiled loops rely on whole elements at their own places
        raise ValueError(f"{name} is not aligned to its {array.itemsize} bytes; use numpy.array to copy it")
    return array.shape


def checked_output(name: str, array: object, dtype: type, shape: tuple[int, ...], text: str) -> None:
    """Raises TypeError or ValueError unless ``array`` is as in ``checked``, writable, and of exactly this shape."""
    found = checked(name, array, (dtype,), text)
    if found != shape:
        raise ValueError(f"{name} has shape {found}; {shape} is needed")
    assert isinstance(array, np.ndarray)
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only; a writable array is needed")


def checked_integer(name: str, value: int, least: int, greatest: int) -> int:
    """``value`` as Python's integer, since those of numpy wrap around, or a TypeError or ValueError by name."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is a {type(value).__name__}; an integer is needed") from None
    if not least <= number <= greatest:
        raise ValueError(f"{name} is {number}; it is {least}..{greatest}")
    return number


def checked_threads(threads: int) -> int:
    """The number of threads as Python's integer, 1..256, or a TypeError or ValueError."""
    return checked_integer("threads", threads, 1, MAX_THREADS)
