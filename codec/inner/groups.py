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

#: How long the first group waits for pictures of which the background is made, how many, and the bytes they may take.
_WAIT_SECONDS, _WAIT_PICTURES, _WAIT_BYTES = 2, 256, 128 << 20
#: Seconds between the pictures that are remembered for the next background.
_SPACING_SECONDS = 2

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
        self._wait = 1 if settings.latency == "zero" else min(settings.gop, round(_WAIT_SECONDS * rate), _WAIT_PICTURES)
        self._maker = BackgroundMaker(max(1, min(settings.gop, round(_SPACING_SECONDS * rate))))
        #: Pictures of the first group, until there are enough of them.
        self._held: list[CodedPicture] = []
        self._began = False
        self._encoder: StandardEncoder | None = None
        self._count = 0
        #: The background's picture, and when one was made last; what of it was carried last.
        self._picture: av.VideoFrame | None = None
        self._made = Fraction(0)
        self._carried: Background | None = None
        #: Ticket of the background in the encoder of this group; its packet, when it came; the group's first ticket.
        self._expected: int | None = None
        self._background: Background | None = None
        self._first = 0

    def encode(self, coded: CodedPicture, *, key: bool) -> list[InnerPacket]:
        """The packets that are ready; a picture's ticket is its pts, and they count up by one.

        key: begin a group with this picture, whose length would allow more.
        """
        found: list[InnerPacket] = []
        if not self._began:
            if not (key and self._held):
                return self._hold(coded)
            found = self._start()
        self._maker.see(coded.picture)
        return found + self._code(coded, key)

    def flush(self) -> list[InnerPacket]:
        """All that was held back; the encoder has then ended."""
        if self._held:  # nothing else would ever refer to their background
            held, self._held, self._encoder = self._held, [], self._opened()
            found = [packet for index, coded in enumerate(held) for packet in self._encoder.encode(
                self._pictures.marked(coded), PictureType.NONE if index else PictureType.I)]
        else:
            found = []
        return found + (self._told(self._encoder.flush()) if self._encoder is not None else [])

    def _hold(self, coded: CodedPicture) -> list[InnerPacket]:
        """Wait for more pictures of the first group, as long as there is time, and room for another one."""
        self._held.append(coded)
        self._maker.see(coded.picture)
        size = sum(plane.buffer_size for plane in coded.picture.planes)
        late = coded.seconds - self._held[0].seconds >= _WAIT_SECONDS
        full = len(self._held) >= self._wait or (len(self._held) + 1) * size > _WAIT_BYTES
        return self._start() if late or full else []

    def _start(self) -> list[InnerPacket]:
        """Code the pictures that waited."""
        held, self._held, self._began = self._held, [], True
        return [packet for coded in held for packet in self._code(coded, False)]

    def _code(self, coded: CodedPicture, key: bool) -> list[InnerPacket]:
        found: list[InnerPacket] = []
        kind, finer, where = PictureType.NONE, 0.0, None
        if self._encoder is None or key or self._count >= self._settings.gop:
            found = self._begin(coded)
            # A P picture: else frames that are shown before the key unit's would come behind it.
            kind, finer = PictureType.P, _FIRST_FINER
            assert self._picture is not None
            where = foreground(self._picture, coded.picture)
        assert self._encoder is not None
        self._count += 1
        return found + self._told(self._encoder.encode(self._pictures.marked(coded, finer, where), kind))

    def _begin(self, coded: CodedPicture) -> list[InnerPacket]:
        """End the group before, open the next one's encoder, and give it the background."""
        assert coded.picture.pts is not None
        encoder = self._opened()  # first of all: what the old one still holds would be lost with a failure
        found = self._told(self._encoder.flush()) if self._encoder is not None else []
        self._encoder, self._count, self._first = encoder, 0, coded.picture.pts
        background = self._picture
        if (background is None or float(coded.seconds - self._made) >= self._settings.background_seconds
                or share_of(background, coded.picture) < ENOUGH):
            fresh = self._maker.picture()
            if share_of(fresh, coded.picture) < ENOUGH:
                alone = BackgroundMaker(1)
                alone.see(coded.picture)
                fresh = alone.picture()
            fresh.time_base = coded.picture.time_base
            background = self._picture = self._pictures.marked(self._pictures.background(fresh), _BACKGROUND_FINER)
            self._made, self._carried = coded.seconds, None
        # The ticket of the last picture of the group before, whose packets have all come by now.
        background.pts = self._expected = self._first - 1
        return found + self._told(encoder.encode(background, PictureType.I))

    def _told(self, packets: list[InnerPacket]) -> list[InnerPacket]:
        """The packets without the background's, the group's first one with what it refers to."""
        found = []
        for packet in packets:
            if packet.ticket == self._expected:
                known = self._carried
                same = known is not None and known.packet == packet.data
                self._background = known if same else Background(packet.data, self._first)
                self._expected = None
            elif packet.ticket == self._first and not packet.key:
                found.append(dataclasses.replace(packet, key=True, background=self._background))
                self._carried = self._background
            else:
                found.append(packet)
        return found
