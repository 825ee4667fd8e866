"""What a decoder counts while it goes on: units that came whole, and what was damaged and done without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class DecoderStats:
    """Counts of access units: decoded, concealed, skipped while waiting for a key frame, and unreadable ones.

    ``texture_refused`` counts what a view of texture did without: depths of tiles that are damaged, or need what is
    missing; ``hints_refused`` captions and seeds that a human view did without.
    """

    decoded: int = 0
    concealed: int = 0
    skipped: int = 0
    damaged: int = 0
    last_damage: str = ""
    texture_refused: int = 0
    last_texture_fault: str = ""
    hints_refused: int = 0
    last_hint_fault: str = ""

    def count_damage(self, damage: str) -> None:
        """A unit that could not be decoded."""
        self.damaged += 1
        self.last_damage = damage

    def count_texture(self, faults: Sequence[str]) -> None:
        """Faults in the texture of a unit, none or more."""
        self.texture_refused += len(faults)
        self.last_texture_fault = [self.last_texture_fault, *faults][-1]

    def count_hints(self, faults: Sequence[str]) -> None:
        """Faults in what a unit tells a human view, none or more."""
        self.hints_refused += len(faults)
        self.last_hint_fault = [self.last_hint_fault, *faults][-1]
