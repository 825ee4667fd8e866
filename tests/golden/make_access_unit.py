"""Writes access_unit.json: access units and the bytes they must serialize to, for ever once the format is frozen.

Run it only when the format changes on purpose: python tests/golden/make_access_unit.py
"""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

from duoview.access_unit import AccessUnit, Section, SectionType, serialize
from duoview.sequence import Colour, MachineCodec, PaletteGeometry, SequenceHeader

SEQUENCE = SequenceHeader(
    width=641,
    height=359,
    rate=Fraction(30000, 1001),
    profile="s",
    profile_hash=hashlib.sha256(b"golden profile").digest()[:16],
    machine_codec=MachineCodec.NEURAL,
    palette=PaletteGeometry(groups=4, depth=6, tile_log2=6),
    colour=Colour(primaries=1, transfer=13, matrix=1, range=1),
    sample_aspect_ratio=Fraction(4, 3),
    pixel_format="yuv420p",
)

PLAIN = SequenceHeader(
    width=640,
    height=360,
    rate=Fraction(10),
    profile="s",
    profile_hash=hashlib.sha256(b"golden profile").digest()[:16],
    machine_codec=MachineCodec.INNER,
    pixel_format="a format of its own",
)

UNITS: dict[str, AccessUnit] = {
    "key, every field and known section": AccessUnit(
        key=True,
        key_count=10,
        utc_us=1_763_700_000_123_456,
        sequence=SEQUENCE,
        sections=(
            Section(SectionType.MACHINE, None, bytes(range(200))),
            Section(SectionType.QUALITY, None, b"\x18"),
            Section(SectionType.PALETTE, 1, b"palette 1"),
            Section(SectionType.TEXTURE, 1 << 16 | 3, b"depth 1, tile 3"),
            Section(SectionType.DEPTH_MAP, None, b"depth map"),
            Section(SectionType.CAPTION, None, "two riders, Fahrräder".encode()),
            Section(SectionType.SEED, None, (7).to_bytes(8, "little")),
            Section(100, None, b"private"),
        ),
    ),
    "key, usual": AccessUnit(
        key=True,
        key_count=9,
        sequence=PLAIN,
        sections=(Section(SectionType.QUALITY, None, b"\x18"), Section(SectionType.MACHINE, None, bytes(range(50)))),
    ),
    "key, usual, inner codec, every field": AccessUnit(
        key=True,
        sequence=SEQUENCE,
        sections=(Section(SectionType.QUALITY, None, b"\x18"), Section(SectionType.INNER, None, b"\x02inner")),
    ),
    "key, no quality": AccessUnit(key=True, sequence=PLAIN, sections=(Section(SectionType.INNER, None, b"inner"),)),
    "key, no sequence header": AccessUnit(
        key=True,
        sections=(Section(SectionType.QUALITY, None, b"\x18"), Section(SectionType.MACHINE, None, b"machine")),
    ),
    "P, machine section alone": AccessUnit(
        key=False, index=1, sections=(Section(SectionType.MACHINE, None, bytes(range(100))),)
    ),
    "P, empty machine section, large index": AccessUnit(
        key=False, index=1999, key_count=15, sections=(Section(SectionType.MACHINE, None, b""),)
    ),
    "P, inner section alone": AccessUnit(
        key=False, index=130, key_count=3, sections=(Section(SectionType.INNER, None, b"inner"),)
    ),
    "P, new quality": AccessUnit(
        key=False,
        index=2,
        sections=(Section(SectionType.QUALITY, None, b"\x20"), Section(SectionType.MACHINE, None, b"machine")),
    ),
    "P, machine section alone, time of capture": AccessUnit(
        key=False, index=5, utc_us=1, sections=(Section(SectionType.MACHINE, None, b"machine"),)
    ),
    "P, no section": AccessUnit(key=False, index=127),
}


def main() -> None:
    """Write the file beside this script."""
    target = Path(__file__).with_name("access_unit.json")
    golden = {name: serialize(unit).hex() for name, unit in UNITS.items()}
    target.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
