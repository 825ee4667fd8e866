"""Which of the objects in a frame a filter is about: some classes, from a score on, as one detector saw them."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from duoview.detections import Detections, class_ids
from duoview.findings import detections_of

from .errors import FrameError, OptionError


@dataclass(frozen=True)
class Selection:
    """What a filter's options say of the objects that it is about.

    stage: the filter's name, for errors. classes: names or ids, divided by ``|``; all where empty or ``*``. confidence:
    least score. model: whose objects; the last detector's where empty.
    """

    stage: str
    classes: str = ""
    confidence: float = 0.0
    model: str = ""

    def of(self, frame: av.VideoFrame) -> Detections:
        """Those objects, in pixels of the frame.

        Raises FrameError where no detector looked, OptionError for a class that it does not know.
        """
        found = detections_of(frame, self.model or None)
        if found is None:
            raise self.nobody_looked(frame)
        return found.keep(self.mask(found))

    def mask(self, found: Detections) -> NDArray[np.bool_]:
        """(N,) which of the objects are meant. Raises OptionError for a class that the detector does not know."""
        meant: NDArray[np.bool_] = found.scores >= np.float32(self.confidence)
        words = [word.strip() for word in self.classes.split("|") if word.strip()]
        if words and words != ["*"]:
            try:
                kinds = class_ids([int(word) if word.isdecimal() else word for word in words], found.names)
            except ValueError as error:
                raise OptionError(f"{self.stage}: classes: {error}") from None
            meant = meant & np.isin(found.classes, kinds)
        return meant

    def nobody_looked(self, frame: av.VideoFrame) -> FrameError:
        """The error for a frame without the detections that are asked for."""
        who = f"the model {self.model!r} did not look" if self.model else "no detector looked"
        return FrameError(f"{self.stage}: {who} at the frame of pts {frame.pts}: put dv_detect in front of it")
