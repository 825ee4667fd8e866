"""``dv_trigger``: tells of events in frames, and may pass those around them only."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av

from duoview.events import KINDS, Event
from duoview.findings import FrameFindings, utc_of
from duoview.plugins.conditions import POINTS, Condition, Crossing, Dwelling, Occurrence, Presence, exact
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.links import Link, LinkType
from duoview.plugins.motion import Motion
from duoview.plugins.options import option
from duoview.plugins.references import References
from duoview.plugins.selection import Selection
from duoview.plugins.stage import Stage
from duoview.plugins.zones import UNITS, check_inside, parse_lines, parse_zones

_TRACKS = 256  # that an event tells of, the last ones: where somebody is always there, it lasts for ever
_OBJECTS = ("present", "cross", "dwell")
#: Options that belong to some kinds of events only.
_KINDS_OF = {
    "classes": _OBJECTS, "confidence": _OBJECTS, "model": _OBJECTS, "point": _OBJECTS, "count": ("present",),
    "zones": ("present", "dwell", "motion"), "lines": ("cross",), "direction": ("cross",), "seconds": ("dwell",),
    "lost": ("cross", "dwell"), "share": ("motion",), "level": ("motion",), "learn": ("motion",),
}


@dataclass(frozen=True)
class _Kept:
    """A frame of the pre-roll, and what it costs."""

    frame: av.VideoFrame
    time: Fraction
    size: int


class Trigger(Stage):
    """Tell of events: objects that are there, cross a line or stay in a zone, or motion.

    Every frame from an event's begin to its end carries it in frame.opaque, as `Event` says. The first frame that does
    not meet the condition, more than `post` seconds after the last that did, ends it. With emit=events only these
    frames are passed, and those of up to `pre` seconds before.
    """

    name = "dv_trigger"
    input = LinkType.VIDEO
    output = LinkType.VIDEO

    @dataclass(frozen=True)
    class Options:
        """Options of dv_trigger."""

        on: str = option(choices=KINDS, help="what makes an event")
        classes: str = option("", help="names or ids of the classes, separated by |; all where empty")
        zones: str = option("", help="present, dwell, motion: [name=]x y x y ... divided by |")
        lines: str = option("", help="cross: [name=]x y x y divided by |")
        count: int = option(1, min=1, max=10000, help="present: least number of objects")
        confidence: float = option(0.0, min=0, max=1, help="least score of an object")
        direction: str = option("any", choices=("any", "left", "right"), help="cross: to which side of who walks along "
                                "the line from its first point")
        seconds: float = option(10.0, min=0, max=86400, help="dwell: how long an object stays")
        share: float = option(0.01, min=0.0001, max=1, help="motion: share of the pixels that differ")
        level: float = option(15.0, min=1, max=255, help="motion: least difference of a grey value")
        learn: float = option(10.0, min=0.1, max=3600, help="motion: seconds in which the background is learnt")
        point: str = option("foot", choices=POINTS, help="where an object is: middle of its lower edge, or its centre")
        lost: float = option(1.0, min=0, max=60, help="cross, dwell: seconds for which a track may not be seen")
        pre: float = option(0.0, min=0, max=600, help="seconds to pass from before an event; with emit=events")
        post: float = option(0.0, min=0, max=3600, help="seconds for which an event goes on")
        emit: str = option("all", choices=("all", "events"), help="frames to pass: all, or those of events")
        pre_frames: int = option(1000, min=1, max=100000, help="frames to hold for pre at most")
        pre_bytes: int = option(1 << 29, min=1 << 10, max=1 << 40, help="bytes of them at most")
        model: str = option("", help="the model whose objects count; the last detector's where empty")
        units: str = option("relative", choices=UNITS, help="what zones and lines count: shares of sides, or pixels")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._check_kind()
        options = self.options
        self._zones = parse_zones(self.name, "zones", options.zones, options.units)
        self._lines = parse_lines(self.name, "lines", options.lines, options.units)
        self._condition = self._make_condition()
        self._pre, self._post = exact(options.pre), exact(options.post)
        self._references = References()
        self._open: dict[tuple[str, str], Event] = {}
        self._number = 0
        self._time: Fraction | None = None
        self._kept: deque[_Kept] = deque()
        self._kept_bytes = 0

    def configure(self, link: Link) -> Link:
        """Check zones, lines and the memory of the pre-roll against the frames. Raises OptionError."""
        check_inside(self.label, (*self._zones, *self._lines), link.width, link.height)
        options = self.options
        if options.pre and link.rate:
            assert link.format is not None  # frames have one
            count = math.ceil(options.pre * link.rate) + 1
            bits = av.VideoFormat(link.format, link.width, link.height).padded_bits_per_pixel
            size = count * link.width * link.height * bits // 8
            if count > options.pre_frames or size > options.pre_bytes:
                raise OptionError(
                    f"{self.label}: pre={options.pre:g} seconds of {link.width}x{link.height} {link.format} at "
                    f"{float(link.rate):g} frames a second are {count} frames, {size} bytes: expected pre_frames="
                    f"{options.pre_frames} and pre_bytes={options.pre_bytes} at most; raise them, or scale or encode "
                    "in front")
        return super().configure(link)

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """The frame with its events, or with those held before it, or none. Raises FrameError for one without times."""
        if frame.pts is None or not frame.time_base:
            raise FrameError(f"{self.label}: a frame without pts or time base: events need times")
        time_base = Fraction(frame.time_base)
        time = frame.pts * time_base
        ended: list[Event] = []
        if self._time is not None and time <= self._time:  # a jump: nothing lasts over it
            ended = [replace(event, ongoing=False) for event in self._open.values()]
            self._open = {}
            self._condition.reset()
            self._drop_kept()
        self._time = time
        ended += self._update(self._condition.look(frame, time), frame.pts, time, time_base, utc_of(frame))
        events = (*ended, *self._open.values())
        if self.options.emit == "all" or events:
            self._drop_before(time - self._pre)
            while self._kept:
                yield self._references.reference(self._kept.popleft().frame)
            self._kept_bytes = 0
            passed = self._references.reference(frame)
            if events:
                passed.opaque = FrameFindings.of(frame.opaque).with_events(*events)
            yield passed
        elif self.options.pre:
            self._keep(frame, time)

    def reset(self) -> None:
        """Forget all events, frames and tracks; events are numbered from 1 again."""
        super().reset()
        self.close()
        self._number, self._time = 0, None

    def close(self) -> None:
        """Drop the frames that are held."""
        self._condition.reset()
        self._open = {}
        self._drop_kept()
        self._references.reset()

    def _check_kind(self) -> None:
        options = self.options
        for field in dataclasses.fields(options):
            value, kinds = getattr(options, field.name), _KINDS_OF.get(field.name, KINDS)
            if options.on not in kinds and value != field.default:
                raise OptionError(f"dv_trigger: {field.name}={value!r} belongs to on={' or on='.join(kinds)}, not "
                                  f"on={options.on}")
        for kind, needed in (("cross", "lines"), ("dwell", "zones")):
            if options.on == kind and not getattr(options, needed):
                raise OptionError(f"dv_trigger: on={kind}: option {needed!r} must be given")
        if options.pre and options.emit != "events":
            raise OptionError(f"dv_trigger: pre={options.pre:g} belongs to emit=events, not emit={options.emit}")

    def _make_condition(self) -> Condition:
        options = self.options
        selection = Selection(self.name, options.classes, options.confidence, options.model)
        if options.on == "present":
            return Presence(selection, options.count, self._zones, options.point)
        if options.on == "cross":
            return Crossing(selection, self._lines, options.direction, options.point, options.lost)
        if options.on == "dwell":
            return Dwelling(selection, self._zones, options.seconds, options.point, options.lost)
        return Motion(self._zones, options.share, options.level, options.learn)

    def _update(self, met: list[Occurrence], pts: int, time: Fraction, time_base: Fraction, utc_us: int | None
                ) -> list[Event]:
        """Begin, carry on and end events; returns those that end at this frame."""
        for one in met:
            key = one.zone, one.direction
            before = self._open.get(key)
            self._open[key] = self._begun(one, pts, time_base, utc_us) if before is None else replace(
                before, end_pts=round(time / before.time_base), end_utc_us=utc_us,
                track_ids=tuple(sorted({*before.track_ids, *one.track_ids})[-_TRACKS:]),
                labels=tuple(sorted({*before.labels, *one.labels})))
        still = {(one.zone, one.direction) for one in met}
        over = [key for key, event in self._open.items()
                if key not in still and time - event.end > self._post]
        return [replace(self._open.pop(key), ongoing=False) for key in over]

    def _begun(self, one: Occurrence, pts: int, time_base: Fraction, utc_us: int | None) -> Event:
        self._number += 1
        return Event(self.label, self._number, self.options.on, pts, pts, time_base, zone=one.zone,
                     direction=one.direction, track_ids=tuple(sorted(one.track_ids)), labels=tuple(sorted(one.labels)),
                     start_utc_us=utc_us, end_utc_us=utc_us)

    def _keep(self, frame: av.VideoFrame, time: Fraction) -> None:
        size = sum(plane.buffer_size for plane in frame.planes)
        self._kept.append(_Kept(frame, time, size))
        self._kept_bytes += size
        self._drop_before(time - self._pre)
        while len(self._kept) > self.options.pre_frames or self._kept_bytes > self.options.pre_bytes:
            self._kept_bytes -= self._kept.popleft().size

    def _drop_before(self, time: Fraction) -> None:
        while self._kept and self._kept[0].time < time:
            self._kept_bytes -= self._kept.popleft().size

    def _drop_kept(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
