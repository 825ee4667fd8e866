"""Motion of latents on a device: cells that are moved, and the errors that vectors would leave in them.

All arithmetic is that of ``shift.ShiftOperators`` and ``shift.ErrorForms``, in integers: the same numbers.
"""

from __future__ import annotations

import struct

import numpy as np

from duoview.kernels.cuda_array import DeviceArray, stream_handle
from duoview.kernels.cuda_driver import Driver, buffer, shaped, typed
from duoview.kernels.cuda_palette import begin_status
from duoview.kernels.shift import TAPS

#: Most channels of a latent whose errors are measured: a warp's lanes hold them all.
MAX_FORM_CHANNELS = 128
_TILE = 1024
_OUTPUTS = 16
_KINDS = 256
#: Of weights as large as float32 they are about -100, of others up to 46.
_MOST_UNIT_BITS = 200
_STATE_LIMIT, _WANTED_LIMIT = 16 * 64, 32 * 64
_STATE_NOT_FINITE, _WANTED_NOT_FINITE = 30, 31


def _words(shape: tuple[int, ...]) -> int:
    """32-bit words of a latent (.., C, h, w) in 1/64, two channels in each."""
    channels, height, width = shape[-3:]
    return -(-channels // 2) * height * width


class ShiftKernels:
    """Methods of ``cuda.Device``. All raise TypeError or ValueError for an argument that is not as described.

    Latents are (1, C, h, w) float32, h and w even. operators: (256, pairs, 9, C) uint32, as ``ShiftOperators.summed``
    gives them, which has proved that no sum overflows.
    """

    driver: Driver

    @staticmethod
    def compensate_scratch_bytes(channels: int, height: int, width: int) -> int:
        """Bytes of scratch that ``compensate`` needs for a latent (1, channels, height, width)."""
        return max(16, 4 * _words((channels, height, width)))

    @staticmethod
    def vector_errors_scratch_bytes(channels: int, height: int, width: int) -> int:
        """Bytes of scratch that ``vector_errors`` needs for latents (1, channels, height, width)."""
        return max(16, 8 * _words((channels, height, width)))

    def _latent(self, name: str, latent: object) -> DeviceArray:
        found = typed(self.driver, name, latent, np.float32, ndim=4)
        if found.shape[0] != 1 or not found.shape[1] or found.shape[2] % 2 or found.shape[3] % 2:
            raise ValueError(f"{name} has shape {found.shape}; (1, C, h, w) is needed, h and w even")
        return found

    def _operators(self, operators: object, channels: int) -> int:
        return shaped(self.driver, "operators", operators, np.uint32,
                      (_KINDS, -(-channels // 2), TAPS, channels)).pointer

    def _round(self, latent: DeviceArray, rounded: int, limit: int, fault: int, error: int, stream: int) -> None:
        _, channels, height, width = latent.shape
        self.driver.launch("round_latent", -(-_words(latent.shape) // _TILE),
                           [latent.pointer, rounded, channels, height * width, limit, fault, error], stream)

    def compensate(
        self, state: object, vectors: object, operators: object, output: object, scratch: object, status: object, *,
        cuda_stream: object = None,
    ) -> None:
        """Fills ``output`` with ``ShiftOperators.compensate(state[0], vectors)``, of the shape of ``state``.

        vectors: (h / 2, w / 2, 2) int8. scratch: memory of ``compensate_scratch_bytes``. status: 8 bytes of memory for
        an error, which ``check`` reads: a vector out of its range, or a state that is not finite, whatever moves.
        """
        source = self._latent("state", state)
        _, channels, height, width = source.shape
        target = shaped(self.driver, "output", output, np.float32, source.shape, writable=True).pointer
        cells = shaped(self.driver, "vectors", vectors, np.int8, (height // 2, width // 2, 2))
        table = self._operators(operators, channels)
        size = self.compensate_scratch_bytes(channels, height, width)
        rounded = buffer(self.driver, "scratch", scratch, size).pointer
        stream = stream_handle(cuda_stream)
        error = begin_status(self.driver, status, stream)
        if not source.size:
            return
        self._round(source, rounded, _STATE_LIMIT, _STATE_NOT_FINITE, error, stream)
        self.driver.copy(source.pointer, target, source.nbytes, stream)
        self.driver.launch("compensate_cells", cells.size // 2 * -(-channels // _OUTPUTS),
                           [rounded, cells.pointer, table, target, channels, height, width, error], stream)

    def vector_errors(
        self, wanted: object, state: object, offered: object, operators: object, forms: object, errors: object,
        scratch: object, status: object, *, unit_bits: int, cuda_stream: object = None,
    ) -> None:
        """Fills ``errors``, (n, h / 2, w / 2) float32, with ``ErrorForms.errors``: what offered vectors would leave.

        wanted, state: of one shape, at most 128 channels. offered: (n, h / 2, w / 2, 2) int8. forms: (2, C, C) int16,
        as ``ErrorForms.integers`` gives them; unit_bits: as of these. scratch: memory of
        ``vector_errors_scratch_bytes``. status: 8 bytes of memory for an error, which ``check`` reads: a vector out of
        its range, or a latent that is not finite, whatever is offered.
        """
        source = self._latent("state", state)
        _, channels, height, width = source.shape
        if channels > MAX_FORM_CHANNELS:
            raise ValueError(f"state has {channels} channels; up to {MAX_FORM_CHANNELS} are measured on a device")
        aim = shaped(self.driver, "wanted", wanted, np.float32, source.shape)
        vectors = typed(self.driver, "offered", offered, np.int8, ndim=4)
        count = vectors.shape[0]
        if vectors.shape[1:] != (height // 2, width // 2, 2):
            raise ValueError(f"offered has shape {vectors.shape}; (n, {height // 2}, {width // 2}, 2) is needed")
        table = self._operators(operators, channels)
        matrices = shaped(self.driver, "forms", forms, np.int16, (2, channels, channels)).pointer
        target = shaped(self.driver, "errors", errors, np.float32, vectors.shape[:3], writable=True).pointer
        if not abs(unit_bits) <= _MOST_UNIT_BITS:
            raise ValueError(f"unit_bits is {unit_bits}; -{_MOST_UNIT_BITS}..{_MOST_UNIT_BITS} is needed")
        (unit,) = struct.unpack("<Q", struct.pack("<d", 2.0**-unit_bits))
        size = self.vector_errors_scratch_bytes(channels, height, width)
        rounded = buffer(self.driver, "scratch", scratch, size).pointer
        stream = stream_handle(cuda_stream)
        error = begin_status(self.driver, status, stream)
        if not source.size or not count:
            return
        beside = rounded + 4 * _words(source.shape)
        self._round(aim, rounded, _WANTED_LIMIT, _WANTED_NOT_FINITE, error, stream)
        self._round(source, beside, _STATE_LIMIT, _STATE_NOT_FINITE, error, stream)
        self.driver.launch("vector_errors", vectors.size // 2,
                           [rounded, beside, vectors.pointer, table, matrices, target, count, channels, height, width,
                            unit, error], stream)
