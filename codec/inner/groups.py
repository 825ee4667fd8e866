"""Groups of pictures that have a background in common.

Most of what fixed cameras see stays, and a key frame codes all of it again every time. Here a picture of the background
is coded once in a while, is shown to nobody, and is what the first picture of every group is predicted from: as from
the background pictures of AVS2, and at what HEVC's SEI messages call dependent random access points (ITU-T H.265,
annex D).
A standard encoder cannot be told to start from a picture that it did not code; so each group has one of its own, which
codes the background first. It has to come out as the same packet as before; where it does not, the group carries it
once more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction

import av
from av.video.frame import PictureType

from .background import ENOUGH, Background, BackgroundMaker, foreground, share_of
from .pictures import CodedPicture, PictureMaker
from .settings import InnerSettings
from .standard import InnerPacket, StandardEncoder

#: Seconds that the first group waits for pictures of which the background is made, and the bytes that they may take.
_WAIT_SECONDS, _WAIT_BYTES = 2.0, 128 << 20
#: Seconds between the pictures that are remembered for the next background.
_SPACING_SECONDS = 2.0


#: By how much the background and the first picture of a group are quantised finer, since the others are predicted from
#: them: shares of the codec's range, 3 and 4.5 quantisers.
_BACKGROUND_FINER, _FIRST_FINER = 0.06, 0.09


class GroupEncoder:
    """Encodes the pictures of one stream, of one size and colour, a group at a time.

    Args:
        opened: makes an encoder for one group. pictures: what made the pictures, and marks their regions.
        rate: pictures per second.
    """

    def __init__(self, settings: InnerSettings, opened: Callable[[], StandardEncoder], pictures: PictureMaker, *,
                 rate: Fraction) -> None:
        self._settings, self._opened, self._pictures = settings, opened, pictures
        self._lifetime = max(1, round(settings.background_seconds * float(rate)))
        wait = 1 if settings.latency == "zero" else round(_WAIT_SECONDS * rate)
        self._wait = max(1, min(wait, settings.gop))
        self._maker = BackgroundMaker(max(1, round(_SPACING_SECONDS * rate)))
        #: Pictures of the first group, until there are enough of them.
        self._held: list[CodedPicture] = []
        self._began = False
        self._encoder: StandardEncoder | None = None
        self._count = 0
        self._picture: av.VideoFrame | None = None
        self._background: Background | None = None
        #: Of the background in the encoder of this group, until its packet comes; and of the group's first picture.
        self._expected: int | None = None
        self._first = 0

    def encode(self, coded: CodedPicture, *, key: bool) -> list[InnerPacket]:
        """The packets that are ready; a picture's ticket is its pts, and they count up by one.

        key: begin a group with this picture, whose length would allow more.
        """
        found: list[InnerPacket] = []
        if not self._began:
            if key and self._held:
                found = self._start()
            elif len(self._held) < self._wait:
                self._held.append(coded)
                self._maker.see(coded.picture)
                size = sum(plane.buffer_size for plane in coded.picture.planes)
                if len(self._held) < self._wait and (len(self._held) + 1) * size <= _WAIT_BYTES:
                    return []
                return self._start()
        self._maker.see(coded.picture)
        return found + self._code(coded, key)

    def flush(self) -> list[InnerPacket]:
        """All that was held back; the next picture would begin a group."""
        found = self._start() if self._held else []
        return found + self._end()

    def _start(self) -> list[InnerPacket]:
        """Code the pictures that waited."""
        held, self._held, self._began = self._held, [], True
        return [packet for coded in held for packet in self._code(coded, False)]

    def _code(self, coded: CodedPicture, key: bool) -> list[InnerPacket]:
        found: list[InnerPacket] = []
        kind, finer, where = PictureType.NONE, 0.0, None
        if self._encoder is None or key or self._count >= self._settings.gop:
            found = self._end() + self._begin(coded.picture)
            # A P picture: else frames that are shown before the key unit's would come behind it.
            kind, finer = PictureType.P, _FIRST_FINER
            assert self._picture is not None
            where = foreground(self._picture, coded.picture)
        assert self._encoder is not None
        self._count += 1
        return found + self._told(self._encoder.encode(self._pictures.marked(coded, finer, where), kind))

    def _begin(self, picture: av.VideoFrame) -> list[InnerPacket]:
        """Open a group's encoder and give it the background."""
        assert picture.pts is not None
        self._encoder, self._count, self._first = self._opened(), 0, picture.pts
        known, background = self._background, self._picture
        if (background is None or known is None or picture.pts - known.ticket >= self._lifetime
                or share_of(background, picture) < ENOUGH):
            fresh = self._maker.picture()
            if share_of(fresh, picture) < ENOUGH:
                maker = BackgroundMaker(1)
                maker.see(picture)
                fresh = maker.picture()
            fresh.time_base = picture.time_base
            background = self._picture = self._pictures.marked(self._pictures.background(fresh), _BACKGROUND_FINER)
            self._background = None
        background.pts = picture.pts - 1
        self._expected = background.pts
        return self._told(self._encoder.encode(background, PictureType.I))

    def _end(self) -> list[InnerPacket]:
        if self._encoder is None:
            return []
        encoder, self._encoder = self._encoder, None
        return self._told(encoder.flush())

    def _told(self, packets: list[InnerPacket]) -> list[InnerPacket]:
        """The packets without the background's, the group's first one with what it refers to."""
        found = []
        for packet in packets:
            if packet.ticket == self._expected:
                self._expected = None
                if self._background is None or self._background.packet != packet.data:
                    self._background = Background(packet.data, self._first)
            elif packet.ticket == self._first and not packet.key:
                found.append(dataclasses.replace(packet, key=True, background=self._background))
            else:
                found.append(packet)
        return found

