"""Device memory of a machine layer for pictures of one size, and symbols in coding order."""

from __future__ import annotations

import numpy as np

from duoview.device.coding import SectionCoder, most_chunks
from duoview.device.gains import DeviceScaling
from duoview.device.motion import DeviceCompensation, DeviceMotionSearch
from duoview.device.networks import DeviceNetworks
from duoview.kernels import checkerboard
from duoview.machine import motion_parts
from duoview.motion_field import MotionField, Part

#: Most symbols that a motion field has by cell: that it moves, that its vector is the expected one, and for either
#: component 8 for the bit length, 7 bits and the sign; blocks, and what there is once, are fewer than another one.
_MOTION_SYMBOLS = 2 + 2 * (8 + 7 + 1) + 1
#: Neither symbols nor classes.
NOTHING: Part = np.empty(0, np.int16), np.empty(0, np.uint8)


class Planes:
    """Device memory for pictures of one size (multiples of 64), used again for every frame.

    motion: of an encoder that looks for motion: there is room for every field in front of symbols.
    """

    def __init__(self, networks: DeviceNetworks, width: int, height: int, *, motion: bool) -> None:
        sizes, kernels, empty = networks.profile.sizes, networks.kernels, networks.empty
        self.size, self._networks = (width, height), networks
        self.shape = (sizes.symbols, height // 16, width // 16)
        self.hyper = (1, sizes.hyper, height // 64, width // 64)
        halves = [checkerboard.size(self.shape, half) for half in (0, 1)]
        counts = [int(np.prod(self.hyper)), *halves]
        most = _MOTION_SYMBOLS * (self.shape[1] * self.shape[2] + 1) if networks.profile.has_motion else 0
        still = MotionField.still(*self.shape[1:])
        #: Symbols that there is room for in front of those of P frames: a motion field, and that others follow.
        self._room = most if motion else len(joined(motion_parts(still, still, coded=True))[0])
        begins = np.cumsum([self._room, *counts]).tolist()
        self._size = begins[3]
        #: All symbols and classes in coding order, behind that room; and their parts: hyper symbols, first half, second
        #: half.
        self._symbols, self._classes = empty((begins[3],), np.int16), empty((begins[3],), np.uint8)
        self.symbols_of = [networks.view(self._symbols, (count,), np.int16, 2 * begin)
                           for begin, count in zip(begins[:3], counts, strict=True)]
        self.classes_of = [networks.view(self._classes, (count,), np.uint8, begin)
                           for begin, count in zip(begins[:3], counts, strict=True)]
        self.hyper_values = empty(self.hyper, np.float32)
        self.hyper_again = empty((counts[0],), np.int16)
        self.symbols = empty(self.shape, np.int16)
        self.symbol_values = empty((1, *self.shape), np.float32)
        #: y of a frame and of the one before it, in turn; and what stands for it after a key frame.
        self.decoded = [empty((1, *self.shape), np.float32) for _ in range(2)]
        self.zeros = empty((1, *self.shape), np.float32)
        kernels.clear(self.zeros, cuda_stream=networks.stream)
        self.picture = empty((1, 3, height, width), np.uint8)
        self.keep = empty(self.shape[1:], np.bool_)
        #: Of encoders; of frames with a gain map, and of those in which something moves: made for the first of them.
        self._coder: SectionCoder | None = None
        self.search: DeviceMotionSearch | None = None
        self.scaling: DeviceScaling | None = None
        self.compensation: DeviceCompensation | None = None
        #: What P frames change, for texture: positions with symbols, those that move, those of z_m.
        self.coded, self.moving = (empty(self.shape[1:], np.uint8) for _ in range(2))
        #: Rows and columns of z_m.
        self.positions = 2 * self.shape[1], 2 * self.shape[2]
        self.touched = empty(self.positions, np.uint8)
        #: Errors of hyper symbols and both halves, looked at when all of a frame is done.
        self.statuses = [empty((1,), np.uint64) for _ in range(3)]
        self.state = empty((kernels.decode_state_bytes(most_chunks(sum(counts) + most)),), np.uint8)
        self.decode_scratch = empty((kernels.decode_scratch_bytes(max(*counts, most)),), np.uint8)

    def encode(self, lead: Part) -> bytes:
        """The section of what is in coding order, behind these symbols and classes of the host, checked."""
        networks, count = self._networks, len(lead[0])
        begin, size = self._room - count, self._size - self._room + count
        networks.put(lead[0], networks.view(self._symbols, (count,), np.int16, 2 * begin))
        networks.put(lead[1], networks.view(self._classes, (count,), np.uint8, begin))
        if self._coder is None:
            self._coder = SectionCoder(networks, self._size)
        return self._coder.encode(networks.view(self._symbols, (size,), np.int16, 2 * begin),
                                  networks.view(self._classes, (size,), np.uint8, begin), self.statuses)


def joined(parts: list[Part]) -> Part:
    """Symbols and classes of parts, one after the other."""
    symbols, classes = zip(NOTHING, *parts, strict=True)
    return np.concatenate(symbols), np.concatenate(classes)
