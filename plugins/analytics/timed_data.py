"""Timed data in MPEG-TS and MP4: a stream whose packets are records in JSON, or KLV, beside the pictures or alone.

Each packet is one frame's record, UTF-8 JSON as `Record.to_dict` says, at the frame's own time. MPEG-TS gives such a
stream a PID of private data (stream type 6), MP4 a timed metadata track; other containers take none. What reads them
back is `timed_data_reader`.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer

from duoview.errors import ContainerError, ContainerFormatError, ContainerNotFoundError
from duoview.plugins.containers.failure import FAILURES, translate
from duoview.plugins.errors import FrameError

from .key_length_value import sets_of
from .record import AS_ESCAPE, Record
from .sink import Sink

#: What containers call themselves that take the stream.
FORMATS = ("mpegts", "mp4")
_ENDINGS = {"mpegts": ".ts", "mp4": ".mp4"}
#: libavformat cuts a packet in MPEG-TS that is larger than this, and its second half has no time.
MAX_BYTES = 200_000
#: Every record is in the file at once; in MP4 when the next one comes, as a fragment of its own.
_AT_ONCE = {"mpegts": {"flush_packets": "1"},
            "mp4": {"flush_packets": "1", "movflags": "frag_every_frame+empty_moov+default_base_moof"}}


class TimedDataSink(Sink):
    """Writes the records of frames into a file of their own, or into a container that is being written.

    A file of their own can be read up to the last record, MP4 up to the one before it, when nobody closed it.

    Args:
        target: path of a .ts or .mp4 file, or an open av.container.OutputContainer in which nothing was muxed yet; that
            stays the caller's to mux pictures into and to close.

    Raises ContainerFormatError for a format that cannot hold it, ContainerNotFoundError and ContainerError for a file.
    """

    codec = "bin_data"  # as libavcodec calls it
    words = "timed data"
    formats: tuple[str, ...] = FORMATS

    def __init__(self, target: str | os.PathLike[str] | OutputContainer, **options: Any) -> None:
        super().__init__(**options)
        self._own = not isinstance(target, OutputContainer)
        self._container: OutputContainer | None = target if isinstance(target, OutputContainer) else _open(target)
        self._name = str(getattr(self._container, "name", ""))
        format_name = self._container.format.name
        if format_name not in self.formats:
            if self._own:
                self._container.close()
            raise ContainerFormatError(f"{self._name}: {format_name} holds no {self.words}: expected "
                                       f"{' or '.join(_ENDINGS[one] for one in self.formats)}", name=self._name)
        self._stream: Any = self._container.add_data_stream(self.codec)
        self._stream.time_base = Fraction(1, 90000)
        self._last: Fraction | None = None

    def content(self, record: Record) -> bytes:
        """What goes into the packet of a record."""
        return record.to_json().encode(errors=AS_ESCAPE)

    def write_record(self, record: Record) -> None:
        time = record.time
        if time is None or record.time_base is None:
            raise FrameError("timed data: a frame without pts or time base: expected a time for every packet")
        if self._last is not None and time <= self._last:
            raise FrameError(f"timed data: a frame of {float(time):.3f} s after one of {float(self._last):.3f} s: "
                             "expected times that rise")
        content = self.content(record)
        if len(content) > MAX_BYTES:
            raise FrameError(f"timed data: {len(content)} bytes for the frame of pts {record.pts}: expected at most "
                             f"{MAX_BYTES}; give fewer objects, by a higher confidence")
        if self._container is None:
            raise ContainerError(f"{self._name}: written to after close()", name=self._name)
        packet: av.Packet[Any] = av.Packet(content)
        packet.stream = self._stream
        packet.time_base = Fraction(1, 90000)
        packet.pts = packet.dts = round(time * 90000)
        # MP4 loses its last packet where it has no duration.
        packet.duration = max(1, round(record.duration * record.time_base * 90000))
        packet.is_keyframe = True
        try:
            self._container.mux(packet)
        except FAILURES as error:
            raise translate(error, self._name, "write") from error
        self._last = time

    def close(self) -> None:
        container, self._container = self._container, None
        if container is not None and self._own:
            try:
                container.close()
            except FAILURES as error:
                raise translate(error, self._name, "finish") from error


class KlvSink(TimedDataSink):
    """Writes the records of frames as KLV into MPEG-TS, as `key_length_value` says. Frames need UTC."""

    codec = "klv"
    words = "KLV"
    formats = ("mpegts",)

    def content(self, record: Record) -> bytes:
        return sets_of(record)


def _open(target: str | os.PathLike[str]) -> OutputContainer:
    name = str(target)
    form = {ending: form for form, ending in _ENDINGS.items()}.get(Path(name).suffix.lower())
    if form is None:
        raise ContainerFormatError(f"{name}: expected a name that ends in .ts or .mp4", name=name)
    if not Path(name).parent.is_dir():  # PyAV opens the file when the first packet comes
        raise ContainerNotFoundError(f"{name}: its folder does not exist", name=name)
    try:
        return av.open(name, "w", format=form, container_options=_AT_ONCE[form])
    except FAILURES as error:
        raise translate(error, name, "open") from error
