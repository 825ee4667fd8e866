"""Decoded pictures to files: videos through any encoder of PyAV, still images and image sequences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from duoview.inner.priority import usual_priority
from duoview.inner.short_streams import drain
from duoview.plugins.errors import suggestion
from duoview.plugins.graph import Graph
from duoview.sequence import Colour

from .colour import OutputColour, output_colour
from .console import Console
from .credentials import redact_url
from .cut import TimeOrder
from .errors import MediaError, UsageError, media_error
from .hwaccel import HELD
from .inputs import is_image
from .options import unknown_option
from .provenance import comment

_IMAGE_CODECS = {"jpg": "mjpeg", "jpeg": "mjpeg", "tif": "tiff", "jp2": "jpeg2000", "webp": "libwebp"}
_PIXEL_FORMATS = {"mjpeg": "yuvj444p", "libwebp": "yuv420p", "wrapped_avframe": "yuv420p"}
_DEFAULT_CODEC, _DEFAULT_CRF = "libx264", "18"
_RATE_CONTROL = frozenset(("crf", "qp", "b", "cqp", "rc"))
_PATTERN = re.compile(r"%0?\d*d")


@dataclass(frozen=True)
class OutputSettings:
    """How to write decoded video; None means chosen by the file's name.

    held: frames lie on a device, where the encoder takes them as they are; those of format ``cuda`` always do.
    """

    url: str
    format: str | None = None
    codec: str | None = None
    codec_options: Mapping[str, str] = field(default_factory=dict)
    muxer_options: Mapping[str, str] = field(default_factory=dict)
    pixel_format: str | None = None
    threads: int = 0
    held: bool = False


class VideoOutput:
    """Writes frames of one size; the encoder is opened at the first frame.

    Later frames of another size are scaled to the first one's, with a warning: an encoder cannot change its size. Those
    that lie on a device are not, and are an error.
    """

    def __init__(
        self,
        settings: OutputSettings,
        console: Console,
        *,
        rate: Fraction | None = None,
        copied: Sequence[Any] = (),
    ) -> None:
        """Create the file. Raises UsageError for an unknown codec, format or option, MediaError when it cannot."""
        self.name = redact_url(settings.url)
        self.failed = False
        self._settings, self._console = settings, console
        self._colour = output_colour(Colour())
        self._rate = rate or Fraction(25)
        self._aspect = Fraction(1)
        self._container = self._open()
        try:
            self._codec = self._choose_codec()
            self._options = self._checked_options()
        except BaseException:
            self._container.close()
            raise
        self._stream: Any = None
        self._opened = False
        self._held = settings.held
        self._copies = {source.index: source for source in copied}
        self._targets: dict[int, Any] = {}
        self._early: list[Any] = []
        self._convert: Graph | None = None
        self._size = (0, 0)
        self._order = TimeOrder()
        self._scaled = False
        self._count = 0
        self.written = 0

    def describe(self, colour: Colour, sample_aspect: Fraction) -> None:
        """Take over colour and sample aspect (0: unknown) of the source, from its sequence header, before any frame."""
        self._colour = output_colour(colour)
        self._aspect = sample_aspect or Fraction(1)

    def write(self, frame: av.VideoFrame) -> int:
        """Encode and write one frame; return the bytes that came out. Raises MediaError."""
        if self._stream is None:
            self._start(frame)
        if self._held:
            return self._write_held(frame)
        if (frame.width, frame.height) != self._size and not self._scaled:
            self._scaled = True
            size = f"{self._size[0]}x{self._size[1]}"
            self._console.warning(
                f"{self.name}: frames of {frame.width}x{frame.height} are scaled to the first one's {size}"
            )
        assert self._convert is not None
        written = 0
        self._convert.push(frame)
        for ready in self._convert.ready():
            written += self._encode(ready)
        return written

    def _write_held(self, frame: av.VideoFrame) -> int:
        if (frame.width, frame.height) != self._size:
            raise MediaError(f"{self.name}: frames of {frame.width}x{frame.height} behind those of {self._size[0]}x"
                             f"{self._size[1]}, which are not scaled on the GPU; expected -pix_fmt yuv420p, or no "
                             "-hwaccel")
        if self._opened:
            return self._encode(frame)
        with usual_priority():  # the encoder opens with the first frame, which brings the device
            written = self._encode(frame)
        self._copy_early()
        return written

    def copy(self, packet: Any, stream_index: int) -> None:
        """Write a packet of a stream that is passed through."""
        if not self._opened:
            self._early.append((packet, stream_index))  # the header needs the first frame's size
            return
        packet.stream = self._targets[stream_index]
        self._mux([packet])

    def close(self) -> int:
        """Drain the encoder and finish the file; return the bytes that came out. Raises MediaError."""
        size = 0
        try:
            if self._opened and not self.failed:
                if self._convert is not None:
                    self._convert.push(None)
                    for ready in self._convert.ready():
                        assert isinstance(ready, av.VideoFrame)
                        size += self._encode(ready)
                size += self._mux(drain(self._stream, self._codec, self._count))
            if self._order.dropped:
                self._console.warning(self._order.complaint(self.name))
        except av.error.FFmpegError as error:
            raise media_error(self._settings.url, "cannot finish", error) from error
        finally:
            self._close_container()
        return size

    def _close_container(self) -> None:
        try:
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise media_error(self._settings.url, "cannot finish", error) from error

    def _open(self) -> Any:
        url = "pipe:1" if self._settings.url == "-" else self._settings.url
        image = is_image(url)
        name = self._settings.format or ("image2" if image else None)
        if url.startswith("pipe:") and name is None:
            raise UsageError(f"{self.name}: a pipe's name tells no format; expected -f, e.g. -f nut")
        self._single = name == "image2" and not _PATTERN.search(url) and "update" not in self._settings.muxer_options
        options = dict(self._settings.muxer_options)
        if self._single:
            options["update"] = "1"
        try:
            return av.open(url, "w", format=name, options=options)
        except ValueError as error:
            if isinstance(error, av.error.FFmpegError):
                raise media_error(self._settings.url, "cannot open for writing", error) from error
            raise UsageError(
                f"{self.name}: its name tells no output format; expected .mp4, .mkv, .nut, .png, ... or -f"
            ) from error
        except (av.error.FFmpegError, OSError) as error:
            raise media_error(self._settings.url, "cannot open for writing", error) from error

    def _choose_codec(self) -> str:
        name = self._settings.codec
        if name is None:
            if self._container.format.name == "image2":
                suffix = Path(self._settings.url).suffix.lower().removeprefix(".")
                name = _IMAGE_CODECS.get(suffix, suffix)
            elif "h264" in self._container.supported_codecs:
                name = _DEFAULT_CODEC
            else:
                name = self._container.default_video_codec
        if name == "copy":
            raise UsageError("-c:v copy: decoded pictures need an encoder; expected e.g. libx264")
        try:
            codec = av.Codec(name, "w")
        except (av.error.FFmpegError, ValueError) as error:
            known = [item for item in av.codecs_available if _is_video_encoder(item)]
            raise UsageError(f"-c:v {name}: no such encoder here{suggestion(name, known)}") from error
        if codec.type != "video":
            raise UsageError(f"-c:v {name}: it encodes {codec.type}; expected a video encoder, e.g. libx264")
        return str(codec.name)

    def _checked_options(self) -> dict[str, str]:
        supported = av.CodecContext.create(self._codec, "w").supported_options
        known = {item.name for item in (*supported.generic, *supported.private)}
        for name in self._settings.codec_options:
            if name not in known:
                error = unknown_option(name, known)
                raise UsageError(f"{error} (not of duoview decode, nor of encoder {self._codec})")
        options = dict(self._settings.codec_options)
        if self._codec == _DEFAULT_CODEC and not _RATE_CONTROL & options.keys():
            options["crf"] = _DEFAULT_CRF
        if self._codec == "libx265" and not self._console.shows("verbose"):
            options.setdefault("x265-params", "log-level=error")  # it writes to stderr on its own
        return options

    def _start(self, frame: av.VideoFrame) -> None:
        self._size = (frame.width, frame.height)
        self._held = self._held or frame.format.name == HELD
        told = comment(frame.opaque)
        if told is not None:
            self._container.metadata["comment"] = told  # formats that have no place for it leave it out
        pixel_format = frame.format.name if self._held else self._choose_pixel_format()
        time_base = Fraction(frame.time_base) if frame.time_base else 1 / self._rate
        try:
            stream = self._container.add_stream(self._codec, rate=self._rate, options=self._options)
            stream.width, stream.height = self._size
            stream.pix_fmt = pixel_format
            context = stream.codec_context
            context.time_base = time_base
            context.thread_count = self._settings.threads
            if self._aspect != 1:
                context.sample_aspect_ratio = self._aspect
            if self._held:
                context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
                context.colorspace, context.color_range = frame.colorspace, frame.color_range
            elif not _is_rgb(pixel_format):
                context.color_primaries = self._colour.tags.primaries
                context.color_trc = self._colour.tags.transfer
                context.colorspace = self._colour.tags.matrix
                context.color_range = 2 if pixel_format.startswith("yuvj") else self._colour.tags.range
            for index, source in self._copies.items():
                self._targets[index] = self._container.add_stream_from_template(source)
            if not self._held:
                with usual_priority():
                    context.open()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            options = " ".join(f"-{key} {value}" for key, value in self._options.items())
            raise media_error(
                self.name,
                f"cannot encode {self._size[0]}x{self._size[1]} {pixel_format} with {self._codec} {options}",
                error,
            ) from error
        self._stream = stream
        if not self._held:
            self._convert = Graph.parse(self._conversion(frame, pixel_format))
            self._copy_early()

    def _copy_early(self) -> None:
        self._opened = True
        early, self._early = self._early, []
        for packet, index in early:
            self.copy(packet, index)

    def _choose_pixel_format(self) -> str:
        wanted = self._settings.pixel_format
        formats = [item.name for item in av.Codec(self._codec, "w").video_formats or ()]
        if wanted is not None:
            if formats and wanted not in formats:
                raise UsageError(
                    f"-pix_fmt {wanted}: encoder {self._codec} does not take it{suggestion(wanted, formats)}; "
                    f"it takes {', '.join(formats[:12])}{', ...' * (len(formats) > 12)}"
                )
            return wanted
        preferred = _PIXEL_FORMATS.get(self._codec, "yuv420p")
        if not formats or preferred in formats:
            choice = preferred
        else:
            choice = "rgb24" if "rgb24" in formats else formats[0]
        if choice == "yuv420p" and (self._size[0] % 2 or self._size[1] % 2) and "yuv444p" in formats:
            # 4:2:0 cannot hold an odd size, and cutting or scaling would not be the decoded picture any more.
            self._console.info(f"{self.name}: odd size {self._size[0]}x{self._size[1]}, written as yuv444p")
            choice = "yuv444p"
        return choice

    def _conversion(self, frame: av.VideoFrame, pixel_format: str) -> str:
        options = [f"w={self._size[0]}:h={self._size[1]}", "flags=bicubic+accurate_rnd+full_chroma_int"]
        if _is_rgb(frame.format.name) and not _is_rgb(pixel_format):
            full = pixel_format.startswith("yuvj") or self._colour.full
            options.append(OutputColour(self._colour.matrix, full, self._colour.tags).filter)
        return f"scale={':'.join(options)},format={pixel_format}"

    def _encode(self, frame: av.VideoFrame) -> int:
        if not self._order.admits(frame):
            return 0
        if self._single and self._count:
            raise MediaError(
                f"{self.name}: a second picture for one image; expected a pattern like out_%04d.png, or -frames:v 1"
            )
        frame.pict_type = 0  # a decoder's choice must not become the encoder's
        if not self._held and not _is_rgb(frame.format.name) and not frame.format.name.startswith("yuvj"):
            self._colour.tag(frame)
        self._count += 1
        try:
            packets = self._stream.encode(frame)
        except (av.error.FFmpegError, ValueError) as error:
            self.failed = True
            raise media_error(self._settings.url, f"encoder {self._codec} failed", error) from error
        self.written += 1
        return self._mux(packets)

    def _mux(self, packets: list[Any]) -> int:
        try:
            self._container.mux(packets)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.failed = True
            raise media_error(self._settings.url, "cannot write", error) from error
        return sum(packet.size for packet in packets)


def _is_rgb(pixel_format: str) -> bool:
    return bool(av.VideoFormat(pixel_format, 16, 16).is_rgb)


def _is_video_encoder(name: str) -> bool:
    try:
        return av.Codec(name, "w").type == "video"
    except (av.error.FFmpegError, ValueError):
        return False
