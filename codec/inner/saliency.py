"""Finds what detectors would look at, with the profile's saliency network: no detector is needed at the edge."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from duoview.backends import Network
from duoview.picture import matrix_of

from .importance import cells_of

#: The network wants sides of its half-size picture that are multiples of this; grey is put around.
_MULTIPLE = 16
_GREY = 115
#: A camera that moved: the mean distance of a picture, over all samples, from what was the background.
_MOVED = 32.0

Picture = NDArray[np.uint8]


class Background:
    """What a fixed camera sees when nobody is there: every sample follows the picture by one level a frame.

    That tends to the median over time (sigma-delta, Manzanera and Richefeu 2007) at no cost. A picture that is far from
    it everywhere begins a new one.
    """

    def __init__(self) -> None:
        self._picture: Picture | None = None

    def update(self, picture: Picture) -> Picture:
        """Take the next picture, uint8 of any shape; the background, which is not to be written to."""
        known = self._picture
        if known is not None and known.shape == picture.shape:
            apart = np.subtract(picture, known, dtype=np.int16)
            if float(np.abs(apart).mean()) < _MOVED:
                known += np.sign(apart).astype(np.int8).view(np.uint8)  # modulo 256, never beyond the picture
                return known
        self._picture = picture.copy()
        return self._picture


class SaliencyReader:
    """Runs the network on the frames of one stream, in their order.

    Args:
        network: of a profile, ``saliency``.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._background = Background()
        self._reformatter = VideoReformatter()

    def read(self, frame: av.VideoFrame) -> NDArray[np.float32]:
        """Probabilities (rows, columns) of the frame's cells. The frame is not altered."""
        width, height = max(1, frame.width // 2), max(1, frame.height // 2)
        small = self._reformatter.reformat(frame, width, height, "rgb24", src_colorspace=matrix_of(frame),
                                           interpolation=Interpolation.AREA)
        picture = small.to_ndarray().astype(np.uint8, copy=False).transpose(2, 0, 1)
        background = self._background.update(picture)
        around = ((0, 0), (0, -height % _MULTIPLE), (0, -width % _MULTIPLE))
        (found,) = self._network(**{name: np.pad(one, around, constant_values=_GREY)[None]
                                    for name, one in (("picture", picture), ("background", background))})
        rows, columns = cells_of(frame.width, frame.height)
        # An odd last cell of less than a pixel at half size is its neighbour's.
        cells = found[0, 0, :rows, :columns]
        return np.pad(cells, ((0, rows - cells.shape[0]), (0, columns - cells.shape[1])), mode="edge")
