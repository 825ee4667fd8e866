"""The pictures that a standard encoder is given: a frame's samples as 8-bit 4:2:0 of the coded size, with regions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from duoview.picture import matrix_of, plane_rows
from duoview.sequence import Colour

from .importance import Importance, Map, cells_of, scaled_map
from .regions import Rectangle, RegionMarker, told_regions
from .settings import InnerSettings

FORMAT = "yuv420p"
_INTERPOLATION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND


@dataclass(frozen=True)
class CodedPicture:
    """Samples to be coded, 8-bit 4:2:0; importance: (rows, columns) of its cells, None where all of it counts.

    told: regions that come before it. seconds: when it is shown.
    """

    picture: av.VideoFrame
    importance: Map | None = None
    told: tuple[Rectangle, ...] = ()
    seconds: Fraction = Fraction(0)


class PictureMaker:
    """Makes pictures of frames of one size, colour and range.

    Args:
        width, height: of the frames; what the encoder cannot take (odd sizes, small ones) is extended by the edge.
        settings: with a scale. colour: the coded colour, as `coded_colour` tells it.
    """

    def __init__(self, settings: InnerSettings, width: int, height: int, colour: Colour) -> None:
        self.colour, self._regions = colour, settings.takes_regions
        self._roi, self._source = settings.roi, (width, height)
        assert settings.scale is not None  # it was chosen by the size
        #: Of the coded picture, without what extends it.
        self.width, self.height = (max(1, round(side * settings.scale)) for side in (width, height))
        least = settings.kind.smallest
        #: With it: what the encoder is given.
        self.size = (max(self.width + self.width % 2, least), max(self.height + self.height % 2, least))
        self._scaler = VideoReformatter()
        self._reformatter, self._marker = VideoReformatter(), RegionMarker(settings.q)
        # x265 takes room for regions when it first takes a frame's memory, and writes there whenever that memory holds
        # a picture with regions again: either all its pictures have some, or none may.
        self._always = settings.encoder == "libx265"

    def make(self, frame: av.VideoFrame, *, pts: int, time_base: Fraction, importance: Map | None,
             seconds: Fraction) -> CodedPicture:
        """A new picture; the frame is not altered.

        pts, time_base: what the encoder is told. seconds: when the frame is shown. importance: (rows, columns) of the
        frame's cells, None where all of it counts; regions that FFmpeg's addroi marked in the frame come before it.
        """
        picture = self._picture(frame)
        picture.pts, picture.time_base = pts, time_base
        if not self._regions:
            return CodedPicture(picture, seconds=seconds)
        told = told_regions(frame)
        if (self.width, self.height) != (frame.width, frame.height):
            share = (self.width / frame.width, self.height / frame.height)
            told = [one.scaled(*share) for one in told]
            importance = None if importance is None else scaled_map(importance, *cells_of(self.width, self.height))
        return CodedPicture(picture, importance, tuple(told), seconds)

    def marked(self, coded: CodedPicture, finer: float = 0.0, where: Map | None = None) -> av.VideoFrame:
        """What the encoder is to be given: the samples with their regions.

        finer: by how much what counts is quantised finer, as a share of the codec's range of quantisers; everywhere, or
        in the cells (rows, columns) that are not 0 in `where`.
        """
        plain = coded.importance is None and not coded.told and not finer
        if not self._regions or (plain and not self._always):
            return coded.picture
        rows, columns = cells_of(self.width, self.height)
        where = None if where is None else where[:rows, :columns]  # without what extends the picture
        return self._marker.mark(coded.picture, coded.importance, coded.told, finer, where)

    def background(self, picture: av.VideoFrame) -> CodedPicture:
        """A picture of the background: all of it counts, but for what was told beforehand."""
        if not self._roi:
            return CodedPicture(picture)
        whole = np.full(cells_of(*self._source), 255, np.uint8)
        importance = Importance(*self._source, rate=1, regions=self._roi).update(whole)
        return CodedPicture(picture, scaled_map(importance, *cells_of(self.width, self.height)))

    def _picture(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A new frame of the coded size; what lies beyond the source repeats its edge."""
        if frame.format.name == FORMAT:
            # A filter may have turned it over by negative line sizes; another layout of the same samples is upright.
            upright = all(plane.line_size > 0 for plane in frame.planes)
            planar = frame if upright else self._reformatter.reformat(
                self._reformatter.reformat(frame, format="nv12"), format=FORMAT)
        else:
            planar = self._reformatter.reformat(
                frame, format=FORMAT, src_colorspace=matrix_of(frame), dst_colorspace=self._matrix(frame),
                dst_color_range=ColorRange(self.colour.range) if self.colour.range else None,
                interpolation=_INTERPOLATION)
        if (planar.width, planar.height) != (self.width, self.height):
            planar = self._scaler.reformat(planar, self.width, self.height, interpolation=Interpolation.AREA)
        picture = av.VideoFrame(*self.size, FORMAT)
        for source, target in zip(planar.planes, picture.planes, strict=True):
            rows = plane_rows(target)[: target.height, : target.width]
            height, width = source.height, source.width
            rows[:height, :width] = plane_rows(source)[:height, :width]
            if width < target.width:
                rows[:height, width:] = rows[:height, width - 1 : width]
            if height < target.height:
                rows[height:] = rows[height - 1]
        picture.color_primaries, picture.color_trc = self.colour.primaries, self.colour.transfer
        picture.colorspace, picture.color_range = self.colour.matrix, self.colour.range
        return picture

    def _matrix(self, frame: av.VideoFrame) -> Colorspace:
        return Colorspace.ITU709 if _without_matrix(frame) else matrix_of(frame)


def coded_colour(frame: av.VideoFrame) -> Colour:
    """The colour in which a frame is coded: its own where it is YUV, else BT.709 of limited range."""
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    if _without_matrix(frame):
        return Colour(primaries, transfer, int(Colorspace.ITU709), int(ColorRange.MPEG))
    full = frame.format.name.startswith("yuvj")
    range_ = int(ColorRange.JPEG) if full else int(frame.color_range)
    return Colour(primaries, transfer, int(frame.colorspace), range_)


def _without_matrix(frame: av.VideoFrame) -> bool:
    """True for RGB and for grey, which libswscale takes as RGB: of full range."""
    return frame.format.is_rgb or len(frame.format.components) < 3
