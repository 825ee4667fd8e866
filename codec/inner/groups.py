"""Groups of pictures that have a background in common.

Most of what fixed cameras see stays, and a key frame codes all of it again every time. Here a picture of the background
is coded once in a while, is shown to nobody, and is what the first picture of every group is predicted from: as from
the background pictures of AVS2, and at what HEVC's SEI messages call dependent random access points (ITU-T H.265,
annex D).
A standard encoder cannot be told to start from a picture that it did not code; so each group has one of its own, which
codes the background first. It has to come out as the same packet as before; where it does not, the group carries it
once more. With more than one thread two groups are encoded at once, and their packets put into order again.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import av
from av.video.frame import PictureType

from .background import ENOUGH, Background, BackgroundMaker, foreground, share_of
from .group import Group, groups_at_once
from .pictures import CodedPicture, PictureMaker
from .settings import InnerSettings
from .standard import InnerPacket, StandardEncoder

#: How long the first group waits for pictures of which the background is made, how many, and the bytes they may take.
_WAIT_SECONDS, _WAIT_PICTURES, _WAIT_BYTES = 2, 256, 128 << 20
#: Pictures that may wait for their encoders; what their frames' times are remembered for is not much longer.
_MOST_WAITING = 512
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
        #: Those that are encoded, the one that gets the pictures last; and how many pictures may wait for them.
        self._groups: deque[Group] = deque()
        self._at_once = groups_at_once(settings)
        self._most = 1
        #: What had come when an encoder failed; it comes with the next call.
        self._rescued: list[InnerPacket] = []
        #: The background's picture, when one was made last, and whether a group has it; what of it was carried last.
        self._picture: av.VideoFrame | None = None
        self._made, self._fresh = Fraction(0), True
        self._carried: Background | None = None

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
            held, self._held, encoder = self._held, [], self._opened()
            found = [packet for index, coded in enumerate(held) for packet in encoder.encode(
                self._pictures.marked(coded), PictureType.NONE if index else PictureType.I)]
            return found + encoder.flush()
        if self._groups and not self._groups[-1].ended:
            self._groups[-1].end()
        return self._taken(groups=0)

    def abandon(self) -> None:
        """Encode nothing more; what was not taken is lost."""
        self._held, self._rescued = [], []
        while self._groups:
            self._groups.popleft().abandon()

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
        if not self._groups or self._groups[-1].ended or key or self._groups[-1].pictures >= self._settings.gop:
            found = self._begin(coded)
            # A P picture: else frames that are shown before the key unit's would come behind it.
            kind, finer = PictureType.P, _FIRST_FINER
            assert self._picture is not None
            where = foreground(self._picture, coded.picture)
        marked = self._pictures.marked(coded, finer, where)
        self._most = max(1, min(_MOST_WAITING, _WAIT_BYTES // sum(plane.buffer_size for plane in marked.planes)))
        self._groups[-1].put(marked, kind)
        return found + self._taken(groups=self._at_once)

    def _begin(self, coded: CodedPicture) -> list[InnerPacket]:
        """End the group before, open the next one's encoder, and give it the background."""
        assert coded.picture.pts is not None
        encoder = self._opened()  # first of all: what the old one still holds would be lost with a failure
        if self._groups and not self._groups[-1].ended:
            self._groups[-1].end()
        found = self._taken(groups=self._at_once - 1)
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
            self._made, self._fresh = coded.seconds, True
        group = Group(encoder, coded.picture.pts, fresh=self._fresh, beside=self._at_once > 1)
        background.pts = group.first - 1  # a ticket that no other picture of this encoder has
        group.start(background)
        self._groups.append(group)
        self._fresh = False
        return found

    def _taken(self, *, groups: int) -> list[InnerPacket]:
        """The packets that are ready, in order; waits while more groups are encoded, or too many pictures wait.

        A group whose encoder fails is left out from there on; what came before is kept for the next call.
        """
        found, self._rescued = self._rescued, []
        while self._groups:
            group = self._groups[0]
            try:
                packets = group.take(wait=len(self._groups) > groups or sum(map(len, self._groups)) > self._most)
            except Exception:
                self._rescued = found
                self._groups.popleft().abandon()
                raise
            if packets is not None:
                found += self._told(group, packets)
            elif group.ended and not len(group):
                self._groups.popleft()
            else:
                break
        return found

    def _told(self, group: Group, packets: list[InnerPacket]) -> list[InnerPacket]:
        """The packets without the background's, the group's first one with what it refers to."""
        found = []
        for packet in packets:
            if packet.ticket == group.first - 1 and group.background is None:
                known = None if group.fresh else self._carried
                same = known is not None and known.packet == packet.data
                group.background = known if same else Background(packet.data, group.first)
            elif packet.ticket == group.first and not packet.key:
                found.append(dataclasses.replace(packet, key=True, background=group.background))
                self._carried = group.background
            else:
                found.append(packet)
        return found
