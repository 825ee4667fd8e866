"""Pictures on a device: changes to them, how much of them was generated, and other layouts."""

from __future__ import annotations

import numpy as np

from duoview.kernels.cuda_array import DeviceArray, stream_handle
from duoview.kernels.cuda_driver import Driver, buffer, shaped, typed

_TILE = 1024
_SHARE_UNITS = 1 << 32
_CELL = 8


def _check_black(black: int) -> None:
    if not 0 <= black <= 255:
        raise ValueError(f"black is {black}; 0..255 is needed")


class PictureKernels:
    """Methods of ``cuda.Device``. All raise TypeError or ValueError for an argument that is not as described."""

    driver: Driver

    def _picture(self, name: str, picture: object) -> DeviceArray:
        found = typed(self.driver, name, picture, np.uint8, ndim=4)
        if found.shape[:2] != (1, 3) or not found.size:
            raise ValueError(f"{name} has shape {found.shape}; (1, 3, height, width) is needed")
        return found

    def apply_change(
        self, shown: object, changed: object, base: object, output: object, *, cuda_stream: object = None
    ) -> None:
        """Fills ``output`` with what of shown + (changed - base) lies in 0..255; all (1, 3, H, W) uint8."""
        source = self._picture("shown", shown)
        self.driver.launch("apply_change", -(-source.size // _TILE), [
            source.pointer, *(shaped(self.driver, name, array, np.uint8, source.shape).pointer
                              for name, array in (("changed", changed), ("base", base))),
            shaped(self.driver, "output", output, np.uint8, source.shape, writable=True).pointer, source.size],
            stream_handle(cuda_stream))

    def check_generated(
        self, shown: object, coded: object, total: object, *, height: int, width: int, cuda_stream: object = None
    ) -> float:
        """``duoview.generated.generated_share`` of the first rows and columns of two pictures (1, 3, H, W) uint8.

        total: 8 bytes of memory. Waits for the stream.
        """
        source = self._picture("shown", shown)
        other = shaped(self.driver, "coded", coded, np.uint8, source.shape)
        rows, columns = source.shape[2:]
        if not 0 < height <= rows or not 0 < width <= columns:
            raise ValueError(f"height, width are {height}, {width}; 1..{rows} and 1..{columns} are needed")
        found = buffer(self.driver, "total", total, 8)
        sides = min(_CELL, height), min(_CELL, width)
        down, across = height // sides[0], width // sides[1]
        stream = stream_handle(cuda_stream)
        self.driver.launch("fill_words", 1, [found.pointer, 1, 0], stream)
        self.driver.launch("sum_generated", down,
                           [source.pointer, other.pointer, found.pointer, rows, columns, *sides, across], stream)
        total_share = int.from_bytes(self.driver.read(found.pointer, 8, stream), "little")
        return round(total_share / _SHARE_UNITS / (down * across), 4)

    def to_nv12(
        self, picture: object, output: object, weights: object, *, black: int, cuda_stream: object = None
    ) -> None:
        """Fills ``output``, (3 H / 2, W) uint8, with a picture (1, 3, H, W) uint8 in NV12; chroma is the mean of 2x2.

        H and W are even. weights: (9,) int32, those of red, green and blue in luma and both chroma, of 65536. black:
        luma of black, 16 or 0.
        """
        _check_black(black)
        source = self._picture("picture", picture)
        height, width = source.shape[2:]
        if height % 2 or width % 2:
            raise ValueError(f"picture has shape {source.shape}; even sides are needed")
        target = shaped(self.driver, "output", output, np.uint8, (3 * height // 2, width), writable=True)
        table = shaped(self.driver, "weights", weights, np.int32, (9,)).pointer
        self.driver.launch("picture_to_nv12", height // 2,
                           [source.pointer, target.pointer, height, width, table, black], stream_handle(cuda_stream))

    def from_nv12(
        self, frame: object, picture: object, weights: object, *, black: int, cuda_stream: object = None
    ) -> None:
        """Fills ``picture``, (1, 3, H, W) uint8 RGB, with a frame (3 H / 2, W) uint8 in NV12, chroma interpolated.

        H and W are even; chroma lies in the middle of 2x2 pixels. weights: (5,) int32, those of luma, of v in red, of u
        and v in green, of u in blue, of 65536. black: luma of black, 16 or 0.
        """
        _check_black(black)
        target = self._picture("picture", picture)
        height, width = target.shape[2:]
        if height % 2 or width % 2:
            raise ValueError(f"picture has shape {target.shape}; even sides are needed")
        shaped(self.driver, "picture", picture, np.uint8, target.shape, writable=True)
        source = shaped(self.driver, "frame", frame, np.uint8, (3 * height // 2, width))
        table = shaped(self.driver, "weights", weights, np.int32, (5,)).pointer
        self.driver.launch("nv12_to_picture", height,
                           [source.pointer, target.pointer, height, width, table, black], stream_handle(cuda_stream))
