"""``frame.opaque`` of a frame that detectors looked at: what they found, beside what was known of it before."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import av

from duoview.decoder import FrameOrigin
from duoview.detections import Detections


@dataclass(frozen=True)
class FrameFindings(FrameOrigin):
    """A FrameOrigin with detections: what asks a frame for ``opaque.concealed`` or its provenance still gets it.

    detections: one per detector, in the order in which they looked. carried: an object of somebody else's that was in
    ``frame.opaque`` before, None where there was none.
    """

    concealed: bool = False
    detections: tuple[Detections, ...] = ()
    carried: object = None

    @classmethod
    def over(cls, opaque: object, detections: Detections) -> Self:
        """What takes the place of a frame's `opaque`: all of it is kept, the detections come last."""
        if isinstance(opaque, cls):
            return dataclasses.replace(opaque, detections=(*opaque.detections, detections))
        if isinstance(opaque, FrameOrigin):
            carried = None if type(opaque) is FrameOrigin else opaque
            return cls(opaque.concealed, opaque.provenance, (detections,), carried)
        return cls(detections=(detections,), carried=opaque)


def detections_of(frame: av.VideoFrame, model: str | None = None) -> Detections | None:
    """What the last detector, or the last of this model, found in a frame; None where none looked.

    Where the picture was scaled since, the boxes are scaled to the frame's size. Cropping, padding, flipping and
    turning behind a detector are not undone: detect behind them.
    """
    findings = frame.opaque
    if not isinstance(findings, FrameFindings):
        return None
    for item in reversed(findings.detections):
        if model is None or item.model == model:
            same = (item.width, item.height) == (frame.width, frame.height)
            return item if same else item.scaled(frame.width, frame.height)
    return None
