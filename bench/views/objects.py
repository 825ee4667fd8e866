"""Which objects a detector still finds in a view, which it lost, and which are found there alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duoview.detections import Detections
from duoview.verdict import Kind, Tolerance

#: An object counts from this score on; its counterpart in the other picture may have less, as `dv_guard` has it.
CERTAIN = 0.5
COUNTERPART = 0.2


@dataclass(frozen=True)
class Objects:
    """Objects of a clip's pictures: of the source, kept and lost of those, and invented."""

    source: int
    kept: int
    lost: int
    invented: int

    def __add__(self, other: Objects) -> Objects:
        return Objects(self.source + other.source, self.kept + other.kept, self.lost + other.lost,
                       self.invented + other.invented)


def compared(source: Sequence[Detections], view: Sequence[Detections]) -> Objects:
    """What became of the source's objects. Both hold what the detector found from COUNTERPART on, picture by picture.
    """
    tolerance = Tolerance(certain=CERTAIN, invented=CERTAIN, counterpart=COUNTERPART)
    there, lost, invented = 0, 0, 0
    for own, other in zip(source, view, strict=True):
        differences = tolerance.differences(own, other)
        there += len(own.above(CERTAIN))
        lost += sum(one.kind is Kind.LOST for one in differences)
        invented += sum(one.kind is Kind.INVENTED for one in differences)
    return Objects(there, there - lost, lost, invented)
