"""Frames of NVDEC and NVENC on the device: whether they are FFmpeg's, and frames a second through the codecs.

A clip that FFmpeg draws and x264 codes is decoded by NVDEC to frames that stay on the device, and by FFmpeg on the CPU:
H.264 leaves no room for rounding, so that NV12 pictures have to be equal to the byte. Machine views go from the device
to NVENC, nearly without loss, and back through FFmpeg's decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from duoview import Decoder
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks, HardwareFrames, open_hardware

#: Units that are decoded on the CPU, and views that are compared.
COMPARED = 4
#: Levels that a video of almost no loss may be from its pictures.
MEAN_APART = 2.0


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


def _viewed(networks: DeviceNetworks, units: list[bytes], path: Path, wait: Callable[[], float], *, width: int,
            height: int) -> dict[str, Any]:
    """Machine views as a video of NVENC, and how far that is from them, in levels."""
    on_device = networks.device == "cuda"
    decoder, reader = DeviceDecoder(networks, strict=True, pixel_format="nv12"), HardwareFrames(networks)
    name, pixels, options = ("h264_nvenc", "cuda", {"rc": "constqp", "qp": "4"}) if on_device else (
        "libx264", "nv12", {"preset": "ultrafast", "qp": "4"})
    expected = []
    began = wait()
    with av.open(str(path), "w") as target:
        stream = target.add_stream(name, rate=25, options=options | {"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for unit in units:
            (shown,) = decoder.decode(unit)
            target.mux(stream.encode(reader.frame(shown)))
        target.mux(stream.encode(None))
    seconds = wait() - began
    decoder.reset()
    for unit in units[:COMPARED]:
        (shown,) = decoder.decode(unit)
        whole = networks.get(shown.array)
        rows = whole.shape[0] // 3 * 2
        expected.append(np.concatenate([whole[:shown.height, :shown.width],
                                        whole[rows:rows + shown.height // 2, :shown.width]]))
    apart = [float(np.abs(frame.to_ndarray().astype(np.int16) - other).mean())
             for frame, other in zip(software(path), expected, strict=False)]
    return {"encoder": name, "decode_and_encode_fps": len(units) / seconds, "mean_apart": max(apart),
            "good": len(apart) == len(expected) and max(apart) < MEAN_APART}


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
    shown = sum(len(decoder.decode(unit)) for unit in units[:COMPARED])
    try:
        views = _viewed(networks, units, folder / "view.mp4", wait, width=width, height=height)
    except av.error.FFmpegError as error:  # a GPU of a data centre may have no NVENC
        views = {"not_run": f"NVENC: {error}"}
    return {"size": f"{width}x{height}", "frames": count, "networks": networks.backend.name,
            "decoder": "NVDEC" if on_device else "FFmpeg on the CPU", "equal": equal, "compared": compared,
            "decode_fps": decoded / decoding, "decode_and_encode_fps": len(units) / both,
            "views": views,
            "good": equal and compared == count and shown == min(COMPARED, count) and views.get("good", True)}
