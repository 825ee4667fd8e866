"""Access units out of a container that libavformat reads.

The stream is found by what is in its packets, since PyAV shows neither FourCC nor extradata of an unknown codec. Key
flags come from the access units' own headers (MP4 and MPEG-TS lose the container's). A packet that cannot be read is
counted and stepped over.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer as LibavInput

from duoview.access_unit import MAX_UNIT_BYTES, UnitHeader
from duoview.errors import BitstreamError, ContainerError, ContainerFormatError
from duoview.plugins.containers import bundle
from duoview.plugins.containers.bundle import Unbundler
from duoview.plugins.containers.failure import FAILURES, translate
from duoview.plugins.containers.packet import MAX_TIME, header_of, rescale, unit_packet, with_payload
from duoview.plugins.containers.salvage import whole_units
from duoview.plugins.containers.source import Source
from duoview.plugins.containers.streams import InputStream
from duoview.sequence import SequenceHeader
from duoview.unit_origin import is_discarded

#: How many packets of each stream are looked at before a container is called foreign, how many units are read for a
#: sequence header, and how many bytes and packets in all: they are kept meanwhile, and the smallest takes 1 kB.
_SEARCH_PACKETS = 256
_SEARCH_UNITS = 4096
_SEARCH_BYTES = 2 * MAX_UNIT_BYTES
_SEARCH_LENGTH = 1 << 16
#: In so many packets of a stream that are no unit, units are looked for: 20 ms for one of 64 KiB.
_SEARCHED_PACKETS = 16
#: Read errors in a row, without a packet between them, after which the rest of the input is given up.
_MAX_FAILURES = 1000
#: Without this, opening a live stream waits for seconds of it: libavformat looks for a codec it will never know.
_LIVE_OPTIONS = {"probesize": "2048", "analyzeduration": "1"}
_MILLISECOND = Fraction(1, 1000)
_AV_TIME_BASE = Fraction(1, 1_000_000)


class Demuxer:
    """Reads one duoview stream and, when asked, the streams beside it."""

    def __init__(self, source: Source, format_: str | None, options: dict[str, str]) -> None:
        self.name = source.name
        self.damaged = 0
        live = source.is_url or not source.seekable
        try:
            self._container: LibavInput = av.open(
                source.target,
                "r",
                format=format_,
                options={**(_LIVE_OPTIONS if live else {}), **options},
                metadata_errors="replace",  # damaged metadata is no reason to refuse the rest
            )
        except FAILURES as error:
            raise translate(error, self.name, "read") from error
        self.format_name: str = self._container.format.name
        self._seekable = source.seekable
        self._raw: Iterator[av.Packet[Any]] = iter(())
        self._ready: deque[av.Packet[Any]] = deque()
        self._incomplete: av.Packet[Any] | None = None
        self._unbundler: Unbundler | None = None
        self._skip_to: int | None = None
        self._ended = False
        self._synchronised = False  # a reader that joins between the pieces of a large unit has met no damage
        self._restart()
        try:
            self.stream = self._find()
        except BaseException:
            self._container.close()
            raise
        self.other_streams = tuple(s for s in self._container.streams if s.index != self.stream.index)

    def next_packet(self) -> av.Packet[Any] | None:
        """The next packet of any stream, None at the end. Those of access units have no `.stream`."""
        while True:
            packet = self._next_unskipped()
            if packet is None or self._skip_to is None:
                return packet
            if packet.stream is None and packet.is_keyframe and packet.pts == self._skip_to:
                self._skip_to = None
                return packet

    def seek(self, target: int) -> int | None:
        """Go to the last key unit with pts <= `target` (ticks), or to the first key unit; returns its pts.

        Containers land near the place, or on units that are not key; so the way from there to the target is read once
        to find the key unit, and again up to it. None when there is no key unit at all.
        """
        if not self._seekable:
            raise ContainerError(f"{self.name}: cannot seek in a pipe", name=self.name)
        first = self._first or 0
        target = min(target, MAX_TIME)
        step = Fraction(0)
        while True:
            start = max(first, target - math.ceil(step / self.stream.time_base))
            self._land(start)
            found = self._scan(target)
            if found is not None or start == first:
                break
            step = step * 4 or Fraction(1)
        if found is None:  # nothing at or before the target: the first key unit after it
            self._land(first)
            found = self._scan(None)
        if found is not None:
            self._land(start)
        self._skip_to = found
        return found

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    # -- finding the stream ------------------------------------------------------------------------------------------

    def _find(self) -> InputStream:
        """Read until a packet of some stream holds a sequence header; what was read stays in line.

        A decoder can do nothing before that header, so a reader that joins between key frames loses no time by waiting.
        """
        # What libavformat knows the codec of is none of ours.
        unknown = [s for s in self._container.streams if getattr(s, "codec_context", None) is None]
        probes = {s.index: _Probe(s) for s in unknown if s.type in ("data", "video", "unknown")}
        held: list[av.Packet[Any]] = []
        size = 0
        where = "no packet"
        for packet in self._raw if probes else ():
            held.append(packet)
            size += packet.size
            probe = probes.get(packet.stream.index)
            if probe is not None:
                probe.look(packet)
                if probe.sequence is not None or probe.units >= _SEARCH_UNITS:
                    break
                if all(p.foreign >= _SEARCH_PACKETS and not p.units for p in probes.values()):
                    break
            if size >= _SEARCH_BYTES or len(held) >= _SEARCH_LENGTH:
                where = f"none of the first {len(held)} packets ({size} bytes; the search ends there)"
                break
        found = max(probes.values(), key=lambda p: (p.sequence is not None, p.units), default=None)
        if found is not None and found.units:
            return self._begin(found, held)
        streams = ", ".join(f"#{s.index} {s.type} {_codec_name(s)}" for s in self._container.streams) or "none"
        raise ContainerFormatError(
            f"{self.name}: no duoview stream in this {self.format_name} file: {where} holds an access unit "
            f"(streams: {streams}); encode it with duoview first",
            name=self.name,
        )

    def _begin(self, probe: _Probe, held: list[av.Packet[Any]]) -> InputStream:
        """Describe the stream from what was found in the packets `held`, and put them in line."""
        stream, sequence = probe.stream, probe.sequence
        self._index: int = stream.index
        self._libav_stream = stream
        self._time_base: Fraction = probe.unbundler.time_base or Fraction(stream.time_base)
        self._grid: Fraction | None = None
        if probe.unbundler.time_base is not None:
            self._unbundler = Unbundler()
        rate = getattr(stream, "average_rate", None)
        if sequence and sequence.rate:
            rate = sequence.rate
            if "matroska" in self.format_name:
                self._use_grid(rate)
        average = Fraction(rate) if rate else None
        self._nominal = 1 / average if average else None
        for packet in held:
            self._take(packet)
        #: pts of the first unit, shown or not: to seek to the start is to go there.
        self._first: int | None = next((p.pts for p in self._ready if p.stream is None), None)
        start = self._first_shown()
        duration = stream.duration
        if duration is not None:
            duration = rescale(duration, Fraction(stream.time_base), self._time_base)
        elif self._container.duration is not None:
            duration = rescale(self._container.duration, _AV_TIME_BASE, self._time_base)
            if self.format_name == "nut" and self._nominal:  # NUT knows when the last frame starts, not how long it is
                duration += round(self._nominal / self._time_base)
        return InputStream(self._time_base, average, start, duration, sequence, stream.index)

    def _first_shown(self) -> int | None:
        """The least pts of the units that are shown; the first unit's, unless an edit list hides that one.

        Behind a unit whose dts is that time or later, no unit is shown earlier. What is read stays in line.
        """
        first = next((p for p in self._ready if p.stream is None), None)
        if first is None or not is_discarded(first):
            return self._first
        found: int | None = None
        size = 0
        for count, packet in enumerate(self._ahead()):
            size += packet.size
            if packet.stream is None:
                if not is_discarded(packet) and packet.pts is not None:
                    found = packet.pts if found is None else min(found, packet.pts)
                if found is not None and (packet.dts is None or packet.dts >= found):
                    return found
            if size >= _SEARCH_BYTES or count >= _SEARCH_LENGTH:
                break
        # The time of an edit list begins at 0.
        return found if found is not None or self._first is None else max(self._first, 0)

    def _ahead(self) -> Iterator[av.Packet[Any]]:
        """The packets that are in line, and those that are read for this; all stay in line."""
        seen = 0
        while True:
            if seen < len(self._ready):
                yield self._ready[seen]
                seen += 1
            elif (packet := next(self._raw, None)) is not None:
                self._take(packet)
            else:
                return

    def _use_grid(self, rate: Fraction) -> None:
        """Matroska counts milliseconds; times within half a one of a frame of the rate go back to that frame."""
        base = Fraction(1, math.lcm(_MILLISECOND.denominator, rate.numerator))
        if base.denominator < 1 << 31 and self._time_base == _MILLISECOND:
            self._time_base, self._grid = base, 1 / rate

    # -- reading -----------------------------------------------------------------------------------------------------

    def _restart(self) -> None:
        """Forget what was read ahead; the next packet comes from where the container stands."""
        self._raw = self._read()
        self._ready.clear()
        self._incomplete = None
        self._skip_to = None
        self._ended = False
        self._synchronised = False
        if self._unbundler is not None:
            self._unbundler.drop()

    def _read(self) -> Iterator[av.Packet[Any]]:
        """Packets with data, over read errors."""
        failures = 0
        while failures < _MAX_FAILURES:
            try:
                for packet in self._container.demux():
                    # Packets without data are PyAV's flush signals, and AVI's frames that were left out.
                    if packet.size:
                        failures = 0
                        yield packet
                return
            except av.InvalidDataError:
                failures += 1
                self.damaged += 1
            except FAILURES as error:
                raise translate(error, self.name, "read") from error

    def _next_unskipped(self) -> av.Packet[Any] | None:
        while not self._ready and not self._ended:
            for packet in self._raw:
                self._take(packet)
                break
            else:
                self._ended = True
                self._finish()
        return self._ready.popleft() if self._ready else None

    def _take(self, packet: av.Packet[Any]) -> None:
        """Turn one packet of the container into packets that are ready."""
        if packet.stream.index != self._index:
            shift = self._unbundler.shift if self._unbundler else None
            if shift:
                ticks = rescale(shift, bundle.CLOCK, Fraction(packet.time_base))
                packet.pts = packet.pts - ticks if packet.pts is not None else None
                packet.dts = packet.dts - ticks if packet.dts is not None else None
            self._ready.append(packet)
            return
        if self._unbundler is not None:
            try:
                units = self._unbundler.feed(bytes(packet), _clock(packet))
            except BitstreamError:
                self.damaged += self._synchronised
                return
            self._synchronised = True
            self._take_units(units)
            return
        if self._incomplete is not None:
            # More follows, so it was no torn end: the decoder may save sections of it.
            self._ready.append(self._incomplete)
            self._incomplete = None
        header = header_of(memoryview(packet))
        unit = self._plain(packet, header)
        if header is not None and header.size == packet.size:
            self._ready.append(unit)
            return
        self.damaged += 1
        if self._salvage(packet, unit, header):
            return
        # A packet without pts is what libavformat makes of the rest of a unit that was too long for its container.
        if packet.pts is not None:
            self._incomplete = unit

    def _salvage(self, packet: av.Packet[Any], unit: av.Packet[Any], header: UnitHeader | None) -> bool:
        """Take the units out of a packet that a damaged frame header made too long; False when it is not that.

        What is in front of them is given as it is. Times count on from the packet's, one frame of the rate each.
        """
        data = bytes(packet)
        if header is not None and header.size > len(data):
            return False
        found = whole_units(data)
        if not found:
            return False
        if found[0][0] > 0:
            found.insert(0, (0, found[0][0]))
        for count, (begin, end) in enumerate(found):
            ahead, content = count * (unit.duration or 0), data[begin:end]
            inner = header_of(content)
            one = with_payload(unit, content)
            one.pts = unit.pts + ahead if unit.pts is not None else None
            one.dts = unit.dts + ahead if unit.dts is not None else None
            one.is_keyframe = inner is not None and inner.key
            self._ready.append(one)
        return True

    def _plain(self, packet: av.Packet[Any], header: UnitHeader | None) -> av.Packet[Any]:
        """A packet that holds one access unit."""
        base = self._time_base
        pts, dts, duration = packet.pts, packet.dts, packet.duration or 0
        if self._grid is not None:
            pts, dts = self._on_grid(pts), self._on_grid(dts)
            duration = 0
        if duration <= 0 and self._nominal:
            duration = max(1, round(self._nominal / base))
        unit = with_payload(packet, packet)
        unit.time_base, unit.pts, unit.dts, unit.duration = base, pts, dts, duration
        unit.is_keyframe = header is not None and header.key
        return unit

    def _on_grid(self, value: int | None) -> int | None:
        """A Matroska time in ticks of the finer time base."""
        if value is None or self._grid is None:
            return value
        time = value * _MILLISECOND
        near = round(time / self._grid) * self._grid
        if abs(near - time) <= _MILLISECOND / 2:
            time = near
        return int(time / self._time_base)

    def _take_units(self, units: list[bundle.Unit], *, last: bool = False) -> None:
        for unit in units:
            if not unit.whole:
                self.damaged += 1
                if last:
                    continue
            header = header_of(unit.data)
            self._ready.append(
                unit_packet(
                    unit.data,
                    pts=unit.pts,
                    dts=unit.dts,
                    duration=unit.duration,
                    time_base=self._time_base,
                    key=header is not None and header.key,
                )
            )

    def _finish(self) -> None:
        """At the end of the input: a unit that was torn off is dropped."""
        if self._unbundler is not None:
            self._take_units(self._unbundler.finish(), last=True)
        self._incomplete = None

    # -- seeking -----------------------------------------------------------------------------------------------------

    def _land(self, ticks: int) -> None:
        """Let the container seek to the packet at or before a time."""
        time = ticks * self._time_base
        if self._unbundler is not None and self._unbundler.shift:
            time += self._unbundler.shift * bundle.CLOCK
        try:
            place = math.floor(time / Fraction(self._libav_stream.time_base))
            place = max(-MAX_TIME, min(place, MAX_TIME))  # the start and the end for libavformat, whatever the file
            self._container.seek(place, stream=self._libav_stream)
        except FAILURES as error:
            raise translate(error, self.name, "seek") from error
        self._restart()

    def _scan(self, target: int | None) -> int | None:
        """The pts of the last key unit up to `target` from here on; of the first key unit when `target` is None."""
        found = None
        while (packet := self._next_unskipped()) is not None:
            if packet.stream is not None or packet.pts is None:
                continue
            if target is None and packet.is_keyframe:
                return packet.pts
            if target is None:
                continue
            if packet.is_keyframe and packet.pts <= target:
                found = packet.pts
            if (packet.dts if packet.dts is not None else packet.pts) > target:
                break
        return found


class _Probe:
    """Looks at the packets of one stream for access units, alone or in bundles, and for a sequence header."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.foreign = self.units = 0
        self.sequence: SequenceHeader | None = None
        self.unbundler = Unbundler()
        self._searches = _SEARCHED_PACKETS

    def look(self, packet: av.Packet[Any]) -> None:
        """Count the units in one packet, or the packet when there is nothing of ours in it."""
        data = memoryview(packet)
        units: list[bytes | memoryview] = [data]
        if data[0] == bundle.MAGIC:
            try:
                units = [unit.data for unit in self.unbundler.feed(bytes(data), _clock(packet))]
            except BitstreamError:
                self.foreign += 1
                return
        elif header_of(data) is None and self._searches:
            self._searches -= 1
            units = self._torn(data)
        for header in map(header_of, units):
            if header is None:
                self.foreign += 1
            else:
                self.units += 1
                self.sequence = self.sequence or header.sequence

    def _torn(self, data: memoryview) -> list[bytes | memoryview]:
        """The units in the first frame of a damaged NUT file, which may hold all others; else the packet itself.

        Units without a sequence header do not count here: long foreign packets seem to hold one now and then.
        """
        found = [data[begin:end] for begin, end in whole_units(bytes(data))]
        headers = map(header_of, found)
        return [*found] if any(header is not None and header.sequence is not None for header in headers) else [data]


def _clock(packet: av.Packet[Any]) -> int | None:
    """The packet's pts on the 90 kHz clock."""
    return None if packet.pts is None else rescale(packet.pts, Fraction(packet.time_base), bundle.CLOCK)


def _codec_name(stream: Any) -> str:
    context = getattr(stream, "codec_context", None)
    name = context.name if context is not None else getattr(stream, "name", None)
    return str(name or "of an unknown codec")
