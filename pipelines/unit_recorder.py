"""Recording access units: the machine layer of a camera in segments, beside the recording of its packets."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

import duoview
from duoview.access_unit import parse_header
from duoview.errors import BitstreamError, ContainerError, LimitError
from duoview.plugins.containers.backgrounds import carried_background, missing_background, with_background
from duoview.plugins.filters.dv_encode import UNKNOWN_RATE
from duoview.plugins.links import Link
from duoview.texture.cutting import texture_bytes

from .live_packet import Capture, LivePacket, detached
from .recorder import Recorder
from .segment_file import NOT_ITS_FAULT, Content, RecordedFile, sync_path
from .segment_index import PART, Segment
from .stream_layout import StreamInfo, StreamLayout

#: All keep what was written up to a crash.
UNIT_FORMATS = ("nut", "ts")


def unit_packet(packet: av.Packet[Any], link: Link, capture: Capture) -> LivePacket:
    """An access unit as what a recorder takes: its stream is that of a link of a graph."""
    base, rate = Fraction(packet.time_base), link.rate or UNKNOWN_RATE
    stream = StreamInfo(0, "video", "duoview", base, rate, link.width, link.height)
    return LivePacket(packet, stream, StreamLayout((stream,), b""), capture)


def content_of_units(path: Path) -> Content:
    """What can be read of a file of access units, to the first that cannot; empty for a file that holds none.

    Raises OSError for one that cannot be opened: that says nothing about what it holds.
    """
    path.open("rb").close()
    content = Content()
    ending = path.name.removesuffix(PART).rpartition(".")[2]
    try:
        with duoview.open(str(path), format="mpegts" if ending == "ts" else ending) as container:
            for packet in container.demux():
                begin = float((packet.pts or 0) * packet.time_base)
                end = begin + float((packet.duration or 0) * packet.time_base)
                content.count(True, packet.size, begin, end)
                content.texture = _with_texture_of(bytes(packet), content.texture)
    except ContainerError as error:
        if error.errno in NOT_ITS_FAULT and not content.packets:
            raise OSError(error.errno, f"cannot look into it: {os.strerror(error.errno)}", str(path)) from error
        return content  # cut off: what came before it counts
    return content


def _with_texture_of(unit: bytes, before: int | None) -> int | None:
    try:
        return None if before is None else before + texture_bytes(parse_header(unit))
    except BitstreamError:
        return None  # a unit that is damaged does not say


class UnitFile:
    """A file of access units that is being written. Times in it begin at 0."""

    def __init__(self, path: Path, format: str, stream: StreamInfo) -> None:
        """Create the file. Raises ContainerError."""
        self.path, self.content = path, Content()
        self._zero: Fraction | None = None
        self._container = duoview.open(str(path), "w", format="mpegts" if format == "ts" else format)
        try:
            self._container.add_stream(
                rate=stream.rate or UNKNOWN_RATE, width=stream.width, height=stream.height, time_base=stream.time_base
            )
        except BaseException:
            self._container.discard()
            path.unlink(missing_ok=True)
            raise

    def write(self, packet: LivePacket) -> None:
        """Add an access unit. Raises ContainerError."""
        source, base = packet.packet, packet.stream.time_base
        assert source.pts is not None and source.dts is not None
        if self._zero is None:
            self._zero = source.dts * base
        shift = round(self._zero / base)
        self._container.mux(detached(source, source.pts - shift, source.dts - shift))
        begin = float((source.pts - shift) * base)
        self.content.count(True, source.size, begin, begin + float((source.duration or 0) * base))
        self.content.texture = _with_texture_of(bytes(source), self.content.texture)

    def close(self, *, sync: bool) -> None:
        """Write the end of the file; `sync`: and see it onto the disk. Raises ContainerError, OSError."""
        self._container.close()
        if sync:
            sync_path(self.path)


class UnitRecorder(Recorder):
    """A Recorder of access units. Each segment can be decoded alone.

    Key units of the inner codec may refer to a background picture that an earlier one carries: the first of a segment
    gets it too.
    """

    def __init__(
        self, folder: str | Path, name: str, *, seconds: float = 600.0, format: str = "nut", sync: bool = True
    ) -> None:
        """As Recorder; format: nut or ts."""
        super().__init__(folder, name, seconds=seconds, format=format, sync=sync)
        self._carrier = b""  # the last unit with a background picture in it

    def _check_format(self, format: str) -> None:
        if format not in UNIT_FORMATS:
            raise LimitError(f"recording access units to {format!r}: expected {' or '.join(UNIT_FORMATS)}")

    def _look(self, path: Path) -> Content:
        return content_of_units(path)

    def _create(self, path: Path, packet: LivePacket) -> RecordedFile:
        return UnitFile(path, self._format, packet.stream)

    def write(self, packet: LivePacket) -> Segment | None:
        data = bytes(packet.packet)
        if packet.is_video_key:
            wanted = missing_background(data)
            if wanted is None:
                self._carrier = data
            elif self.begins_with(packet):
                background = carried_background(self._carrier, wanted)
                if background is not None:
                    source = packet.packet
                    assert source.pts is not None and source.dts is not None
                    whole = detached(source, source.pts, source.dts, with_background(data, background))
                    packet = LivePacket(whole, packet.stream, packet.layout, packet.capture)
        return super().write(packet)
