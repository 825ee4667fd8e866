"""Key frames at equal bytes, on photographs of scikit-image's wheel. (bench/stills.py draws whole curves.)"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from skimage import data

from duoview import Decoder, Encoder, Profile
from duoview.backends import CpuBackend
from duoview.picture import PictureReader

PHOTOGRAPHS = {"cat": data.chelsea()[:288, :448], "coffee": data.coffee()[:384, :576], "rocket": data.rocket()[:416]}


@dataclass(frozen=True)
class Coded:
    """Bytes and RGB PSNR."""

    bytes: int
    psnr: float


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def ours(profile: Profile) -> dict[str, Coded]:
    """Every photograph as the first access unit of a stream at q 36, all bytes of it."""
    return {name: code_duoview(picture, profile, 36) for name, picture in PHOTOGRAPHS.items()}


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def code_duoview(picture: np.ndarray, profile: Profile, q: int) -> Coded:
    encoder = Encoder(picture.shape[1], picture.shape[0], q=q, profile=profile)
    (packet,) = encoder.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))
    unit = bytes(packet)
    (frame,) = Decoder(profile=profile, strict=True).decode(unit)
    return Coded(len(unit), psnr(frame.to_ndarray(), picture))


def code_jpeg(picture: np.ndarray, quality: int) -> Coded:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True, subsampling="4:2:0")
    return Coded(len(buffer.getvalue()), psnr(np.asarray(Image.open(buffer)), picture))


def code_x265(picture: np.ndarray, qp: int) -> Coded:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
        format="yuv420p", interpolation="BICUBIC")
    frame.pict_type, frame.pts, frame.time_base = 0, 0, Fraction(1, 25)
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = {"preset": "medium", "x265-params": f"log-level=none:info=0:keyint=1:qp={qp}"}
    packets = [bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None))]
    decoder = av.CodecContext.create("hevc", "r")
    shown = [f for unit in packets for f in decoder.decode(av.Packet(unit))] + decoder.decode(None)
    return Coded(sum(map(len, packets)), psnr(shown[0].to_ndarray(format="rgb24"), picture))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_key_frame_is_better_than_optimised_jpeg_of_no_fewer_bytes(ours: dict[str, Coded], name: str) -> None:
    for quality in range(1, 96):
        jpeg = code_jpeg(PHOTOGRAPHS[name], quality)
        if jpeg.bytes >= ours[name].bytes:
            break
    assert jpeg.bytes >= ours[name].bytes
    assert ours[name].psnr > jpeg.psnr + 1


def test_key_frames_are_on_average_within_a_decibel_of_x265_stills_of_no_fewer_bytes(ours: dict[str, Coded]) -> None:
    differences = []
    for name, picture in PHOTOGRAPHS.items():
        for qp in range(51, 20, -1):
            other = code_x265(picture, qp)
            if other.bytes >= ours[name].bytes:
                break
        differences.append(ours[name].psnr - other.psnr)
    assert float(np.mean(differences)) > -1


def test_the_latent_itself_holds_33_decibels(profile: Profile) -> None:
    backend, reader = CpuBackend(), PictureReader()
    encoder, decoder = profile.load("encoder", backend), profile.load("decoder", backend)
    values = []
    for picture in PHOTOGRAPHS.values():
        padded = reader.read(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))
        (shown,) = decoder(z=encoder(picture=padded)[0])
        values.append(psnr(shown[0, :, :picture.shape[0], :picture.shape[1]].transpose(1, 2, 0), picture))
    assert float(np.mean(values)) >= 33
