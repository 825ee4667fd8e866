"""One run of a standard encoder of libavcodec: pictures of one size in, packets in decode order out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.frame import PictureType

from duoview.errors import BackendUnavailableError
from duoview.kernels import noise
from duoview.sequence import Colour

from .background import Background
from .payload import without_messages
from .pictures import FORMAT
from .priority import usual_priority
from .settings import ENCODERS, InnerSettings
from .short_streams import drain

#: x264's AVX-512 code was seen to give other bytes for the same pictures in 11 of 100 processes; without it, in none.
_REPRODUCIBLE = "AVX2,FMA3,BMI2,LZCNT"
_FAILURES = (av.error.FFmpegError, OSError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True)
class InnerPacket:
    """A packet of the standard codec: its bytes, the ticket of its frame, and that of the frame it is decoded with.

    `order` counts up from packet to packet and never passes the ticket; the first ones lie before the first ticket
    where frames are reordered. `background`: what the packet of a key unit refers to, None where it needs nothing else.
    """

    data: bytes
    key: bool
    ticket: int
    order: int
    background: Background | None = None


class StandardEncoder:
    """An open encoder.

    Args:
        size: width and height of the pictures. rate: frames per second, for rate control.

    BackendUnavailableError when the encoder is not there or does not open with these settings.
    """

    def __init__(self, settings: InnerSettings, size: tuple[int, int], *, rate: Fraction, colour: Colour) -> None:
        self._name = name = settings.encoder
        options = settings.options()
        if name == "libx264" and "avx512" in noise.paths():
            options["x264-params"] = f"asm={_REPRODUCIBLE}"
        if name == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "0")  # else it greets on standard error, and tells what we tell
        try:
            context = av.CodecContext.create(name, "w")
            assert isinstance(context, av.VideoCodecContext)
            context.width, context.height = size
            context.pix_fmt = FORMAT
            context.framerate, context.time_base = rate, 1 / rate
            context.color_primaries, context.color_trc = colour.primaries, colour.transfer
            context.colorspace, context.color_range = colour.matrix, colour.range
            context.thread_count = settings.threads
            # Slices of one frame cost bits; they are for those who cannot wait for a frame.
            context.thread_type = "SLICE" if settings.latency == "zero" else "FRAME"
            context.options = options
            with usual_priority():
                context.open()
        except _FAILURES as error:
            known = ", ".join(other for other, kind in ENCODERS.items() if kind.codec is settings.kind.codec)
            shown = " ".join(f"-{key} {value}" for key, value in options.items())
            raise BackendUnavailableError(
                f"inner encoder {name} cannot be opened here at {size[0]}x{size[1]} with {shown}: {error}; "
                f"the encoders of {settings.codec} are {known}") from error
        if context.options:
            unknown = ", ".join(f"{key}={value}" for key, value in context.options.items())
            raise BackendUnavailableError(f"inner encoder {name} of this build does not know {unknown}")
        self._context, self._pictures = context, 0

    def encode(self, picture: av.VideoFrame, kind: PictureType = PictureType.NONE) -> list[InnerPacket]:
        """The packets that are ready; a picture's ticket is its pts. kind: the type it has to have, if any."""
        picture.pict_type = kind
        self._pictures += 1
        return self._packets(picture)

    def flush(self) -> list[InnerPacket]:
        """The packets that were held back; the encoder has then ended."""
        return self._packets(None)

    def _packets(self, picture: av.VideoFrame | None) -> list[InnerPacket]:
        try:
            packets = (drain(self._context, self._name, self._pictures) if picture is None
                       else self._context.encode(picture))
        except _FAILURES as error:
            raise BackendUnavailableError(f"inner encoder {self._name} failed: {error}") from error
        found = []
        for packet in packets:
            assert packet.pts is not None
            data = bytes(packet)
            if self._name == "libx264":
                data = without_messages(data)
            order = packet.pts if packet.dts is None else packet.dts
            found.append(InnerPacket(data, packet.is_keyframe, packet.pts, order))
        return found
