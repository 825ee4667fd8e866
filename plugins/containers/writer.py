"""`OutputContainer`: access units, and what travels beside them, into a file, pipe or file object."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av

from duoview import access_unit
from duoview.errors import BitstreamError, ContainerError, ContainerFormatError
from duoview.plugins.containers import formats, muxers
from duoview.plugins.containers.failure import FAILURES, translate
from duoview.plugins.containers.formats import Format
from duoview.plugins.containers.source import is_pipe, is_url, name_of, pipe_descriptor
from duoview.plugins.containers.streams import OutputStream
from duoview.sequence import MAX_HEIGHT, MAX_RATIO_TERM, MAX_WIDTH


class OutputContainer:
    """A container opened for writing; a context manager, as PyAV's.

    What was muxed is handed to the system at once, so that a crash, a full disk or a broken pipe leaves it there.
    Errors are ContainerErrors that name the file. Leaving the `with` block finishes the file, by an error too; an error
    before the first packet leaves an existing file as it was.
    """

    def __init__(self, file: Any, format: str | None = None, options: dict[str, str] | None = None) -> None:
        self.name = name_of(file)
        by_name = isinstance(file, (str, os.PathLike))
        pipe = by_name and is_pipe(self.name)
        self._format = formats.choose_output(self.name, format, is_pipe=pipe or not by_name or is_url(self.name))
        self.format_name = self._format.name
        self.stream: OutputStream | None = None
        self._others: list[Any] = []
        self._failed = self._closed = self._touched = False
        self._last_dts: int | None = None
        target = _target(self.name, self._format) if by_name else file
        try:
            self._muxer = muxers.create(self._format, target, self.name, dict(options or {}))
        except ContainerError:
            raise
        except FAILURES as error:
            raise translate(error, self.name, "write") from error

    def add_stream(
        self,
        *,
        rate: Fraction | int,
        width: int,
        height: int,
        time_base: Fraction | None = None,
    ) -> OutputStream:
        """Announce the duoview stream: frames per second, size in pixels, unit of its packets' times (1/rate).

        One per container, before the first packet. The size and rate are what probers will show; decoders take theirs
        from the sequence header.
        """
        if self.stream is not None:
            raise ContainerError(f"{self.name}: has a duoview stream already, one per container", name=self.name)
        if not 1 <= width <= MAX_WIDTH or not 1 <= height <= MAX_HEIGHT:
            raise ContainerError(
                f"{self.name}: size {width}x{height}, expected 1x1 to {MAX_WIDTH}x{MAX_HEIGHT}", name=self.name
            )
        rate = Fraction(rate)
        base = 1 / rate if time_base is None and rate > 0 else Fraction(time_base or 0)
        if rate <= 0 or base <= 0:
            raise ContainerError(
                f"{self.name}: rate {rate} and time base {base}, both must be positive", name=self.name
            )
        if max(rate.as_integer_ratio() + base.as_integer_ratio()) > MAX_RATIO_TERM:
            raise ContainerError(
                f"{self.name}: rate {rate} and time base {base}: numerators and denominators go up to {MAX_RATIO_TERM}",
                name=self.name,
            )
        stream = OutputStream(rate=rate, width=width, height=height, time_base=base)
        self.stream = self._guard(self._muxer.begin, stream)
        return self.stream

    def add_stream_from_template(self, template: Any) -> Any:
        """A stream like `template` (a PyAV stream of an input: audio, subtitles, video, data), passed through.

        Its packets are muxed as with PyAV: set `packet.stream` to what this returns, then `mux(packet)`.
        """
        try:
            stream = self._guard(self._muxer.add_other, template)
        except ContainerFormatError:
            raise
        except ContainerError as error:
            raise ContainerFormatError(
                f"{self.name}: cannot pass stream #{template.index} ({template.type}) to {self.format_name}: {error}",
                name=self.name,
            ) from error
        self._others.append(stream)
        return stream

    def mux(self, packets: av.Packet[Any] | Iterable[av.Packet[Any]]) -> None:
        """Write one packet or several: of access units in decode order, or of a stream made from a template.

        Access-unit packets are not altered. Their key flag is taken from the unit itself.
        """
        if self._closed:
            raise ContainerError(f"{self.name}: the container is closed", name=self.name)
        for packet in [packets] if isinstance(packets, av.Packet) else packets:
            if packet.stream is not None and any(packet.stream is stream for stream in self._others):
                self._put(self._muxer.write_other, packet)
            else:
                self._mux_unit(packet)

    def _mux_unit(self, packet: av.Packet[Any]) -> None:
        if self.stream is None:
            raise ContainerError(f"{self.name}: no duoview stream to mux into: call add_stream() first", name=self.name)
        try:
            header = access_unit.parse_header(memoryview(packet))
        except BitstreamError as error:
            raise ContainerError(
                f"{self.name}: the packet holds no access unit ({error}), and its stream is none of "
                "add_stream_from_template()",
                name=self.name,
            ) from error
        unit = muxers.exact_unit(packet, self.stream, key=header.key, name=self.name)
        if self._last_dts is not None and unit.dts <= self._last_dts:
            raise ContainerError(
                f"{self.name}: dts {unit.dts} follows {self._last_dts}: packets must come in decode order, "
                f"each later than the one before (ticks of {self.stream.time_base} s)",
                name=self.name,
            )
        self._put(self._muxer.write, unit)
        self._last_dts = unit.dts

    def _put(self, action: Any, argument: Any) -> None:
        """Write something; a failure of the system is final."""
        if self._failed:
            raise ContainerError(f"{self.name}: a write has failed before, nothing more can be written", name=self.name)
        try:
            action(argument)
        except ContainerFormatError:
            raise  # refused before anything was written
        except FAILURES as error:
            self._failed = self._touched = True
            raise translate(error, self.name, "write") from error
        self._touched = True

    def _guard(self, action: Any, argument: Any) -> Any:
        """Run one step of the muxer; its failures become our errors."""
        try:
            return action(argument)
        except ContainerError:
            raise
        except FAILURES as error:
            raise translate(error, self.name, "write") from error

    def close(self) -> None:
        """Finish the file. A second call does nothing; after a failure that was raised, no second error is."""
        if self._closed:
            return
        self._closed = True
        try:
            self._muxer.finish()
        except FAILURES as error:
            # After a failed write the end of the file fails for the same reason, which mux() has raised already.
            if not self._failed:
                raise translate(error, self.name, "finish") from error

    def discard(self) -> None:
        """Close after a failure: as `close` does, but without a packet so far an existing file stays as it was."""
        if self._touched:
            self.close()
        elif not self._closed:
            self._closed = True
            self._muxer.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            (self.close if error is None else self.discard)()
        except ContainerError as second:
            if error is None:
                raise
            error.add_note(f"and then: {second}")

    def __repr__(self) -> str:
        return f"<duoview.OutputContainer {self.name!r} {self.format_name}>"


def _target(name: str, format_: Format) -> Any:
    """What to hand to the muxer for a name: checked now, so that the error comes before the work."""
    if is_pipe(name):
        descriptor = pipe_descriptor(name, default=1)
        if format_.name in ("mov", "mp4", "avi"):
            raise ContainerFormatError(
                f"{name}: {format_.name} cannot be written to a pipe, its index needs seeking; use nut or mpegts",
                name=name,
            )
        return f"pipe:{descriptor}"
    if is_url(name):
        return name
    path = Path(name.removeprefix("file:"))
    if path.is_dir():
        raise ContainerError(f"{name}: is a folder, expected a file", name=name)
    if not path.parent.is_dir():
        raise translate(FileNotFoundError(2, "no such folder"), name, "write")
    if (path.exists() and not os.access(path, os.W_OK)) or (not path.exists() and not os.access(path.parent, os.W_OK)):
        raise translate(PermissionError(13, "permission denied"), name, "write")
    return str(path)
