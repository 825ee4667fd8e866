"""What a stream, a user or a detector tells the human view of a decoder, unit by unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import av

from duoview.access_unit import AccessUnit, SectionType
from duoview.captions import Caption
from duoview.captions.told import MODES, Find, FoundCaption, SentCaption
from duoview.human import Hints


class HintReader:
    """Captions and seeds of one stream, and the caption that counts.

    Args:
        caption: ``auto``, what was sent, and where nothing was what ``detector`` finds; ``none``; or a Caption.
    Raises ValueError for another caption.
    """

    def __init__(self, caption: str | Caption = "auto", detector: Find | None = None) -> None:
        if isinstance(caption, str) and caption not in MODES:
            raise ValueError(f"caption={caption!r}: expected one of {', '.join(MODES)}, or a Caption")
        self.caption = caption
        self._sent = SentCaption()
        self._seed: int | None = None
        self._found = FoundCaption(detector) if detector is not None and caption == "auto" else None

    @property
    def sent(self) -> Caption | None:
        """The caption that was sent and holds for the last unit."""
        return self._sent.caption

    def read(self, unit: AccessUnit) -> list[str]:
        """Take over what the next unit tells. What is damaged is left out; returns why."""
        faults = []
        self._sent.take(unit)
        if self._sent.fault:
            faults.append(self._sent.fault)
        if unit.key:
            self._seed = None
        for damage in unit.damaged:
            if damage.type == SectionType.SEED:
                faults.append(f"seed section: {damage.reason}")
        seed = unit.payload(SectionType.SEED)
        if seed is not None:
            if len(seed) == 1 and unit.key:
                self._seed = seed[0]
            else:
                faults.append(f"seed section of {len(seed)} bytes in a {'key' if unit.key else 'P'} unit: expected one "
                              "byte, in a key unit")
        return faults

    @property
    def seed(self) -> int | None:
        """The seed that was sent for the group of the last unit."""
        return self._seed

    @property
    def wanted(self) -> str:
        """What only a denoiser that takes captions can use, in words; empty where nothing was asked for."""
        if isinstance(self.caption, Caption):
            return f"caption '{self.caption}'"
        return "detector, to make captions of" if self._found is not None else ""

    def of(self, sent: Caption | None, seed: int | None, picture: tuple[int, int]) -> Hints:
        """The hints of a picture of this size for which this caption and this seed were sent."""
        return Hints(caption=sent, sent=sent is not None, seed=seed, picture=picture)

    def chosen(self, hints: Hints, frame: Callable[[], av.VideoFrame]) -> Hints:
        """Hints with the caption that counts. frame: makes that of the machine view, for the detector."""
        if self.caption == "none":
            return replace(hints, caption=None, sent=False)
        if isinstance(self.caption, Caption):
            return replace(hints, caption=self.caption, sent=False)
        if hints.caption is None and self._found is not None:
            return replace(hints, caption=self._found.of(frame()))
        return hints
