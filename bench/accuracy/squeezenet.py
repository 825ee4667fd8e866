"""SqueezeNet 1.1 (Iandola et al., 2016) in numpy, for a judge of classification whose weights come as arrays.

The file is an .npz of ``NAME.w`` (O, I, H, W) and ``NAME.b`` (O,), where NAME is conv1, fire2/squeeze1x1,
fire2/expand1x1, fire2/expand3x3, ..., fire9/expand3x3, conv10. Nothing here learns.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float32]

FIRES = tuple(range(2, 10))
#: Fire modules that a pooling goes before; the first of them follows conv1.
_POOLED = (2, 4, 6)
_LEAST_SIDE = 31


class SqueezeNet:
    """Scores of classes of one picture. Raises ValueError for a file that holds another network."""

    def __init__(self, path: Path) -> None:
        parts = [f"fire{number}/{part}" for number in FIRES for part in ("squeeze1x1", "expand1x1", "expand3x3")]
        try:
            with np.load(path) as content:
                self._layers: dict[str, tuple[Array, Array]] = {
                    name: (content[f"{name}.w"].astype(np.float32), content[f"{name}.b"].astype(np.float32))
                    for name in ("conv1", *parts, "conv10")}
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: not the weights of SqueezeNet 1.1 ({error})") from None
        depth = 3
        for name in ("conv1", *parts, "conv10"):
            weights, bias = self._layers[name]
            side = 3 if name == "conv1" or name.endswith("3x3") else 1
            if name.endswith("expand3x3"):  # it reads what expand1x1 reads, and stands behind it
                depth = self._layers[name.replace("3x3", "1x1")][0].shape[1]
            if weights.shape[1:] != (depth, side, side) or bias.shape != weights.shape[:1]:
                raise ValueError(f"{path}: {name} of shape {weights.shape} with {bias.shape}; expected "
                                 f"(N, {depth}, {side}, {side}) with (N,)")
            depth = len(weights) + (len(self._layers[name.replace("3x3", "1x1")][0]) if name.endswith("3x3") else 0)

    @property
    def classes(self) -> int:
        """How many scores come out."""
        return len(self._layers["conv10"][1])

    def __call__(self, picture: NDArray[Any]) -> Array:
        """Scores before softmax, (classes,). picture: (3, H, W), prepared; sides of at least 31 pixels."""
        if picture.ndim != 3 or len(picture) != 3 or min(picture.shape[1:]) < _LEAST_SIDE:
            raise ValueError(f"a picture of shape {picture.shape}: expected (3, H, W), sides of at least {_LEAST_SIDE}")
        return self._convolved("conv10", self.stages(picture)[-1]).mean(axis=(1, 2))

    def stages(self, picture: NDArray[Any]) -> list[Array]:
        """What conv1 and every fire module see, (channels, h, w) each: for distances between pictures."""
        values = self._convolved("conv1", picture.astype(np.float32), stride=2)
        found = [values]
        for number in FIRES:
            if number in _POOLED:
                values = _pooled(values)
            squeezed = self._convolved(f"fire{number}/squeeze1x1", values)
            values = np.concatenate([self._convolved(f"fire{number}/expand1x1", squeezed),
                                     self._convolved(f"fire{number}/expand3x3", squeezed, around=1)])
            found.append(values)
        return found

    def _convolved(self, name: str, values: Array, *, stride: int = 1, around: int = 0) -> Array:
        """Convolution with rectifier; `around` zeros at every edge."""
        weights, bias = self._layers[name]
        side = weights.shape[2]
        if around:
            values = np.pad(values, ((0, 0), (around, around), (around, around)))
        windows = sliding_window_view(values, (side, side), axis=(1, 2))[:, ::stride, ::stride]
        columns = windows.transpose(0, 3, 4, 1, 2).reshape(-1, windows.shape[1] * windows.shape[2])
        found = weights.reshape(len(weights), -1) @ columns + bias[:, None]
        return np.maximum(found, 0).reshape(len(weights), *windows.shape[1:3])


def _pooled(values: Array) -> Array:
    """Maxima of 3x3 in steps of 2; the last window may hang over the edge (Caffe rounds up)."""
    around = [(0, (2 - (side - 3) % 2) % 2) for side in values.shape[1:]]
    padded = np.pad(values, ((0, 0), *around), constant_values=-np.inf)
    return sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(3, 4))
