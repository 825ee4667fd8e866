"""Distances between pictures in the features of a frozen SqueezeNet 1.1: for judging alone, nothing is trained on it.

None of them is calibrated on what people said; they compare coders with each other and say nothing by their size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.squeezenet import SqueezeNet
from bench.pictures import RGB

Array = NDArray[np.float32]
#: Stages that distances are taken of: conv1, fire3, fire5, fire7 and fire9.
STAGES = (0, 2, 4, 6, 8)
_MEAN = (104.0, 117.0, 123.0)  # blue, green, red
#: Positions of fire9, 16 pixels each, on a side of a patch whose features are taken together.
PATCH = 6
#: What keeps the ratios of `structure_distance` steady, as a share of the source's mean square in that stage.
_STEADY = 1e-3


@dataclass(frozen=True, eq=False)
class Features:
    """Of one picture: the stages' values, (channels, h, w) each, the finest first, and the picture itself, 0 to 1."""

    stages: tuple[Array, ...]
    picture: Array


class FrozenFeatures:
    """The network. path: SqueezeNet 1.1 as .npz. Raises ValueError for another file."""

    def __init__(self, path: Path) -> None:
        self._network = SqueezeNet(path)

    def __call__(self, rgb: RGB) -> Features:
        """Features of a picture (H, W, 3), both sides of 31 pixels or more."""
        planes = rgb.astype(np.float32).transpose(2, 0, 1)
        found = self._network.stages(planes[::-1] - np.array(_MEAN, np.float32)[:, None, None])
        return Features(tuple(found[at] for at in STAGES), planes / np.float32(255))


def perceptual_distance(a: Features, b: Features) -> float:
    """Squared difference of features, normalised over channels as in LPIPS (Zhang et al., 2018), all weights 1."""
    return float(sum(((_normalised(x) - _normalised(y)) ** 2).sum(0).mean()
                     for x, y in zip(a.stages, b.stages, strict=True)))


def structure_distance(source: Features, shown: Features) -> float:
    """As DISTS (Ding et al., 2020): likeness of every channel's mean and of its structure, all weights equal; 0 to 1.

    Means alone tell texture, whatever stands where; the covariance tells structure.
    """
    likenesses = []
    for x, y in zip((source.picture, *source.stages), (shown.picture, *shown.stages), strict=True):
        flat_x, flat_y = (value.reshape(len(value), -1).astype(np.float64) for value in (x, y))
        steady = _STEADY * float((flat_x**2).mean()) + 1e-12
        mean_x, mean_y = flat_x.mean(1), flat_y.mean(1)
        covariance = (flat_x * flat_y).mean(1) - mean_x * mean_y
        texture = (2 * mean_x * mean_y + steady) / (mean_x**2 + mean_y**2 + steady)
        structure = (2 * covariance + steady) / (flat_x.var(1) + flat_y.var(1) + steady)
        likenesses.append(float((texture + structure).mean() / 2))
    return 1 - float(np.mean(likenesses))


def patch_features(features: Features) -> Array:
    """(patches, channels) means of the last stage over patches side by side, row by row; at least one."""
    last = features.stages[-1]
    side = min(PATCH, *last.shape[1:])
    rows, columns = (length // side for length in last.shape[1:])
    cut = last[:, :rows * side, :columns * side].reshape(len(last), rows, side, columns, side)
    return np.ascontiguousarray(cut.mean(axis=(2, 4)).reshape(len(last), -1).T)


def _normalised(stage: Array) -> Array:
    return stage / (np.linalg.norm(stage, axis=0, keepdims=True) + np.float32(1e-6))
