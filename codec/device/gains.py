"""Gain maps on a device: ``duoview.gain_map.Scaling`` on planes that lie there."""

from __future__ import annotations

from typing import Any

import numpy as np

from duoview.device.networks import DeviceNetworks
from duoview.gain_map import GAINS, LIMIT, RESTORED, GainMap


class DeviceScaling:
    """Scales planes (C, H, W) of one size by the gain map of a frame; memory is used again for every frame."""

    def __init__(self, networks: DeviceNetworks, shape: tuple[int, int, int]) -> None:
        self._kernels, self._stream, self._networks = networks.kernels, networks.stream, networks
        assert len(GAINS) == len(RESTORED) == 2 * LIMIT + 1
        self._gains = networks.array(GAINS)
        self._shares = networks.array(RESTORED.astype(np.int32))
        self._levels = networks.empty(shape[1:], np.int8)
        self._classes = [networks.empty(shape, np.uint8) for _ in range(2)]
        self._values = networks.empty(shape, np.float32)
        #: Of scaled differences: their means are taken off already.
        self.no_means = networks.array(np.zeros(shape, np.int16))
        self._shape = shape

    def take(self, gains: GainMap) -> None:
        """The map of the next frame."""
        self._networks.put(gains.positions(*self._shape[1:]).levels, self._levels)

    def classes(self, classes: Any, half: int) -> Any:
        """Table classes of scaled differences, in memory of each half's own."""
        self._kernels.gain_classes(classes, self._levels, self._classes[half], cuda_stream=self._stream)
        return self._classes[half]

    def values(self, values: Any, means: Any) -> Any:
        """Scaled differences of values from their means, in sixteenths."""
        self._kernels.gain_values(values, means, self._levels, self._gains, self._values, cuda_stream=self._stream)
        return self._values

    def restore(self, symbols: Any, means: Any, half: int, decoded: Any) -> None:
        """Put decoded values, in sixteenths, of a half's scaled symbols into ``decoded``."""
        self._kernels.gain_decoded(symbols, means, self._levels, self._shares, half, decoded=decoded,
                                   cuda_stream=self._stream)
