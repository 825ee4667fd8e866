"""Draws into a frame's own samples: boxes, shapes and labels, without any conversion of the picture.

A drawing covers whole units of pixels that share samples (2 x 2 in 4:2:0), so that no pixel outside of it changes.
"""

from __future__ import annotations

import math

import av
import numpy as np
from numpy.typing import NDArray

from .lettering import Lettering
from .samples import colour_in, layout_of, samples_of

Colour = tuple[int, int, int]
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


class Canvas:
    """A writable, upright frame to draw in, as `References.copy` gives it. Raises FrameError for a foreign format."""

    def __init__(self, stage: str, frame: av.VideoFrame) -> None:
        self.width, self.height = frame.width, frame.height
        self._stage, self._frame = stage, frame
        self._samples, self._layout = samples_of(stage, frame), layout_of(stage, frame.format.name)
        self._colours: dict[Colour, tuple[int, ...]] = {}

    def fill(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> tuple[int, int, int, int]:
        """Fill a rectangle, grown to whole units and cut at the edges; returns what it became."""
        across, down = self._layout.unit
        left, top = max(0, math.floor(x0 / across) * across), max(0, math.floor(y0 / down) * down)
        right, bottom = min(self.width, math.ceil(x1 / across) * across), min(self.height, math.ceil(y1 / down) * down)
        if left < right and top < bottom:
            for part, (wide, high), value in zip(self._samples, self._layout.shifts, self._values(colour), strict=True):
                part[top >> high:-(-bottom >> high), left >> wide:-(-right >> wide)] = value
        return left, top, right, bottom

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, thickness: int, colour: Colour) -> None:
        """Draw the outline of a box that is grown to whole units, inside; as thick as told, in whole units."""
        across, down = self._layout.unit
        left, top = math.floor(x0 / across) * across, math.floor(y0 / down) * down
        right, bottom = math.ceil(x1 / across) * across, math.ceil(y1 / down) * down
        wide, high = (-(-thickness // unit) * unit for unit in (across, down))
        self.fill(left, top, right, min(bottom, top + high), colour)
        self.fill(left, max(top, bottom - high), right, bottom, colour)
        self.fill(left, top, min(right, left + wide), bottom, colour)
        self.fill(max(left, right - wide), top, right, bottom, colour)

    def paint(self, units: NDArray[np.bool_], colour: Colour) -> None:
        """Fill the units of a mask (rows, columns), as `stroke` makes it."""
        across, down = (int(math.log2(unit)) for unit in self._layout.unit)
        for part, (wide, high), value in zip(self._samples, self._layout.shifts, self._values(colour), strict=True):
            mask = units.repeat(1 << (down - high), axis=0).repeat(1 << (across - wide), axis=1)
            part[mask[:part.shape[0], :part.shape[1]]] = value

    def label(self, x: float, y: float, text: str, lettering: Lettering, background: Colour) -> None:
        """Write a text on a ground of its own, whose top left corner is x, y, moved to where all of it is seen."""
        letters = lettering.render(text)
        rows, columns = letters.shape
        left, top = max(0.0, min(x, self.width - columns - 2)), max(0.0, min(y, self.height - rows))
        x0, y0, x1, y1 = self.fill(left, top, left + columns + 2, top + rows, background)
        seen = letters[:y1 - y0, :max(0, x1 - x0 - 1)]
        dark = sum(share * part for share, part in zip((0.299, 0.587, 0.114), background, strict=True)) > 140
        ink = self._values(_BLACK if dark else _WHITE)
        # In YUV the luma alone: the letters are finer than chroma is, and the ground gives its own.
        count = 3 if self._layout.rgb else 1
        for component, value in zip(self._samples[:count], ink, strict=False):
            part = component[y0:y0 + seen.shape[0], x0 + 1:x0 + 1 + seen.shape[1]]
            part[...] = np.floor(part + (value - part.astype(np.float32)) * seen + 0.5).astype(part.dtype)

    def _values(self, colour: Colour) -> tuple[int, ...]:
        if colour not in self._colours:
            self._colours[colour] = colour_in(self._stage, self._frame, colour)
        return self._colours[colour]


def stroke(corners: NDArray[np.float64], closed: bool, thickness: int, size: tuple[int, int], unit: tuple[int, int]
           ) -> NDArray[np.bool_]:
    """(rows, columns) of units of a picture whose middle lies on a thick line through points (N, 2).

    thickness: in pixels; lines are at least as thick as a unit, so that none has gaps.
    """
    (width, height), (across, down) = size, unit
    found = np.zeros((-(-height // down), -(-width // across)), np.bool_)
    reach = max(thickness / 2, math.hypot(across, down) / 2)
    ends = np.roll(corners, -1, axis=0) if closed else corners[1:]
    for (x0, y0), (x1, y1) in zip(corners.tolist(), ends.tolist(), strict=False):
        top, bottom = _around(y0, y1, reach, down)
        left, right = _around(x0, x1, reach, across)
        near = found[top:bottom, left:right]
        y = (np.arange(near.shape[0])[:, None] + top + 0.5) * down
        x = (np.arange(near.shape[1])[None, :] + left + 0.5) * across
        along_x, along_y = x1 - x0, y1 - y0
        length = along_x * along_x + along_y * along_y
        share = np.clip(((x - x0) * along_x + (y - y0) * along_y) / length, 0, 1) if length else np.zeros((1, 1))
        near |= (x - x0 - share * along_x) ** 2 + (y - y0 - share * along_y) ** 2 <= reach * reach
    return found


def _around(start: float, end: float, reach: float, unit: int) -> tuple[int, int]:
    """The units that anything between two coordinates reaches."""
    return (max(0, math.floor((min(start, end) - reach) / unit)), max(0, math.ceil((max(start, end) + reach) / unit)))
