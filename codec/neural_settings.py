"""What an encoder of the neural machine codec is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from duoview.errors import LimitError
from duoview.inner.importance import Region
from duoview.inner.settings import GUIDES

_MAX_BITS = (1 << 31) - 1


@dataclass(frozen=True)
class NeuralSettings:
    """Settings of the neural encoder. Values that cannot be raise LimitError when it is made.

    simplify: what tells which parts of key frames detectors look at; the others are quantised coarser. ``detections``
    that frames carry, ``saliency`` of the profile's network, ``off``, or ``auto``, which is ``off`` with this codec: no
    guide was measured to be better by itself. roi: regions that are told beforehand, whose weights raise or lower the
    importance of what lies in them. bit_rate: bits per second on average in place of a constant quality, 0 for none.
    """

    simplify: str = "off"
    roi: tuple[Region, ...] = ()
    bit_rate: int = 0

    def __post_init__(self) -> None:
        if self.simplify not in GUIDES:
            raise LimitError(f"simplify={self.simplify!r}: expected one of {', '.join(GUIDES)}")
        if not 0 <= self.bit_rate <= _MAX_BITS:
            raise LimitError(f"bit_rate={self.bit_rate}: expected 0 to {_MAX_BITS}")
