"""What streams a source has, in a form that outlives its connection.

A PyAV stream may not be touched once its container is closed, while packets wait in queues and rings for long after
that. So a layout keeps what a muxer must know in a template: the header of a NUT stream in memory, which stores codec
parameters as they are.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from duoview.errors import ContainerFormatError


@dataclass(frozen=True)
class StreamInfo:
    """One stream. `index` counts within the layout; `rate` is nominal, in frames or samples a second."""

    index: int
    type: str
    codec: str
    time_base: Fraction
    rate: Fraction | None
    width: int
    height: int


@dataclass(frozen=True)
class StreamLayout:
    """The streams whose packets a source gives; equal when codec parameters are equal."""

    streams: tuple[StreamInfo, ...]
    template: bytes = field(repr=False)

    @property
    def video(self) -> StreamInfo:
        """The video stream, of which a layout has one."""
        return next(stream for stream in self.streams if stream.type == "video")

    def open(self) -> av.container.InputContainer:
        """The template, for `add_stream_from_template`; its streams are in the layout's order. To be closed."""
        return av.open(io.BytesIO(self.template), "r", format="nut")


def layout_of(streams: list[Any]) -> StreamLayout:
    """The layout of open PyAV streams. Raises ContainerFormatError for one that no muxer takes, naming it."""
    infos = []
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="nut", options={"strict": "-2"}) as container:
        for index, stream in enumerate(streams):
            context = stream.codec_context
            rate = stream.average_rate or stream.guessed_rate if stream.type == "video" else context.rate
            infos.append(
                StreamInfo(
                    index,
                    stream.type,
                    context.name,
                    Fraction(stream.time_base),
                    Fraction(rate) if rate else None,
                    context.width if stream.type == "video" else 0,
                    context.height if stream.type == "video" else 0,
                )
            )
            try:
                container.add_stream_from_template(stream, opaque=True)
            except ValueError as error:
                raise ContainerFormatError(
                    f"stream {stream.index} ({stream.type}, {context.name}): cannot be kept as packets: {error}"
                ) from error
        container.start_encoding()
        # A header alone reads back as an empty file: one packet each makes it a stream.
        for copied, info in zip(container.streams, infos, strict=True):
            packet = av.Packet(b"\0")
            packet.stream, packet.time_base = copied, info.time_base
            packet.pts = packet.dts = 0
            packet.is_keyframe = True
            container.mux(packet)
    return StreamLayout(tuple(infos), buffer.getvalue())
