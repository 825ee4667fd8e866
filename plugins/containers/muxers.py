"""One writer per carriage: how an access unit gets into a container. `OutputContainer` checks what goes in."""

from __future__ import annotations

import io
import os
import select
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
from av.container import OutputContainer as LibavOutput

from duoview.errors import ContainerError, ContainerFormatError
from duoview.plugins.containers import records
from duoview.plugins.containers.bundle import CLOCK, Bundler, Piece, Unit
from duoview.plugins.containers.formats import Carriage, Format
from duoview.plugins.containers.packet import MAX_TIME, rescale, unit_packet
from duoview.plugins.containers.records import Record
from duoview.plugins.containers.source import is_pipe, pipe_descriptor
from duoview.plugins.containers.streams import OutputStream

FOURCC = "DUOV"
# Any inter codec whose encoder takes every size and which NUT, MOV and AVI all accept. It is opened and never fed: the
# packets are ours, and the stream's tag says so. (Under an intra-only codec every packet would be marked as key.)
_STAND_IN_CODEC, _STAND_IN_FORMAT = "rpza", "rgb555le"
# avutil refuses pictures of (width + 128) * (height + 128) * 8 >= 2^31 when it opens an encoder.
_MAX_STAND_IN_AREA = (1 << 31) // 8
#: AVI stores one chunk per tick: finer time bases than this would be mostly empty chunks.
_FINEST_AVI_TICK = Fraction(1, 1000)
#: Between two frames libavformat fills AVI with at most 60,000 empty chunks, one a tick.
_LONGEST_AVI_GAP = 60_001
_MAX_TIMESCALE = (1 << 31) - 1
# strict: NUT, MOV and AVI refuse a tag they do not know otherwise. flush_packets: what was muxed is in the file, so a
# crash or a full disk costs no more than the packet in hand.
_LIBAV_OPTIONS = {"strict": "-1", "flush_packets": "1"}


class Muxer(Protocol):
    """Writes units of one stream, in decode order, with times in the stream's time base."""

    def begin(self, stream: OutputStream) -> OutputStream: ...
    def write(self, unit: Unit) -> None: ...
    def add_other(self, template: Any) -> Any: ...
    def write_other(self, packet: av.Packet[Any]) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


def create(format_: Format, target: Any, name: str, options: dict[str, str]) -> Muxer:
    """The muxer of a format, writing to `target`: a name that libavformat opens, or a file object."""
    if format_.carriage is Carriage.RECORDS:
        if options:
            raise ContainerFormatError(
                f"{name}: the dv format has no options, got {', '.join(sorted(options))}", name=name
            )
        return RecordMuxer(target, name)
    kinds: dict[Carriage, type[LibavMuxer]] = {
        Carriage.FOURCC: FourccMuxer,
        Carriage.TIMED_DATA: TimedDataMuxer,
        Carriage.BUNDLED_DATA: BundledDataMuxer,
    }
    return kinds[format_.carriage](format_, target, name, options)


class LibavMuxer:
    """What the libavformat muxers share: other streams, and the end of the file."""

    def __init__(self, format_: Format, target: Any, name: str, options: dict[str, str]) -> None:
        self._format = format_
        self._name = name
        self._target = target
        self._options = {**_LIBAV_OPTIONS, **options}
        # A negative start would be cut off by an edit list in MOV and MP4; moved to 0 it loses nothing.
        self._options.setdefault("avoid_negative_ts", "make_non_negative")
        self._opened: LibavOutput | None = None
        self._stream: Any = None
        self._started = False
        self._longest_gap = 0
        self._last_dts: int | None = None

    @property
    def _container(self) -> LibavOutput:
        """The container, opened late: its options depend on the stream."""
        if self._opened is None:
            self._opened = av.open(self._target, "w", format=self._format.name, options=self._options)
        return self._opened

    def begin(self, stream: OutputStream) -> OutputStream:
        raise NotImplementedError

    def write(self, unit: Unit) -> None:
        raise NotImplementedError

    def add_other(self, template: Any) -> Any:
        """A stream like `template`, whose packets are passed through."""
        return self._container.add_stream_from_template(template)

    def write_other(self, packet: av.Packet[Any]) -> None:
        self._started = True
        self._container.mux_one(packet)

    def finish(self) -> None:
        """Write what is gathered and the end of the file."""
        if self._opened is not None:
            # A header that failed must not be tried twice: libavformat would crash.
            if self._stream is not None and not self._started:
                self._started = True
                self._opened.start_encoding()
            self._opened.close()

    def abandon(self) -> None:
        """Let go without writing anything; libavformat has opened no file before the first packet."""
        if self._opened is not None:
            self._opened.close()

    def _mux(self, packet: av.Packet[Any]) -> None:
        self._started = True
        packet.stream = self._stream
        self._container.mux_one(packet)

    def _use_movie_timescale(self, time_base: Fraction) -> None:
        """Let MOV and MP4 count the start of the stream as finely as its packets (they use milliseconds otherwise)."""
        timescale = time_base.denominator
        while self._format.name == "mov" and timescale < 10000:  # as libavformat does for the track of a video stream
            timescale *= 2
        if timescale <= _MAX_TIMESCALE:
            self._options.setdefault("movie_timescale", str(timescale))
        self._longest_gap = _MAX_TIMESCALE // (timescale // time_base.denominator * time_base.numerator)

    def _refuse_long_gap(self, dts: int) -> None:
        """MOV and MP4 store the distance of frames in 32 bits, and cut a longer one without a word; AVI fills it up."""
        if self._last_dts is not None and dts - self._last_dts > self._longest_gap:
            raise ContainerFormatError(
                f"{self._name}: dts {dts} follows {self._last_dts}, but {self._format.name} stores at most "
                f"{self._longest_gap} ticks between frames; use a coarser time base, or NUT",
                name=self._name,
            )
        self._last_dts = dts

    def _refuse_reordering(self, unit: Unit) -> None:
        if unit.pts != unit.dts:
            raise ContainerFormatError(
                f"{self._name}: pts {unit.pts} differs from dts {unit.dts}, which {self._format.name} cannot store for "
                "this stream; write NUT, MOV, MPEG-TS or dv",
                name=self._name,
            )


class FourccMuxer(LibavMuxer):
    """A video stream with the FourCC `DUOV`, in NUT, MOV and AVI: probers see its size, rate and key frames."""

    def begin(self, stream: OutputStream) -> OutputStream:
        if (stream.width + 128) * (stream.height + 128) >= _MAX_STAND_IN_AREA:
            raise ContainerFormatError(
                f"{self._name}: {self._format.name} cannot announce pictures of {stream.width}x{stream.height}; "
                "write MP4, MPEG-TS or dv",
                name=self._name,
            )
        self._time_base = stream.time_base
        if self._format.name == "mov":
            self._use_movie_timescale(stream.time_base)
        elif self._format.name == "avi":
            self._longest_gap = _LONGEST_AVI_GAP
            if stream.time_base < _FINEST_AVI_TICK:
                self._time_base = 1 / stream.rate
        self._wanted = stream.time_base
        self._empty = self._format.name == "avi"
        out: Any = self._container.add_stream(_STAND_IN_CODEC, rate=stream.rate)
        out.width, out.height, out.pix_fmt = stream.width, stream.height, _STAND_IN_FORMAT
        out.time_base = out.codec_context.time_base = self._time_base
        out.codec_context.codec_tag = FOURCC
        self._stream = out
        return stream

    def write(self, unit: Unit) -> None:
        pts, dts, duration = unit.pts, unit.dts, unit.duration
        if self._format.name == "mov":
            self._refuse_long_gap(unit.dts)
        elif self._format.name == "avi":
            self._refuse_reordering(unit)
            pts = dts = self._avi_tick(unit.pts)
            duration = 1
            late = self._empty and dts > 0
            if late:
                self._last_dts = 0
            self._refuse_long_gap(dts)
            if late:
                # AVI has no start time: a frame that was left out holds the place of what comes before the first.
                self._mux(unit_packet(b"", pts=0, dts=0, duration=1, time_base=self._time_base, key=False))
            self._empty = False
        self._mux(unit_packet(unit.data, pts=pts, dts=dts, duration=duration, time_base=self._time_base, key=unit.key))

    def _avi_tick(self, pts: int) -> int:
        tick = pts * self._wanted / self._time_base
        if tick.denominator != 1:
            raise ContainerFormatError(
                f"{self._name}: AVI has a constant frame rate, and {float(pts * self._wanted):.6f} s is no multiple of "
                f"{self._time_base} s; write NUT, or give the stream that rate",
                name=self._name,
            )
        return tick.numerator


class TimedDataMuxer(LibavMuxer):
    """A `bin_data` stream, one unit a packet, in MP4."""

    def begin(self, stream: OutputStream) -> OutputStream:
        self._time_base = stream.time_base
        self._use_movie_timescale(stream.time_base)
        self._stream = self._container.add_data_stream("bin_data")
        self._stream.time_base = stream.time_base
        return stream

    def write(self, unit: Unit) -> None:
        self._refuse_reordering(unit)
        self._refuse_long_gap(unit.dts)
        self._mux(
            unit_packet(
                unit.data, pts=unit.pts, dts=unit.dts, duration=unit.duration, time_base=self._time_base, key=unit.key
            )
        )


class BundledDataMuxer(LibavMuxer):
    """A `bin_data` stream, several units a packet and large units in pieces, in MPEG-TS (see `bundle`).

    Own options: `bundle_seconds` (0.5), the longest time for which a unit waits for others, 0 for none;
    `bundle_units` (64), the most units in a packet.
    """

    def __init__(self, format_: Format, target: Any, name: str, options: dict[str, str]) -> None:
        left = dict(options)
        self._seconds = _number(left.pop("bundle_seconds", "0.5"), "bundle_seconds", 0, 10, name)
        self._units = int(_number(left.pop("bundle_units", "64"), "bundle_units", 1, 64, name))
        super().__init__(format_, target, name, left)
        # The tables that say what is in the stream come every 0.1 s by default: more bytes than a still scene has.
        self._options.setdefault("pat_period", "0.5")
        self._options.setdefault("sdt_period", "2")

    def begin(self, stream: OutputStream) -> OutputStream:
        self._bundler = Bundler(stream.time_base, seconds=self._seconds, units=self._units)
        self._stream = self._container.add_data_stream("bin_data")
        self._stream.time_base = CLOCK
        return stream

    def write(self, unit: Unit) -> None:
        self._write_pieces(self._bundler.add(unit))

    def finish(self) -> None:
        if self._stream is not None:
            self._write_pieces(self._bundler.flush())
        super().finish()

    def _write_pieces(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self._mux(unit_packet(piece.data, pts=piece.pts, dts=piece.dts, duration=0, time_base=CLOCK, key=piece.key))


class RecordMuxer:
    """Raw `.dv` records, written and flushed one by one. A file is opened with the first, as libavformat does it."""

    def __init__(self, target: Any, name: str) -> None:
        self._name = name
        self._own: BinaryIO | None = None
        self._path: Path | None = None
        self._head = b""  # of the file, until it is written
        if isinstance(target, str) and is_pipe(target):
            self._own = os.fdopen(os.dup(pipe_descriptor(target, default=1)), "wb", buffering=0)
        elif isinstance(target, str):
            self._path = Path(target)
        self._file: Any = self._own or target

    def begin(self, stream: OutputStream) -> OutputStream:
        self._head = records.file_head(stream.time_base)
        return stream

    def write(self, unit: Unit) -> None:
        record = Record(unit.data, unit.pts, unit.dts, unit.duration, unit.key)
        self._put(records.record_head(record) + unit.data)

    def add_other(self, template: Any) -> Any:
        raise ContainerFormatError(
            f"{self._name}: a raw .dv file holds one duoview stream and nothing beside it", name=self._name
        )

    def write_other(self, packet: av.Packet[Any]) -> None:
        raise ContainerFormatError(f"{self._name}: packet of another stream in a raw .dv file", name=self._name)

    def finish(self) -> None:
        try:
            if self._head:
                self._put(b"")
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go without writing anything."""
        if self._own is not None:
            self._own.close()

    def _put(self, data: bytes) -> None:
        if self._path is not None:
            path, self._path = self._path, None
            self._file = self._own = path.open("wb", buffering=0)  # closed by abandon()
        head, self._head = self._head, b""
        view = memoryview(head + data)
        while view:
            written = self._file.write(view)
            if written is None and isinstance(self._file, io.RawIOBase):
                select.select([], [self._file], [])  # set not to wait, and full: nothing was written
                continue
            view = view[written if isinstance(written, int) else len(view) :]
        flush = getattr(self._file, "flush", None)
        if flush is not None and not isinstance(self._file, io.BytesIO):
            flush()


def _number(text: str, option: str, least: int, most: int, name: str) -> Fraction:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not least <= value <= most:
        raise ContainerError(f"{name}: option {option} is {text!r}, expected {least} to {most}", name=name)
    return value


def exact_unit(packet: av.Packet[Any], stream: OutputStream, *, key: bool, name: str) -> Unit:
    """The unit of a packet with its times in the stream's time base; ContainerError when they are no whole numbers."""
    base = Fraction(packet.time_base or stream.time_base)
    if packet.pts is None:
        raise ContainerError(f"{name}: packet without pts: every access unit needs one", name=name)
    times = []
    for value in (packet.pts, packet.pts if packet.dts is None else packet.dts):
        tick = value * base / stream.time_base
        if tick.denominator != 1:
            raise ContainerError(
                f"{name}: {value} ticks of {base} s are no whole number of the stream's {stream.time_base} s; "
                "open the stream with a time base that holds both",
                name=name,
            )
        times.append(tick.numerator)
    duration = rescale(packet.duration or 0, base, stream.time_base)
    if max(map(abs, (*times, duration))) > MAX_TIME:
        raise ContainerError(
            f"{name}: pts {times[0]}, dts {times[1]} or duration {duration} is beyond {MAX_TIME} ticks of the stream's "
            f"{stream.time_base} s; open the stream with a coarser time base",
            name=name,
        )
    return Unit(bytes(packet), times[0], times[1], duration if duration > 0 else stream.frame_duration, key)
