"""Streams of valid access units with random payloads, for tests of containers: made, written and read back."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av

from duoview.access_unit import KEY_COUNTS, AccessUnit, Section, SectionType, serialize
from duoview.plugins import containers
from duoview.sequence import SequenceHeader

RATE = Fraction(30)
GOP = 10
WIDTH, HEIGHT = 640, 360


@dataclasses.dataclass(frozen=True)
class Sample:
    """One unit with its times in seconds."""

    data: bytes
    pts: Fraction
    dts: Fraction
    duration: Fraction
    key: bool


def units(
    count: int, sizes: Sequence[int] = (20, 60, 200, 900, 5000), rate: Fraction = RATE, seed: int = 1
) -> list[bytes]:
    """`count` units, one in GOP a key unit with a sequence header, payload sizes in turn."""
    source = random.Random(seed)
    sequence = SequenceHeader(WIDTH, HEIGHT, rate, "s", bytes(16))
    return [
        serialize(
            AccessUnit(
                key=n % GOP == 0,
                index=n % GOP,
                key_count=n // GOP % KEY_COUNTS,
                sequence=sequence if n % GOP == 0 else None,
                sections=(Section(SectionType.MACHINE, None, source.randbytes(sizes[n % len(sizes)])),),
            )
        )
        for n in range(count)
    ]


def packet(data: bytes, pts: int, time_base: Fraction, duration: int = 1, dts: int | None = None) -> av.Packet[Any]:
    """A packet as the encoder makes it."""
    made = av.Packet(data)
    made.pts, made.dts, made.duration, made.time_base = pts, pts if dts is None else dts, duration, time_base
    return made


def write(
    file: Any,
    data: Sequence[bytes],
    *,
    pts: Sequence[int] | None = None,
    time_base: Fraction = 1 / RATE,
    rate: Fraction = RATE,
    format: str | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Write units to a container; pts count up by one where none are given."""
    with containers.open(file, "w", format, options) as out:
        out.add_stream(rate=rate, width=WIDTH, height=HEIGHT, time_base=time_base)
        times = range(len(data)) if pts is None else pts
        out.mux(packet(unit, time, time_base) for unit, time in zip(data, times, strict=True))


def samples(source: containers.InputContainer) -> list[Sample]:
    """What is left to read of an input."""
    return [sample(one) for one in source.demux()]


def seconds(one: av.Packet[Any]) -> Fraction:
    """The pts of a packet."""
    assert one.pts is not None
    return one.pts * one.time_base


def sample(one: av.Packet[Any]) -> Sample:
    """A packet in seconds."""
    base = one.time_base
    return Sample(bytes(one), one.pts * base, one.dts * base, one.duration * base, one.is_keyframe)  # type: ignore[operator]


def read(file: Any, format: str | None = None) -> list[Sample]:
    """Everything in a container."""
    with containers.open(file, format=format) as source:
        return samples(source)
