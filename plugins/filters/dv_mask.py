"""``dv_mask``: makes zones and objects unrecognisable, for good."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from duoview.detections import Detections
from duoview.plugins.errors import OptionError
from duoview.plugins.held_boxes import HeldBoxes
from duoview.plugins.links import Link, LinkType
from duoview.plugins.mosaic import blurred, pixelated
from duoview.plugins.options import option
from duoview.plugins.references import References
from duoview.plugins.samples import alpha_of, colour_in, layout_of, parse_colour, samples_of
from duoview.plugins.selection import Selection
from duoview.plugins.stage import Stage
from duoview.plugins.zones import UNITS, Zone, check_inside, parse_zones

MODES = ("fill", "pixelate", "blur")
#: Least side in pixels of a block of which one value is left, and its share of the longer side of what is masked.
_LEAST_BLOCK, _SHARE = 16, 1 / 6


@dataclass(frozen=True)
class _Cover:
    """A part of the picture to be masked: x0 y0 x1 y1 in whole units of shared samples, and which pixels of it."""

    x0: int
    y0: int
    x1: int
    y1: int
    inside: NDArray[np.bool_] | None = None  # all of it where None


class Mask(Stage):
    """Hide zones and objects: fill, pixelate or blur them.

    Samples outside stay as they are. What is hidden is gone: filled parts hold one colour, pixelated and blurred ones
    nothing but the mean of every block, from which a blurred picture is interpolated; all are opaque. Blocks can still
    tell who is who to somebody who compares them with pictures of the few that it may be; fill where that matters. A
    box stays for some frames after its object was lost. Frames that no detector looked at are an error, not shown.
    """

    name = "dv_mask"
    input = LinkType.VIDEO
    output = LinkType.VIDEO

    @dataclass(frozen=True)
    class Options:
        """Options of dv_mask."""

        zones: str = option("", help="zones: [name=]x y x y ... divided by |; two points are a rectangle's corners")
        classes: str = option("", help="names or ids of the classes to hide, separated by |; * for all")
        mode: str = option("fill", choices=MODES, help="how: one colour, blocks of their mean, or smooth between them")
        color: str = option("black", help="fill: a colour's name or #rrggbb")
        block: int = option(0, min=0, max=1024, help="pixelate, blur: side of a block in pixels, 0 for by size")
        padding: float = option(0.15, min=0, max=4, help="around an object, as a share of its longer side")
        hold: int = option(12, min=0, max=1000, help="frames for which a box stays after its object was lost")
        confidence: float = option(0.0, min=0, max=1, help="least score of an object")
        model: str = option("", help="the model whose objects to hide; the last detector's where empty")
        units: str = option("relative", choices=UNITS, help="what zones count: shares of width and height, or pixels")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        options = self.options
        if options.block == 1:
            raise OptionError("dv_mask: block=1: expected 2 or more, or 0 for by size: a block of one pixel hides "
                              "nothing")
        self._zones = parse_zones(self.name, "zones", options.zones, options.units)
        if not self._zones and not options.classes:
            raise OptionError("dv_mask: expected zones, classes or both")
        self._colour = parse_colour(self.name, "color", options.color)
        self._selection = Selection(self.name, options.classes, options.confidence, options.model)
        self._references = References()
        self._held = HeldBoxes(options.hold)
        self._still: tuple[_Cover, ...] = ()
        self._unit = (1, 1)

    def configure(self, link: Link) -> Link:
        """Find the pixels of the zones, which stay the same. Raises FrameError for a format that cannot be masked."""
        assert link.format is not None  # frames have one
        self._unit = layout_of(self.label, link.format).unit
        check_inside(self.label, self._zones, link.width, link.height)
        self._still = tuple(cover for cover in (self._cover_zone(zone, link.width, link.height)
                                                for zone in self._zones) if cover is not None)
        return super().configure(link)

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """A copy of the frame with its zones and objects hidden. Raises FrameError where no detector looked."""
        covers = list(self._still)
        if self.options.classes:
            covers += self._cover_objects(self._selection.of(frame), frame.width, frame.height)
        if not covers:
            yield self._references.reference(frame)
            return
        hidden = self._references.copy(frame)
        samples, alpha = samples_of(self.label, hidden), alpha_of(self.label, hidden)
        layout = layout_of(self.label, hidden.format.name)
        colour = colour_in(self.label, hidden, self._colour)
        for cover in covers:
            for component, (across, down), value in zip(samples, layout.shifts, colour, strict=True):
                self._hide(component, cover, across, down, value)
            if alpha is not None:  # a matte has the shape of what it was cut out for
                part = alpha[cover.y0:cover.y1, cover.x0:cover.x1]
                part[True if cover.inside is None else cover.inside] = (1 << layout.bits) - 1
        yield hidden

    def reset(self) -> None:
        """Forget the boxes that are held."""
        super().reset()
        self._held.reset()
        self._references.reset()

    def close(self) -> None:
        """Drop what is held."""
        self._held.reset()
        self._references.close()

    def _cover_zone(self, zone: Zone, width: int, height: int) -> _Cover | None:
        """All pixels that the zone touches, and those that share a sample with one."""
        mask = zone.touched(width, height)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return None
        x0, y0, x1, y1 = self._aligned(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, width, height)
        across, down = self._unit
        part = mask[y0:y1, x0:x1]
        padded = np.pad(part, ((0, -part.shape[0] % down), (0, -part.shape[1] % across)))
        units = padded.reshape(padded.shape[0] // down, down, -1, across).any(axis=(1, 3))
        whole = units.repeat(down, axis=0).repeat(across, axis=1)[:y1 - y0, :x1 - x0]
        return _Cover(x0, y0, x1, y1, None if whole.all() else whole)

    def _cover_objects(self, found: Detections, width: int, height: int) -> list[_Cover]:
        # A box that is turned inside out is one too.
        corners = np.sort(found.boxes.astype(np.float64).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        # As shares of the picture, so that a change of its size moves no box that is held.
        shares = self._held.update(corners / np.array([width, height] * 2), found.track_ids)
        covers = []
        for x0, y0, x1, y1 in (shares * np.array([width, height] * 2)).tolist():
            around = self.options.padding * max(x1 - x0, y1 - y0)
            aligned = self._aligned(x0 - around, y0 - around, x1 + around, y1 + around, width, height)
            if aligned[0] < aligned[2] and aligned[1] < aligned[3]:
                covers.append(_Cover(*aligned))
        return covers

    def _aligned(self, x0: float, y0: float, x1: float, y1: float, width: int, height: int
                 ) -> tuple[int, int, int, int]:
        """A box grown to whole units of shared samples, cut at the picture's edges."""
        across, down = self._unit
        return (max(0, math.floor(x0 / across) * across), max(0, math.floor(y0 / down) * down),
                min(width, math.ceil(x1 / across) * across), min(height, math.ceil(y1 / down) * down))

    def _hide(self, component: NDArray[Any], cover: _Cover, across: int, down: int, value: int) -> None:
        part = component[cover.y0 >> down:-(-cover.y1 >> down), cover.x0 >> across:-(-cover.x1 >> across)]
        inside = True if cover.inside is None else cover.inside[::1 << down, ::1 << across]
        if self.options.mode == "fill":
            part[...] = np.where(inside, np.asarray(value, part.dtype), part) if cover.inside is not None else value
            return
        side = self.options.block or max(_LEAST_BLOCK,
                                         math.ceil(_SHARE * max(cover.x1 - cover.x0, cover.y1 - cover.y0)))
        blocks = -(-side >> across), -(-side >> down)
        new = (pixelated if self.options.mode == "pixelate" else blurred)(part, *blocks)
        part[...] = np.where(inside, new, part)
