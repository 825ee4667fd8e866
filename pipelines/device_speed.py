"""How fast a device encodes and decodes: a few seconds on drawn frames, for ``duoview doctor -bench``."""

from __future__ import annotations

import time
from dataclasses import dataclass

import av
import numpy as np

from duoview.decoder import Decoder
from duoview.encoder import Encoder
from duoview.profile import Profile

WIDTH, HEIGHT, GOP = 640, 360, 50


@dataclass(frozen=True)
class DeviceSpeed:
    """Frames of 640x360 a second through the neural machine layer, wall time, entropy coding included, at q 24.

    first_frame: seconds from opening the profile to the first access unit.
    """

    device: str
    profile: str
    first_frame: float
    encoded: int
    encode_fps: float
    decoded: int
    decode_fps: float

    def __str__(self) -> str:
        return (f"{self.device}, profile {self.profile}, {WIDTH}x{HEIGHT}: first frame after {self.first_frame:.2f} s, "
                f"then {self.encode_fps:.1f} frames a second encoded ({self.encoded}), "
                f"{self.decode_fps:.1f} decoded ({self.decoded})")


def measure(profile: str, device: str, seconds: float = 5.0) -> DeviceSpeed:
    """Encode for three fifths of the time and decode for the rest, at least one P frame each."""
    began = time.monotonic()
    opened = Profile(profile)
    encoder = Encoder(WIDTH, HEIGHT, q=24, gop=GOP, profile=opened, device=device)
    packets = encoder.encode(_frame(0))
    first_frame = time.monotonic() - began
    began = time.monotonic()
    while len(packets) < 2 or time.monotonic() - began < .6 * seconds:
        packets += encoder.encode(_frame(len(packets)))
    encode_seconds = time.monotonic() - began
    decoder, decoded = Decoder(profile=opened, device=device, strict=True), 0
    decoder.decode(packets[0])
    began = time.monotonic()
    for packet in packets[1:]:
        decoded += len(decoder.decode(packet))
        if time.monotonic() - began > .4 * seconds:
            break
    decode_seconds = time.monotonic() - began
    return DeviceSpeed(device, profile, first_frame, len(packets) - 1, (len(packets) - 1) / encode_seconds,
                       decoded, decoded / decode_seconds)


def _frame(number: int) -> av.VideoFrame:
    """A textured patch that moves before a gradient, RGB."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = np.linspace(20, 220, WIDTH)[None, :, None]
    x = 8 * number % (WIDTH - 96)
    picture[120:216, x:x + 96] = (np.arange(96)[:, None, None] * np.arange(96)[None, :, None]) % 251
    return av.VideoFrame.from_ndarray(picture, format="rgb24")
