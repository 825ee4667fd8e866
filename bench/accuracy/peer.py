"""What users would take instead, through PyAV, muxed to NUT: x264, x265, SVT-AV1, and JPEG frame by frame."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from PIL import Image

from bench.accuracy.clip import Clip
from bench.accuracy.codec import Codec, Setup, Variant, always, fresh
from duoview.inner.priority import usual_priority
from duoview.inner.short_streams import drain
from duoview.kernels import noise

#: x264's AVX-512 code gives other bytes for the same pictures from one time to the next, by a percent of a small file.
REPRODUCIBLE = "AVX2,FMA3,BMI2,LZCNT"

# SVT-AV1 tells its settings on stderr otherwise, at every file; errors are still told.
os.environ.setdefault("SVT_LOG", "1")


def x264_options(variant: Variant, threads: int) -> dict[str, str]:
    """Options of libx264. Key frames come where they are asked for, not at scene cuts, of which a camera has none."""
    options = {"sc_threshold": "0"}
    if "avx512" in noise.paths():
        options["x264-params"] = f"asm={REPRODUCIBLE}"
    return options | ({"tune": "zerolatency"} if variant.latency == "zero" else {})


def x265_options(variant: Variant, threads: int) -> dict[str, str]:
    """Options of libx265; the comment about its own settings is off, and so is what costs bits for threads alone."""
    pools = "pools=none:no-wpp=1" if threads == 1 else f"pools={threads}"
    options = {"x265-params": f"log-level=none:info=0:scenecut=0:frame-threads=1:{pools}"}
    return options | ({"tune": "zerolatency"} if variant.latency == "zero" else {})


def svtav1_options(variant: Variant, threads: int) -> dict[str, str]:
    """Options of SVT-AV1; pred-struct=1 is its low delay."""
    return {"svtav1-params": f"lp={threads}" + (":pred-struct=1:lookahead=0" if variant.latency == "zero" else "")}


@dataclass(frozen=True)
class Library:
    """An encoder of libavcodec. qualities: constant rate factors from few bytes to many.

    without: a bitstream filter that takes out what no decoder needs (x264's comment about itself, 670 bytes a file).
    """

    encoder: str
    options: Callable[[Variant, int], dict[str, str]]
    qualities: Sequence[int]
    without: str | None = None


X264 = Library("libx264", x264_options, range(51, 9, -1), "filter_units=remove_types=6")
X265 = Library("libx265", x265_options, range(51, 9, -1))
SVTAV1 = Library("libsvtav1", svtav1_options, range(63, 9, -1))


class Peer(Codec):
    """An encoder of libavcodec at a preset and a constant rate factor, decoded by libavcodec."""

    def __init__(self, name: str, library: Library, preset: str, variant: Variant, setup: Setup) -> None:
        super().__init__(name, variant, library.qualities)
        self._library, self._preset, self._threads = library, preset, setup.threads

    @property
    def version(self) -> str:
        options = self._library.options(self.variant, self._threads)
        return f"{_libavcodec()}, threads {self._threads}, {options}"

    def _encode(self, clip: Clip, quality: int) -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format="nut") as sink:
            options = {"preset": self._preset, "crf": str(quality)}
            options |= self._library.options(self.variant, self._threads)
            stream: Any = sink.add_stream(self._library.encoder, rate=clip.rate, options=options)
            stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
            stream.codec_context.time_base = 1 / clip.rate
            stream.codec_context.gop_size = self.variant.gop(clip)
            stream.codec_context.thread_count = self._threads
            with usual_priority():
                stream.codec_context.open()
            cut: av.BitStreamFilterContext | None = None
            for packet in _packets(stream, clip):
                if self._library.without is None:
                    sink.mux(packet)
                    continue
                # Opened late: the encoder has its parameter sets from its first packet on.
                cut = cut or av.BitStreamFilterContext(self._library.without, in_stream=stream)
                for shorter in cut.filter(packet):
                    shorter.stream = stream
                    sink.mux(shorter)
        return file.getvalue()

    def _decode(self, data: bytes) -> list[av.VideoFrame]:
        return _decoded(data)


class Jpeg(Codec):
    """Pillow's JPEG (libjpeg-turbo), 4:2:0, optimised Huffman tables, one picture per frame."""

    def __init__(self, name: str, variant: Variant, setup: Setup) -> None:
        super().__init__(name, always(variant, key="every", latency="zero"), range(1, 96))

    @property
    def version(self) -> str:
        from PIL import __version__ as pillow

        return f"Pillow {pillow}, {_libavcodec()}"

    def _encode(self, clip: Clip, quality: int) -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format="nut") as sink:
            stream: Any = sink.add_stream("mjpeg", rate=clip.rate)
            stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuvj420p"
            stream.codec_context.time_base = 1 / clip.rate
            for number, frame in enumerate(clip.frames):
                picture = io.BytesIO()
                Image.fromarray(frame.to_ndarray(format="rgb24")).save(
                    picture, "JPEG", quality=quality, optimize=True, subsampling="4:2:0")
                packet = av.Packet(picture.getvalue())
                packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1 / clip.rate), True
                packet.pts = packet.dts = number
                sink.mux(packet)
        return file.getvalue()

    def _decode(self, data: bytes) -> list[av.VideoFrame]:
        return _decoded(data)


def _decoded(data: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(data), "r") as source:
        return list(source.decode(video=0))


def _packets(stream: Any, clip: Clip) -> Any:
    for number, frame in enumerate(clip.frames):
        yield from stream.encode(fresh(frame, number, clip.rate))
    yield from drain(stream, stream.codec_context.name, len(clip.frames))


def _libavcodec() -> str:
    return f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
