"""A learned baseline among the coders: the hyperprior networks of a folder, every frame by itself, muxed to NUT."""

from __future__ import annotations

import hashlib
import io
from fractions import Fraction
from typing import Any

import av
import numpy as np

from bench.accuracy.clip import Clip
from bench.accuracy.codec import Codec, Setup, Variant, always
from bench.accuracy.hyperprior import Hyperprior, load

#: The mark of its packets in the container; the stream of ffv1 behind it is never coded.
_TAG = "HYPR"


class Learned(Codec):
    """Its qualities are the networks of `setup.learned`, from few bytes to many, by their lambdas.

    Raises ValueError when no folder is given or a file in it is no network, FileNotFoundError when it has none.
    """

    def __init__(self, name: str, variant: Variant, setup: Setup) -> None:
        if setup.learned is None:
            raise ValueError(f"codec {name}: --learned, the folder of its networks, is needed")
        paths = sorted(setup.learned.glob("*.pt"))
        if not 0 < len(paths) < 256:
            raise FileNotFoundError(f"{setup.learned}: {len(paths)} files LAMBDA.pt, expected 1 to 255; "
                                    "bench.accuracy.train_hyperprior makes them")
        loaded = sorted(((load(path), path) for path in paths), key=lambda item: item[0][1])
        super().__init__(name, always(variant, key="every", latency="zero"), range(len(loaded)))
        self._networks: list[Hyperprior] = [network for (network, _), _ in loaded]
        self._digest = hashlib.sha256(b"".join(path.read_bytes() for _, path in loaded)).hexdigest()[:16]

    @property
    def version(self) -> str:
        import torch

        return f"networks {self._digest}, torch {torch.__version__}"

    def _encode(self, clip: Clip, quality: int) -> bytes:
        network, file = self._networks[quality], io.BytesIO()
        with av.open(file, "w", format="nut", options={"strict": "-1"}) as sink:
            stream: Any = sink.add_stream("ffv1", rate=clip.rate)
            stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
            stream.time_base = stream.codec_context.time_base = 1 / clip.rate
            stream.codec_context.codec_tag = _TAG
            for number, frame in enumerate(clip.frames):
                # A decoder has to know which of the networks it was.
                picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                packet = av.Packet(bytes([quality]) + network.encode(picture))
                packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1 / clip.rate), True
                packet.pts = packet.dts = number
                sink.mux(packet)
        return file.getvalue()

    def _decode(self, data: bytes) -> list[av.VideoFrame]:
        with av.open(io.BytesIO(data), "r") as source:
            packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        pictures = [self._networks[packet[0]].decode(packet[1:]) for packet in packets]
        return [av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuv420p")
                for picture in pictures]
