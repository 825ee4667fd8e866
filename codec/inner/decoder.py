"""The standard decoder of an inner stream: packets in decode order to frames in the order in which they are shown."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

from duoview.errors import BackendUnavailableError, BitstreamError

from .settings import InnerCodec

_DECODERS = {InnerCodec.H264: "h264", InnerCodec.HEVC: "hevc", InnerCodec.AV1: "libdav1d"}
#: A codec's picture may exceed the coded size by this much on each side: encoders take even sizes, some no small ones.
MAX_PADDING = 256
#: What libavcodec raises for data that is none, or for pictures beyond the limit.
_FAILURES = (av.error.FFmpegError, ValueError, MemoryError, OverflowError)


def _open(codec: InnerCodec, max_pixels: int, threads: int) -> av.VideoCodecContext:
    name = _DECODERS[codec]
    try:
        context = av.CodecContext.create(name, "r")
    except (av.error.FFmpegError, ValueError) as error:
        raise BackendUnavailableError(f"decoder {name}: not in this build of PyAV ({error})") from error
    assert isinstance(context, av.VideoCodecContext)
    # H.264 streams need not say how far they reorder; unless it is strict, libavcodec then guesses, and drops frames
    # until the guess is right. dav1d would keep a frame back for each thread.
    own = {InnerCodec.H264: {"strict": "strict"}, InnerCodec.AV1: {"max_frame_delay": "1"}}
    context.options = {"max_pixels": str(max_pixels), **own.get(codec, {})}
    context.thread_count, context.thread_type = threads, "SLICE"
    return context


def first_picture(codec: InnerCodec, packet: bytes, max_pixels: int) -> av.VideoFrame:
    """What a new decoder makes of one packet alone. BitstreamError when that is no picture."""
    context = _open(codec, max_pixels, 1)
    given = av.Packet(packet)
    given.pts = given.dts = 0
    given.time_base = Fraction(1)
    try:
        frames = [*context.decode(given), *context.decode(None)]
    except _FAILURES as error:
        raise BitstreamError(f"{context.name} refuses the packet: {error}", offset=0) from error
    if not frames:
        raise BitstreamError(f"{context.name} finds no picture in the packet", offset=0)
    return frames[0]


class InnerDecoder:
    """Decodes packets that are given with a ticket, a number that comes back with the frame.

    Args:
        width, height: the coded size; larger pictures (beyond MAX_PADDING) are refused before memory is taken for them.
        threads: of slices and tiles; never of frames, whose errors would come late. 0 for all cores.
    """

    def __init__(self, codec: InnerCodec, width: int, height: int, *, threads: int = 0) -> None:
        self.codec, self.width, self.height = codec, width, height
        self._context = _open(codec, (width + MAX_PADDING) * (height + MAX_PADDING), threads)

    @property
    def reorders(self) -> bool:
        """True when the stream says that frames may be shown in another order than their packets came in."""
        return bool(self._context.has_b_frames)

    def decode(self, packet: bytes, ticket: int) -> list[tuple[int, av.VideoFrame]]:
        """The frames that are ready, with the tickets of their packets. Raises BitstreamError."""
        given = av.Packet(packet)
        given.pts = given.dts = ticket
        given.time_base = Fraction(1)
        return self._frames(given)

    def flush(self) -> list[tuple[int, av.VideoFrame]]:
        """The frames that are left; the decoder has then ended."""
        return self._frames(None)

    def _frames(self, packet: av.Packet[Any] | None) -> list[tuple[int, av.VideoFrame]]:
        try:
            frames = self._context.decode(packet)
        except _FAILURES as error:
            raise BitstreamError(f"{self._context.name} refuses the packet: {error}", offset=0) from error
        found = []
        for frame in frames:
            for side, coded in ((frame.width, self.width), (frame.height, self.height)):
                if not coded <= side <= coded + MAX_PADDING:
                    raise BitstreamError(
                        f"picture of {frame.width}x{frame.height} in a unit that announces {self.width}x{self.height}",
                        offset=0)
            if frame.pts is not None:
                found.append((frame.pts, frame))
        return found
