"""NV12 on a device, as players, encoders and detectors of other libraries take it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.device.networks import DeviceNetworks
from duoview.sequence import Colour

#: What red and blue count in luma, by the number of the matrix in H.273.
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
         9: (0.2627, 0.0593)}
#: BT.601, where a stream names none of them, as libswscale has it.
_DEFAULT = 6
_ONE = 1 << 16
#: Limited range: luma goes from 16 on over 219 levels, chroma over 224.
_BLACK, _LUMA_LEVELS, _CHROMA_LEVELS = 16, 219, 224


def weights(matrix: int) -> NDArray[np.int32]:
    """(9,) weights of red, green and blue in luma and both chroma, of 65536; greys have no chroma, white all luma."""
    red, blue = _LUMA.get(matrix, _LUMA[_DEFAULT])
    luma = np.array([red, 1 - red - blue, blue])
    rows = [luma * _LUMA_LEVELS / 255, (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)) * _CHROMA_LEVELS / 255,
            (np.array([1, 0, 0]) - luma) / (2 * (1 - red)) * _CHROMA_LEVELS / 255]
    found = [np.rint(row * _ONE).astype(np.int32) for row in rows]
    for row, total in zip(found, (round(_LUMA_LEVELS / 255 * _ONE), 0, 0), strict=True):
        row[1] += total - row.sum()  # green, which counts most
    return np.concatenate(found)


class Nv12:
    """Makes NV12 of pictures."""

    def __init__(self, networks: DeviceNetworks) -> None:
        self._networks = networks
        self._weights: dict[int, Any] = {}

    def of(self, picture: Any, colour: Colour) -> Any:
        """(3 H / 2, W) uint8 of a picture (1, 3, H, W) uint8 RGB, in memory of its own; limited range."""
        networks, matrix = self._networks, colour.matrix
        if matrix not in self._weights:
            self._weights[matrix] = networks.array(weights(matrix))
        height, width = networks.driver.array("picture", picture).shape[2:]
        output = networks.empty((3 * height // 2, width), np.uint8)
        networks.kernels.to_nv12(picture, output, self._weights[matrix], black=_BLACK, cuda_stream=networks.stream)
        return output
