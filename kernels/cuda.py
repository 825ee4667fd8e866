"""The kernels on a CUDA device: the same bytes as on the CPU, on the caller's arrays, stream and scratch.

``Device(0)`` retains the primary context that torch, cupy and onnxruntime use too. Arrays are theirs (see
``cuda_array``); nothing is allocated after the device was opened, nothing is copied, and only methods whose name
begins with ``check`` wait for the device. All others queue kernels on ``cuda_stream`` and return, with arguments that
do not depend on the data: they can be captured into a CUDA graph. What can only be known on the device, such as sizes
and errors, stays there until it is checked.

``Device.on_cpu()`` runs the same programs on numpy arrays, lane by lane. It is made for tests and is slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoview.kernels import _native
from duoview.kernels.cuda_array import stream_handle
from duoview.kernels.cuda_checkerboard import launch_dequantise, launch_gather, launch_quantise
from duoview.kernels.cuda_driver import Driver, HostDriver, buffer, pycuda_driver, typed
from duoview.kernels.cuda_gains import GainKernels
from duoview.kernels.cuda_motion import MotionKernels
from duoview.kernels.cuda_palette import check_status, launch_children, launch_nearest, launch_posterior
from duoview.kernels.cuda_pictures import PictureKernels
from duoview.kernels.cuda_planes import launch_clear, launch_narrow, launch_pad, launch_widen
from duoview.kernels.cuda_rans import (
    RESULT_BYTES,
    DecodeScratch,
    EncodeScratch,
    check_result,
    checked_chunk,
    checked_lanes,
    encode_output_bytes,
    launch_encode,
    state_bytes,
)
from duoview.kernels.cuda_rans import Decoder as Decoder
from duoview.kernels.cuda_shift import ShiftKernels
from duoview.kernels.cuda_texture import TextureKernels
from duoview.kernels.cuda_tree import TreeScratch, launch_tree
from duoview.kernels.cuda_windows import WindowKernels
from duoview.kernels.noise import checked_address

if TYPE_CHECKING:
    from typing import Self

    from duoview.kernels.palette import Absorbing, Tree, Uniform

_NOISE_PER_WARP = 2048


class Device(TextureKernels, WindowKernels, PictureKernels, GainKernels, ShiftKernels, MotionKernels):
    """The kernels of one device.

    Args:
        ordinal: the device's number, counted as the CUDA driver does.

    Raises:
        DeviceError: there is no driver, no pycuda, no such device; the wheel was built without CUDA, or its kernels
            do not run on that device.
    """

    def __init__(self, ordinal: int = 0) -> None:
        self._start(pycuda_driver(ordinal))

    @classmethod
    def on(cls, driver: Driver) -> Self:
        """The kernels on whatever runs them: see ``cuda_driver.Driver``."""
        device = cls.__new__(cls)
        device._start(driver)
        return device

    @classmethod
    def on_cpu(cls) -> Self:
        """The same programs on the CPU, lane by lane; arrays are numpy's."""
        return cls.on(HostDriver())

    def _start(self, driver: Driver) -> None:
        self.driver = driver
        self.tables = {
            name: driver.upload(_native.warp_table(name)) for name in ("decode", "encode", "normal", "octave")
        }

    @property
    def name(self) -> str:
        """The device's name."""
        return self.driver.name

    # Entropy coding

    @staticmethod
    def encode_scratch_bytes(count: int, chunk: int, escapes: int | None = None) -> int:
        """Bytes of scratch that ``encode`` needs for ``count`` symbols.

        Args:
            count: symbols, of whatever class.
            chunk: coded symbols per chunk.
            escapes: how many symbols may lie beyond the tables of their classes. ``None``: all of them, which takes 8
                bytes a symbol more than none. With more escapes than that, ``encode`` reports an error.
        """
        return EncodeScratch(count, checked_chunk(chunk), escapes).size

    @staticmethod
    def encode_output_bytes(count: int, chunk: int, escapes: int | None = None) -> int:
        """The most bytes that encoding can give; arguments as for ``encode_scratch_bytes``."""
        return encode_output_bytes(count, checked_chunk(chunk), escapes)

    def encode(
        self,
        symbols: object,
        classes: object,
        output: object,
        result: object,
        scratch: object,
        *,
        chunk: int,
        lanes: int = 32,
        cuda_stream: object = None,
    ) -> None:
        """Codes symbols to the bytes of ``rans.encode(symbols, classes, lanes=lanes, chunk=chunk)``.

        Args:
            symbols: (N,) int16. Neither these nor the classes may change before the kernels have run.
            classes: (N,) uint8.
            output: memory for the coded bytes; ``encode_output_bytes`` is always enough.
            result: 16 bytes of memory for the size and the error, which ``check_encode`` reads. The size, its first
                64 bits, can be given to ``Decoder`` as it is.
            scratch: memory of ``encode_scratch_bytes`` or more.
            chunk: coded symbols per chunk, a multiple of 32; each chunk is coded by one warp.
            lanes: 1, 4 or 32.
            cuda_stream: where the kernels are queued.

        Raises:
            TypeError, ValueError: an argument is not as described.
        """
        handle = stream_handle(cuda_stream)
        chunk, lanes = checked_chunk(chunk), checked_lanes(lanes)
        typed_symbols = typed(self.driver, "symbols", symbols, np.int16)
        count = typed_symbols.size
        typed_classes = typed(self.driver, "classes", classes, np.uint8, count)
        target = self.driver.array("output", output)
        if not target.writable:
            raise ValueError("output is read-only; memory to write to is needed")
        found = buffer(self.driver, "result", result, RESULT_BYTES)
        plan = EncodeScratch(count, chunk, 0)
        memory = buffer(self.driver, "scratch", scratch, plan.size)
        launch_encode(
            self.driver,
            self.tables["encode"],
            typed_symbols.pointer,
            typed_classes.pointer,
            target.pointer,
            target.nbytes,
            found.pointer,
            memory.pointer,
            memory.nbytes,
            plan,
            lanes,
            handle,
        )

    def check_encode(self, result: object, *, cuda_stream: object = None) -> int:
        """Waits for the stream and returns the number of bytes that ``encode`` wrote.

        Raises:
            ValueError: a class or symbol was out of range (with its index), or the output or scratch too small.
        """
        found = buffer(self.driver, "result", result, RESULT_BYTES)
        return check_result(self.driver.read(found.pointer, RESULT_BYTES, stream_handle(cuda_stream)))

    @staticmethod
    def decode_state_bytes(chunks: int) -> int:
        """Bytes of state that decoding a stream of at most ``chunks`` chunks needs."""
        return state_bytes(chunks)

    @staticmethod
    def decode_scratch_bytes(count: int) -> int:
        """Bytes of scratch that decoding ``count`` symbols in one call needs."""
        return DecodeScratch(count).size

    def decoder(self, data: object, state: object, *, size: object = None, cuda_stream: object = None) -> Decoder:
        """Begins the decoding of a stream.

        Args:
            data: (N,) uint8, the coded bytes. Kept, not copied; it must not change while it is decoded.
            state: memory of ``decode_state_bytes`` for the chunks that the stream may have. It holds all there is of
                the decoder.
            size: (1,) or more of 64-bit integers on the device, the first of which is the number of coded bytes in
                ``data`` (a ``result`` of ``encode``); ``None``: all of ``data``.
            cuda_stream: where the kernels are queued.

        Raises:
            TypeError, ValueError: an argument is not as described.
        """
        return Decoder(self.driver, self.tables["decode"], data, state, size, stream_handle(cuda_stream))

    # Planes between networks and the entropy coder

    def gather_half(self, planes: object, output: object, half: int, *, cuda_stream: object = None) -> None:
        """Fills ``output``, (N,) of the dtype of ``planes``, with ``checkerboard.gather(planes, half)``."""
        launch_gather(self.driver, planes, output, half, stream_handle(cuda_stream))

    def quantise_half(
        self,
        values: object,
        classes: object,
        means: object,
        half: int,
        *,
        margins: object,
        symbols: object,
        decoded: object,
        status: object,
        keep: object = None,
        cuda_stream: object = None,
    ) -> None:
        """Does ``checkerboard.quantise(values, classes, means, half, ...)``, with all arrays on the device.

        ``status`` is 8 bytes of memory for an error, which ``check`` reads; kernels are queued on ``cuda_stream``.

        Raises:
            TypeError, ValueError: an argument is not as described.
        """
        handle = stream_handle(cuda_stream)
        launch_quantise(self.driver, values, classes, means, half, margins, keep, symbols, decoded, status, handle)

    def dequantise_half(
        self, coded: object, means: object, half: int, *, symbols: object, decoded: object, cuda_stream: object = None
    ) -> None:
        """Does ``checkerboard.dequantise(coded, means, half, ...)``; arguments as there, on the device."""
        launch_dequantise(self.driver, coded, means, half, symbols, decoded, stream_handle(cuda_stream))

    def clear(self, memory: object, *, cuda_stream: object = None) -> None:
        """Fills memory with zeros; its bytes are a multiple of 8, and so is its address."""
        launch_clear(self.driver, memory, stream_handle(cuda_stream))

    def pad_picture(self, picture: object, padded: object, *, cuda_stream: object = None) -> None:
        """Fills ``padded``, (C, H', W') uint8, with ``picture``, (C, H, W) uint8, and its last row and column.

        Raises:
            TypeError, ValueError: an argument is not as described.
        """
        launch_pad(self.driver, picture, padded, stream_handle(cuda_stream))

    def widen_symbols(self, symbols: object, values: object, *, cuda_stream: object = None) -> None:
        """Fills ``values``, (N,) float32, with ``symbols``, (N,) int16."""
        launch_widen(self.driver, symbols, values, stream_handle(cuda_stream))

    def narrow_values(
        self, values: object, symbols: object, *, limit: int, status: object, cuda_stream: object = None
    ) -> None:
        """Fills ``symbols``, (N,) int16, with ``values``, (N,) float32: integers of at most ``limit`` in magnitude.

        ``status`` is 8 bytes of memory for an error, which ``check`` reads: a value that is no such integer.
        """
        launch_narrow(self.driver, values, symbols, limit, status, stream_handle(cuda_stream))

    # Noise

    def philox(self, output: object, seed: int, stream: int, offset: int, *, cuda_stream: object = None) -> None:
        """Fills ``output``, (N,) uint32, with ``noise.philox(seed, stream, offset, N)``."""
        self._noise("philox", output, np.uint32, seed, stream, offset, cuda_stream)

    def normals(self, output: object, seed: int, *, stream: int, offset: int, cuda_stream: object = None) -> None:
        """Fills ``output``, (N,) float32, with ``noise.normals(seed, stream=stream, offset=offset, count=N)``.

        Raises:
            TypeError, ValueError: an argument is not as described or out of range.
        """
        self._noise("normals", output, np.float32, seed, stream, offset, cuda_stream)

    def _noise(
        self, program: str, output: object, dtype: type, seed: int, stream: int, offset: int, cuda_stream: object
    ) -> None:
        out = typed(self.driver, "output", output, dtype, writable=True)
        seed, stream, offset, count = checked_address(seed=seed, stream=stream, offset=offset, count=out.size)
        if count:
            warps = -(-(count + offset % 4) // _NOISE_PER_WARP)
            arguments = [out.pointer, count, seed, stream, offset, self.tables["normal"]]
            self.driver.launch(program, warps, arguments, stream_handle(cuda_stream))

    # Palettes

    def nearest(
        self, vectors: object, leaves: object, output: object, status: object, *, cuda_stream: object = None
    ) -> None:
        """Fills ``output``, (N,) or (N, G) uint8, with ``palette.nearest(vectors, leaves)``.

        Args:
            vectors: (N, C) or (N, G, C) float32.
            leaves: (K, C) or (G, K, C) float32, 1 <= K <= 256.
            output: written.
            status: 8 bytes of memory for an error, which ``check`` reads.
            cuda_stream: where the kernels are queued.

        Raises:
            TypeError, ValueError: an argument is not as described.
        """
        launch_nearest(self.driver, vectors, leaves, output, status, stream_handle(cuda_stream))

    def sample_child(
        self,
        nodes: object,
        classes: object,
        output: object,
        status: object,
        *,
        seed: int,
        stream: int,
        offset: int = 0,
        cuda_stream: object = None,
    ) -> None:
        """Fills ``output``, (N,) uint8, with ``palette.sample_child(nodes, classes, ...)``.

        Args:
            nodes: (N,) uint8.
            classes: (N,) uint8.
            output: written.
            status: 8 bytes of memory for an error, which ``check`` reads.
            seed: 0..2**64 - 1.
            stream: 0..2**64 - 1.
            offset: number of the first position.
            cuda_stream: where the kernels are queued.

        Raises:
            TypeError, ValueError: an argument is not as described.
        """
        address = {"seed": seed, "stream": stream, "offset": offset}
        launch_children(self.driver, nodes, classes, output, status, address, stream_handle(cuda_stream))

    def posterior_sample(
        self,
        logits: object,
        states: object,
        output: object,
        status: object,
        transition: Uniform | Absorbing | Tree,
        *,
        seed: int,
        stream: int,
        offset: int = 0,
        cuda_stream: object = None,
    ) -> None:
        """Fills ``output``, (N,) uint8, with ``palette.posterior_sample(logits, states, transition, ...)``.

        Fastest where 16, 32, 64, 128 or 256 categories of a row are read (with ``Tree``, those below a node) and logits
        begin at a multiple of 16 bytes.

        Args:
            logits: (N, K) int16.
            states: (N,) uint8.
            output: written.
            status: 8 bytes of memory for an error, which ``check`` reads.
            transition: the chain and the step.
            seed: 0..2**64 - 1.
            stream: 0..2**64 - 1.
            offset: number of the first position.
            cuda_stream: where the kernels are queued.

        Raises:
            TypeError, ValueError: an argument is not as described.
        """
        address = {"seed": seed, "stream": stream, "offset": offset}
        handle = stream_handle(cuda_stream)
        table = self.tables["octave"]
        launch_posterior(self.driver, table, logits, states, output, status, transition, address, handle)

    @staticmethod
    def tree_scratch_bytes(count: int, channels: int, depth: int) -> int:
        """Bytes of scratch that ``build_tree`` needs for ``count`` vectors."""
        return TreeScratch(count, channels, depth).size

    def build_tree(
        self,
        vectors: object,
        depth: int,
        nodes: object,
        populations: object,
        status: object,
        scratch: object,
        *,
        step: float,
        weights: object = None,
        rounds: int = 16,
        cuda_stream: object = None,
    ) -> None:
        """Builds the tree of ``palette.build_tree(vectors, depth, weights=..., step=..., rounds=...)``.

        Args:
            vectors: (N, C) float32.
            depth: D, 0..8.
            nodes: (2**(D + 1) - 1, C) float32, written: the nodes of all depths, one depth after another.
            populations: (2**(D + 1) - 1,) int64, written.
            status: 8 bytes of memory for an error, which ``check`` reads.
            scratch: memory of ``tree_scratch_bytes``.
            step: of the grid, a power of two; ``palette.grid_step`` finds one, but has to see the content.
            weights: (N,) uint32, or ``None``: once each.
            rounds: 0..1000; all are queued, also where fewer would do.
            cuda_stream: where the kernels are queued.

        Raises:
            TypeError, ValueError: an argument is not as described.
        """
        handle = stream_handle(cuda_stream)
        launch_tree(self.driver, vectors, weights, depth, nodes, populations, status, scratch, step, rounds, handle)

    def check(self, status: object, *, cuda_stream: object = None) -> None:
        """Waits for the stream and raises the error that a palette or rounding kernel has left in ``status``.

        Raises:
            ValueError: an element was out of range; it is named by its index.
        """
        check_status(self.driver, status, stream_handle(cuda_stream))
