"""The pictures of key units alone, as every decoder of the stream has them: what an encoder of texture goes by."""

from __future__ import annotations

from duoview.access_unit import AccessUnit, SectionType
from duoview.errors import BitstreamError

from .payload import read_key
from .player import InnerPlayer, Shown, UnitTimes


class KeyPictures:
    """Decodes key units of one inner stream, given in order, each with a new standard decoder."""

    def __init__(self, *, threads: int = 1) -> None:
        self._player = InnerPlayer(threads=threads)

    def of(self, payload: bytes, background: bytes | None, width: int, height: int) -> Shown:
        """The picture of an inner section, in a sequence of width x height.

        background: payload of the background section in the same unit. Raises BitstreamError where there is none.
        """
        self._player.reset()  # it keeps the last background
        header, packet = read_key(payload, width, height)
        self._player.begin(header, background)
        found = [*self._player.feed(packet, UnitTimes()), *self._player.flush()]
        if len(found) != 1 or found[0].frame is None:
            raise BitstreamError(f"{len(found)} pictures in the packet of a key unit, expected one", offset=0)
        return found[0]

    def of_unit(self, unit: AccessUnit) -> Shown:
        """The picture of a key unit. Raises BitstreamError where it has no sequence header or no inner section."""
        payload = unit.payload(SectionType.INNER)
        if unit.sequence is None or payload is None:
            raise BitstreamError("expected a key unit with a sequence header and an inner section", offset=0)
        return self.of(payload, unit.payload(SectionType.BACKGROUND), unit.sequence.width, unit.sequence.height)
