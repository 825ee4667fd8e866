"""Which gain map an encoder takes for a picture: by what detectors look at, and by regions that it is told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from duoview.gain_map import CELL, GAIN_OCTAVES, LIMIT, GainMap, grid
from duoview.inner.importance import CELL as IMPORTANCE_CELL
from duoview.inner.importance import Map
from duoview.inner.regions import FULL_UNTIL, Rectangle
from duoview.machine import MAX_Q

#: How many levels coarser what no detector needs is quantised, up to a quality; towards the best one less and less.
COARSER = 3.0
#: Levels of an offset of 1, which is all of the range of quantisers that FFmpeg's regions count in: H.264's 51 steps of
#: a sixth of an octave.
_OFFSET_LEVELS = 51 / 6 / GAIN_OCTAVES


def coarser_at(q: int) -> float:
    """Levels by which what does not count is coarser at a quality index."""
    return COARSER * min(1.0, (MAX_Q - q) / (MAX_Q - FULL_UNTIL))


def region_gains(importance: Map | None, told: Sequence[Rectangle], width: int, height: int, q: int) -> GainMap | None:
    """The gain map of a picture of this size; None where nothing is to be coarser or finer.

    importance: (rows, columns) of the picture's cells, 0 for what no detector needs, 255 for what it looks at; None
    where all counts. told: regions that come before it, of which the first that holds the middle of a cell counts.
    """
    rows, columns = grid(width, height)
    levels = np.zeros((rows, columns), np.float32)
    if importance is not None:
        side = CELL // IMPORTANCE_CELL
        wide = np.pad(importance, ((0, -importance.shape[0] % side), (0, -importance.shape[1] % side)))
        most = wide.reshape(rows, side, columns, side).max((1, 3))
        levels = coarser_at(q) * (most.astype(np.float32) / 255 - 1)
    down = np.minimum(np.arange(rows) * CELL + CELL // 2, height - 1)
    across = np.minimum(np.arange(columns) * CELL + CELL // 2, width - 1)
    for one in reversed(told):
        inside = np.ix_((down >= one.y) & (down < one.y + one.height), (across >= one.x) & (across < one.x + one.width))
        levels[inside] = -one.offset * _OFFSET_LEVELS
    found = np.clip(np.round(levels), -LIMIT, LIMIT).astype(np.int8)
    return GainMap(found) if found.any() else None
