"""Chooses what tells the importance of a frame's cells: detections that it carries, or the saliency network."""

from __future__ import annotations

import av
import numpy as np

from duoview.backends import Backend, open_backend
from duoview.detections import Detections
from duoview.errors import LimitError
from duoview.findings import detections_of
from duoview.profile import Profile

from .importance import Importance, Map, Region, cells_of, of_answers, of_detections
from .saliency import SaliencyReader

#: Seconds from one look of the network to the next at least: what it finds is held for longer than that anyway.
LOOK_SECONDS = 0.075


class Guide:
    """The importance of the cells of one stream's frames, as the settings ``simplify`` and ``roi`` of an encoder say.

    Of frames that come closer than LOOK_SECONDS the network looks at every second, third ...; the others have its map.

    Args:
        profile, device, threads: of the saliency network. rate: frames per second. able: the encoder takes regions.

    ProfileError when the network is asked for and the profile has none.
    """

    def __init__(self, simplify: str, roi: tuple[Region, ...], profile: Profile, device: str | Backend = "cpu", *,
                 threads: int = 0, rate: float, able: bool = True) -> None:
        self._carried = able and simplify in ("auto", "detections")
        self._needed = simplify == "detections"
        self._rate, self._regions = rate, roi
        #: The map of the network's last look, the frame's time in seconds, and the frames since then that have it too.
        self._held: Map | None = None
        self._looked: float | None = None
        self._since = 0
        wanted = simplify == "saliency" or (simplify == "auto" and able and profile.has("saliency"))
        self._network = profile.load("saliency", open_backend(device, threads)) if wanted else None
        self._reader: SaliencyReader | None = None
        self._importance: Importance | None = None
        self._size = (0, 0)

    def look(self, frame: av.VideoFrame) -> Map | None:
        """The map of a frame, (rows, columns) of its cells; None where all of it counts. Frames come in order."""
        if (frame.width, frame.height) != self._size:
            size = (frame.width, frame.height)
            self._importance = Importance(*size, rate=self._rate, regions=self._regions)
            self._size = size  # regions that do not fit are refused at every frame of that size
            self._reader = SaliencyReader(self._network) if self._network is not None else None
            self._held = None
        found = detections_of(frame) if self._carried else None
        at = frame.time
        near = at is not None and self._looked is not None and 0 <= at - self._looked < LOOK_SECONDS
        if found is None and self._held is not None and near:
            self._since += 1
            return self._held
        cells = self._cells(frame, found)
        if cells is None and not self._regions:
            return None
        assert self._importance is not None
        looked = found is None and cells is not None
        importance = self._importance.update(
            cells if cells is not None else np.full(cells_of(*self._size), 255, np.uint8), 1 + self._since)
        self._since, self._held, self._looked = 0, importance if looked else None, at
        return importance

    def skip(self) -> None:
        """A frame whose map nobody asks for: what was found before grows older by it."""
        self._since += 1

    def _cells(self, frame: av.VideoFrame, found: Detections | None) -> Map | None:
        if found is not None:
            return of_detections(found, frame.width, frame.height)
        if self._needed:
            raise LimitError("simplify=detections: expected frames that dv_detect looked at, got one that it did not")
        return of_answers(self._reader.read(frame)) if self._reader is not None else None
