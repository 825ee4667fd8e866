"""Typed links between filters: what travels on one, and the properties a filter may rely on."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import av
import numpy as np


class LinkType(enum.Enum):
    """What travels on a link."""

    VIDEO = "video frames"
    AUDIO = "audio frames"
    ACCESS_UNITS = "access units"


Item: TypeAlias = "av.VideoFrame | av.AudioFrame | av.Packet[Any]"
ITEM_TYPES: dict[LinkType, type] = {
    LinkType.VIDEO: av.VideoFrame,
    LinkType.AUDIO: av.AudioFrame,
    LinkType.ACCESS_UNITS: av.Packet,
}


@dataclass(frozen=True)
class Link:
    """Properties of a link, known from the first item on it.

    `width` and `height` are in pixels and 0 for audio and while unknown (access units before they are parsed); `format`
    is FFmpeg's name of the pixel or sample format, or None. `rate` (frames per second) is nominal and None when nobody
    told it; times are only ever in `time_base`. `sample_aspect` is width to height of one sample of a picture. Audio
    alone has a `sample_rate` in Hz and a channel `layout`, as FFmpeg names it.
    """

    type: LinkType
    time_base: Fraction | None = None
    rate: Fraction | None = None
    width: int = 0
    height: int = 0
    format: str | None = None
    sample_aspect: Fraction = Fraction(1)
    sample_rate: int = 0
    layout: str | None = None


def link_of(item: Item, before: Link | None = None) -> Link:
    """Describe the link an item travels on; what an item does not tell is taken from the link `before`."""
    rate = before.rate if before is not None else None
    aspect = before.sample_aspect if before is not None else Fraction(1)
    time_base = Fraction(item.time_base) if item.time_base else None
    if isinstance(item, av.AudioFrame):
        sampled = (item.format.name, Fraction(1), item.sample_rate, item.layout.name)
        return Link(LinkType.AUDIO, time_base, None, 0, 0, *sampled)
    if rate is None and time_base and item.duration:
        rate = 1 / (item.duration * time_base)
    if isinstance(item, av.VideoFrame):
        return Link(LinkType.VIDEO, time_base, rate, item.width, item.height, item.format.name, aspect)
    width, height = (before.width, before.height) if before is not None else (0, 0)
    return Link(LinkType.ACCESS_UNITS, time_base, rate, width, height, None, aspect)


def copy_properties(source: av.VideoFrame, target: av.VideoFrame) -> av.VideoFrame:
    """Give the new frame `target` the times, colour fields and opaque of `source`; hand on what this returns.

    The result is `target`, or, where `source` has an opaque object, another frame with target's samples: PyAV forgets
    an object that was set on two frames as soon as one of them is freed, so the reference itself must be carried over,
    which PyAV does only while it converts frames. The picture type is not copied: left on a frame it would dictate the
    next encoder's choice.
    """
    frame = target if source.opaque is None else _carry_opaque(source, target)
    frame.pts = source.pts
    frame.duration = source.duration
    if source.time_base:
        frame.time_base = source.time_base
    frame.colorspace = source.colorspace
    frame.color_range = source.color_range
    frame.color_trc = source.color_trc
    frame.color_primaries = source.color_primaries
    frame.pict_type = 0
    return frame


def _carry_opaque(source: av.VideoFrame, target: av.VideoFrame) -> av.VideoFrame:
    # Over a small frame of another size and format than the target's: a conversion to the same is no new frame.
    small = source.reformat(width=16 if target.width != 16 else 18, height=16, format="gray", interpolation="POINT")
    frame = small.reformat(width=target.width, height=target.height, format=target.format.name, interpolation="POINT")
    for old, new in zip(target.planes, frame.planes, strict=True):
        rows = np.frombuffer(old, np.uint8).reshape(-1, old.line_size)  # type: ignore[call-overload]
        size = min(old.line_size, new.line_size)
        np.frombuffer(new, np.uint8).reshape(-1, new.line_size)[:, :size] = rows[:, :size]  # type: ignore[call-overload]
    return frame
