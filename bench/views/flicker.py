"""How much a view changes where its source only moves: the difference of neighbours, warped along the source's motion.

After Lai et al. (2018, learning blind video temporal consistency): optical flow is of the source alone, so that no view
is judged by its own; what is covered or uncovered between two pictures does not count.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.pictures import RGB

#: Flow there and back may differ by so many pixels, and by this share of its length, where nothing is covered.
_STRAY, _STRAY_SHARE = 0.5, 0.1


@dataclass(frozen=True, eq=False)
class Motion:
    """From one picture of the source to the next.

    there: (H, W, 2) float32, where in the next picture each pixel is. seen: (H, W), whether it is in both.
    """

    there: NDArray[np.float32]
    seen: NDArray[np.bool_]


def motions(source: Sequence[RGB]) -> list[Motion]:
    """Between all neighbours of a clip, by DIS optical flow (Kroeger et al., 2016)."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in source]
    found = []
    for here, there in itertools.pairwise(grey):
        forth, back = flow.calc(here, there, None), flow.calc(there, here, None)
        columns, rows = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in here.shape[::-1]))
        places = np.stack([columns, rows], -1) + forth
        returned = cv2.remap(back, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        stray = np.linalg.norm(forth + returned, axis=-1)
        inside = ((places >= 0) & (places <= np.array(here.shape[::-1], np.float32) - 1)).all(-1)
        found.append(Motion(places, inside & (stray <= _STRAY + _STRAY_SHARE * np.linalg.norm(forth, axis=-1))))
    return found


def flicker(view: Sequence[RGB], along: Sequence[Motion]) -> float:
    """Mean difference in 8-bit steps of a view's pictures and the warped next ones, of all samples that are in both.

    Raises ValueError for less than two pictures, or another number of them than `along` is between.
    """
    if len(view) < 2 or len(along) != len(view) - 1:
        raise ValueError(f"{len(view)} pictures and {len(along)} motions: expected two pictures or more, and one "
                         "motion between each and the next")
    total, samples = 0.0, 0
    for (here, after), motion in zip(itertools.pairwise(view), along, strict=True):
        warped = cv2.remap(after.astype(np.float32), motion.there[..., 0], motion.there[..., 1], cv2.INTER_LINEAR,
                           borderMode=cv2.BORDER_REPLICATE)
        total += float(np.abs(here - warped)[motion.seen].sum(dtype=np.float64))
        samples += 3 * int(motion.seen.sum())
    return total / max(1, samples)
