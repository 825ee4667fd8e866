"""What libavfilter's buffer and abuffer are told of the frames that they will get."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import av
import av.filter
import av.filter.context

from .links import Link, LinkType

_TIME_BASE = Fraction(1, 1000)  # stands in for frames without one


@dataclass(frozen=True)
class BufferSource:
    """All that libavfilter's buffer must be told of an input, and whose change needs a new graph."""

    type: LinkType
    time_base: Fraction
    format: str
    width: int = 0
    height: int = 0
    colorspace: int = 0
    color_range: int = 0
    sample_rate: int = 0
    layout: str = ""

    @classmethod
    def of(cls, frame: Any) -> Self:
        """What the buffer for frames like this one is told."""
        time_base = Fraction(frame.time_base) if frame.time_base else _TIME_BASE
        if isinstance(frame, av.AudioFrame):
            rate, layout = frame.sample_rate, frame.layout.name
            return cls(LinkType.AUDIO, time_base, frame.format.name, sample_rate=rate, layout=layout)
        size = (frame.width, frame.height)
        return cls(LinkType.VIDEO, time_base, frame.format.name, *size, int(frame.colorspace), int(frame.color_range))

    def add(self, graph: av.filter.Graph, link: Link | None) -> av.filter.context.FilterContext:
        """Put the buffer into a graph; `link` knows the rate and the sample aspect."""
        if self.type is LinkType.AUDIO:
            return graph.add("abuffer", time_base=str(self.time_base), sample_rate=str(self.sample_rate),
                             sample_fmt=self.format, channel_layout=self.layout)  # fmt: skip
        arguments = {
            "video_size": f"{self.width}x{self.height}",
            "pix_fmt": self.format,
            "time_base": str(self.time_base),
            "pixel_aspect": str(link.sample_aspect if link is not None else 1),
            "colorspace": str(self.colorspace),
            "range": str(self.color_range),
        }
        if link is not None and link.rate:
            arguments["frame_rate"] = str(link.rate)
        return graph.add("buffer", **arguments)

    def __str__(self) -> str:
        if self.type is LinkType.AUDIO:
            return f"{self.sample_rate} Hz {self.layout} {self.format}"
        return f"{self.width}x{self.height} {self.format}"
