"""The caption that holds for a decoder's frame: what the stream told, what somebody says, or what a detector finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import av

from duoview.access_unit import AccessUnit, SectionType
from duoview.detections import Detections
from duoview.errors import BitstreamError

from .caption import Caption
from .captioner import Captioner
from .section import read_caption

#: Finds objects in frames, as ``duoview.detectors.load`` gives it.
Find = Callable[[Sequence[av.VideoFrame]], Sequence[Detections]]
MODES = ("auto", "none")


def read_mode(text: str) -> str | Caption:
    """``auto`` and ``none`` as they are, else the caption of a text. Raises LimitError."""
    return text if text in MODES else Caption.parse(text)


class SentCaption:
    """The caption that a stream's sections have told, unit by unit. Key units forget those before."""

    def __init__(self) -> None:
        self.caption: Caption | None = None
        #: What was wrong with the last unit's section; empty where nothing was.
        self.fault = ""

    def take(self, unit: AccessUnit) -> None:
        """Of the next unit, which the caption then holds for. A section that is damaged changes nothing."""
        self.fault = ""
        if unit.key:
            self.caption = None
        for damage in unit.damaged:
            if damage.type == SectionType.CAPTION:
                self.fault = f"caption section: {damage.reason}"
        payload = unit.payload(SectionType.CAPTION)
        if payload is not None:
            try:
                self.caption = read_caption(payload)
            except BitstreamError as error:
                self.fault = str(error)


class FoundCaption:
    """Captions of what a detector finds in single frames: no motion, and no memory, so seeking changes nothing.

    All that the detector gives is told of: its own confidence decides.
    """

    def __init__(self, find: Find) -> None:
        self._find = find

    def of(self, frame: av.VideoFrame) -> Caption:
        """The caption of a frame."""
        (found,) = self._find([frame])
        return Captioner(confidence=0, patience=1).look(found)
