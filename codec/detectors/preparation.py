"""From a frame of any size and pixel format to a network's input, and from the network's pixels back to the frame's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from duoview.picture import matrix_of, plane_rows

FITS = ("stretch", "letterbox")
ANCHORS = ("corner", "centre")
COLOURS = ("rgb", "bgr")
LAYOUTS = ("", "nchw", "nhwc")
MAX_SIDE = 8192

#: The planes of gbrp that hold red, green and blue, in the order in which a network wants them.
_PLANES = {"rgb": (2, 0, 1), "bgr": (1, 0, 2)}
#: Scalers kept, one per kind of frame: cameras of a few sizes share a detector.
_MAX_SCALERS = 32
# Bilinear in libswscale widens its kernel when it shrinks a picture, so that nothing is skipped.
_INTERPOLATION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND


@dataclass(frozen=True)
class Placement:
    """Where a frame lies in the network's input: its size there, and its top left corner."""

    frame_width: int
    frame_height: int
    width: int
    height: int
    left: int
    top: int

    def to_frame(self, boxes: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes (N, 4) in pixels of the network's input as boxes in pixels of the frame."""
        scale = np.array([self.frame_width / self.width, self.frame_height / self.height] * 2)
        return (boxes.astype(np.float64) - np.array([self.left, self.top] * 2)) * scale


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes a network's input: value = (sample - mean) / std, samples 0 to 255.

    width, height: of the input in pixels; 0 takes them from the network.
    fit: ``stretch`` fills the input; ``letterbox`` keeps the ratio of width to height and pads.
    anchor: where a letterboxed picture lies: ``corner`` (top left) or ``centre``. padding: the sample put around it.
    colour: order of the channels. mean, std: per channel, in that order.
    layout: ``nchw`` or ``nhwc``; empty takes it from the network. batch: frames at once where the network leaves their
    number open.
    """

    width: int = 0
    height: int = 0
    fit: str = "stretch"
    anchor: str = "corner"
    padding: int = 114
    colour: str = "bgr"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    layout: str = ""
    batch: int = 8

    def __post_init__(self) -> None:
        for name, low, high in (
                ("width", 0, MAX_SIDE), ("height", 0, MAX_SIDE), ("padding", 0, 255), ("batch", 1, 256)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)}: expected {low} to {high}")
        for name, allowed in (("fit", FITS), ("anchor", ANCHORS), ("colour", COLOURS), ("layout", LAYOUTS)):
            if getattr(self, name) not in allowed:
                words = ", ".join(repr(word) for word in allowed)
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {words}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not np.isfinite(values).all():
                raise ValueError(f"{name}={values}: expected three numbers, one per channel")
        if 0 in self.std:
            raise ValueError(f"std={self.std}: expected no zero, samples are divided by it")

    def place(self, width: int, height: int) -> Placement:
        """Where a frame of this size lies in the input.

        The letterboxed size is rounded as the networks' own tools do: down where the picture lies in the corner
        (YOLOX), to the nearest where it is centred (YOLOv5 and later).
        """
        if self.fit == "stretch":
            return Placement(width, height, self.width, self.height, 0, 0)
        ratio = min(self.width / width, self.height / height)
        if self.anchor == "corner":
            # The small number undoes float errors such as 416 / 640 * 640 = 415.99999999999994.
            sizes = [max(1, int(side * ratio + 1e-6)) for side in (width, height)]
            return Placement(width, height, sizes[0], sizes[1], 0, 0)
        sizes = [max(1, round(side * ratio)) for side in (width, height)]
        left, top = round((self.width - sizes[0]) / 2 - 0.1), round((self.height - sizes[1]) / 2 - 0.1)
        return Placement(width, height, sizes[0], sizes[1], left, top)


class PictureSampler:
    """Makes the inputs of one network. Scaling is libswscale's, bilinear, in one step with the conversion to RGB."""

    def __init__(self, preparation: Preparation, dtype: type[np.generic]) -> None:
        self.preparation = preparation
        self.dtype = dtype
        self._scalers: dict[tuple[int, int, str], VideoReformatter] = {}
        shape = (3, 1, 1)
        self._factor = (1 / np.array(preparation.std, np.float64)).reshape(shape).astype(np.float32)
        self._offset = (-np.array(preparation.mean, np.float64) / np.array(preparation.std)).reshape(shape).astype(
            np.float32)
        self._plain = not any(preparation.mean) and set(preparation.std) == {1.0}

    def empty(self, count: int) -> NDArray[Any]:
        """The input for so many frames, not filled."""
        wanted = self.preparation
        tall = (count, wanted.height, wanted.width, 3) if wanted.layout == "nhwc" else (
            count, 3, wanted.height, wanted.width)
        return np.zeros(tall, self.dtype)

    def fill(self, target: NDArray[Any], frame: av.VideoFrame) -> Placement:
        """Write one frame into its place of the input, (3, H, W) or (H, W, 3), and say where it lies."""
        wanted = self.preparation
        place = wanted.place(frame.width, frame.height)
        planar = self._scaled(frame, place.width, place.height)
        picture = np.full((3, wanted.height, wanted.width), wanted.padding, np.uint8)
        inside = picture[:, place.top:place.top + place.height, place.left:place.left + place.width]
        for channel, index in enumerate(_PLANES[wanted.colour]):
            inside[channel] = plane_rows(planar.planes[index])[:place.height, :place.width]
        channels = np.moveaxis(target, -1, 0) if wanted.layout == "nhwc" else target
        if self._plain:
            channels[...] = picture
        else:
            np.add(picture * self._factor, self._offset, out=channels, casting="unsafe")
        return place

    def _scaled(self, frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        key = (frame.width, frame.height, frame.format.name)
        if key not in self._scalers:
            if len(self._scalers) >= _MAX_SCALERS:
                self._scalers.clear()
            self._scalers[key] = VideoReformatter()
        if frame.format.name == "gbrp" and frame.planes[0].line_size < 0:
            # vflip turns a frame over by a negative line size; where nothing is scaled it would come out as it is.
            frame = VideoReformatter().reformat(frame, format="rgb24", interpolation=_INTERPOLATION, threads=1)
        return self._scalers[key].reformat(
            frame, width=width, height=height, format="gbrp", src_colorspace=matrix_of(frame),
            dst_color_range=ColorRange.JPEG, interpolation=_INTERPOLATION, threads=1)
