"""Pictures for measurements: (H, W, 3) uint8 RGB from files, their frames, and PSNR."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]
SUFFIXES = (".png", ".webp", ".ppm", ".bmp", ".tif", ".tiff")
#: What a careful user of libswscale sets: nothing is lost to fast rounding or to halved chroma.
CAREFUL = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"


@dataclass(frozen=True)
class Picture:
    """A named picture."""

    name: str
    rgb: RGB

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.rgb.shape[0] * self.rgb.shape[1]


def load_folder(folder: Path, limit: int | None = None) -> list[Picture]:
    """The lossless pictures of a folder by name. Raises FileNotFoundError when there is none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[:limit]
    if not paths:
        raise FileNotFoundError(f"no picture ({', '.join(SUFFIXES)}) in {folder}")
    return [Picture(path.stem, np.asarray(Image.open(path).convert("RGB"))) for path in paths]


def psnr(a: RGB, b: RGB) -> float:
    """PSNR in dB over all samples of 8-bit pictures of one shape; infinite when they are equal."""
    if a.shape != b.shape:
        raise ValueError(f"PSNR of shapes {a.shape} and {b.shape}: they must be equal")
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def rgb_frame(rgb: RGB) -> av.VideoFrame:
    """An ``rgb24`` frame of a picture, without a picture type."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    frame.pict_type = 0
    return frame


def planar_rgb(frame: av.VideoFrame) -> RGB:
    """The picture of a ``gbrp`` or ``rgb24`` frame."""
    array = frame.to_ndarray()
    if frame.format.name not in ("gbrp", "rgb24"):
        raise ValueError(f"frame of format {frame.format.name}: gbrp or rgb24 is needed")
    # PyAV gives both as (H, W, 3) in the order red, green, blue.
    return np.asarray(array, np.uint8)


class Converter:
    """Converts frames of one size and format by libswscale with careful flags, through one filter graph."""

    def __init__(self, width: int, height: int, source: str, target: str, *, matrix: str = "bt709") -> None:
        self._graph = Graph()
        buffer = self._graph.add_buffer(width=width, height=height, format=av.VideoFormat(source),
                                        time_base=Fraction(1, 25))
        to_rgb = target in ("rgb24", "gbrp")
        colour = f"in_color_matrix={matrix}:in_range=tv" if to_rgb else f"out_color_matrix={matrix}:out_range=tv"
        scale = self._graph.add("scale", f"flags={CAREFUL}:{colour}")
        form = self._graph.add("format", target)
        sink = self._graph.add("buffersink")
        buffer.link_to(scale)
        scale.link_to(form)
        form.link_to(sink)
        self._graph.configure()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The converted frame."""
        self._graph.push(frame)
        converted = self._graph.pull()
        assert isinstance(converted, av.VideoFrame)
        converted.pict_type = 0
        return converted
