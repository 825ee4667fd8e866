"""Frames of NVDEC on the device: whether they are those of FFmpeg's decoder, and frames a second through the encoder.

A clip that FFmpeg draws and x264 codes is decoded by NVDEC to frames that stay on the device, and by FFmpeg on the CPU:
H.264 leaves no room for rounding, so that NV12 pictures have to be equal to the byte.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from duoview import Decoder
from duoview.device import DeviceEncoder, DeviceNetworks, HardwareFrames, open_hardware


def draw(path: Path, width: int, height: int, count: int) -> None:
    """A clip of FFmpeg's test picture, as H.264."""
    drawn = f"testsrc2=size={width}x{height}:rate=25"
    with av.open(drawn, format="lavfi") as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == count:
                break
            frame.pict_type = av.video.frame.PictureType.NONE
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


def software(path: Path) -> Any:
    """NV12 frames of FFmpeg's decoder: what NVDEC is compared with, and what stands for it on the CPU."""
    with av.open(str(path)) as source:
        for frame in source.decode(video=0):
            given = frame.reformat(format="nv12")
            given.pts, given.time_base = frame.pts, frame.time_base
            yield given


def hardware(path: Path, index: int) -> Any:
    """Frames of NVDEC."""
    with open_hardware(str(path), index=index) as source:
        yield from source.decode(video=0)


def frames_of_hardware(networks: DeviceNetworks, folder: Path, wait: Callable[[], float], *, width: int, height: int,
                       count: int) -> dict[str, Any]:
    """The clip's pictures compared, and coded. Raises BackendUnavailableError where there is no NVDEC."""
    path = folder / "clip.mp4"
    draw(path, width, height, count)
    on_device = networks.device == "cuda"

    def frames() -> Any:
        return hardware(path, networks.index) if on_device else software(path)

    reader, equal, compared = HardwareFrames(networks), True, 0
    for frame, other in zip(frames(), software(path), strict=True):
        equal &= bool(np.array_equal(networks.get(reader.picture(frame)), other.to_ndarray()))
        compared += 1
    began = wait()
    decoded = sum(1 for _ in frames())
    decoding = wait() - began
    encoder = DeviceEncoder(networks, width, height, q=30, gop=1 << 20, pixel_format="nv12")
    began = wait()
    units = [bytes(encoder.encode(frame)) for frame in frames()]
    both = wait() - began
    decoder = Decoder(profile=networks.profile, strict=True)
    shown = sum(len(decoder.decode(unit)) for unit in units[:4])
    return {"size": f"{width}x{height}", "frames": count, "networks": networks.backend.name,
            "decoder": "NVDEC" if on_device else "FFmpeg on the CPU", "equal": equal, "compared": compared,
            "decode_fps": decoded / decoding, "decode_and_encode_fps": len(units) / both,
            "good": equal and compared == count and shown == min(4, count)}
