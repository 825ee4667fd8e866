"""Rate-distortion curves: interpolation at a rate, and Bjøntegaard's average difference of rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Point:
    """One operating point. quality: the coder's own setting; bpp: bits per pixel of all bytes; psnr: dB, RGB."""

    quality: float
    bytes: int
    bpp: float
    psnr: float


@dataclass(frozen=True)
class Curve:
    """The points of one coder on one picture, by rising rate."""

    points: tuple[Point, ...]

    @staticmethod
    def of(points: Sequence[Point]) -> Curve:
        """A curve of points in any order; of points with the same rate the best stays."""
        best: dict[float, Point] = {}
        for point in points:
            if point.bpp not in best or best[point.bpp].psnr < point.psnr:
                best[point.bpp] = point
        return Curve(tuple(best[bpp] for bpp in sorted(best)))

    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.log([p.bpp for p in self.points]), np.array([p.psnr for p in self.points])

    def at(self, bpp: float) -> float | None:
        """PSNR at a rate, linear in log rate between the two nearest points; None outside of the curve."""
        if not self.points or not self.points[0].bpp <= bpp <= self.points[-1].bpp:
            return None
        rates, psnr = self._arrays()
        return float(np.interp(np.log(bpp), rates, psnr))

    def hull(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(PSNR, log rate) with PSNR rising: points that another one beats at less rate are left out."""
        rates, psnr = self._arrays()
        keep = [i for i in range(len(psnr)) if i == 0 or psnr[i] > psnr[:i].max()]
        return psnr[keep], rates[keep]


def bd_rate(anchor: Curve, test: Curve) -> float | None:
    """Average difference of rate at equal PSNR, in percent; negative: ``test`` needs less.

    Bjøntegaard (VCEG-M33) with linear pieces in place of his cubic: the sweeps are dense, and a piece cannot overshoot.
    None where the curves share less than 1 dB.
    """
    a_psnr, a_rate = anchor.hull()
    t_psnr, t_rate = test.hull()
    low, high = max(a_psnr[0], t_psnr[0]), min(a_psnr[-1], t_psnr[-1])
    if high - low < 1.0:
        return None
    grid = np.linspace(low, high, 1001)
    difference = np.interp(grid, t_psnr, t_rate) - np.interp(grid, a_psnr, a_rate)
    return float((np.exp(difference.mean()) - 1) * 100)


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that exist; None when there are none."""
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else None
