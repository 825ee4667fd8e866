"""Gain maps on a device: what ``duoview.gain_map.Scaling`` does on the host, between exact networks and the coder."""

from __future__ import annotations

import numpy as np

from duoview.kernels import checkerboard
from duoview.kernels.cuda_array import DeviceArray, stream_handle
from duoview.kernels.cuda_driver import Driver, shaped, typed

#: Levels of a map, from the coarsest on.
LEVELS = 17
_TILE = 1024


class GainKernels:
    """Methods of ``cuda.Device``. All raise TypeError or ValueError for an argument that is not as described.

    levels: (H, W) int8, -8 to 8, of the positions of planes (C, H, W).
    """

    driver: Driver

    def _planes(self, name: str, planes: object, dtype: type, levels: object) -> tuple[DeviceArray, int]:
        found = typed(self.driver, name, planes, dtype, ndim=3)
        return found, shaped(self.driver, "levels", levels, np.int8, found.shape[1:]).pointer

    def gain_classes(self, classes: object, levels: object, output: object, *, cuda_stream: object = None) -> None:
        """Fills ``output`` with the classes of scaled differences; both (C, H, W) uint8."""
        source, level = self._planes("classes", classes, np.uint8, levels)
        target = shaped(self.driver, "output", output, np.uint8, source.shape, writable=True).pointer
        if source.size:
            positions = source.shape[1] * source.shape[2]
            self.driver.launch("gain_classes", -(-source.size // _TILE),
                               [source.pointer, level, target, source.shape[0], positions], stream_handle(cuda_stream))

    def gain_values(
        self, values: object, means: object, levels: object, gains: object, output: object, *,
        cuda_stream: object = None,
    ) -> None:
        """Fills ``output`` with scaled differences of values from their means, in sixteenths; all (C, H, W).

        values, output: float32. means: int16. gains: (17,) float32.
        """
        source, level = self._planes("values", values, np.float32, levels)
        mean = shaped(self.driver, "means", means, np.int16, source.shape).pointer
        table = shaped(self.driver, "gains", gains, np.float32, (LEVELS,)).pointer
        target = shaped(self.driver, "output", output, np.float32, source.shape, writable=True).pointer
        if source.size:
            positions = source.shape[1] * source.shape[2]
            self.driver.launch("gain_values", -(-source.size // _TILE),
                               [source.pointer, mean, level, table, target, source.shape[0], positions],
                               stream_handle(cuda_stream))

    def gain_decoded(
        self, symbols: object, means: object, levels: object, shares: object, half: int, *, decoded: object,
        cuda_stream: object = None,
    ) -> None:
        """Puts decoded values, in sixteenths, of a half's scaled symbols into ``decoded``; all (C, H, W).

        symbols, means: int16. shares: (17,) int32, of 4096. decoded: float32.
        """
        source, level = self._planes("symbols", symbols, np.int16, levels)
        channels, height, width = source.shape
        checkerboard.size((channels, height, width), half)
        mean = shaped(self.driver, "means", means, np.int16, source.shape).pointer
        table = shaped(self.driver, "shares", shares, np.int32, (LEVELS,)).pointer
        target = shaped(self.driver, "decoded", decoded, np.float32, source.shape, writable=True).pointer
        if source.size:
            self.driver.launch("gain_decoded", channels * height,
                               [source.pointer, mean, level, table, target, channels, height, width, half],
                               stream_handle(cuda_stream))
