"""Where to cut each tile so that texture fits a rate: the best depths at a Lagrangian, by convex hulls."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from duoview.presentation_clock import PresentationClock

#: Share of a group of pictures' bits that its key frame may take where the other frames have texture too.
_KEY_SHARE = 0.6


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
    """Bytes of texture that the next unit may take at a bit rate, by presentation time.

    A key unit may take what its group is going to earn, less what the groups before it owe, or more where they left
    some over, a group's worth at most.

    Args:
        bit_rate: bits per second. rate: frames per second, until their times tell. gop: frames from key frame to key
            frame. every: all frames carry texture, not key frames only.
    """

    def __init__(self, bit_rate: int, rate: Fraction, gop: int, every: bool) -> None:
        self._bytes, self._clock = bit_rate / 8, PresentationClock(rate)
        self._every, self._gop = every, gop
        #: Bytes: earned and not spent so far, those of the group that is under way taken in advance; left of these.
        self._saved = self._left = 0.0

    def tell(self, seconds: float | None) -> None:
        """The next unit's presentation time, None where it has none; of all units, with texture or without."""
        self._saved += self._bytes * self._clock.tell(seconds)

    def grant(self, key: bool) -> int:
        """Bytes for a unit that is about to be cut."""
        if key:
            group = self._bytes * self._gop * self._clock.interval
            self._saved = min(max(self._saved, -group), group)
            self._left = self._saved + group
            return int(self._left * (_KEY_SHARE if self._every and self._gop > 1 else 1))
        return int(self._left / self._gop)

    def spend(self, size: int) -> None:
        """What the unit took."""
        self._left = max(0.0, self._left - size)
        self._saved -= size
