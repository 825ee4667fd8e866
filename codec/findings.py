"""``frame.opaque`` of a frame that filters looked at: what they found, beside what was known of it before."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import av

from duoview.detections import Detections
from duoview.events import Event
from duoview.frame_origin import FrameOrigin
from duoview.verdict import Verdict


@dataclass(frozen=True)
class FrameFindings(FrameOrigin):
    """A FrameOrigin with detections and events: what asks for ``opaque.concealed`` or its provenance still gets it.

    detections: one per detector, in the order in which they looked. carried: an object of somebody else's that was in
    ``frame.opaque`` before, None where there was none. events: those that last or end at this frame. utc_us: when the
    frame was captured, in microseconds since 1970, None where nobody knows. verdict: what dv_guard said of the human
    view, None where it did not look.
    """

    concealed: bool = False
    detections: tuple[Detections, ...] = ()
    carried: object = None
    events: tuple[Event, ...] = ()
    utc_us: int | None = None
    verdict: Verdict | None = None

    @classmethod
    def of(cls, opaque: object) -> Self:
        """What a frame's `opaque` says, whatever it is: findings as they are, anything else is kept in them."""
        if isinstance(opaque, cls):
            return opaque
        if isinstance(opaque, FrameOrigin):
            carried = None if type(opaque) is FrameOrigin else opaque
            return cls(opaque.concealed, opaque.provenance, opaque.generated_share, carried=carried,
                       utc_us=_utc(opaque))
        return cls(carried=opaque, utc_us=_utc(opaque))

    @classmethod
    def over(cls, opaque: object, detections: Detections) -> Self:
        """What takes the place of a frame's `opaque`: all of it is kept, the detections come last."""
        found = cls.of(opaque)
        return dataclasses.replace(found, detections=(*found.detections, detections))

    def index_of(self, model: str | None = None) -> int | None:
        """Where in `detections` the last detector, or the last of this model, stands; None where none looked."""
        for index in reversed(range(len(self.detections))):
            if model is None or self.detections[index].model == model:
                return index
        return None

    def with_detections(self, index: int, detections: Detections) -> Self:
        """The same with what one detector found replaced, as by a tracker that numbers it."""
        return dataclasses.replace(
            self, detections=(*self.detections[:index], detections, *self.detections[index + 1:]))

    def with_events(self, *events: Event) -> Self:
        """The same with further events."""
        return dataclasses.replace(self, events=(*self.events, *events))


def detections_of(frame: av.VideoFrame, model: str | None = None) -> Detections | None:
    """What the last detector, or the last of this model, found in a frame; None where none looked.

    Where the picture was scaled since, the boxes are scaled to the frame's size. Cropping, padding, flipping and
    turning behind a detector are not undone: detect behind them.
    """
    findings = frame.opaque
    index = findings.index_of(model) if isinstance(findings, FrameFindings) else None
    if not isinstance(findings, FrameFindings) or index is None:
        return None
    item = findings.detections[index]
    same = (item.width, item.height) == (frame.width, frame.height)
    return item if same else item.scaled(frame.width, frame.height)


def events_of(frame: av.VideoFrame) -> tuple[Event, ...]:
    """The events that last or end at a frame; none where no trigger looked."""
    findings = frame.opaque
    return findings.events if isinstance(findings, FrameFindings) else ()


def utc_of(frame: av.VideoFrame) -> int | None:
    """When a frame was captured, in microseconds since 1970; None where nobody told it."""
    return _utc(frame.opaque)


def _utc(opaque: object) -> int | None:
    # Whoever captures a frame may tell the time with an object of its own.
    utc_us = getattr(opaque, "utc_us", None)
    return utc_us if isinstance(utc_us, int) and not isinstance(utc_us, bool) else None
