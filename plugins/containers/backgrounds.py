"""The background pictures that key units refer to: found again after a seek, and put into the unit that needs one.

What a seek lands on can then be decoded, and be the first unit of another file, with nothing from before it.
"""

from __future__ import annotations

import dataclasses

from duoview.access_unit import AccessUnit, Section, SectionType, parse, serialize
from duoview.errors import BitstreamError
from duoview.inner.payload import BackgroundReference, read_key, write_key
from duoview.kernels import crc32c


def missing_background(data: bytes) -> BackgroundReference | None:
    """What the key unit in `data` refers to and does not carry; None for every other unit, and for damaged ones."""
    unit = _key_unit(data)
    if unit is None or unit.payload(SectionType.BACKGROUND) is not None:
        return None
    return _reference(unit)


def carried_background(data: bytes, wanted: BackgroundReference) -> bytes | None:
    """The packet of that background picture, where the unit in `data` carries it."""
    unit = _key_unit(data)
    carried = unit.payload(SectionType.BACKGROUND) if unit is not None else None
    return carried if carried is not None and crc32c(carried) == wanted.crc else None


def with_background(data: bytes, background: bytes) -> bytes:
    """The key unit in `data`, which refers to that background picture, as one that carries it."""
    unit = parse(data)
    sequence, payload = unit.sequence, unit.payload(SectionType.INNER)
    assert sequence is not None and payload is not None
    header, packet = read_key(payload, sequence.width, sequence.height)
    header = dataclasses.replace(header, background=BackgroundReference(crc32c(background), 0))
    payload = write_key(header, packet, sequence.width, sequence.height)
    kept = [section for section in unit.sections if section.type != SectionType.INNER]
    sections = (*kept, Section(SectionType.BACKGROUND, None, background), Section(SectionType.INNER, None, payload))
    return serialize(dataclasses.replace(unit, sections=sections))


def _key_unit(data: bytes) -> AccessUnit | None:
    try:
        unit = parse(data)
    except BitstreamError:
        return None
    return unit if unit.key and unit.sequence is not None else None


def _reference(unit: AccessUnit) -> BackgroundReference | None:
    payload = unit.payload(SectionType.INNER)
    if payload is None or unit.sequence is None:
        return None
    try:
        return read_key(payload, unit.sequence.width, unit.sequence.height)[0].background
    except BitstreamError:
        return None
