"""Windows of planes on a device: cut out for a network that sees one at a time, compared, noised, put together."""

from __future__ import annotations

import numpy as np

from duoview.kernels.cuda_array import stream_handle
from duoview.kernels.cuda_driver import Driver, buffer, part_of, shaped, typed

_TILE = 1024
_NO_DIFFERENCE = (1 << 64) - 1


def _tiles(count: int) -> int:
    return -(-count // _TILE)


class WindowKernels:
    """Methods of ``cuda.Device``. All raise TypeError or ValueError for an argument that is not as described."""

    driver: Driver

    def _launch(self, program: str, count: int, arguments: list[int], stream: object) -> None:
        if count:
            self.driver.launch(program, _tiles(count), arguments, stream_handle(stream))

    def cut_window(self, planes: object, window: object, *, top: int, left: int, cuda_stream: object = None) -> None:
        """Fills ``window``, (1, C, H, W) float32, with a part of ``planes``, (1, C, rows, columns) float32."""
        source = typed(self.driver, "planes", planes, np.float32, ndim=4)
        target = typed(self.driver, "window", window, np.float32, ndim=4, writable=True)
        shape = target.shape[1:]
        if target.shape[:2] != source.shape[:2] or source.shape[0] != 1:
            raise ValueError(f"window has shape {target.shape}, planes {source.shape}; (1, channels, ..) of both with "
                             "as many channels is needed")
        part_of("the window's place", (top, left, shape[1], shape[2]), *source.shape[2:])
        self._launch("cut_window", target.size,
                     [source.pointer, target.pointer, *shape, top, left, *source.shape[2:]], cuda_stream)

    def blend_window(
        self, window: object, share: object, planes: object, *, top: int, left: int, cuda_stream: object = None
    ) -> None:
        """Adds ``window``, (1, C, H, W) float32, times ``share``, (H, W) float32, to a part of ``planes``.

        planes: (1, C, rows, columns) float32. Of windows that overlap, the order is that of the calls.
        """
        source = typed(self.driver, "window", window, np.float32, ndim=4)
        target = typed(self.driver, "planes", planes, np.float32, ndim=4, writable=True)
        shape = source.shape[1:]
        if target.shape[:2] != source.shape[:2] or source.shape[0] != 1:
            raise ValueError(f"window has shape {source.shape}, planes {target.shape}; (1, channels, ..) of both with "
                             "as many channels is needed")
        part_of("the window's place", (top, left, shape[1], shape[2]), *target.shape[2:])
        factor = shaped(self.driver, "share", share, np.float32, shape[1:]).pointer
        self._launch("blend_window", source.size,
                     [source.pointer, factor, target.pointer, *shape, top, left, *target.shape[2:]], cuda_stream)

    def begin_comparison(self, status: object, *, cuda_stream: object = None) -> None:
        """Makes ``status``, a multiple of 8 bytes, words that say of as many comparisons that nothing differs."""
        found = buffer(self.driver, "status", status, 8)
        if found.nbytes % 8:
            raise ValueError(f"status has {found.nbytes} bytes; a multiple of 8 is needed")
        words = found.nbytes // 8
        self.driver.launch("fill_words", _tiles(words), [found.pointer, words, _NO_DIFFERENCE],
                           stream_handle(cuda_stream))

    def compare(self, first: object, second: object, status: object, *, word: int, cuda_stream: object = None) -> None:
        """Notes in a word of ``status``, counted from 0, whether two float32 arrays of one size differ in any bit."""
        if word < 0:
            raise ValueError(f"word is {word}; 0 or more is needed")
        one, other = self.driver.array("first", first), self.driver.array("second", second)
        for name, array in (("first", one), ("second", other)):
            if array.dtype != np.float32:
                raise TypeError(f"{name} is an array of {array.dtype}; float32 is needed")
        if one.shape != other.shape:
            raise ValueError(f"second has shape {other.shape}; {one.shape} is needed, as first has")
        found = buffer(self.driver, "status", status, 8 * (word + 1))
        self._launch("find_difference", one.size, [one.pointer, other.pointer, one.size, found.pointer + 8 * word],
                     cuda_stream)

    def check_comparison(self, status: object, *, cuda_stream: object = None) -> list[bool]:
        """Waits for the stream; of every word of ``status``, whether what was compared is the same."""
        found = buffer(self.driver, "status", status, 8)
        data = self.driver.read(found.pointer, found.nbytes, stream_handle(cuda_stream))
        return [bool(word == _NO_DIFFERENCE) for word in np.frombuffer(data, np.uint64)]

    def add_noise(
        self, known: object, level: object, noise: object, state: object, *, cuda_stream: object = None
    ) -> None:
        """Fills ``state`` with known + level * noise, all (1, C, H, W) float32 but level, (1, 1, H, W)."""
        source = typed(self.driver, "known", known, np.float32, ndim=4)
        channels, height, width = source.shape[1:]
        self._launch("add_noise", source.size, [
            source.pointer, shaped(self.driver, "level", level, np.float32, (1, 1, height, width)).pointer,
            shaped(self.driver, "noise", noise, np.float32, source.shape).pointer,
            shaped(self.driver, "state", state, np.float32, source.shape, writable=True).pointer,
            channels, height * width], cuda_stream)

    def channels_first(self, values: object, planes: object, *, cuda_stream: object = None) -> None:
        """Fills ``planes``, (1, C, H, W) float32, with ``values``, (H, W, C) float32."""
        target = typed(self.driver, "planes", planes, np.float32, ndim=4, writable=True)
        channels, height, width = target.shape[1:]
        source = shaped(self.driver, "values", values, np.float32, (height, width, channels)).pointer
        self._launch("channels_first", target.size, [source, target.pointer, channels, height * width], cuda_stream)

    def add_scaled(
        self, first: object, second: object, total: object, *, scale: object = None, cuda_stream: object = None
    ) -> None:
        """Fills ``total`` with first + scale * second, all (1, C, H, W) float32 but scale, (C,), or None for 1."""
        source = typed(self.driver, "first", first, np.float32, ndim=4)
        channels, height, width = source.shape[1:]
        factor = 0 if scale is None else shaped(self.driver, "scale", scale, np.float32, (channels,)).pointer
        self._launch("add_scaled", source.size, [
            source.pointer, shaped(self.driver, "second", second, np.float32, source.shape).pointer, factor,
            shaped(self.driver, "total", total, np.float32, source.shape, writable=True).pointer,
            channels, height * width], cuda_stream)

    def known_residual(
        self, residual: object, base: object, latent: object, depths: object, *, scale: object, levels: object,
        known: object, level: object, cuda_stream: object = None,
    ) -> None:
        """What texture knows of a residual, in units of its scale, and the noise level that goes with it.

        residual: what ``base`` lacks; both, and ``latent``, (1, C, H, W) float32. depths: (H, W) uint8, how deep each
        position is known, 0 for not. scale: (C,) float32. levels: (256,) float32, by depth.

        known: (1, C, H, W) float32, written: (residual + (base - latent)) / scale, 0 where nothing is known.
        level: (1, 1, H, W) float32, written.
        """
        source = typed(self.driver, "residual", residual, np.float32, ndim=4)
        channels, height, width = source.shape[1:]
        self._launch("known_residual", source.size, [
            source.pointer, *(shaped(self.driver, name, array, np.float32, source.shape).pointer
                              for name, array in (("base", base), ("latent", latent))),
            shaped(self.driver, "scale", scale, np.float32, (channels,)).pointer,
            shaped(self.driver, "depths", depths, np.uint8, (height, width)).pointer,
            shaped(self.driver, "levels", levels, np.float32, (256,)).pointer,
            shaped(self.driver, "known", known, np.float32, source.shape, writable=True).pointer,
            shaped(self.driver, "level", level, np.float32, (1, 1, height, width), writable=True).pointer,
            channels, height * width], cuda_stream)
