"""The encoder of an inner stream: frames of one size in, packets in decode order out."""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.frame import PictureType

from duoview.sequence import Colour

from .group import of_one_group
from .groups import GroupEncoder
from .importance import Map
from .pictures import PictureMaker
from .settings import InnerSettings
from .standard import InnerPacket, StandardEncoder


class InnerEncoder:
    """Encodes frames of one size, colour and range as 8-bit 4:2:0.

    Args:
        width, height: of the frames. colour: the coded colour, as `coded_colour` tells it.
        rate: frames per second.

    BackendUnavailableError when the encoder is not there or does not open with these settings.
    """

    def __init__(self, settings: InnerSettings, width: int, height: int, *, rate: Fraction, colour: Colour) -> None:
        self.settings, self.colour = settings.sized(width, height), colour
        settings = self.settings
        self._pictures, self._time_base = PictureMaker(settings, width, height, colour), 1 / rate
        own = of_one_group(settings) if settings.background_seconds else settings
        self._encoder: StandardEncoder | GroupEncoder = StandardEncoder(
            own, self._pictures.size, rate=rate, colour=colour)
        if settings.background_seconds:
            first = [self._encoder]  # it is open by now, so that an error comes before the first frame
            self._encoder = GroupEncoder(
                settings, lambda: first.pop() if first else StandardEncoder(
                    own, self._pictures.size, rate=rate, colour=colour), self._pictures, rate=rate)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the coded picture, without what extends it."""
        return self._pictures.width, self._pictures.height

    def encode(self, frame: av.VideoFrame, ticket: int, *, key: bool, importance: Map | None = None,
               seconds: Fraction | None = None) -> list[InnerPacket]:
        """Encode a frame; the frame is not altered. Tickets count up by one.

        seconds: when it is shown; None for what its ticket makes of the rate.
        importance: (rows, columns) of the frame's cells, None where all of it counts. Regions that FFmpeg's addroi
        marked in the frame come before it.
        """
        coded = self._pictures.make(frame, pts=ticket, time_base=self._time_base, importance=importance,
                                    seconds=ticket * self._time_base if seconds is None else seconds)
        if isinstance(self._encoder, GroupEncoder):
            return self._encoder.encode(coded, key=key)
        return self._encoder.encode(self._pictures.marked(coded), PictureType.I if key else PictureType.NONE)

    def flush(self) -> list[InnerPacket]:
        """The packets that were held back; the encoder has then ended."""
        return self._encoder.flush()

    def abandon(self) -> None:
        """Encode nothing more; what was not taken is lost. The encoder has then ended."""
        if isinstance(self._encoder, GroupEncoder):
            self._encoder.abandon()
