"""How differently a detector sees two pictures: in its features, and in what it answers where it found something.

After the task-driven losses of coding for machines (Chamain et al., 2021; Le et al., 2021), with frozen detectors that
are given by their files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from duoview.detectors.family import Family
from duoview.detectors.fastestdet import FastestDet
from duoview.detectors.yolox import YoloX
from duoview.models.foreign_network import ForeignNetwork

#: Detectors shrink their input by this much at most.
MULTIPLE = 32


@dataclass(frozen=True)
class AnswerLayout:
    """Channels of a detector's answer: how likely there is an object, its box, its class scores from there on."""

    likely: int
    box: slice
    classes: int


LAYOUTS = {YoloX.name: AnswerLayout(4, slice(0, 4), 5), FastestDet.name: AnswerLayout(0, slice(1, 5), 5)}


@dataclass(frozen=True)
class Seen:
    """What a detector sees: features (N, C, h, w) of several resolutions, and its answers, maps (N, C, h, w)."""

    features: tuple[Tensor, ...]
    answers: tuple[Tensor, ...]


class DetectorEye:
    """A frozen detector that tells what it sees in RGB pictures.

    Args:
        path: its ONNX file. family: how it is fed and what it answers, YoloX or FastestDet.
        scale: (vertical, horizontal): of its input to the pictures, as where it judges pictures of 640x360.
        taps: names of the tensors that count as features; none takes the last of every resolution.

    Raises ValueError for a family without a known layout, or an operator that is not known.
    """

    def __init__(self, path: Path, family: Family, scale: tuple[float, float], *, taps: Sequence[str] = (),
                 device: torch.device | None = None) -> None:
        if family.name not in LAYOUTS:
            raise ValueError(f"family {family.name!r}: expected one of {', '.join(LAYOUTS)}")
        self.network, self.layout, self.scale = ForeignNetwork(path, device), LAYOUTS[family.name], scale
        self.name, self.device = family.name, device
        self.taps = tuple(taps) or self.network.features()
        self.maps = self.network.answers()
        prepared = family.preparation
        self._flip = prepared.colour == "bgr"
        self._mean = torch.tensor(prepared.mean, device=device)[:, None, None]
        self._std = torch.tensor(prepared.std, device=device)[:, None, None]

    def __call__(self, pictures: Tensor, zoom: float = 1.0) -> Seen:
        """What it sees in (N, 3, H, W), RGB in [0, 1], at ``zoom`` times its scale; gradients reach the pictures."""
        size = [max(1, round(side * scale * zoom / MULTIPLE)) * MULTIPLE
                for side, scale in zip(pictures.shape[2:], self.scale, strict=True)]
        x = F.interpolate(pictures, size, mode="bilinear", antialias=True)
        x = ((x.flip(1) if self._flip else x) * 255 - self._mean) / self._std
        x = x.contiguous(memory_format=torch.channels_last)
        found = self.network.run(x, (*self.taps, *self.maps))
        return Seen(tuple(found[:len(self.taps)]), tuple(found[len(self.taps):]))

    def distances(self, seen: Seen, wanted: Seen) -> tuple[Tensor, Tensor]:
        """(of the features, of the answers) between what it sees and what it is to see; both scalars.

        Features count by their mean distance relative to their mean size, answers by what is in the wanted ones: how
        likely objects are everywhere, boxes and classes where there is one.
        """
        features = torch.stack([
            (a.float() - b.float()).abs().mean() / (b.float().abs().mean() + 1e-6)
            for a, b in zip(seen.features, wanted.features, strict=True)]).mean()
        total, objects = features.new_zeros(()), features.new_zeros(())
        for found, aim in zip(seen.answers, wanted.answers, strict=True):
            difference = (found.float() - aim.float()).abs()
            likely = aim[:, self.layout.likely].float()
            total = total + difference[:, self.layout.likely].sum()
            total = total + (likely * (2 * difference[:, self.layout.box].mean(1)
                                       + difference[:, self.layout.classes:].sum(1))).sum()
            objects = objects + likely.sum()
        return features, total / (objects + len(seen.answers[0]))
