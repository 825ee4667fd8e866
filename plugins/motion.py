"""Motion: the share of a picture that differs from a running background."""

from __future__ import annotations

import math
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from duoview.picture import plane_rows

from .conditions import Condition, Occurrence
from .zones import Zone

#: Longest side of the small grey picture that is looked at: noise is averaged away, and large pictures cost no more.
_SIDE = 160


class Motion(Condition):
    """At least a share of a zone, or of the picture where there is none, differs from the background.

    The background is a running average (of a Gaussian, without its variance: Wren et al., 1997), learnt over `learn`
    seconds; a change of all the light, told by the median of the differences, is taken out.

    Args:
        share: 0 to 1 of the pixels. level: least difference of a grey value, 0 to 255. learn: seconds.
    """

    def __init__(self, zones: tuple[Zone, ...], share: float, level: float, learn: float) -> None:
        self._zones, self._share, self._level, self._learn = zones, share, level, learn
        self._reformatter = VideoReformatter()
        self._background: NDArray[np.float32] | None = None
        self._size = (0, 0)
        self._masks: list[NDArray[np.bool_]] = []
        self._time = Fraction(0)

    def look(self, frame: av.VideoFrame, time: Fraction) -> list[Occurrence]:
        if (frame.width, frame.height) != self._size:
            self.reset()
            self._size = (frame.width, frame.height)
        picture = self._small(frame)
        if self._background is None:
            self._background, self._time = picture, time
            self._masks = [self._mask(zone, *picture.shape) for zone in self._zones]
            return []
        difference = picture - self._background
        difference -= np.median(difference)
        moving = np.abs(difference) >= self._level
        learnt = 1 - math.exp(-float(time - self._time) / self._learn)
        self._background += np.float32(learnt) * (picture - self._background)
        self._time = time
        if not self._zones:
            return [Occurrence()] if moving.mean() >= self._share else []
        return [Occurrence(zone.name) for zone, mask in zip(self._zones, self._masks, strict=True)
                if mask.any() and moving[mask].mean() >= self._share]

    def reset(self) -> None:
        self._background = None

    def _small(self, frame: av.VideoFrame) -> NDArray[np.float32]:
        scale = min(1.0, _SIDE / max(frame.width, frame.height))
        width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
        # Never the frame itself, even where it is grey and small: its lines may be upside down.
        small = self._reformatter.reformat(frame, width, height, format="gray", interpolation=Interpolation.AREA,
                                           threads=1)  # libswscale would start one for every core
        (plane,) = small.planes
        if plane.line_size < 0:
            return small.to_ndarray().astype(np.float32)
        return plane_rows(plane)[:height, :width].astype(np.float32)

    def _mask(self, zone: Zone, rows: int, columns: int) -> NDArray[np.bool_]:
        """The zone in the small picture; one that holds the middle of no pixel there is all pixels that it touches."""
        corners = zone.corners(*self._size) / self._size
        small = Zone(zone.name, tuple((x, y) for x, y in corners.tolist()))
        mask = small.mask(columns, rows)
        return mask if mask.any() else small.touched(columns, rows)
