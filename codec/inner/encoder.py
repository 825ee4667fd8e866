"""The standard encoder of an inner stream: frames of one size in, packets in decode order out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from duoview.errors import BackendUnavailableError
from duoview.kernels import noise
from duoview.picture import matrix_of, plane_rows
from duoview.sequence import Colour

from .importance import Map, cells_of, scaled_map
from .payload import without_messages
from .regions import RegionMarker, told_regions
from .settings import ENCODERS, InnerSettings

_FORMAT = "yuv420p"
_INTERPOLATION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
#: x264's AVX-512 code was seen to give other bytes for the same pictures in 11 of 100 processes; without it, in none.
_REPRODUCIBLE = "AVX2,FMA3,BMI2,LZCNT"
_FAILURES = (av.error.FFmpegError, OSError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True)
class InnerPacket:
    """A packet of the standard codec: its bytes, the ticket of its frame, and that of the frame it is decoded with.

    `order` counts up from packet to packet and never passes the ticket; the first ones lie before the first ticket
    where frames are reordered.
    """

    data: bytes
    key: bool
    ticket: int
    order: int


class InnerEncoder:
    """Encodes frames of one size, colour and range as 8-bit 4:2:0.

    Args:
        width, height: of the frames; what the encoder cannot take (odd sizes, small ones) is extended by the edge.
        colour: the coded colour, as `coded_colour` tells it.
        rate: frames per second, for rate control.

    BackendUnavailableError when the encoder is not there or does not open with these settings.
    """

    def __init__(self, settings: InnerSettings, width: int, height: int, *, rate: Fraction, colour: Colour) -> None:
        self.settings, self.colour = settings, colour
        #: Of the coded picture, without what extends it.
        self.width, self.height = (max(1, round(side * settings.scale)) for side in (width, height))
        least = settings.kind.smallest
        self._coded = (max(self.width + self.width % 2, least), max(self.height + self.height % 2, least))
        self._scaler = VideoReformatter()
        self._reformatter, self._marker = VideoReformatter(), RegionMarker(settings.q)
        self._context = self._open(rate)

    def _open(self, rate: Fraction) -> av.VideoCodecContext:
        settings, name = self.settings, self.settings.encoder
        options = settings.options()
        if name == "libx264" and "avx512" in noise.paths():
            options["x264-params"] = f"asm={_REPRODUCIBLE}"
        if name == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "0")  # else it greets on standard error, and tells what we tell
        try:
            context = av.CodecContext.create(name, "w")
            assert isinstance(context, av.VideoCodecContext)
            context.width, context.height = self._coded
            context.pix_fmt = _FORMAT
            context.framerate, context.time_base = rate, 1 / rate
            context.color_primaries, context.color_trc = self.colour.primaries, self.colour.transfer
            context.colorspace, context.color_range = self.colour.matrix, self.colour.range
            context.thread_count = settings.threads
            # Slices of one frame cost bits; they are for those who cannot wait for a frame.
            context.thread_type = "SLICE" if settings.latency == "zero" else "FRAME"
            context.options = options
            context.open()
        except _FAILURES as error:
            known = ", ".join(other for other, kind in ENCODERS.items() if kind.codec is settings.kind.codec)
            size = "x".join(map(str, self._coded))
            shown = " ".join(f"-{key} {value}" for key, value in options.items())
            raise BackendUnavailableError(
                f"inner encoder {name} cannot be opened here at {size} with {shown}: {error}; "
                f"the encoders of {settings.codec} are {known}") from error
        if context.options:
            unknown = ", ".join(f"{key}={value}" for key, value in context.options.items())
            raise BackendUnavailableError(f"inner encoder {name} of this build does not know {unknown}")
        return context

    def encode(self, frame: av.VideoFrame, ticket: int, *, key: bool, importance: Map | None = None
               ) -> list[InnerPacket]:
        """Encode a frame; the frame is not altered. Tickets count up by one.

        importance: (rows, columns) of the frame's cells, None where all of it counts. Regions that FFmpeg's addroi
        marked in the frame come before it.
        """
        picture = self._picture(frame)
        picture.pts, picture.time_base = ticket, self._context.time_base
        if self.settings.kind.regions:
            told = told_regions(frame)
            if (self.width, self.height) != (frame.width, frame.height):
                share = (self.width / frame.width, self.height / frame.height)
                told = [one.scaled(*share) for one in told]
                importance = None if importance is None else scaled_map(importance, *cells_of(self.width, self.height))
            if told or importance is not None:
                picture = self._marker.mark(picture, importance, told)
        picture.pict_type = PictureType.I if key else PictureType.NONE
        return self._packets(picture)

    def flush(self) -> list[InnerPacket]:
        """The packets that were held back; the encoder has then ended."""
        return self._packets(None)

    def _packets(self, picture: av.VideoFrame | None) -> list[InnerPacket]:
        try:
            packets = self._context.encode(picture)
        except _FAILURES as error:
            raise BackendUnavailableError(f"inner encoder {self.settings.encoder} failed: {error}") from error
        found = []
        for packet in packets:
            assert packet.pts is not None
            data = bytes(packet)
            if self.settings.encoder == "libx264":
                data = without_messages(data)
            order = packet.pts if packet.dts is None else packet.dts
            found.append(InnerPacket(data, packet.is_keyframe, packet.pts, order))
        return found

    def _picture(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A new frame of the coded size; what lies beyond the source repeats its edge."""
        if frame.format.name == _FORMAT:
            # A filter may have turned it over by negative line sizes; another layout of the same samples is upright.
            upright = all(plane.line_size > 0 for plane in frame.planes)
            planar = frame if upright else self._reformatter.reformat(
                self._reformatter.reformat(frame, format="nv12"), format=_FORMAT)
        else:
            planar = self._reformatter.reformat(
                frame, format=_FORMAT, src_colorspace=matrix_of(frame), dst_colorspace=self._matrix(frame),
                dst_color_range=ColorRange(self.colour.range) if self.colour.range else None,
                interpolation=_INTERPOLATION)
        if (planar.width, planar.height) != (self.width, self.height):
            planar = self._scaler.reformat(planar, self.width, self.height, interpolation=Interpolation.AREA)
        picture = av.VideoFrame(*self._coded, _FORMAT)
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
