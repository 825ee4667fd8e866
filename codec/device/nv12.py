"""NV12 on a device, as decoders, players and detectors of other libraries have it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.device.networks import DeviceNetworks
from duoview.sequence import Colour

#: Of pictures that come in and go out.
PIXEL_FORMATS = ("rgb", "nv12")
#: What red and blue count in luma, by the number of the matrix in H.273.
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
         9: (0.2627, 0.0593)}
#: BT.601, where a stream names none of them, as libswscale has it.
DEFAULT_MATRIX = 6
_ONE = 1 << 16
_FULL_RANGE = 2
#: Limited range: luma goes from 16 on over 219 levels, chroma over 224.
_BLACK, _LUMA_LEVELS, _CHROMA_LEVELS = 16, 219, 224


def check_pixel_format(name: str) -> None:
    """Raises ValueError for one that no picture of a device has."""
    if name not in PIXEL_FORMATS:
        raise ValueError(f"pixel_format={name!r}: expected one of {', '.join(PIXEL_FORMATS)}")


def weights(matrix: int) -> NDArray[np.int32]:
    """(9,) weights of red, green and blue in luma and both chroma, of 65536; greys have no chroma, white all luma."""
    red, blue = _LUMA.get(matrix, _LUMA[DEFAULT_MATRIX])
    luma = np.array([red, 1 - red - blue, blue])
    rows = [luma * _LUMA_LEVELS / 255, (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)) * _CHROMA_LEVELS / 255,
            (np.array([1, 0, 0]) - luma) / (2 * (1 - red)) * _CHROMA_LEVELS / 255]
    found = [np.rint(row * _ONE).astype(np.int32) for row in rows]
    for row, total in zip(found, (round(_LUMA_LEVELS / 255 * _ONE), 0, 0), strict=True):
        row[1] += total - row.sum()  # green, which counts most
    return np.concatenate(found)


def inverse_weights(matrix: int, *, full: bool) -> NDArray[np.int32]:
    """(5,) weights, of 65536, of luma, of v in red, of u and v in green, of u in blue; full: of full range."""
    red, blue = _LUMA.get(matrix, _LUMA[DEFAULT_MATRIX])
    green, chroma = 1 - red - blue, 1.0 if full else 255 / _CHROMA_LEVELS
    of_v, of_u = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    found = [1.0 if full else 255 / _LUMA_LEVELS, of_v, -of_u * blue / green, -of_v * red / green, of_u]
    return np.rint(np.array(found) * _ONE).astype(np.int32)


class Nv12:
    """Makes NV12 of pictures, and pictures of NV12."""

    def __init__(self, networks: DeviceNetworks) -> None:
        self._networks = networks
        self._weights: dict[int, Any] = {}
        self._inverse: dict[tuple[int, bool], Any] = {}
        self._picture: Any = None
        self._shape: tuple[int, ...] = ()

    def of(self, picture: Any, colour: Colour) -> Any:
        """(3 H / 2, W) uint8 of a picture (1, 3, H, W) uint8 RGB, in memory of its own; limited range."""
        networks, matrix = self._networks, colour.matrix
        if matrix not in self._weights:
            self._weights[matrix] = networks.array(weights(matrix))
        height, width = networks.driver.array("picture", picture).shape[2:]
        output = networks.empty((3 * height // 2, width), np.uint8)
        networks.kernels.to_nv12(picture, output, self._weights[matrix], black=_BLACK, cuda_stream=networks.stream)
        return output

    def size(self, frame: Any) -> tuple[int, int]:
        """Width and height of a frame (3 H / 2, W). Raises TypeError or ValueError for what is no such frame."""
        found = self._networks.driver.array("picture", frame)
        if len(found.shape) != 2 or found.shape[0] % 3 or found.shape[1] % 2 or not found.size:
            raise ValueError(f"picture has shape {found.shape}; (3 height / 2, width) with even sides is needed for "
                             "NV12")
        return found.shape[1], found.shape[0] // 3 * 2

    def picture(self, frame: Any, colour: Colour) -> Any:
        """(1, 3, H, W) uint8 RGB of a frame (3 H / 2, W) uint8, in memory that the next frame's gets too.

        Raises TypeError or ValueError for what is no such frame.
        """
        networks, full = self._networks, colour.range == _FULL_RANGE
        width, height = self.size(frame)
        shape = (1, 3, height, width)
        if self._shape != shape:
            self._picture, self._shape = networks.empty(shape, np.uint8), shape
        if (colour.matrix, full) not in self._inverse:
            self._inverse[colour.matrix, full] = networks.array(inverse_weights(colour.matrix, full=full))
        networks.kernels.from_nv12(frame, self._picture, self._inverse[colour.matrix, full],
                                   black=0 if full else _BLACK, cuda_stream=networks.stream)
        return self._picture
