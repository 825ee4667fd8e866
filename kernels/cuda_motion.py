"""The search for motion on a device: luma, what of it a reference takes over, and ``motion.block_motion``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duoview.kernels.cuda_array import DeviceArray, stream_handle
from duoview.kernels.cuda_driver import Driver, buffer, padded, shaped, typed
from duoview.kernels.motion import MAX_SIDE

#: Side of a cell in pixels, and whole pixels of a vector: of the search on a device the only ones.
CELL, REACH = 16, 32
_TILE = 1024
_BAND_ROWS = 4
_EXTENSION, _SHRUNK, _SHRUNK_EXTENSION = 48, 4, 16
_OFFERS = 4 * 7 * 7
_POSITION = 8


def _tiles(count: int) -> int:
    return -(-count // _TILE)


@dataclass(frozen=True)
class _Scratch:
    """Where the parts of the search's scratch begin, for planes (height, width).

    extended, shrunk: words of four samples. cells: of the plane.
    """

    height: int
    width: int

    @property
    def cells(self) -> int:
        return self.height // CELL * (self.width // CELL)

    @property
    def extended(self) -> int:
        return (self.height + 2 * _EXTENSION) * (self.width + 2 * _EXTENSION) // 4

    @property
    def shrunk(self) -> int:
        return (self.height // _SHRUNK + 2 * _SHRUNK_EXTENSION) * (self.width // _SHRUNK + 2 * _SHRUNK_EXTENSION) // 4

    @property
    def sizes(self) -> list[int]:
        """Bytes of the extended plane, of both that are shrunk, of minima and of what is offered around them."""
        shrunk = 4 * self.shrunk
        sizes = 4 * self.extended, shrunk, shrunk, 8 * self.cells, 2 * _OFFERS * self.cells
        return [padded(size) for size in sizes]

    def parts(self, begin: int) -> list[int]:
        """Addresses of these, from ``begin`` on."""
        return [begin + sum(self.sizes[:number]) for number in range(len(self.sizes))]


class MotionKernels:
    """Methods of ``cuda.Device``. All raise TypeError or ValueError for an argument that is not as described.

    Planes are (H, W) uint8.
    """

    driver: Driver

    def _plane(self, name: str, plane: object, aligned: int, shape: tuple[int, ...] | None = None, *,
               writable: bool = False) -> DeviceArray:
        """A plane at an address that is a multiple of ``aligned``."""
        found = typed(self.driver, name, plane, np.uint8, ndim=2, writable=writable)
        if shape is not None and found.shape != shape:
            raise ValueError(f"{name} has shape {found.shape}; {shape} is needed")
        if found.pointer % aligned:
            raise ValueError(f"{name} begins at address {found.pointer:#x}; a multiple of {aligned} is needed")
        return found

    def luma(self, picture: object, plane: object, *, cuda_stream: object = None) -> None:
        """Fills ``plane`` with luma of ``picture``, (1, 3, H, W) uint8 RGB: (R + 2 G + B + 2) / 4.

        H W is a multiple of 4, and so are the addresses.
        """
        target = self._plane("plane", plane, 4, writable=True)
        source = shaped(self.driver, "picture", picture, np.uint8, (1, 3, *target.shape))
        if target.size % 4 or source.pointer % 4:
            raise ValueError(f"picture has shape {source.shape}, at address {source.pointer:#x}; a multiple of 4 "
                             "pixels at a multiple of 4 is needed")
        if target.size:
            self.driver.launch("picture_luma", _tiles(target.size // 4),
                               [source.pointer, target.pointer, target.size // 4], stream_handle(cuda_stream))

    def update_reference(
        self, plane: object, changed: object, reference: object, *, cuda_stream: object = None
    ) -> None:
        """Copies ``plane`` to ``reference`` where ``changed``, (H / 8, W / 8) uint8, is not 0: its 8x8 pixels.

        H and W are multiples of 8, and so are the planes' addresses.
        """
        target = self._plane("reference", reference, 8, writable=True)
        source = self._plane("plane", plane, 8, target.shape)
        height, width = target.shape
        if height % _POSITION or width % _POSITION:
            raise ValueError(f"reference has shape {target.shape}; multiples of {_POSITION} are needed")
        places = shaped(self.driver, "changed", changed, np.uint8, (height // _POSITION, width // _POSITION)).pointer
        if target.size:
            self.driver.launch("update_reference", _tiles(target.size // _POSITION),
                               [source.pointer, places, target.pointer, height, width // _POSITION],
                               stream_handle(cuda_stream))

    @staticmethod
    def block_motion_scratch_bytes(height: int, width: int) -> int:
        """Bytes of scratch that ``block_motion`` needs for planes (height, width)."""
        return sum(_Scratch(height, width).sizes)

    def block_motion(
        self, previous: object, current: object, vectors: object, sums: object, scratch: object, *,
        cuda_stream: object = None,
    ) -> None:
        """Does ``motion.block_motion(previous, current, cell=16, reach=32)``.

        Args:
            previous: (H, W) uint8, H and W multiples of 16, at most 16384; at an address that is a multiple of 4.
            current: as ``previous``.
            vectors: (H / 16, W / 16, 2) int8, written: half pixels.
            sums: (H / 16, W / 16, 2) uint32, written: of absolute differences at zero and at the vector.
            scratch: memory of ``block_motion_scratch_bytes``.
            cuda_stream: where the kernels are queued.
        """
        before = self._plane("previous", previous, 4)
        after = self._plane("current", current, 4, before.shape)
        height, width = before.shape
        if any(side % CELL or not CELL <= side <= MAX_SIDE for side in before.shape):
            raise ValueError(f"previous and current have shape {before.shape}; multiples of {CELL}, from {CELL} to "
                             f"{MAX_SIDE}, are needed")
        rows, columns = height // CELL, width // CELL
        found = shaped(self.driver, "vectors", vectors, np.int8, (rows, columns, 2), writable=True).pointer
        total = shaped(self.driver, "sums", sums, np.uint32, (rows, columns, 2), writable=True).pointer
        plan = _Scratch(height, width)
        memory = buffer(self.driver, "scratch", scratch, sum(plan.sizes))
        extended, shrunk_before, shrunk_after, minima, offers = plan.parts(memory.pointer)
        stream, launch = stream_handle(cuda_stream), self.driver.launch
        launch("zero_differences", rows * columns, [before.pointer, after.pointer, found, total, columns], stream)
        launch("extend_plane", _tiles(plan.extended), [before.pointer, extended, height, width], stream)
        launch("shrink_plane", _tiles(plan.shrunk), [before.pointer, shrunk_before, height, width], stream)
        launch("shrink_plane", _tiles(plan.shrunk), [after.pointer, shrunk_after, height, width], stream)
        launch("search_cells", rows * columns,
               [after.pointer, extended, shrunk_after, shrunk_before, total, minima, offers, columns], stream)
        launch("band_motion", -(-rows // _BAND_ROWS),
               [after.pointer, extended, minima, offers, found, total, rows, columns], stream)
