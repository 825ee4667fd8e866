"""How far pictures are apart for networks that look at them: features of many layers, from edges to kinds of things.

The form of LPIPS (Zhang et al., CVPR 2018), on the networks that training may look through; at every position the
length of the difference rather than its square, so that it can go into an energy score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from duoview.detectors import YoloX
from duoview.models.feature_loss import DetectorEye
from duoview.models.shufflenet import open_shufflenet

_LEAST = 1e-6


class Eye(Protocol):
    """Something that tells features (N, C, h, w) of several resolutions of pictures (N, 3, H, W), RGB in [0, 1]."""

    def layers(self, pictures: Tensor) -> Sequence[Tensor]: ...


class DetectorLayers:
    """The last features of every resolution of a YOLOX, from a half of the picture's size on, at its own size."""

    def __init__(self, path: Path, device: torch.device | None = None) -> None:
        self._eye = DetectorEye(path, YoloX(), (1.0, 1.0), device=device)
        self._eye.maps = ()

    def layers(self, pictures: Tensor) -> Sequence[Tensor]:
        return self._eye(pictures).features


class ClassifierLayers:
    """The features of a ShuffleNetV2 backbone at 1/8, 1/16 and 1/32 of the picture's size."""

    def __init__(self, path: Path, device: torch.device | None = None) -> None:
        self._network: nn.Module = open_shufflenet(path).to(device)

    def layers(self, pictures: Tensor) -> Sequence[Tensor]:
        found: tuple[Tensor, ...] = self._network(pictures.contiguous(memory_format=torch.channels_last))
        return found


def eyes_of(yolox: Path | None, shufflenet: Path | None, device: torch.device) -> list[Eye]:
    """The networks of those files that are given. Raises as they do where one cannot be read."""
    found: list[Eye] = [DetectorLayers(yolox, device)] if yolox is not None else []
    return found + ([ClassifierLayers(shufflenet, device)] if shufflenet is not None else [])


def layers_of(eyes: Sequence[Eye], pictures: Tensor) -> list[Tensor]:
    """All features of pictures (N, 3, H, W), H and W multiples of 32, each position's of length 1."""
    return [nn.functional.normalize(layer.float(), dim=1, eps=_LEAST) for eye in eyes for layer in eye.layers(pictures)]


def layer_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Length of the difference, mean over positions and layers: (N,), 0 to 2."""
    return torch.stack([((x - y).square().sum(1) + _LEAST).sqrt().mean((1, 2)) for x, y in zip(a, b, strict=True)]
                       ).mean(0)
