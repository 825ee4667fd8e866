"""From places to planes: what the vectors of phrases say, laid out over the picture for the denoiser."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .caption import PLACES, Caption

Floats = NDArray[np.float32]
#: Pixels on a side of a plane's element: the coarsest level of the denoiser.
CELL = 32
_THIRDS = 3


def _share(centres: NDArray[np.floating], third: int) -> Floats:
    """1 within a third of an axis, falling to 0 over half a third beyond its ends; centres in 0..1."""
    middle, half = (third + 0.5) / _THIRDS, 0.5 / _THIRDS
    found: Floats = np.clip(1 - (np.abs(centres - middle) - half) / half, 0, 1).astype(np.float32)
    return found


def place_masks(rows: int, columns: int, width: int, height: int) -> Floats:
    """Where every place is: (places, rows, columns) in 0..1 on cells of 32 pixels of a picture of width x height."""
    x, y = (np.arange(columns) + 0.5) * CELL / width, (np.arange(rows) + 0.5) * CELL / height
    return np.stack([_share(y, place // _THIRDS)[:, None] * _share(x, place % _THIRDS)[None, :]
                     for place in range(len(PLACES))])


def phrase_indices(caption: Caption) -> NDArray[np.int64]:
    """(phrases, 4): class, count, place and motion of each, as the text encoder takes them."""
    return np.array([phrase.indices for phrase in caption.phrases], np.int64).reshape(-1, 4)


def lay_out(caption: Caption, vectors: Floats, rows: int, columns: int, width: int, height: int) -> Floats:
    """Planes (1, E, rows, columns): the vectors (phrases, E) of a caption, each in its place, added up."""
    masks = place_masks(rows, columns, width, height)[[phrase.place for phrase in caption.phrases]]
    planes: Floats = np.einsum("pe,pyx->eyx", vectors, masks)[None].astype(np.float32)
    return planes
