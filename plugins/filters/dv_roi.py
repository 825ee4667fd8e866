"""``dv_roi``: marks the regions of frames that an encoder is to code better, or worse."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from duoview.inner.regions import Rectangle, merged_runs, region_graph
from duoview.plugins.errors import OptionError
from duoview.plugins.links import Link, LinkType
from duoview.plugins.options import option
from duoview.plugins.references import References
from duoview.plugins.selection import Selection
from duoview.plugins.stage import Stage
from duoview.plugins.zones import UNITS, check_inside, parse_zones

#: Side in pixels of the blocks that encoders give a quantiser.
_BLOCK = 16
#: Every rectangle is a filter of its own inside: more than this are not worth their time, and blocks become larger.
_MOST = 48


class Roi(Stage):
    """Mark regions for the encoder: zones, and objects that detectors found.

    As FFmpeg's addroi does, in the frame's side data, which dv_encode and libavcodec's x264, x265 and
    hardware encoders read. Regions that a frame brings already come before these. Put it right in front of the encoder:
    scaling forgets regions.
    """

    name = "dv_roi"
    input = LinkType.VIDEO
    output = LinkType.VIDEO

    @dataclass(frozen=True)
    class Options:
        """Options of dv_roi."""

        regions: str = option("", help="zones: [name=]x y x y ... divided by |; two points are a rectangle's corners")
        classes: str = option("", help="names or ids of the classes to mark, separated by |; * for all")
        qoffset: float = option(-0.15, min=-1, max=1, help="change of the quantiser in them; below 0 is better")
        outside: float = option(0.0, min=-1, max=1, help="change of the quantiser in all the rest")
        margin: float = option(0.1, min=0, max=4, help="around an object, as a share of its longer side")
        confidence: float = option(0.0, min=0, max=1, help="least score of an object")
        model: str = option("", help="the model whose objects to mark; the last detector's where empty")
        units: str = option("relative", choices=UNITS, help="what regions count: shares of width and height, or pixels")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        options = self.options
        self._zones = parse_zones(self.name, "regions", options.regions, options.units)
        if not self._zones and not options.classes:
            raise OptionError("dv_roi: expected regions, classes or both")
        self._selection = Selection(self.name, options.classes, options.confidence, options.model)
        self._references = References()
        self._still: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._key: tuple[object, ...] = ()
        self._graph: av.filter.Graph | None = None

    def configure(self, link: Link) -> Link:
        """Find the blocks of the zones, which stay the same."""
        width, height = link.width, link.height
        check_inside(self.label, self._zones, width, height)
        inside = np.zeros((height, width), np.bool_)
        for zone in self._zones:
            inside |= zone.touched(width, height)
        padded = np.pad(inside, ((0, -height % _BLOCK), (0, -width % _BLOCK)))
        self._still = _any_of(padded, _BLOCK)
        return super().configure(link)

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """The frame with its regions. Raises FrameError where objects are asked for and no detector looked."""
        blocks = self._still
        if self.options.classes:
            blocks = blocks.copy()
            for x0, y0, x1, y1 in self._selection.of(frame).boxes.tolist():
                around = self.options.margin * max(x1 - x0, y1 - y0)
                rows = max(0, math.floor((y0 - around) / _BLOCK)), max(0, math.ceil((y1 + around) / _BLOCK))
                columns = max(0, math.floor((x0 - around) / _BLOCK)), max(0, math.ceil((x1 + around) / _BLOCK))
                blocks[slice(*rows), slice(*columns)] = True
        passed = self._references.reference(frame)
        if blocks.any() or self.options.outside:
            passed = self._mark(passed, blocks)
        yield passed

    def reset(self) -> None:
        """Forget the last regions."""
        super().reset()
        self.close()

    def close(self) -> None:
        """Free the graph that marks frames."""
        self._graph, self._key = None, ()
        self._references.reset()

    def _mark(self, frame: av.VideoFrame, blocks: NDArray[np.bool_]) -> av.VideoFrame:
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, frame.time_base,
               blocks.tobytes())
        untimed = not frame.time_base
        if self._graph is None or key != self._key:
            if untimed:
                frame.time_base = Fraction(1, 1000)  # libavfilter wants one
            self._graph = region_graph(frame, self._rectangles(blocks, frame.width, frame.height))
            self._key = key
        self._graph.push(frame)
        marked = self._graph.pull()
        assert isinstance(marked, av.VideoFrame)
        if untimed:
            marked.time_base = Fraction(0)
        return marked

    def _rectangles(self, blocks: NDArray[np.bool_], width: int, height: int) -> list[Rectangle]:
        side = _BLOCK
        while len(runs := merged_runs(blocks.astype(np.int64))) > _MOST:
            padded = np.pad(blocks, [(0, count % 2) for count in blocks.shape])
            blocks, side = _any_of(padded, 2), 2 * side
        found = [Rectangle(x * side, y * side, across * side, down * side, self.options.qoffset)
                 for x, y, across, down, _ in runs]
        if self.options.outside:
            found.append(Rectangle(0, 0, width, height, self.options.outside))
        return found


def _any_of(cells: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Squares of side x side cells (rows, columns), whole multiples of side: whether any cell is True."""
    return np.asarray(cells.reshape(cells.shape[0] // side, side, -1, side).any(axis=(1, 3)))
