"""What a machine layer has to keep: where objects are, what detectors and classifiers see, a floor of everything.

All distances are per picture, so that each can be set against its own rate. Sources: region-weighted fidelity of coding
for machines (SLIM, 2512.18200; SA-ICM, Shindo et al., 2024), task-driven features (Chamain et al., 2021; Le et al.,
2021), magnitudes of windowed Fourier transforms (Guo et al., ACM MM 2023). Kinds of patches: `patch_clusters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from duoview.models.feature_loss import DetectorEye, Seen
from duoview.models.patch_clusters import PATCH, PatchClusters, cluster_distance, contrast_distance
from duoview.models.shufflenet import ShuffleNet
from duoview.models.train_still import spectral_distance

#: Added to variances of feature channels, relative to their mean, so that a silent channel does not shout.
QUIET = 0.05


@dataclass(frozen=True)
class FidelityWeights:
    """Weights of the distances; their sum stands for a squared error in 8-bit steps. 0 takes one out altogether.

    picture: squared error by region, of one 8-bit step. latent: squared error of the normalised latent by region.
    features: of detectors, each channel relative to its own variance, by region. answers: of detectors, where objects
    are or seem to be. classes: of a classifier's backbone, everywhere alike. spectral: windowed Fourier magnitudes.
    """

    picture: float = 0.6
    latent: float = 0.0
    features: float = 800.0
    answers: float = 80.0
    classes: float = 400.0
    spectral: float = 0.0
    clusters: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise ValueError(f"{field.name}={getattr(self, field.name)}: expected a weight of 0 or more")
        if not any(getattr(self, field.name) for field in fields(self)):
            raise ValueError("every weight is 0: expected one distance at least")


class ClassifierEye:
    """A frozen backbone of a classifier that tells what it sees in RGB pictures at ``scale`` of their size.

    clusters: the kinds of patches that it knows, where the distances of patches are wanted.
    """

    def __init__(self, network: ShuffleNet, scale: float, device: torch.device | None = None,
                 clusters: PatchClusters | None = None) -> None:
        self.network, self.scale, self.clusters = network.to(device), scale, clusters

    def __call__(self, pictures: Tensor) -> Seen:
        """What it sees in (N, 3, H, W), RGB in [0, 1]; gradients reach the pictures."""
        size = [max(1, round(side * self.scale / 32)) * 32 for side in pictures.shape[2:]]
        x = F.interpolate(pictures, size, mode="bilinear", antialias=True)
        return Seen(self.network(x.contiguous(memory_format=torch.channels_last)), ())


def picture_distance(decoded: Tensor, source: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error in 8-bit steps under weights (N, 1, H, W): pictures in [0, 1], (N, 3, H, W) twice -> (N,)."""
    return ((decoded.float() - source).square() * weight).mean((1, 2, 3)) * 255**2


def latent_distance(decoded: Tensor, source: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error of latents (N, C, h, w) under weights (N, 1, H, W) of the pictures -> (N,)."""
    return ((decoded.float() - source.float()).square() * _at_size_of(weight, source)).mean((1, 2, 3))


def _at_size_of(weight: Tensor, features: Tensor) -> Tensor:
    """Means of weights (N, 1, H, W) over what each place of features (N, C, h, w) stands for."""
    return F.adaptive_avg_pool2d(weight, (features.shape[2], features.shape[3]))


def feature_distance(seen: Seen, wanted: Seen, weight: Tensor | None = None) -> Tensor:
    """How far features are off, (N,): mean squares relative to the variance of each channel in the batch, 1 if unlike.

    weight: (N, 1, H, W) of the pictures, None for all places alike.
    """
    total = wanted.features[0].new_zeros(len(wanted.features[0]), dtype=torch.float32)
    for found, aim in zip(seen.features, wanted.features, strict=True):
        aim = aim.float()
        variance = aim.var((0, 2, 3))
        error = ((found.float() - aim).square() / (variance + QUIET * variance.mean() + 1e-8)[:, None, None]
                 ).mean(1, keepdim=True)
        if weight is not None:
            error = error * _at_size_of(weight, aim)
        total = total + error.mean((1, 2, 3))
    return total / len(wanted.features)


def answer_distance(eye: DetectorEye, seen: Seen, wanted: Seen) -> Tensor:
    """How far a detector's answers are off, (N,): objects that come or go, their boxes and classes where they are.

    Relative to the mean number of answers in the pictures of the batch, so that busy pictures count for more.
    """
    total, objects = torch.zeros(len(wanted.answers[0]), device=wanted.answers[0].device), 0.0
    for found, aim in zip(seen.answers, wanted.answers, strict=True):
        difference = (found.float() - aim.float()).abs()
        likely = aim[:, eye.layout.likely].float()
        total = total + difference[:, eye.layout.likely].sum((1, 2))
        total = total + (likely * (2 * difference[:, eye.layout.box].mean(1)
                                   + difference[:, eye.layout.classes:].sum(1))).sum((1, 2))
        objects += float(likely.sum())
    return total / (objects / len(total) + 1)


@dataclass(frozen=True)
class Eyes:
    """The networks that look on: detectors and a classifier's backbone, each at the scale it judges pictures at.

    zoom: detectors look at pictures that many times larger.
    """

    detectors: Sequence[DetectorEye] = ()
    classifiers: Sequence[ClassifierEye] = ()
    zoom: float = 1.0

    def drawn(self, random: np.random.Generator, zooms: tuple[float, float] = (1.0, 1.0)) -> Eyes:
        """One of the detectors and one of the classifiers: the mean of what all see, at the cost of one.

        zooms: between which a zoom is drawn, evenly in its logarithm; the draws do not depend on them.
        """
        detectors = [self.detectors[int(random.integers(len(self.detectors)))]] if self.detectors else []
        classifiers = [self.classifiers[int(random.integers(len(self.classifiers)))]] if self.classifiers else []
        low, high = zooms
        return Eyes(detectors, classifiers, low * (high / low) ** random.random())


def check_zooms(zooms: tuple[float, float]) -> None:
    """Raises ValueError for what is not two numbers above 0, the first not above the second."""
    if not 0 < zooms[0] <= zooms[1] < float("inf"):
        raise ValueError(f"zooms={zooms}: expected two numbers above 0, the lower one first")


def distances(weights: FidelityWeights, eyes: Eyes, source: Tensor, decoded: Tensor, z: Tensor, z_m: Tensor,
              weight: Tensor) -> dict[str, Tensor]:
    """Every distance whose weight is not 0, (N,) each, not yet weighted.

    source, decoded: pictures in [0, 1], (N, 3, H, W); z, z_m: their latents; weight: what counts, (N, 1, H, W).
    Raises ValueError where a network is missing that a weight asks for.
    """
    kind = source.device.type
    found: dict[str, Tensor] = {}
    if weights.picture:
        found["picture"] = picture_distance(decoded, source, weight)
    if weights.latent:
        found["latent"] = latent_distance(z_m, z, weight)
    if weights.features or weights.answers:
        if not eyes.detectors:
            raise ValueError("features and answers: expected a detector")
        parts: dict[str, list[Tensor]] = {"features": [], "answers": []}
        for eye in eyes.detectors:
            with torch.autocast(kind, torch.bfloat16):
                with torch.no_grad():
                    wanted = eye(source, eyes.zoom)
                seen = eye(decoded, eyes.zoom)
            parts["features"].append(feature_distance(seen, wanted, weight))
            parts["answers"].append(answer_distance(eye, seen, wanted))
        for name, several in parts.items():
            if getattr(weights, name):
                found[name] = torch.stack(several).mean(0)
    if weights.classes or weights.clusters or weights.contrast:
        if not eyes.classifiers:
            raise ValueError("classes, clusters and contrast: expected the backbone of a classifier")
        seen_by = [_classified(weights, classifier, source, decoded, z, z_m) for classifier in eyes.classifiers]
        found |= {name: torch.stack([one[name] for one in seen_by]).mean(0) for name in seen_by[0]}
    if weights.spectral:
        found["spectral"] = spectral_distance(decoded, source)
    return found


def _classified(weights: FidelityWeights, eye: ClassifierEye, source: Tensor, decoded: Tensor, z: Tensor, z_m: Tensor
                ) -> dict[str, Tensor]:
    """The distances that one classifier's backbone has to do with, (N,) each."""
    found: dict[str, Tensor] = {}
    with torch.autocast(source.device.type, torch.bfloat16):
        with torch.no_grad():
            wanted = eye(source)
        seen = eye(decoded) if weights.classes or weights.clusters else None
    if weights.classes and seen is not None:
        found["classes"] = feature_distance(seen, wanted)
    if not weights.clusters and not weights.contrast:
        return found
    if eye.clusters is None:
        raise ValueError("clusters and contrast: expected a classifier with clusters of patches")
    places = z.shape[2] // PATCH, z.shape[3] // PATCH
    aim = eye.clusters.points(wanted, *places)
    if weights.clusters and seen is not None:
        found["clusters"] = cluster_distance(eye.clusters, eye.clusters.points(seen, *places), aim)
    if weights.contrast:
        found["contrast"] = contrast_distance(z_m, z, eye.clusters.labels(aim))
    return found


def total(weights: FidelityWeights, found: dict[str, Tensor]) -> Tensor:
    """The weighted sum of the distances, (N,), as a squared error in 8-bit steps."""
    return torch.stack([getattr(weights, name) * value for name, value in found.items()]).sum(0)
