"""Where to cut each tile so that texture fits a rate: the best depths at a Lagrangian, by convex hulls."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

#: Share of a group of pictures' bits that its key frame may take where the other frames have texture too.
_KEY_SHARE = Fraction(3, 5)


def hull(sizes: Sequence[int], errors: Sequence[float]) -> list[tuple[int, int, float]]:
    """Steps along the lower hull of a tile: depth after the step, its bytes, error that goes away per byte, falling.

    sizes: bytes of depths 1, 2, ...; errors: of depths 0, 1, 2, ...: one more.
    """
    total = [0]
    for size in sizes:
        total.append(total[-1] + size)
    steps = []
    at = 0
    while at < len(sizes):
        slopes = [((errors[at] - errors[to]) / (total[to] - total[at]), to) for to in range(at + 1, len(total))]
        slope, to = max(slopes)
        if slope <= 0:
            break
        steps.append((to, total[to] - total[at], slope))
        at = to
    return steps


def worth(sizes: Sequence[int], errors: Sequence[float], byte: float) -> int:
    """Depth of a tile (as in ``hull``) down to which every step takes an error of 1 / ``byte`` or more a byte away."""
    depth = 0
    for to, _, slope in hull(sizes, errors):
        if slope * byte < 1:
            break
        depth = to
    return depth


def cut_to(budget: int, tiles: Sequence[tuple[Sequence[int], Sequence[float]]]) -> list[int]:
    """Depths of tiles (sizes, errors as in ``hull``) so that all bytes together are at most ``budget``."""
    steps = sorted(((slope, number, to, size) for number, (sizes, errors) in enumerate(tiles)
                    for to, size, slope in hull(sizes, errors)), key=lambda step: (-step[0], step[1], step[2]))
    depths = [0] * len(tiles)
    full: set[int] = set()
    for _, number, to, size in steps:
        if number in full:
            continue
        if size > budget:
            full.add(number)
            continue
        budget -= size
        depths[number] = to
    return depths


class Budget:
    """Bytes of texture that the next unit may take at a bit rate; what a unit leaves over, the next ones have.

    Args:
        bit_rate: bits per second. rate: frames per second. gop: frames from key frame to key frame. every: all frames
            carry texture, not key frames only.
    """

    def __init__(self, bit_rate: int, rate: Fraction, gop: int, every: bool) -> None:
        self._group = Fraction(bit_rate, 8) * gop / rate
        self._every, self._gop = every, gop
        self._left = Fraction(0)

    def grant(self, key: bool) -> int:
        """Bytes for a unit that is about to be cut."""
        if key:
            self._left = min(self._left, self._group) + self._group
            share = _KEY_SHARE if self._every and self._gop > 1 else Fraction(1)
            return int(self._left * share)
        return int(self._left / self._gop)

    def spend(self, size: int) -> None:
        """What the unit took."""
        self._left = max(Fraction(0), self._left - size)
