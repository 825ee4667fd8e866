"""One file of a recording, readable up to its last second however its writer ended."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av

from duoview.errors import ContainerFormatError, LimitError

from .adts import low_complexity_config, without_header
from .live_packet import LivePacket, detached
from .stream_layout import StreamLayout

_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1000000"}
#: libavformat's name and options by file ending. All are readable up to where they are cut: a crash costs the last
#: second, of which Matroska and the fragmented formats hold a part in memory. A plain MP4 would be lost as a whole.
FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    "mkv": ("matroska", {"cluster_time_limit": "1000"}),
    "mp4": ("mp4", _FRAGMENTS),
    "mov": ("mov", _FRAGMENTS),
    "ts": ("mpegts", {}),
    "nut": ("nut", {}),
}

# They take no ADTS headers, and libavformat cannot remove them once their own header is written.
_BARE_AAC = ("mp4", "mov")
# Errors that say nothing about what a file holds.
NOT_ITS_FAULT = frozenset((errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO))


@dataclass
class Content:
    """What was put into a file, or found in one; `seconds` is from the first frame to the end of the last.

    texture: bytes of texture among `bytes`; None where nobody looked into the access units.
    """

    packets: int = 0
    frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    texture: int | None = 0
    _begin: float | None = field(default=None, repr=False)

    def count(self, video: bool, size: int, begin: float, end: float) -> None:
        """Add a packet that is shown from `begin` to `end`."""
        self.packets += 1
        self.bytes += size
        if video:
            self.frames += 1
            self._begin = begin if self._begin is None else min(self._begin, begin)
            self.seconds = max(self.seconds, end - self._begin)


class RecordedFile(Protocol):
    """What a recorder writes to."""

    path: Path
    content: Content

    def write(self, packet: LivePacket) -> None:
        """Add a packet. Raises what PyAV raises."""

    def close(self, *, sync: bool) -> None:
        """Write the end; `sync`: and see it onto the disk. Raises what PyAV and the system raise."""


class SegmentFile:
    """A file that is being written. Times in it begin at 0."""

    def __init__(self, path: Path, format: str, layout: StreamLayout) -> None:
        """Create the file. Raises ContainerFormatError for a stream the format cannot hold, and what PyAV raises."""
        self.path = path
        self.content = Content()
        self._zero: Fraction | None = None
        self._aac: dict[int, bytes] = {}  # configuration, by stream, of those whose ADTS headers have to go
        name, options = format_of(format)
        # Every packet reaches the file when it is muxed; what the format holds back is bounded above.
        self._container = av.open(str(path), "w", format=name, options={"flush_packets": "1", **options})
        try:
            self._streams = self._add_streams(layout, format)
            self._container.start_encoding()
        except BaseException:
            # Without its header there is nothing in it worth keeping.
            self._container.close()
            path.unlink(missing_ok=True)
            raise

    def _add_streams(self, layout: StreamLayout, format: str) -> list[Any]:
        streams: list[Any] = []
        with layout.open() as template:
            for info, stream in zip(layout.streams, template.streams, strict=True):
                try:
                    streams.append(self._container.add_stream_from_template(stream, opaque=True))
                except ValueError as error:
                    other = "; record without sound, or to mov or nut" if info.type == "audio" else ""
                    raise ContainerFormatError(
                        f"{self.path.name}: {format} cannot hold {info.type} of codec {info.codec}{other}",
                        name=str(self.path),
                    ) from error
                streams[-1].time_base = info.time_base
                context = stream.codec_context
                bare = format in _BARE_AAC and info.codec == "aac" and not context.extradata
                if bare and isinstance(context, av.AudioCodecContext):
                    config = low_complexity_config(context.sample_rate, context.layout.nb_channels)
                    streams[-1].codec_context.extradata = self._aac[info.index] = config
        return streams

    def write(self, packet: LivePacket) -> None:
        """Add a packet. Raises what PyAV raises."""
        source, base = packet.packet, packet.stream.time_base
        assert source.pts is not None and source.dts is not None
        if self._zero is None:
            self._zero = source.dts * base
        shift = round(self._zero / base)
        config = self._aac.get(packet.stream.index)
        data = without_header(bytes(source), config) if config is not None else None
        copy = detached(source, source.pts - shift, source.dts - shift, data)
        copy.stream = self._streams[packet.stream.index]
        begin = float((source.pts - shift) * base)
        end = begin + float((source.duration or 0) * base)
        self._container.mux(copy)
        self.content.count(packet.stream.type == "video", source.size, begin, end)

    def close(self, *, sync: bool) -> None:
        """Write the end of the file; `sync`: and see it onto the disk. Raises what PyAV and the system raise."""
        self._container.close()
        if sync:
            sync_path(self.path)


def format_of(ending: str) -> tuple[str, dict[str, str]]:
    """libavformat's name and options for a file ending. Raises LimitError for one that is not crash-safe here."""
    if ending not in FORMATS:
        raise LimitError(f"recording to {ending!r}: expected {', '.join(FORMATS)}")
    return FORMATS[ending]


def content_of(path: Path) -> Content:
    """What can be read of a file, to the first packet that cannot. Empty for a file that is no media file.

    Raises OSError for one that cannot be opened: that says nothing about what it holds.
    """
    content = Content(texture=None)
    try:
        with av.open(str(path), "r") as container:
            for packet in container.demux():
                if packet.size and packet.pts is not None:
                    begin = float(packet.pts * packet.time_base)
                    end = begin + float((packet.duration or 0) * packet.time_base)
                    content.count(packet.stream.type == "video", packet.size, begin, end)
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        number = getattr(error, "errno", None)
        if number in NOT_ITS_FAULT and not content.packets:
            raise OSError(number, f"cannot look into it: {os.strerror(number)}", str(path)) from error
        return content  # cut off: what came before it counts
    return content


def sync_path(path: Path) -> None:
    """See a file, or a folder's entries, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
