"""Still-picture coders under one interface: our key frames, x265 and SVT-AV1 through PyAV, JPEG through Pillow."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from PIL import Image

from bench.curves import Point
from bench.pictures import RGB, Converter, Picture, planar_rgb, psnr, rgb_frame
from duoview import Decoder, Encoder, Profile

# SVT-AV1 tells its settings on stderr otherwise, at every picture; errors are still told.
os.environ.setdefault("SVT_LOG", "1")


class StillCoder(Protocol):
    """Codes one picture at one quality of its own scale, into all the bytes that a decoder needs."""

    qualities: Sequence[int]

    @property
    def name(self) -> str:
        """Shown in tables and plots."""
        ...

    def code(self, rgb: RGB, quality: int) -> tuple[int, RGB]:
        """The number of bytes and the decoded picture."""
        ...


def measure(coder: StillCoder, picture: Picture, quality: int) -> Point:
    """One operating point."""
    count, decoded = coder.code(picture.rgb, quality)
    return Point(quality, count, 8 * count / picture.pixels, psnr(picture.rgb, decoded))


class DuoviewStill:
    """Key frames: one access unit with sequence header, quality and machine sections; the machine view is judged."""

    def __init__(self, profile: Profile, *, threads: int = 0, qualities: Sequence[int] = range(0, 64, 3)) -> None:
        self.qualities = qualities
        self.profile, self.threads = profile, threads
        self._decoder: Decoder | None = None
        self._encoders: dict[int, Encoder] = {}

    @property
    def name(self) -> str:
        """Ours."""
        return "duoview"

    def code(self, rgb: RGB, quality: int) -> tuple[int, RGB]:
        """Encode as the first frame of a stream and decode the bytes again."""
        height, width = rgb.shape[:2]
        encoder = self._encoders.get(quality)
        if encoder is None:
            encoder = Encoder(width, height, rate=Fraction(25), q=quality, profile=self.profile, threads=self.threads)
            # One encoder is kept: sessions take longer to load than a picture to code.
            self._encoders = {quality: encoder}
        if self._decoder is None:
            self._decoder = Decoder(profile=self.profile, threads=self.threads, strict=True)
        (packet,) = encoder.encode(rgb_frame(rgb), key=True)
        data = bytes(packet)
        (frame,) = self._decoder.decode(data)
        return len(data), planar_rgb(frame)


@dataclass
class X265Still:
    """libx265, one frame, preset medium, constant quantiser; every byte of every packet counts.

    Parameter sets count too. The comment message about its own settings is off: no decoder needs it.
    """

    pixel_format: str = "yuv420p"
    tune: str | None = None
    control: str = "qp"
    qualities: Sequence[int] = range(21, 52)

    @property
    def name(self) -> str:
        """E. g. ``x265 medium yuv420p``."""
        return f"x265 medium {self.pixel_format}" + (f" tune {self.tune}" if self.tune else "") + (
            "" if self.control == "qp" else f" {self.control}")

    def code(self, rgb: RGB, quality: int) -> tuple[int, RGB]:
        """Convert with careful flags, encode, decode, convert back with careful flags."""
        height, width = rgb.shape[:2]
        frame = Converter(width, height, "rgb24", self.pixel_format, matrix="bt601")(rgb_frame(rgb))
        encoder = av.CodecContext.create("libx265", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = width, height, self.pixel_format
        encoder.time_base = Fraction(1, 25)
        encoder.framerate = Fraction(25)
        options = {"preset": "medium",
                   "x265-params": f"log-level=none:info=0:keyint=1:{self.control}={quality}"}
        if self.tune:
            options["tune"] = self.tune
        encoder.options = options
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        packets = [bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]]
        decoder = av.CodecContext.create("hevc", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoded = [shown for data in packets for shown in decoder.decode(av.Packet(data))]
        decoded += decoder.decode(None)
        if len(decoded) != 1:
            raise RuntimeError(f"{self.name} at {quality}: {len(decoded)} frames came back, one is expected")
        back = Converter(width, height, self.pixel_format, "rgb24", matrix="bt601")(decoded[0])
        return sum(map(len, packets)), planar_rgb(back)


@dataclass
class JpegStill:
    """Pillow's JPEG (libjpeg-turbo), 4:2:0, with optimised Huffman tables: the bytes of the file."""

    qualities: Sequence[int] = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 30, 35, 40, 50, 60, 70, 80)

    @property
    def name(self) -> str:
        """Theirs."""
        return "optimised JPEG"

    def code(self, rgb: RGB, quality: int) -> tuple[int, RGB]:
        """Encode to a file in memory and decode it."""
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, optimize=True, subsampling="4:2:0")
        buffer.seek(0)
        return len(buffer.getvalue()), np.asarray(Image.open(buffer).convert("RGB"))


@dataclass
class SvtAv1Still:
    """SVT-AV1, one frame, preset 6, constant rate factor; every byte of its packet counts."""

    preset: str = "6"
    qualities: Sequence[int] = range(20, 64, 3)

    @property
    def name(self) -> str:
        """E. g. ``SVT-AV1 preset 6``."""
        return f"SVT-AV1 preset {self.preset}"

    def code(self, rgb: RGB, quality: int) -> tuple[int, RGB]:
        """Convert with careful flags, encode, decode, convert back with careful flags."""
        height, width = rgb.shape[:2]
        frame = Converter(width, height, "rgb24", "yuv420p", matrix="bt601")(rgb_frame(rgb))
        encoder = av.CodecContext.create("libsvtav1", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        encoder.options = {"preset": self.preset, "crf": str(quality), "g": "1", "svtav1-params": "lp=1"}
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        packets = [bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]]
        decoder = av.CodecContext.create("libdav1d", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoded = [shown for data in packets for shown in decoder.decode(av.Packet(data))]
        decoded += decoder.decode(None)
        if len(decoded) != 1:
            raise RuntimeError(f"{self.name} at {quality}: {len(decoded)} frames came back, one is expected")
        back = Converter(width, height, "yuv420p", "rgb24", matrix="bt601")(decoded[0])
        return sum(map(len, packets)), planar_rgb(back)
