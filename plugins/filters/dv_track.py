"""``dv_track``: frames with detections in, the same frames out with a track's number for every object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from duoview.boxes import area
from duoview.detections import Detections
from duoview.errors import BackendUnavailableError
from duoview.findings import FrameFindings
from duoview.plugins.errors import OptionError
from duoview.plugins.links import Link, LinkType
from duoview.plugins.options import option
from duoview.plugins.references import References
from duoview.plugins.selection import Selection
from duoview.plugins.stage import Stage

#: Frames per second where nobody knows better; times come from the frames.
_UNKNOWN_RATE = Fraction(25)
#: The tracker counts a lost track's time in frames of 30 a second, whatever the rate is.
_BUFFER_RATE = 30


class Track(Stage):
    """Number the objects that detectors found, the same number for the same object in every frame.

    By ByteTrack (Zhang et al., 2022) of the package `trackers`: boxes are predicted by a Kalman filter and matched by
    overlap, those of high scores first; one tracker for every class unless told otherwise. An object gets its number
    when it was seen in enough consecutive frames; numbers count up from 1 and never come again. Where times do not
    rise, or the detector's picture or model changes, all tracks end.
    """

    name = "dv_track"
    input = LinkType.VIDEO
    output = LinkType.VIDEO

    @dataclass(frozen=True)
    class Options:
        """Options of dv_track."""

        match: float = option(0.1, min=0.01, max=1, help="least overlap (IoU) of an object with its predicted box")
        lost: float = option(1.0, min=0, max=60, help="seconds for which a track without an object is kept")
        activation: float = option(0.3, min=0, max=1, help="least score of an object that begins a track")
        low: float = option(0.1, min=0, max=1, help="least score of an object that goes on with a track")
        frames: int = option(2, min=2, max=100, help="consecutive frames before a track gets its number")
        classes: str = option("", help="names or ids of the classes to track, separated by |; all where empty")
        agnostic: bool = option(False, help="match objects of any class, for detectors that change their mind")
        model: str = option("", help="the model whose objects to track; the last detector's where empty")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        if self.options.low > self.options.activation:
            raise OptionError(f"dv_track: low={self.options.low}: expected at most activation, "
                              f"{self.options.activation}")
        _packages()
        self._selection = Selection(self.name, self.options.classes, self.options.low, self.options.model)
        self._references = References()
        self._rate = _UNKNOWN_RATE
        self._trackers: dict[int, Any] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._last = 0
        self._before: tuple[object, ...] = ()
        self._time: Fraction | None = None

    def configure(self, link: Link) -> Link:
        """Take the rate, by which speeds are told from times."""
        self._rate = link.rate or _UNKNOWN_RATE
        return super().configure(link)

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """The frame with its objects numbered. Raises FrameError where no detector looked at it."""
        findings = FrameFindings.of(frame.opaque)
        index = findings.index_of(self.options.model or None)
        if index is None:
            raise self._selection.nobody_looked(frame)
        found = findings.detections[index]
        time = None if frame.pts is None or not frame.time_base else frame.pts * Fraction(frame.time_base)
        tracked = replace(found, track_ids=self._track(found, time))
        passed = self._references.reference(frame)
        passed.opaque = findings.with_detections(index, tracked)
        yield passed

    def reset(self) -> None:
        """Forget all tracks; numbers begin at 1 again."""
        super().reset()
        self._forget()
        self._last = 0
        self._references.reset()

    def close(self) -> None:
        """Drop the tracks."""
        self._forget()
        self._references.close()

    def _track(self, found: Detections, time: Fraction | None) -> NDArray[np.int64]:
        source = (found.model, found.names, found.width, found.height)
        back = time is not None and self._time is not None and time <= self._time
        if back or (self._before and source != self._before):
            self._forget()
        self._before, self._time = source, time
        wanted = self._selection.mask(found) & (area(found.boxes) > 0)
        kinds = np.zeros(len(found), np.int32) if self.options.agnostic else found.classes
        ids = np.zeros(len(found), np.int64)
        for kind in sorted({*self._trackers, *kinds[wanted].tolist()}):
            at = np.flatnonzero(wanted & (kinds == kind))
            ids[at] = self._track_class(kind, found, at, time)
        return ids

    def _track_class(self, kind: int, found: Detections, at: NDArray[np.intp], time: Fraction | None
                     ) -> NDArray[np.int64]:
        boxes_of, tracker_of = _packages()
        if kind not in self._trackers:
            self._trackers[kind] = tracker_of(
                lost_track_buffer=round(self.options.lost * _BUFFER_RATE), frame_rate=float(self._rate),
                track_activation_threshold=self.options.activation, high_conf_det_threshold=self.options.activation,
                minimum_consecutive_frames=self.options.frames, minimum_iou_threshold=self.options.match)
        tracker = self._trackers[kind]
        given = boxes_of(xyxy=found.boxes[at].astype(np.float64), confidence=found.scores[at].astype(np.float64),
                         class_id=np.full(len(at), kind, np.int64), data={"place": np.arange(len(at))})
        seen = tracker.update(given, timestamp=None if time is None else float(time))
        ids = np.zeros(len(at), np.int64)
        for place, theirs in zip(seen.data.get("place", ()), seen.tracker_id, strict=True):
            if theirs >= 0:
                ids[place] = self._number(kind, int(theirs))
        alive = {int(track.tracker_id) for track in tracker.tracks}
        for key in [key for key in self._numbers if key[0] == kind and key[1] not in alive]:
            del self._numbers[key]
        return ids

    def _number(self, kind: int, theirs: int) -> int:
        if (kind, theirs) not in self._numbers:
            self._last += 1
            self._numbers[kind, theirs] = self._last
        return self._numbers[kind, theirs]

    def _forget(self) -> None:
        self._trackers, self._numbers = {}, {}
        self._before, self._time = (), None


def _packages() -> tuple[Any, Any]:
    """The types of the package trackers. Raises BackendUnavailableError that says what to install."""
    try:
        from supervision import Detections as Boxes
        from trackers import ByteTrackTracker
    except ImportError as error:
        raise BackendUnavailableError(
            f"dv_track: needs the package trackers, which cannot be imported ({error}): pip install 'duoview[track]'"
        ) from error
    return Boxes, ByteTrackTracker
