"""The quality section of an access unit: the quality index it was coded with, and where that varies.

Syntax: docs/bitstream.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from duoview import varint
from duoview.access_unit import AccessUnit, SectionType
from duoview.errors import BitstreamError
from duoview.gain_map import GainMap
from duoview.machine import MAX_Q
from duoview.sequence import MachineCodec, SequenceHeader

#: The quality counts as well: at another one than the encoder's the machine section cannot be read.
_NEEDED = (SectionType.MACHINE, SectionType.INNER, SectionType.QUALITY, SectionType.BACKGROUND)


@dataclass(frozen=True)
class Quality:
    """What a quality section says. q: 0..63, up to the next section. gains: of this unit alone, None for none."""

    q: int
    gains: GainMap | None = None


def check_machine_sections(unit: AccessUnit) -> None:
    """Raise BitstreamError where a section is damaged that the machine view needs."""
    for damage in unit.damaged:
        if damage.type in _NEEDED:
            raise BitstreamError(f"{SectionType(damage.type).name.lower()} section: {damage.reason}", offset=0)


def read_quality(unit: AccessUnit, sequence: SequenceHeader) -> Quality | None:
    """What a unit's quality section says; None where it has none. BitstreamError where it breaks a rule."""
    level = unit.payload(SectionType.QUALITY)
    if level is None:
        if unit.key:
            raise BitstreamError("key access unit without its quality section", offset=0)
        return None
    q, end = varint.read(level, 0)
    if q > MAX_Q:
        raise BitstreamError(f"quality index {q}, at most {MAX_Q} is allowed", offset=0)
    if end == len(level):
        return Quality(q)
    if sequence.machine_codec != MachineCodec.NEURAL:
        raise BitstreamError(f"quality section of {len(level)} bytes: gain maps belong to the neural codec", offset=end)
    try:
        gains = GainMap.read(level[end:], sequence.width, sequence.height)
    except BitstreamError as error:
        raise BitstreamError(f"gain map: {error.message}", offset=end + (error.offset or 0)) from error
    if not unit.payload(SectionType.MACHINE):
        raise BitstreamError("gain map in an access unit without anything that it is for: expected a machine section "
                             "that is not empty", offset=end)
    return Quality(q, gains)
