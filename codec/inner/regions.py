"""Tells an encoder where to spend its bits: rectangles with their own quantisers, from a map of importance."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.sidedata.sidedata import Type as SideDataType
from numpy.typing import NDArray

from duoview.machine import MAX_Q

from .importance import CELL, Map

#: How much coarser what no detector needs is quantised: this share of the codec's 51 quantisers.
COARSER = 0.08
#: Up to this quality; towards the best one all of the picture counts more and more.
FULL_UNTIL = 40

#: Cells on a side of what encoders give a quantiser: a macroblock of 16x16 pixels.
_BLOCK = 16 // CELL
#: Quantisers between the coarsest and the one of what is important.
_STEPS = 4
#: More rectangles than this are not worth their time: larger blocks are taken then.
_MOST = 160


@dataclass(frozen=True)
class Rectangle:
    """x, y, width, height in pixels; offset of the quantiser, -1 to 1 of the codec's whole range, 0 for none."""

    x: int
    y: int
    width: int
    height: int
    offset: float

    def scaled(self, across: float, down: float) -> Rectangle:
        """The same part of a picture that is shown at these shares of its width and height."""
        x, y = math.floor(self.x * across), math.floor(self.y * down)
        return Rectangle(x, y, math.ceil((self.x + self.width) * across) - x,
                         math.ceil((self.y + self.height) * down) - y, self.offset)


def rectangles(importance: Map, coarser: float, *, finer: float = 0.0, where: Map | None = None) -> list[Rectangle]:
    """Rectangles, disjoint, that cover all cells but those that are to be coarser by all of `coarser`.

    importance: (rows, columns), 255 for what is not to be coarser, 0 for what is to be by `coarser` (0 to 1).
    finer: by how much the cells that are not 0 in `where`, of the same shape, are to be finer, the more they count.
    """
    side = _BLOCK
    there = np.zeros_like(importance) if where is None else np.minimum(where, 1)
    while True:
        labels = 2 * _levels(importance, side, _STEPS) + _levels(255 * there, side, 1)
        found = merged_runs(labels)
        if len(found) <= _MOST:
            break
        side *= 2
    pixels = side * CELL
    made = []
    for x, y, width, height, label in found:
        less, finer_here = coarser * (1 - (label >> 1) / _STEPS), finer * (label & 1)
        offset = less - finer_here * (1 - less / COARSER)
        made.append(Rectangle(x * pixels, y * pixels, width * pixels, height * pixels, offset))
    return made


def _levels(importance: Map, side: int, steps: int) -> NDArray[np.int64]:
    """Blocks of side x side cells by their most important cell, 0 to steps."""
    rows, columns = importance.shape
    padded = np.pad(importance, ((0, -rows % side), (0, -columns % side)))
    most = padded.reshape(padded.shape[0] // side, side, -1, side).max((1, 3)).astype(np.int64)
    return (most * steps + 254) // 255


def merged_runs(levels: NDArray[np.int64]) -> list[tuple[int, int, int, int, int]]:
    """Runs of equal levels above 0 in every row, joined with the same run of the row before.

    levels: (rows, columns). Rectangles as (x, y, width, height, level), disjoint.
    """
    found: list[tuple[int, int, int, int, int]] = []
    above: dict[tuple[int, int, int], int] = {}
    for y, row in enumerate(levels):
        ends = [*(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
        runs: dict[tuple[int, int, int], int] = {}
        start = 0
        for end in ends:
            level = int(row[start])
            if level:
                run = (start, end - start, level)
                if run in above:
                    at = above[run]
                    x, top, width, height, _ = found[at]
                    found[at] = (x, top, width, height + 1, level)
                else:
                    at = len(found)
                    found.append((start, y, end - start, 1, level))
                runs[run] = at
            start = end
        above = runs
    return found


def coarser_at(q: int) -> float:
    """How much coarser what does not count is quantised at a quality, 0 to 1 of the codec's range of quantisers."""
    return COARSER * min(1.0, (MAX_Q - q) / (MAX_Q - FULL_UNTIL))


class RegionMarker:
    """Puts regions into the side data of 8-bit 4:2:0 frames of one stream, where libavcodec's encoders look for them.

    By libavfilter's addroi: nothing else that PyAV offers writes that side data.

    Args:
        q: quality index, 0..63.
    """

    def __init__(self, q: int) -> None:
        self._coarser = coarser_at(q)
        self._key: tuple[object, ...] = ()
        self._graph: Graph | None = None

    def mark(self, picture: av.VideoFrame, importance: Map | None, told: Sequence[Rectangle] = (),
             finer: float = 0.0, where: Map | None = None) -> av.VideoFrame:
        """The picture with its regions: a new frame of the same samples and times.

        importance: (rows, columns) of its cells, None where all of it counts. told: regions that come before it.
        finer: by how much what counts is quantised finer, everywhere or in the cells that are not 0 in `where`.
        """
        key = (picture.width, picture.height, picture.colorspace, picture.color_range, tuple(told), finer,
               *(None if cells is None else cells.tobytes() for cells in (importance, where)))
        if self._graph is None or key != self._key:
            everywhere = finer if where is None else 0.0
            found = [replace(one, offset=max(-1.0, one.offset - everywhere)) for one in told]
            coarser = self._coarser if importance is not None else 0.0
            if importance is None and where is not None:
                importance = np.full_like(where, 255)
            if importance is not None:
                cells = rectangles(importance, coarser, finer=finer - everywhere, where=where)
                found += [replace(one, offset=one.offset - everywhere) for one in cells]
            whole = Rectangle(0, 0, picture.width, picture.height, coarser - everywhere)
            self._key, self._graph = key, region_graph(picture, [*found, whole])
        self._graph.push(picture)
        marked = self._graph.pull()
        assert isinstance(marked, av.VideoFrame)
        return marked


def region_graph(picture: av.VideoFrame, found: Sequence[Rectangle]) -> Graph:
    """A graph that marks frames like this one. The first region that holds a block counts."""
    graph = Graph()
    graph.threads = 1  # nothing is computed in it; starting threads would cost more than all of it
    last: FilterContext = graph.add_buffer(width=picture.width, height=picture.height, format=picture.format,
                            time_base=picture.time_base)
    for one in found:
        x, y = max(0, one.x), max(0, one.y)
        width, height = min(one.x + one.width, picture.width) - x, min(one.y + one.height, picture.height) - y
        if width < 1 or height < 1:
            continue
        offset = Fraction(one.offset).limit_denominator(1000)
        step = graph.add("addroi", f"x={x}:y={y}:w={width}:h={height}:qoffset={offset.numerator}/{offset.denominator}")
        last.link_to(step)
        last = step
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def told_regions(frame: av.VideoFrame) -> list[Rectangle]:
    """The regions that a frame brings, as FFmpeg's addroi filter marks them."""
    found = []
    carried: Any = frame.side_data  # PyAV's annotation names another type
    for data in carried:
        if data.type is not SideDataType.REGIONS_OF_INTEREST:
            continue
        raw = bytes(data)
        (size,) = struct.unpack_from("I", raw)  # of one region, in this build of libavutil
        for at in range(0, len(raw) - size + 1, size):
            _, top, bottom, left, right, numerator, denominator = struct.unpack_from("I4i2i", raw, at)
            found.append(Rectangle(left, top, right - left, bottom - top, numerator / denominator))
    return found
