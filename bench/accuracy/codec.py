"""What every coder here is: a clip and a quality in, a file in NUT, its decoded pictures and the time taken out."""

from __future__ import annotations

import abc
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av

from bench.accuracy.clip import Clip, same_size

KEYS = ("2s", "once", "every")
LATENCIES = ("full", "zero")
#: What is counted: the whole file, or its packets and parameter sets without what the container adds.
COUNTS = ("file", "packets")


@dataclass(frozen=True)
class Variant:
    """How a coder is used.

    key: a key frame every two seconds (``2s``), at the beginning only (``once``), or ``every`` frame. latency: with all
    the lookahead that the coder wants (``full``), or with ``zero`` frames of delay. scale: of the sides before coding;
    the decoded picture is brought back, both bicubic.
    """

    key: str = "2s"
    latency: str = "full"
    scale: float = 1.0

    def __post_init__(self) -> None:
        for what, value, known in (("key", self.key, KEYS), ("latency", self.latency, LATENCIES)):
            if value not in known:
                raise ValueError(f"{what}={value!r}: expected one of {', '.join(known)}")
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale={self.scale}: expected above 0, at most 1")

    def gop(self, clip: Clip) -> int:
        """Frames from one key frame to the next."""
        if self.key == "every":
            return 1
        return len(clip.frames) + 1 if self.key == "once" else max(1, round(2 * clip.rate))


@dataclass(frozen=True, eq=False)
class Coded:
    """A coded clip: its file, its pictures at the source's size, CPU seconds of all threads for either way.

    Of still pictures, `data` is all their files one after the other. size: the bytes that count. sizes: the same by
    frame. What is paid once for a clip, such as parameter sets, the container and a key frame that is the only one,
    is shared by all its frames.
    """

    data: bytes
    size: int
    frames: tuple[av.VideoFrame, ...]
    encode_seconds: float
    decode_seconds: float
    sizes: tuple[float, ...]


class Codec(abc.ABC):
    """A coder in one variant. name: without the variant. qualities: of its own scale, from few bytes to many.

    count: which of its bytes do, one of COUNTS.
    """

    ours: ClassVar[bool] = False
    count: str = COUNTS[0]

    def __init__(self, name: str, variant: Variant, qualities: Sequence[int]) -> None:
        self.name, self.variant, self.qualities = name, variant, tuple(qualities)

    @property
    def label(self) -> str:
        """Name and variant, as results and tables have it."""
        parts = [self.name, f"key {self.variant.key}", *(["zero latency"] if self.variant.latency == "zero" else []),
                 *([f"x{self.variant.scale:g}"] if self.variant.scale != 1 else []),
                 *([f"{self.count} alone"] if self.count != COUNTS[0] else [])]
        return ", ".join(parts)

    @property
    @abc.abstractmethod
    def version(self) -> str:
        """What decides its bytes beside the quality: results of another version are not taken for this one's."""

    def size(self, clip: Clip, quality: int) -> int:
        """Bytes of the file that count; of all files where every picture has its own."""
        return sum(self._counted(self._encode(self._small(file), quality)) for file in clip.files())

    def code(self, clip: Clip, quality: int) -> Coded:
        """Encode to a file in memory and decode that file. Raises RuntimeError when frames are missing in it."""
        began = time.process_time()
        files = [self._encode(self._small(file), quality) for file in clip.files()]
        encoded = time.process_time()
        frames: list[av.VideoFrame] = []
        for source, data in zip(clip.files(), files, strict=True):
            shown = list(same_size(self._decode(data), source.width, source.height))
            if len(shown) != len(source.frames):
                raise RuntimeError(f"{self.label} at {quality}: {len(shown)} frames of {clip.name} came back, "
                                   f"expected {len(source.frames)}")
            frames += shown
        decoded = time.process_time()
        sizes = [size for source, data in zip(clip.files(), files, strict=True)
                 for size in self._by_frame(data, len(source.frames))]
        return Coded(b"".join(files), sum(map(self._counted, files)), tuple(frames), encoded - began, decoded - encoded,
                     tuple(sizes))

    def _by_frame(self, data: bytes, frames: int) -> list[float]:
        """The bytes of a file that count, by frame in the order in which they are shown."""
        packets = packet_sizes(data)
        if len(packets) != frames:
            raise RuntimeError(f"{self.label}: {len(packets)} packets of {frames} frames; expected one of each")
        if self.variant.key == "once":
            packets[0] = 0
        shared = (self._counted(data) - sum(packets)) / frames
        return [size + shared for size in packets]

    def _counted(self, data: bytes) -> int:
        return len(data) if self.count == "file" else payload(data)

    def _small(self, clip: Clip) -> Clip:
        return clip if self.variant.scale == 1 else clip.scaled(self.variant.scale)

    @abc.abstractmethod
    def _encode(self, clip: Clip, quality: int) -> bytes:
        """The file."""

    @abc.abstractmethod
    def _decode(self, data: bytes) -> list[av.VideoFrame]:
        """The pictures of a file, in the order in which they are shown."""


@dataclass(frozen=True)
class Setup:
    """What coders are made with.

    profile: of ours. threads: of each coder. learned: folder of networks. count: which bytes do, one of COUNTS.
    """

    profile: str = "s"
    threads: int = 1
    learned: Path | None = None
    count: str = COUNTS[0]


def payload(data: bytes) -> int:
    """Bytes of a file's packets, and of the parameter sets that stand only before them; nothing of the container."""
    with av.open(io.BytesIO(data), "r") as source:
        (stream,) = source.streams.video
        # libavcodec knows no decoder of access units, which have nothing before them.
        context = stream.codec_context
        # AV1's key frames carry the sequence header themselves; what stands before them repeats it.
        before: bytes | None = context.extradata if context is not None and context.name != "libdav1d" else None
        return len(before or b"") + sum(packet.size for packet in source.demux(stream))


def packet_sizes(data: bytes) -> list[int]:
    """Bytes of every packet of a file, in the order in which their frames are shown."""
    with av.open(io.BytesIO(data), "r") as source:
        packets = [(packet.pts or 0, packet.size) for packet in source.demux(video=0) if packet.size]
    return [size for _, size in sorted(packets, key=lambda item: item[0])]


def fresh(frame: av.VideoFrame, number: int, rate: Fraction) -> av.VideoFrame:
    """The frame as an encoder gets it: no picture type, numbered."""
    frame.pict_type, frame.pts, frame.time_base = 0, number, 1 / rate
    return frame


def always(variant: Variant, *, key: str | None = None, latency: str | None = None,
           scale: float | None = None) -> Variant:
    """The variant of a coder that has no choice in some of it."""
    return replace(variant, key=key or variant.key, latency=latency or variant.latency, scale=scale or variant.scale)
