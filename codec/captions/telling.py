"""The caption of each frame that an encoder takes: one that somebody gave, or of what detectors found in the frame."""

from __future__ import annotations

import av

from duoview.errors import LimitError
from duoview.findings import detections_of

from .caption import Caption
from .captioner import Captioner
from .told import MODES


class FrameCaptions:
    """Captions of the frames of one stream.

    Args:
        caption: ``none``; ``auto``, of the detections that ``frame.opaque`` carries; or a Caption, that of every frame.
    Raises ValueError for another word.
    """

    def __init__(self, caption: str | Caption) -> None:
        if isinstance(caption, str) and caption not in MODES:
            raise ValueError(f"caption={caption!r}: expected one of {', '.join(MODES)}, or a Caption")
        self.caption = caption
        self._captioner = Captioner()

    def of(self, frame: av.VideoFrame, seconds: float) -> Caption | None:
        """The caption of the next frame, None for ``none``.

        Raises LimitError for ``auto`` where no detector looked at the frame.
        """
        if isinstance(self.caption, Caption):
            return self.caption
        if self.caption == "none":
            return None
        found = detections_of(frame)
        if found is None:
            raise LimitError("caption='auto': no detector looked at this frame; expected dv_detect in front of the "
                             "encoder, or another caption")
        return self._captioner.look(found, seconds)
