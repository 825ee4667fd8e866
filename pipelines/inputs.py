"""Video to encode: files, pipes, still images and image sequences, read through PyAV.

A reader gives the frames of one video stream and, between them, the packets of streams that are passed through. Damaged
packets are reported and skipped. Time stamps stay those of the file, unless a seek sets a new zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from duoview.device import open_hardware
from duoview.errors import LimitError
from duoview.plugins.links import Link, LinkType

from .console import Console
from .cut import item_time, shift_item
from .errors import MediaError, media_error
from .streams import selected_streams

STILL_IMAGES = frozenset(("bmp", "dpx", "exr", "jp2", "jpeg", "jpg", "pbm", "pgm", "png", "ppm", "tif", "tiff", "webp"))
_MAX_WARNINGS = 5  # about damaged packets of one file; the total is told at the end


@dataclass(frozen=True)
class InputSettings:
    """How to open and cut an input. Times are in seconds; `rate` replaces the file's time stamps by a constant rate.

    With hwaccel ``cuda`` frames are decoded by NVDEC and stay on the GPU.
    """

    url: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    seek: Fraction | None = None
    duration: Fraction | None = None
    rate: Fraction | None = None
    threads: int = 0
    autorotate: bool = True
    maps: tuple[str, ...] = ()
    copy_audio: bool = False
    hwaccel: str = "none"


class VideoInput:
    """An open input. `origin` is the file time, in seconds, that ``-ss 0`` means; `shift` is taken off every time."""

    def __init__(self, settings: InputSettings, console: Console) -> None:
        """Open the file. Raises MediaError: missing, empty, foreign or damaged file, or no video stream in it.

        BackendUnavailableError where hwaccel is asked for and cannot be had.
        """
        self.settings = settings
        self.name = settings.url
        self._console = console
        self.damaged = 0
        try:
            self._container = _open(settings)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            glob = "; for a glob give -pattern_type glob before -i" if "*" in self.name else ""
            raise MediaError(f"{media_error(self.name, 'cannot open for reading', error)}{glob}") from error
        try:
            self.stream, self.copied = selected_streams(
                self._container, self.name, settings.maps, settings.copy_audio, console
            )
            if self.stream.codec_context is None:
                raise MediaError(
                    f"{self.name}: its video stream has no decoder here; a duoview stream is read by `duoview decode`"
                )
        except BaseException:
            self._container.close()
            raise
        # Not a thread per frame: its errors come with a later packet, or while draining, where they cost the frames
        # behind them or are never told; and a live input would lag by a frame a thread. Networks take longer anyway.
        self.stream.thread_type = "SLICE"
        self.stream.codec_context.thread_count = settings.threads
        start = self._container.start_time
        self.origin = Fraction(start, av.time_base) if start is not None else Fraction(0)
        self.shift = self.origin + settings.seek if settings.seek is not None else Fraction(0)
        self.rate = settings.rate or self.stream.average_rate or self.stream.guessed_rate or None
        self.sample_aspect = self.stream.sample_aspect_ratio or Fraction(1)

    @property
    def expected(self) -> Fraction | None:
        """Seconds of video to come, as far as the file tells."""
        total = Fraction(self._container.duration, av.time_base) if self._container.duration else None
        if total is not None and self.settings.seek is not None:
            total = max(total - self.settings.seek, Fraction(0))
        if self.settings.duration is not None:
            return min(total, self.settings.duration) if total is not None else self.settings.duration
        return total

    def read(self) -> Iterator[av.VideoFrame | av.Packet[Any]]:
        """Give frames of the video stream and packets of the copied ones, cut and shifted as the settings say.

        What cannot be decoded is skipped with a warning; a file that breaks off ends there, with a warning. Raises
        MediaError when not one frame could be had.
        """
        begin = self.origin + (self.settings.seek or 0)
        end = begin + self.settings.duration if self.settings.duration is not None else None
        if self.settings.seek:
            self._seek(begin)
        count = 0
        for item in self._items():
            at = item_time(item)
            if end is not None and at is not None and at >= end:
                if isinstance(item, av.VideoFrame):
                    return
                continue
            if self.settings.seek and (at is None or at < begin):
                continue
            if self.shift:
                shift_item(item, self.shift)
            count += isinstance(item, av.VideoFrame)
            yield item
        if self.damaged > _MAX_WARNINGS:
            self._console.warning(f"{self.name}: {self.damaged} damaged packets in all")
        if not count:
            cut = f" from {float(self.settings.seek):g} s on" if self.settings.seek else ""
            raise MediaError(
                f"{self.name}: not one video frame could be decoded{cut}; expected a readable video or image"
            )

    def packets(self) -> Iterator[av.Packet[Any]]:
        """Give the packets of the video stream and of the copied ones, as they are, from the key frame before a seek.

        After a seek times are to be counted from that key frame: `shift` is its time, and nothing before it is given.
        The end is where packets are decoded after it. Packets of the video stream are not shifted.
        """
        begin = self.origin + (self.settings.seek or 0)
        end = begin + self.settings.duration if self.settings.duration is not None else None
        waiting = self.settings.seek is not None
        if self.settings.seek:
            self._seek(begin)
        for packet in self._demuxed():
            if not packet.size:
                continue
            video = packet.stream_index == self.stream.index
            at = item_time(packet)
            if waiting and video and packet.is_keyframe and at is not None:
                waiting, self.shift = False, at
            if waiting or (not video and at is not None and at < self.shift):
                continue
            decoded = packet.dts * Fraction(packet.time_base) if packet.dts is not None and packet.time_base else at
            if end is not None and decoded is not None and decoded >= end:
                if video:
                    return
                continue
            if not video and self.shift:
                shift_item(packet, self.shift)
            yield packet

    def link(self) -> Link:
        """What filters may know of the frames beforehand."""
        return Link(LinkType.VIDEO, rate=self.rate, sample_aspect=self.sample_aspect)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _seek(self, at: Fraction) -> None:
        try:
            self._container.seek(int(at * av.time_base), backward=True)
        except av.error.FFmpegError as error:
            # Nothing is lost: all that lies before is decoded and left out.
            self._console.say("verbose", f"{self.name}: cannot seek ({error.strerror}); reading from the start")

    def _items(self) -> Iterator[av.VideoFrame | av.Packet[Any]]:
        last: int | None = None
        step = 1
        for count, item in enumerate(self._decoded()):
            if isinstance(item, av.VideoFrame):
                base = Fraction(item.time_base) if item.time_base else None
                if self.settings.rate is not None:
                    item.time_base, item.pts, item.duration = 1 / self.settings.rate, count, 1
                elif base is None:
                    item.time_base, item.pts, item.duration = 1 / (self.rate or Fraction(25)), count, 1
                elif item.pts is None:
                    item.pts = 0 if last is None else last + step
                if base is not None and self.rate:
                    step = item.duration or max(1, round(1 / (self.rate * base)))
                last = item.pts
            yield item

    def _demuxed(self) -> Iterator[av.Packet[Any]]:
        packets = self._container.demux([self.stream, *self.copied])
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError) as error:
                self._console.warning(f"{media_error(self.name, 'reading stopped here', error)}")
                return

    def _decoded(self) -> Iterator[Any]:
        for packet in self._demuxed():
            if packet.stream_index != self.stream.index:
                if packet.dts is not None or packet.size:
                    yield packet
                continue
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError) as error:
                if isinstance(error, LimitError):
                    raise
                self._report_damage(packet, error)
                continue
            yield from frames

    def _report_damage(self, packet: av.Packet[Any], error: BaseException) -> None:
        self.damaged += 1
        if self.damaged <= _MAX_WARNINGS:
            at = f"at {float(packet.pts * packet.time_base):.3f} s" if packet.pts is not None else "without a time"
            self._console.warning(f"{media_error(self.name, f'packet {at} skipped', error)}")


def is_image(url: str) -> bool:
    """True when a file name means still images by its ending."""
    return Path(url).suffix.lower().removeprefix(".") in STILL_IMAGES


def rotation_filters(frame: av.VideoFrame) -> str:
    """The native filters that turn a picture upright, as a phone's display matrix asks; empty where it is upright."""
    return {90: "transpose=cclock", -90: "transpose=clock", 180: "hflip,vflip", -180: "hflip,vflip"}.get(
        frame.rotation, ""
    )


def _open(settings: InputSettings) -> av.container.InputContainer:
    url = "pipe:0" if settings.url == "-" else settings.url
    options = dict(settings.options)
    name = settings.format
    if name is None and is_image(url) and ("%" in url or "pattern_type" in options):
        name = "image2"
    if name == "image2" or (name is None and is_image(url)):
        # An image has no times of its own; its rate is the demuxer's to know.
        if settings.rate is not None:
            options.setdefault("framerate", str(settings.rate))
    elif "pattern_type" in options:
        raise ValueError(
            f"-pattern_type belongs to image sequences; expected names ending in .png, .jpg, ..., not {url}"
        )
    if settings.hwaccel != "none":
        return open_hardware(url, format=name, options=options)
    return av.open(url, format=name, options=options)
