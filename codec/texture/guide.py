"""Where texture goes deeper: weights of positions, from regions that are told and from what finds objects."""

from __future__ import annotations

import av
import numpy as np

from duoview.backends import Backend
from duoview.errors import LimitError
from duoview.inner.guide import Guide
from duoview.inner.importance import Importance, cells_of
from duoview.inner.settings import GUIDES
from duoview.profile import Profile
from duoview.texture.settings import TextureSettings
from duoview.texture.view import Floats

#: What an error counts where nobody looks, beside 1 where all do: 9 dB more of it are worth as many bits.
ELSEWHERE = 1 / 8


class TextureGuide:
    """Weights of the errors of one stream's frames, given in order.

    Raises LimitError for a guide that is none, ProfileError where the saliency network is asked for and is not there.
    """

    def __init__(self, settings: TextureSettings, profile: Profile, device: str | Backend, *, threads: int, rate: float
                 ) -> None:
        if settings.guide not in GUIDES:
            raise LimitError(f"texture guide={settings.guide!r}: expected one of {', '.join(GUIDES)}")
        self._regions, self._rate = settings.roi, rate
        self._guide: Guide | None = None
        if settings.guide != "off":
            self._guide = Guide(settings.guide, settings.roi, profile, device, threads=threads, rate=rate)
        self._told: Importance | None = None
        self._size = (0, 0)

    def look(self, frame: av.VideoFrame) -> Floats | None:
        """Weights (rows, columns) of the 8x8 pixels of a frame, ELSEWHERE to 1; None where all of it counts alike.

        Raises LimitError for regions that do not fit.
        """
        if self._guide is not None:
            cells = self._guide.look(frame)
        else:
            if (frame.width, frame.height) != self._size:
                self._told = Importance(frame.width, frame.height, rate=self._rate, regions=self._regions)
                self._size = (frame.width, frame.height)
            assert self._told is not None
            cells = self._told.update(np.zeros(cells_of(*self._size), np.uint8))
        if cells is None:
            return None
        weights: Floats = (ELSEWHERE + (1 - ELSEWHERE) * (cells / 255)).astype(np.float32)
        return weights
