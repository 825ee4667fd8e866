"""Zones and lines in a picture: as graph strings write them, and where a point or a pixel lies.

Points are written as SVG's ``points`` are: numbers, by white space or commas, x and y in turn; several zones are
divided by ``|`` and may have a name: ``gate=0.1 0.2 0.5 0.2 0.5 0.9|0.6 0 1 0.3``. Two points are the corners of a
rectangle.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.detections import MAX_SIDE

from .errors import OptionError

#: What the numbers of a zone may count.
UNITS = ("relative", "pixels")
#: More than this is a mistake, and would cost time in every frame.
MAX_ZONES, MAX_POINTS = 64, 256

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Figure:
    """Points in a picture: shares of its width and height, or pixels, as `relative` says."""

    name: str
    points: Points
    relative: bool = True

    def corners(self, width: int, height: int) -> NDArray[np.float64]:
        """(N, 2), x and y in pixels of a picture of this size."""
        return np.array(self.points) * ((width, height) if self.relative else (1, 1))


@dataclass(frozen=True)
class Zone(_Figure):
    """A polygon, by the even-odd rule of SVG."""

    def contains(self, points: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
        """(N,) which of the points (N, 2), in pixels of a picture of this size, lie inside.

        A point on an edge belongs to the side right of or below it, so that zones that share an edge share no point.
        """
        given = np.asarray(points, np.float64).reshape(-1, 2)
        x, y = given[:, :1], given[:, 1:]
        corners = self.corners(width, height)
        (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
        spans = (y0 <= y) != (y1 <= y)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        return ((spans & (crossing <= x)).sum(axis=1) % 2).astype(np.bool_)

    def mask(self, width: int, height: int) -> NDArray[np.bool_]:
        """(height, width) which pixels of a picture of this size have their middle inside."""
        return _rasterised(self, width, height)

    def touched(self, width: int, height: int) -> NDArray[np.bool_]:
        """(height, width) which pixels of a picture of this size have any part inside, however small."""
        mask, corners = _rasterised(self, width, height), self.corners(width, height)
        for (x0, y0), (x1, y1) in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True):
            # A side goes through a pixel where all three separating axes overlap: both of the pixel's, and its own.
            left, right = max(0, math.floor(min(x0, x1))), max(0, math.ceil(max(x0, x1)))
            top, bottom = max(0, math.floor(min(y0, y1))), max(0, math.ceil(max(y0, y1)))
            part = mask[top:bottom, left:right]
            y, x = np.ogrid[top:top + part.shape[0], left:left + part.shape[1]]
            beside = (x1 - x0) * (y + 0.5 - y0) - (y1 - y0) * (x + 0.5 - x0)
            part |= np.abs(beside) < (abs(x1 - x0) + abs(y1 - y0)) / 2
        return mask

    def bounds(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The rectangle around it, x0 y0 x1 y1 in pixels of a picture of this size."""
        corners = self.corners(width, height)
        (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        return x0, y0, x1, y1


@dataclass(frozen=True)
class Line(_Figure):
    """A straight line from its first point to its second; right and left are those of one who walks along it.

    In the picture as it is shown: walking to the right, the lower side is on one's right.
    """

    def side(self, x: float, y: float, width: int, height: int) -> int:
        """1 right of the line and of its extension, -1 left of it, 0 on it."""
        (x0, y0), (x1, y1) = self.corners(width, height).tolist()
        turn = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        return int(np.sign(turn))

    def crossed(self, before: tuple[float, float], now: tuple[float, float], width: int, height: int,
                on: tuple[float, float] | None = None) -> str | None:
        """To which side, ``left`` or ``right``, who walked straight between two points went over it; else None.

        on: a place on the line or its extension, over which they went.
        """
        sides = self.side(*before, width, height), self.side(*now, width, height)
        if 0 in sides or sides[0] == sides[1]:
            return None
        if on is None:
            path = Line("", (before, now), relative=False)
            ends = [path.side(x, y, width, height) for x, y in self.corners(width, height).tolist()]
        else:
            first, last = self.corners(width, height)
            ends = np.sign([(last - first) @ (corner - on) for corner in (first, last)]).tolist()
        if ends[0] == ends[1] != 0:
            return None  # passed the line's extension
        return "right" if sides[1] > 0 else "left"


def parse_zones(stage: str, option: str, text: str, units: str) -> tuple[Zone, ...]:
    """Zones from an option's text. Raises OptionError that names the stage, the option and the zone."""
    found = []
    for name, points in _parts(stage, option, text, units, "zone"):
        if len(points) == 2:
            (x0, y0), (x1, y1) = points
            points = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        if len(points) < 3:
            raise OptionError(f"{stage}: {option}: zone {name!r} has one point: expected three or more, or two corners "
                              "of a rectangle")
        zone = Zone(name, points, units == "relative")
        if np.linalg.matrix_rank(np.array(points) - points[0]) < 2:
            raise OptionError(f"{stage}: {option}: zone {name!r} has no area")
        found.append(zone)
    return tuple(found)


def parse_lines(stage: str, option: str, text: str, units: str) -> tuple[Line, ...]:
    """Lines from an option's text. Raises OptionError that names the stage, the option and the line."""
    found = []
    for name, points in _parts(stage, option, text, units, "line"):
        if len(points) != 2 or points[0] == points[1]:
            raise OptionError(f"{stage}: {option}: line {name!r}: expected two points that differ, x0 y0 x1 y1")
        found.append(Line(name, points, units == "relative"))
    return tuple(found)


def check_inside(stage: str, shapes: tuple[Zone | Line, ...], width: int, height: int) -> None:
    """Raise OptionError for a zone or line in pixels that lies outside of a picture of this size altogether."""
    for shape in shapes:
        corners = shape.corners(width, height)
        if (corners.max(axis=0) <= 0).any() or (corners.min(axis=0) >= (width, height)).any():
            raise OptionError(f"{stage}: {shape.name!r} lies outside of the picture, which is {width}x{height} here")


def _parts(stage: str, option: str, text: str, units: str, what: str) -> list[tuple[str, Points]]:
    found: list[tuple[str, Points]] = []
    limit = 1 if units == "relative" else MAX_SIDE
    allowed = f"0 to {limit}" + ("; units=pixels counts pixels" if units == "relative" else " pixels")
    for part in [part.strip() for part in text.split("|") if part.strip()]:
        name, equals, rest = part.rpartition("=")
        name = name.strip() if equals else f"{what}{len(found) + 1}"
        where = f"{stage}: {option}: {what} {name!r}"
        if not name:
            raise OptionError(f"{stage}: {option}: {part!r}: expected a name before =")
        if name in [other for other, _ in found]:
            raise OptionError(f"{where} is there twice")
        words = [word for word in re.split(r"[\s,]+", rest) if word]
        numbers = _numbers(where, words)
        wrong = [number for number in numbers if not 0 <= number <= limit]
        if wrong:
            raise OptionError(f"{where}: {wrong[0]:g}: expected {allowed}")
        if len(numbers) % 2 or not numbers:
            raise OptionError(f"{where}: {len(numbers)} numbers: expected x and y of every point")
        if len(numbers) > 2 * MAX_POINTS:
            raise OptionError(f"{where}: {len(numbers) // 2} points: expected {MAX_POINTS} at most")
        found.append((name, tuple(zip(numbers[::2], numbers[1::2], strict=True))))
    if len(found) > MAX_ZONES:
        raise OptionError(f"{stage}: {option}: {len(found)} of them: expected {MAX_ZONES} at most")
    return found


def _numbers(where: str, words: list[str]) -> list[float]:
    numbers = []
    for word in words:
        try:
            number = float(word)
            if not math.isfinite(number):
                raise ValueError
        except ValueError:
            raise OptionError(f"{where}: {word!r}: expected numbers, x and y of every point in turn") from None
        numbers.append(number)
    return numbers


def _rasterised(zone: Zone, width: int, height: int) -> NDArray[np.bool_]:
    # Row by row over the middles of the pixels: the crossings of a row, sorted, are taken in pairs.
    mask = np.zeros((height, width), np.bool_)
    corners = zone.corners(width, height)
    _, top, _, bottom = zone.bounds(width, height)
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    for row in range(max(0, math.floor(top - 0.5)), min(height, math.ceil(bottom + 0.5))):
        y = row + 0.5
        spans = (y0 <= y) != (y1 <= y)
        crossings = np.sort(x0[spans] + (y - y0[spans]) * (x1[spans] - x0[spans]) / (y1[spans] - y0[spans]))
        for start, end in zip(crossings[::2].tolist(), crossings[1::2].tolist(), strict=True):
            mask[row, max(0, math.ceil(start - 0.5)):max(0, math.ceil(end - 0.5))] = True
    return mask
