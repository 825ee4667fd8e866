"""`InputContainer`: access units, and what travels beside them, out of a file, pipe, URL or file object."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any, Protocol, Self

import av

from duoview.errors import ContainerError, ContainerFormatError
from duoview.inner.payload import BackgroundReference
from duoview.plugins.containers import formats, records
from duoview.plugins.containers.backgrounds import carried_background, missing_background, with_background
from duoview.plugins.containers.demuxer import Demuxer
from duoview.plugins.containers.failure import FAILURES, translate
from duoview.plugins.containers.packet import header_of, unit_packet, with_payload
from duoview.plugins.containers.records import RecordReader
from duoview.plugins.containers.source import Source
from duoview.plugins.containers.streams import InputStream

#: By how much the time of a unit may be off, in milliseconds, and how many are tried.
_SLACK_MS, _TRIES = 3, 3


class _Reader(Protocol):
    """What reads one kind of container."""

    format_name: str
    stream: InputStream
    other_streams: tuple[Any, ...]

    @property
    def damaged(self) -> int: ...
    def next_packet(self) -> av.Packet[Any] | None: ...
    def seek(self, target: int) -> int | None: ...
    def close(self) -> None: ...


class InputContainer:
    """A container opened for reading; a context manager, as PyAV's.

    `stream` describes the duoview stream, `other_streams` are PyAV's streams of everything beside it. Errors of opening
    and reading are ContainerErrors that name the file; damage in the middle of the input stops nothing and is counted
    in `damaged` (packets that could not be read whole; bytes that belong to no record in a raw .dv file).
    """

    def __init__(self, file: Any, format: str | None = None, options: dict[str, str] | None = None) -> None:
        format = formats.input_name(format)
        source = Source(file)
        self.name = source.name
        self._source = source
        self._reader: _Reader
        self._closed = False
        #: What comes next, after a seek; and the background picture that was looked for last.
        self._landed: av.Packet[Any] | None = None
        self._background: tuple[int, bytes] | None = None
        try:
            if format == "dv" or (format is None and source.head == records.MAGIC):
                if options:
                    raise ContainerFormatError(
                        f"{self.name}: the dv format has no options, got {', '.join(sorted(options))}", name=self.name
                    )
                self._reader = _RecordInput(source)
            else:
                self._reader = Demuxer(source, format, options or {})
        except BaseException as error:
            source.close()
            if isinstance(error, FAILURES) and not isinstance(error, ContainerError):
                raise translate(error, self.name, "read") from error
            raise
        self.format_name = self._reader.format_name
        self.stream = self._reader.stream
        self.other_streams = self._reader.other_streams

    @property
    def damaged(self) -> int:
        """How much could not be read so far."""
        return self._reader.damaged

    def demux(self, *others: Any) -> Iterator[av.Packet[Any]]:
        """Packets in the order of the container: one per access unit, and those of the `others` among `other_streams`.

        A packet of an access unit has no `.stream`; its bytes are the unit, its key flag is the unit's own. Iteration
        may be left, and taken up again by another call, after a seek too.
        """
        wanted = {stream.index for stream in others}
        unknown = wanted - {stream.index for stream in self.other_streams}
        if unknown:
            known = ", ".join(str(stream.index) for stream in self.other_streams) or "none"
            raise ContainerError(f"{self.name}: no other stream {sorted(unknown)}; there are: {known}", name=self.name)
        while True:
            if self._closed:
                raise ContainerError(f"{self.name}: the container is closed", name=self.name)
            packet, self._landed = self._landed or self._reader.next_packet(), None
            if packet is None:
                return
            if packet.stream is None or packet.stream.index in wanted:
                yield packet

    def seek(self, seconds: float | Fraction | None = None, *, offset: int | None = None) -> int | None:
        """Go to the last key unit at or before a time: `seconds`, or `offset` in ticks of `stream.time_base`.

        Before the first key unit means the first, after the end the last. Returns the pts of the key unit that the next
        packet of `demux` holds, None when the input has none. Where that unit refers to a background picture of an
        earlier one, the packet carries it. ValueError when `seconds` is no finite number.
        """
        if (seconds is None) == (offset is None):
            raise TypeError("seek takes either seconds or offset=")
        if seconds is not None and not math.isfinite(seconds):
            raise ValueError(f"{self.name}: cannot seek to {seconds} s, expected a finite number of seconds")
        if offset is None:
            offset = (Fraction(seconds or 0) / self.stream.time_base).__floor__()
        self._landed = None
        found = self._reader.seek(offset)
        if found is None:
            return None
        packet = self._reader.next_packet()
        self._landed = packet and self._self_contained(packet, found, offset)
        return found

    def _self_contained(self, packet: av.Packet[Any], pts: int, target: int) -> av.Packet[Any]:
        """The packet of a key unit, with the background picture that it needs; as it is where that is not there.

        target: what the seek that gave it asked for. Behind an edit list another unit may have the same pts.
        """
        data = bytes(packet)
        wanted = missing_background(data)
        if wanted is None:
            return packet
        if self._background is None or self._background[0] != wanted.crc:
            carried = self._find_background(pts, wanted)
            self._reader.seek(target)
            self._reader.next_packet()
            if carried is None:
                return packet
            self._background = wanted.crc, carried
        whole = with_payload(packet, with_background(data, self._background[1]))
        whole.is_keyframe = True
        return whole

    def _find_background(self, pts: int, wanted: BackgroundReference) -> bytes | None:
        """The background picture of a key unit, from the unit that carries it."""
        # Ages are rounded up to milliseconds, and some containers round times: it is about the last one before this.
        target = pts + math.ceil(Fraction(_SLACK_MS - wanted.age, 1000) / self.stream.time_base)
        for _ in range(_TRIES):
            landed = self._reader.seek(target)
            unit = self._reader.next_packet() if landed is not None else None
            if landed is None or unit is None:
                return None
            carried = carried_background(bytes(unit), wanted)
            if carried is not None:
                return carried
            target = landed - 1
        return None

    def close(self) -> None:
        """Close the input; a file object given by the caller stays open. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._reader.close()
            self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<duoview.InputContainer {self.name!r} {self.format_name}>"


class _RecordInput:
    """A raw `.dv` input behind the interface of the others."""

    format_name = "dv"
    other_streams: tuple[Any, ...] = ()

    def __init__(self, source: Source) -> None:
        self._name = source.name
        self._seekable = source.seekable
        self._records = RecordReader(source.binary(), source.name)
        self._next = self._records.read()
        if self._next is None:
            raise ContainerFormatError(f"{source.name}: the raw duoview file holds no access unit", name=source.name)
        header = header_of(self._next.data)
        sequence = header.sequence if header else None
        duration = self._records.end() - self._next.pts if source.seekable else None
        rate = sequence.rate if sequence and sequence.rate else None
        self.stream = InputStream(self._records.time_base, rate, self._next.pts, duration, sequence, 0)

    @property
    def damaged(self) -> int:
        return self._records.skipped_bytes

    def next_packet(self) -> av.Packet[Any] | None:
        try:
            record, self._next = self._next or self._records.read(), None
        except (OSError, ValueError) as error:
            raise translate(error, self._name, "read") from error
        if record is None:
            return None
        header = header_of(record.data)
        return unit_packet(
            record.data,
            pts=record.pts,
            dts=record.dts,
            duration=record.duration,
            time_base=self.stream.time_base,
            key=header is not None and header.key,
        )

    def seek(self, target: int) -> int | None:
        if not self._seekable:
            raise ContainerError(f"{self._name}: cannot seek in a pipe", name=self._name)
        self._next = None
        try:
            return self._records.seek_key(target)
        except (OSError, ValueError) as error:
            raise translate(error, self._name, "seek") from error

    def close(self) -> None:
        """Nothing to do: the source is closed by its owner."""
