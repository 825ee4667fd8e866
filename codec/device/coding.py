"""Entropy coding of rows of symbols on a device: whole sections out, and the errors of sections that are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from duoview.device.networks import DeviceNetworks
from duoview.errors import BitstreamError
from duoview.kernels.cuda import Decoder
from duoview.kernels.cuda_rans import MAX_CHUNKS
from duoview.kernels.rans import MAX_CHUNK

#: Symbols that a warp codes; 32 lanes cost 3 bytes each a chunk.
CHUNK, LANES = 8192, 32
#: Sections below this are coded in one lane, as the CPU's encoder does it: of few bytes those of lanes are many.
ONE_LANE_BYTES = 8192
#: Least symbols of a chunk, of any encoder.
_LEAST_CHUNK = 32


def most_chunks(symbols: int) -> int:
    """Chunks that a stream of so many symbols may have, whoever coded it; 1 at least."""
    return max(1, min(MAX_CHUNKS, -(-symbols // _LEAST_CHUNK)))


class SectionCoder:
    """Memory to code rows of at most ``most`` symbols in, used again for every row."""

    def __init__(self, networks: DeviceNetworks, most: int) -> None:
        self._networks, kernels = networks, networks.kernels
        self._output = networks.empty((kernels.encode_output_bytes(most, CHUNK),), np.uint8)
        self._one_chunk = max(_LEAST_CHUNK, min(MAX_CHUNK, -(-most // _LEAST_CHUNK) * _LEAST_CHUNK))
        scratch = max(kernels.encode_scratch_bytes(most, chunk) for chunk in (CHUNK, self._one_chunk))
        self._scratch, self._result = networks.empty((scratch,), np.uint8), networks.empty((2,), np.int64)

    def encode(self, symbols: Any, classes: Any, statuses: Iterable[Any] = ()) -> bytes:
        """The section of (N,) int16 symbols of (N,) uint8 classes; one that is small in one lane.

        statuses: errors of kernels that made the symbols, which are looked at once the first coding is done. Raises
        ValueError where one tells of something that cannot be coded.
        """
        networks, section = self._networks, b""
        kernels, stream = networks.kernels, networks.stream
        for lanes, chunk in ((LANES, CHUNK), (1, self._one_chunk)):
            kernels.encode(symbols, classes, self._output, self._result, self._scratch, chunk=chunk, lanes=lanes,
                           cuda_stream=stream)
            size = kernels.check_encode(self._result, cuda_stream=stream)
            if lanes == LANES:
                for status in statuses:
                    kernels.check(status, cuda_stream=stream)
            pointer = networks.driver.array("output", self._output).pointer
            section = networks.driver.read(pointer, size, stream) if size else b""
            if size >= ONE_LANE_BYTES:
                break
        return section


def check(decoder: Decoder, stream: int) -> None:
    """Wait for what a decoder was asked for. Raises BitstreamError; its state takes as many chunks as there can be."""
    try:
        decoder.check(cuda_stream=stream)
    except BitstreamError:
        raise
    except ValueError as error:
        raise BitstreamError(f"more chunks than symbols of this size can fill: {error}", offset=0) from None
