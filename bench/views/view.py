"""What is shown of a stream: which view, from which of its layers, and how; and the stream without what it leaves out.

Written as ``machine``, ``texture:texture=3`` or ``human:start=guided:steps=4:drop=caption``: the view, then arguments
of `duoview.Decoder`, and the sections that go before the bytes are counted.
"""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import av

import duoview
from bench.media import rgb
from bench.pictures import RGB
from duoview import Decoder, Depths, Profile
from duoview.access_unit import SectionType, parse, serialize
from duoview.decoder import VIEWS
from duoview.texture.cutting import TextureCutter

ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "machine": (), "texture": ("texture", "fill", "seed"), "human": ("start", "steps", "seed", "texture")}


@dataclass(frozen=True)
class View:
    """One way to show a stream. text: as written. arguments: of `Decoder`. drop: types of sections to leave out."""

    text: str
    view: str
    arguments: Mapping[str, str | int] = field(default_factory=dict)
    drop: tuple[SectionType, ...] = ()

    @classmethod
    def read(cls, text: str) -> View:
        """Raises ValueError that names the part that cannot be."""
        view, *parts = text.split(":")
        if view not in VIEWS:
            raise ValueError(f"view {text!r}: {view!r}: expected one of {', '.join(VIEWS)}")
        arguments: dict[str, str | int] = {}
        drop: list[SectionType] = []
        for part in parts:
            name, _, value = part.partition("=")
            if name == "drop":
                known = {one.name.lower(): one for one in SectionType}
                for one in value.split("+"):
                    if one not in known:
                        raise ValueError(f"view {text!r}: drop={one}: expected some of {', '.join(known)}, joined by +")
                    drop.append(known[one])
            elif name in ARGUMENTS[view] and value:
                arguments[name] = int(value) if value.isdecimal() else value
            else:
                raise ValueError(f"view {text!r}: {part!r}: expected NAME=VALUE with NAME one of "
                                 f"{', '.join((*ARGUMENTS[view], 'drop'))}")
        return cls(text, view, arguments, tuple(drop))

    @property
    def layers(self) -> tuple[int, tuple[SectionType, ...]]:
        """What the bytes of the view depend on: its depth of texture, and what it drops."""
        return int(self.arguments.get("texture", 0)), self.drop


@dataclass(frozen=True, eq=False)
class Shown:
    """The pictures of a view, the bytes of the access units that it reads, and CPU seconds of a frame, the mean.

    generated: what each picture tells of the share of its detail that was generated, None where it tells nothing.
    """

    pictures: tuple[RGB, ...]
    size: int
    seconds: float
    generated: tuple[float | None, ...] = ()


def cut(data: bytes, view: View) -> list[av.Packet]:
    """The packets of a NUT file, without what a view leaves out."""
    depth, drop = view.layers
    cutter = TextureCutter(Depths(depth))
    packets = []
    with duoview.open(io.BytesIO(data)) as source:
        for packet in source.demux():
            unit = cutter.cut(parse(bytes(packet)))
            unit = dataclasses.replace(unit, sections=tuple(one for one in unit.sections if one.type not in drop))
            fresh = av.Packet(serialize(unit))
            fresh.pts, fresh.dts, fresh.time_base = packet.pts, packet.dts, packet.time_base
            fresh.duration, fresh.is_keyframe = packet.duration, packet.is_keyframe
            packets.append(fresh)
    return packets


def show(data: bytes, view: View, profile: Profile, *, threads: int = 1) -> Shown:
    """Decode a view of a NUT file of access units. Raises what Decoder raises: damage is not concealed here."""
    packets = cut(data, view)
    arguments: dict[str, Any] = dict(view.arguments)
    decoder = Decoder(profile=profile, threads=threads, strict=True, view=view.view, **arguments)
    began = time.process_time()
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    spent = time.process_time() - began
    return Shown(tuple(rgb(frame) for frame in frames), sum(packet.size for packet in packets), spent / len(frames),
                 tuple(getattr(frame.opaque, "generated_share", None) for frame in frames))


def read_all(texts: Sequence[str]) -> tuple[View, ...]:
    """Every view once. Raises ValueError, also where no view is of the machine layer, which all are compared with."""
    views = tuple({text: View.read(text) for text in texts}.values())
    if "machine" not in {view.text for view in views}:
        raise ValueError(f"views {', '.join(texts)}: expected machine among them, which the others are compared with")
    return views
