"""Between PyAV's frames and the networks' pictures: planar RGB, uint8, padded to whole coding units."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from duoview.errors import LimitError
from duoview.sequence import MAX_HEIGHT, MAX_WIDTH

#: Hyper symbols cover 64 x 64 pixels; pictures are extended to multiples of that by repeating their edge.
UNIT = 64
#: 8K UHD. Larger pictures need more memory than a surveillance box has; raise it knowingly.
DEFAULT_MAX_PIXELS = 1 << 25

#: Without accurate rounding, libswscale's YUV to RGB comes out one to two levels too dark.
_INTERPOLATION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND

_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND

#: gbrp keeps its planes in the order green, blue, red.
_PLANES = (2, 0, 1)


def check_size(width: int, height: int, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
    """Raise LimitError when a picture of this size cannot be coded."""
    if not 1 <= width <= MAX_WIDTH or not 1 <= height <= MAX_HEIGHT:
        raise LimitError(f"picture size {width}x{height}: expected 1x1 to {MAX_WIDTH}x{MAX_HEIGHT}")
    if width * height > max_pixels:
        raise LimitError(f"picture size {width}x{height} has {width * height} pixels, max_pixels is {max_pixels}")


def padded(length: int) -> int:
    """The next multiple of the coding unit."""
    return -(-length // UNIT) * UNIT


def matrix_of(frame: av.VideoFrame) -> Colorspace:
    """The YUV matrix to convert with: what the frame says, else BT.601, as libswscale does."""
    try:
        space = Colorspace(frame.colorspace)
    except ValueError:
        return Colorspace.ITU601
    known = {Colorspace.ITU709, Colorspace.FCC, Colorspace.ITU601, Colorspace.SMPTE240M, Colorspace.BT2020}
    return space if space in known else Colorspace.ITU601


def plane_rows(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    """The bytes of a plane as rows, padding included, without a copy; writing to it writes to the frame."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)


class PictureReader:
    """Turns frames of any pixel format into pictures. Keeps its scaler, so use one per stream."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def read(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """(1, 3, H, W) uint8 RGB, H and W padded to multiples of 64 by repeating the last row and column."""
        width, height = frame.width, frame.height
        if frame.format.name == "gbrp":
            planar = frame if frame.planes[0].line_size > 0 else self._upright(frame)
        else:
            planar = self._reformatter.reformat(
                frame, format="gbrp", src_colorspace=matrix_of(frame), dst_color_range=ColorRange.JPEG,
                interpolation=_INTERPOLATION)
        picture = np.empty((1, 3, padded(height), padded(width)), np.uint8)
        for channel, index in enumerate(_PLANES):
            rows = plane_rows(planar.planes[index])[:height, :width]
            target = picture[0, channel]
            target[:height, :width] = rows
            target[:height, width:] = rows[:, -1:]
            target[height:] = target[height - 1]
        return picture

    def _upright(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A copy of a ``gbrp`` frame that a filter (vflip) turned over by a negative line size, samples unchanged."""
        return self._reformatter.reformat(self._reformatter.reformat(frame, format="rgb24"), format="gbrp")


def to_frame(picture: NDArray[np.uint8], width: int, height: int) -> av.VideoFrame:
    """A full-range ``gbrp`` frame of the top left ``width`` x ``height`` of a picture (1, 3, H, W)."""
    frame = av.VideoFrame(width, height, "gbrp")
    for channel, index in enumerate(_PLANES):
        rows = plane_rows(frame.planes[index])
        rows[:height, :width] = picture[0, channel, :height, :width]
    frame.color_range = ColorRange.JPEG
    frame.colorspace = 0  # RGB in H.273
    return frame


def onto(picture: NDArray[np.uint8], shown: NDArray[np.uint8], own: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A coded picture with what D shows of its latent and more, less what D shows of its latent alone.

    What E and D lose of a picture that they did not make stays so: the better it is coded, the more that is.
    picture, shown, own: of one shape, as is what comes out.
    """
    change = shown.astype(np.int16) - own
    return np.clip(picture + change, 0, 255).astype(np.uint8)


def scaled_picture(reader: PictureReader, frame: av.VideoFrame, coded: tuple[int, int],
                   size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture (1, 3, H, W) of the top left ``coded`` width and height of a frame, scaled to ``size``, padded."""
    picture = reader.read(frame)
    if (frame.width, frame.height) == coded == size:
        return picture
    cropped = to_frame(picture, *coded)
    if coded != size:
        scaled = VideoReformatter().reformat(cropped, *size, interpolation=_SCALING)
        scaled.color_range, cropped = ColorRange.JPEG, scaled
    return reader.read(cropped)
