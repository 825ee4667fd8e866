"""Conditions on the objects of frames that events are about: there, over a line, or long in a zone."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from duoview.detections import Detections

from .errors import FrameError
from .selection import Selection
from .zones import Line, Zone

#: Where an object is: where it stands, or its middle.
POINTS = ("foot", "centre")


@dataclass(frozen=True)
class Occurrence:
    """A condition that a frame meets: in which zone or over which line, to which side, and by which objects."""

    zone: str = ""
    direction: str = ""
    track_ids: frozenset[int] = frozenset()
    labels: frozenset[str] = frozenset()


class Condition(abc.ABC):
    """Looks at the frames of one stream, in order."""

    @abc.abstractmethod
    def look(self, frame: av.VideoFrame, time: Fraction) -> list[Occurrence]:
        """How a frame, shown at `time` in seconds, meets the condition; at most once for a zone and direction."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Forget the frames before, as after a jump in time."""


class Presence(Condition):
    """At least so many objects are in a zone, or in the picture where there is none."""

    def __init__(self, selection: Selection, count: int, zones: tuple[Zone, ...], point: str) -> None:
        self._selection, self._count, self._zones, self._point = selection, count, zones, point

    def look(self, frame: av.VideoFrame, time: Fraction) -> list[Occurrence]:
        found = self._selection.of(frame)
        places = places_of(found, self._point)
        met = []
        for zone in self._zones or (None,):
            inside = np.ones(len(found), np.bool_) if zone is None else _inside(zone, places, frame)
            if inside.sum() >= self._count:
                met.append(_occurrence("" if zone is None else zone.name, "", found.keep(inside)))
        return met

    def reset(self) -> None:
        pass  # every frame is looked at by itself


class Crossing(Condition):
    """A tracked object goes over a line.

    An object that steps on the line and back again did not cross it. lost: seconds after which a track that was not
    in the frames between is forgotten, and with it the side on which it was.
    """

    def __init__(self, selection: Selection, lines: tuple[Line, ...], direction: str, point: str, lost: float) -> None:
        self._selection, self._lines, self._direction, self._point = selection, lines, direction, point
        self._lost = exact(lost)
        self._before: Fraction | None = None
        #: By track: when it was seen last; and by line, where it was last beside it, as shares of the picture's sides.
        self._seen: dict[int, Fraction] = {}
        self._beside: dict[tuple[int, str], tuple[float, float]] = {}
        #: The same for where it was on the line or its extension since then.
        self._on: dict[tuple[int, str], tuple[float, float]] = {}

    def look(self, frame: av.VideoFrame, time: Fraction) -> list[Occurrence]:
        found, size = tracked(self._selection, frame), (frame.width, frame.height)
        self._forget(time)
        self._before = time
        over: dict[tuple[str, str], list[int]] = {}
        for index, (x, y) in enumerate(places_of(found, self._point).tolist()):
            track_id = found[index].track_id
            if track_id is None:
                continue
            self._seen[track_id] = time
            for line in self._lines:
                side = line.side(x, y, *size)
                key, place = (track_id, line.name), (x / size[0], y / size[1])
                if side == 0:
                    self._on[key] = place
                    continue
                before, on = self._beside.get(key), self._on.pop(key, None)
                self._beside[key] = place
                if before is None:
                    continue
                way = line.crossed((before[0] * size[0], before[1] * size[1]), (x, y), *size,
                                   None if on is None else (on[0] * size[0], on[1] * size[1]))
                if way is not None and self._direction in ("any", way):
                    over.setdefault((line.name, way), []).append(index)
        return [_occurrence(*key, found.keep(which)) for key, which in over.items()]

    def reset(self) -> None:
        self._seen, self._beside, self._on, self._before = {}, {}, {}, None

    def _forget(self, time: Fraction) -> None:
        gone = {track_id for track_id, seen in self._seen.items() if time - seen > self._lost and seen != self._before}
        if gone:
            self._seen = {key: seen for key, seen in self._seen.items() if key not in gone}
            self._beside = {key: place for key, place in self._beside.items() if key[0] not in gone}
            self._on = {key: place for key, place in self._on.items() if key[0] not in gone}


@dataclass
class _Stay:
    """A track in a zone: since when, when it was last seen there, and what it is."""

    since: Fraction
    seen: Fraction
    label: str


class Dwelling(Condition):
    """A tracked object stays in a zone for so many seconds.

    Not being in the frames of up to `lost` seconds is staying; who is in two frames in a row stays however far apart
    they are.
    """

    def __init__(self, selection: Selection, zones: tuple[Zone, ...], seconds: float, point: str, lost: float) -> None:
        self._selection, self._zones, self._point = selection, zones, point
        self._seconds, self._lost = exact(seconds), exact(lost)
        self._stays: dict[tuple[str, int], _Stay] = {}
        self._before: Fraction | None = None

    def look(self, frame: av.VideoFrame, time: Fraction) -> list[Occurrence]:
        found = tracked(self._selection, frame)
        places = places_of(found, self._point)
        for zone in self._zones:
            for item, inside in zip(found, _inside(zone, places, frame).tolist(), strict=True):
                if item.track_id is None:
                    continue
                key = zone.name, item.track_id
                stay = self._stays.get(key)
                if not inside:
                    self._stays.pop(key, None)
                elif stay is None or (time - stay.seen > self._lost and stay.seen != self._before):
                    self._stays[key] = _Stay(time, time, item.name)
                else:
                    stay.seen, stay.label = time, item.name
        self._stays = {key: stay for key, stay in self._stays.items() if time - stay.seen <= self._lost}
        self._before = time
        met = []
        for zone in self._zones:
            long = {key[1]: stay.label for key, stay in self._stays.items()
                    if key[0] == zone.name and time - stay.since >= self._seconds}
            if long:
                met.append(Occurrence(zone.name, "", frozenset(long), frozenset(long.values())))
        return met

    def reset(self) -> None:
        self._stays, self._before = {}, None


def exact(seconds: float) -> Fraction:
    """Seconds as they were written: 0.3 is 3/10, so that three frames of a tenth of a second are not longer."""
    return Fraction(seconds).limit_denominator(1_000_000)


def tracked(selection: Selection, frame: av.VideoFrame) -> Detections:
    """The selected objects of a frame, which have track ids. Raises FrameError where no tracker looked."""
    found = selection.of(frame)
    if found.track_ids is None:
        raise FrameError(f"{selection.stage}: no tracker looked at the frame of pts {frame.pts}: put dv_track in front "
                         "of it")
    return found


def places_of(found: Detections, point: str) -> NDArray[np.float64]:
    """(N, 2) where each object is, x and y in pixels: the middle of its lower edge, or of its box."""
    boxes = found.boxes.astype(np.float64)
    x, y = boxes[:, 0::2].mean(axis=1), boxes[:, 1::2].mean(axis=1)
    return np.stack([x, boxes[:, 3] if point == "foot" else y], axis=1)


def _inside(zone: Zone, places: NDArray[np.float64], frame: av.VideoFrame) -> NDArray[np.bool_]:
    """(N,) which places are in a zone; who stands on the picture's edge or beyond it counts where it cuts them off."""
    last = np.nextafter(np.array([frame.width, frame.height], np.float64), 0)
    return zone.contains(np.clip(places, 0, last), frame.width, frame.height)


def _occurrence(zone: str, direction: str, found: Detections) -> Occurrence:
    return Occurrence(zone, direction, frozenset(item.track_id for item in found if item.track_id is not None),
                      frozenset(item.name for item in found))
