"""``dv_draw``: draws what was found in frames, for people to see."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from duoview.detections import Detection
from duoview.findings import events_of
from duoview.plugins.canvas import Canvas, Colour, stroke
from duoview.plugins.errors import OptionError, suggestion
from duoview.plugins.lettering import Lettering
from duoview.plugins.links import Link, LinkType
from duoview.plugins.options import option
from duoview.plugins.references import References
from duoview.plugins.samples import layout_of, parse_colour
from duoview.plugins.selection import Selection
from duoview.plugins.stage import Stage
from duoview.plugins.zones import UNITS, Line, Zone, check_inside, parse_lines, parse_zones

#: What a label may tell.
PARTS = ("class", "id", "score")
_ZONE_COLOUR: Colour = (255, 165, 0)
_EVENT_COLOUR: Colour = (255, 0, 0)
#: Turn of the colour circle from one track or class to the next: the golden ratio puts any few far apart.
_TURN = 0.618034


class Draw(Stage):
    """Draw boxes, labels, track ids, zones and events.

    Into the frame's own samples, in its own format: what lies outside of the drawings stays bit for bit. A frame
    without anything to draw passes as it is; put dv_detect in front, and dv_track for ids.
    """

    name = "dv_draw"
    input = LinkType.VIDEO
    output = LinkType.VIDEO

    @dataclass(frozen=True)
    class Options:
        """Options of dv_draw."""

        text: str = option("class+id", help="what labels tell: class, id and score, joined by +; or none")
        color: str = option("auto", help="of boxes: a colour's name or #rrggbb; auto for one per track, or class")
        thickness: int = option(2, min=1, max=64, help="of lines, in pixels")
        size: int = option(14, min=6, max=200, help="of letters, in pixels")
        classes: str = option("", help="names or ids of the classes to draw, separated by |; all where empty")
        confidence: float = option(0.0, min=0, max=1, help="least score of an object")
        zones: str = option("", help="zones to draw: [name=]x y x y ... divided by |")
        lines: str = option("", help="lines to draw: [name=]x y x y divided by |")
        units: str = option("relative", choices=UNITS, help="what zones and lines count: shares of sides, or pixels")
        events: bool = option(True, help="name the events that go on, in the corner")
        boxes: bool = option(True, help="draw objects; without them, frames need no detector in front")
        model: str = option("", help="the model whose objects to draw; the last detector's where empty")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        options = self.options
        self._parts = _parse_parts(options.text)
        self._colour = None if options.color == "auto" else parse_colour(self.name, "color", options.color)
        self._selection = Selection(self.name, options.classes, options.confidence, options.model)
        self._shapes: tuple[Zone | Line, ...] = (
            *parse_zones(self.name, "zones", options.zones, options.units),
            *parse_lines(self.name, "lines", options.lines, options.units),
        )
        self._lettering = Lettering(self.name, options.size) if self._parts else None
        self._references = References()
        self._strokes: list[NDArray[np.bool_]] = []

    def configure(self, link: Link) -> Link:
        """Draw the zones and lines beforehand. Raises FrameError for a format that cannot be drawn in."""
        assert link.format is not None  # frames have one
        unit = layout_of(self.label, link.format).unit
        check_inside(self.label, self._shapes, link.width, link.height)
        self._strokes = []
        for shape in self._shapes:
            corners = shape.corners(link.width, link.height)
            self._strokes.append(stroke(corners, len(corners) > 2, self.options.thickness, (link.width, link.height),
                                        unit))
        return super().configure(link)

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """A copy of the frame with its drawings."""
        objects = list(self._selection.of(frame)) if self.options.boxes else []
        events = [event for event in events_of(frame) if event.ongoing] if self.options.events else []
        if not (objects or events or self._shapes):
            yield self._references.reference(frame)
            return
        drawn = self._references.copy(frame)
        canvas = Canvas(self.label, drawn)
        for shape, units in zip(self._shapes, self._strokes, strict=True):
            canvas.paint(units, _ZONE_COLOUR)
            if self._lettering is not None:
                x, y = shape.corners(frame.width, frame.height)[0].tolist()
                canvas.label(x, y, shape.name, self._lettering, _ZONE_COLOUR)
        for item in objects:
            self._draw_object(canvas, item)
        for row, event in enumerate(events):
            if self._lettering is not None:
                text = " ".join(word for word in (event.kind, event.zone, *event.labels) if word)
                canvas.label(0, row * self._lettering.height, text, self._lettering, _EVENT_COLOUR)
        yield drawn

    def reset(self) -> None:
        """Forget the last frame."""
        super().reset()
        self._references.reset()

    def close(self) -> None:
        """Free what references are made with."""
        self._references.close()

    def _draw_object(self, canvas: Canvas, item: Detection) -> None:
        colour = self._colour or _colour_of(item.class_id if item.track_id is None else item.track_id)
        canvas.rectangle(*item.box, self.options.thickness, colour)
        words = {"class": item.name, "id": "" if item.track_id is None else f"#{item.track_id}",
                 "score": f"{item.score:.2f}"}
        text = " ".join(words[part] for part in self._parts if words[part])
        if text and self._lettering is not None:
            above = item.box[1] - self._lettering.height
            canvas.label(item.box[0], above if above >= 0 else item.box[1], text, self._lettering, colour)


def _parse_parts(text: str) -> tuple[str, ...]:
    if text in ("", "none"):
        return ()
    parts = tuple(part.strip() for part in text.split("+"))
    for part in parts:
        if part not in PARTS:
            raise OptionError(f"dv_draw: text={text!r}: {part!r}: expected {', '.join(PARTS)}, joined by +, or none"
                              f"{suggestion(part, PARTS)}")
    return parts


def _colour_of(number: int) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(number * _TURN % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
