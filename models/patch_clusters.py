"""Kinds of patches without labels, and two distances on them: the feature objective of seed B, as we build it.

Features of several layers of a frozen backbone describe a patch, K-means over the patches of training pictures gives
pseudo-labels, and contrastive learning uses them (Guo et al., ACM MM 2023; pseudo-labels as Caron et al., ECCV 2018;
the contrast is InfoNCE of van den Oord et al., 2018, without negatives of the patch's own kind, as in Khosla et al.,
2020). Only the abstract of seed B was to be had, so the details are our own: both distances count what is lost against
the source, and are 0 where nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from duoview.models.feature_loss import Seen

#: Side of a patch: latent positions, and pixels.
PATCH, PATCH_PIXELS = 4, 32
#: Cosines are divided by this before they compete.
TEMPERATURE = 0.1


def spherical_means(points: Tensor, clusters: int, *, rounds: int = 20, seed: int = 8) -> Tensor:
    """Centres (clusters, F) of points (N, F), all of length 1, by K-means on cosines; the same for the same seed.

    Begins with points drawn by the seed; a cluster that no point is nearest to stays where it is. Raises ValueError for
    fewer than two points a cluster.
    """
    if len(points) < 2 * clusters:
        raise ValueError(f"{clusters} clusters of {len(points)} points: expected two points for each or more")
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    centres = points[order[:clusters].to(points.device)].clone()
    for _ in range(rounds):
        nearest = (points @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        filled = sums.norm(dim=1) > 0
        centres[filled] = F.normalize(sums[filled], dim=1)
    return centres


def _descriptors(features: Sequence[Tensor], rows: int, columns: int) -> Tensor:
    """Features (N, C, h, w) of several layers, each averaged over patches and one behind the other: (N, P, all C)."""
    pooled = [F.adaptive_avg_pool2d(one.float(), (rows, columns)).flatten(2) for one in features]
    return torch.cat(pooled, 1).transpose(1, 2)


@dataclass(frozen=True, eq=False)
class PatchClusters:
    """Kinds of patches as centres (K, F) of length 1, of descriptors less ``mean`` (F,) over ``std`` (F,); float32."""

    mean: Tensor
    std: Tensor
    centres: Tensor

    @classmethod
    @torch.no_grad()
    def fit(cls, look: Callable[[Tensor], Seen], pictures: Iterable[Tensor], clusters: int = 64) -> PatchClusters:
        """From batches of pictures (N, 3, S, S) in [0, 1], their sides multiples of 32, as ``look`` sees them.

        Raises ValueError where there are fewer than two patches for each cluster.
        """
        found = []
        for batch in pictures:
            rows, columns = (side // PATCH_PIXELS for side in batch.shape[2:])
            found.append(_descriptors(look(batch).features, rows, columns).flatten(0, 1))
        described = torch.cat(found)
        mean, std = described.mean(0), described.std(0) + 1e-6
        return cls(mean, std, spherical_means(F.normalize((described - mean) / std, dim=1), clusters))

    def points(self, seen: Seen, rows: int, columns: int) -> Tensor:
        """Descriptors of rows x columns patches, (N, P, F), centred and of length 1; gradients reach what is seen."""
        return F.normalize((_descriptors(seen.features, rows, columns) - self.mean) / self.std, dim=2)

    def labels(self, points: Tensor) -> Tensor:
        """The nearest centre of every patch: (N, P, F) -> (N, P), int64."""
        return (points @ self.centres.T).argmax(2)

    def to(self, device: torch.device) -> PatchClusters:
        """The same on another device."""
        return PatchClusters(self.mean.to(device), self.std.to(device), self.centres.to(device))


def cluster_distance(clusters: PatchClusters, decoded: Tensor, source: Tensor) -> Tensor:
    """How much less surely patches are of their kind than in the source, (N,), nats a patch.

    decoded, source: points (N, P, F) of the same places. The kind is the source's nearest centre; what counts is its
    cross-entropy among all centres, as far as it is above the source's own: 0 where the picture is the source.
    """
    labels = clusters.labels(source).flatten()

    def surprise(points: Tensor) -> Tensor:
        return F.cross_entropy((points @ clusters.centres.T).flatten(0, 1) / TEMPERATURE, labels, reduction="none")

    lost = torch.relu(surprise(decoded) - surprise(source).detach())
    return lost.reshape(len(decoded), -1).mean(1)


def latent_patches(z: Tensor) -> Tensor:
    """Patches of latents (N, C, h, w) as magnitudes of their Fourier transforms, (N, P, 9 C), float32.

    Each of 4x4 positions, of which neither a mirror image nor a cyclic shift changes anything; the mean keeps its sign.
    h and w are multiples of 4.
    """
    n, channels, height, width = z.shape
    tiles = z.float().reshape(n, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    spectrum = torch.fft.rfft2(tiles.permute(0, 2, 4, 1, 3, 5), norm="ortho")
    # The slope of a magnitude is not defined at 0.
    magnitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-8)
    # Mirrored, frequencies up and down change places.
    both = torch.stack([magnitude[..., 0, :], (magnitude[..., 1, :] + magnitude[..., 3, :]) / 2, magnitude[..., 2, :]],
                       -2).flatten(-2)
    signed = torch.cat([spectrum.real[..., 0, :1], both[..., 1:]], -1)
    return signed.flatten(3).flatten(1, 2)


def contrast_distance(z_m: Tensor, z: Tensor, labels: Tensor) -> Tensor:
    """How much worse the patches of z_m tell their own patch of z from those of other kinds, (N,), nats a patch.

    z_m, z: latents (N, C, h, w). labels: the kind of every patch, (N, P); patches of one kind are not told apart. All
    patches of the batch compete. 0 where z_m is z, and where there is one kind only.
    """
    wanted = latent_patches(z).flatten(0, 1)
    mean, std = wanted.mean(0), wanted.std(0) + 1e-6
    aim = F.normalize((wanted - mean) / std, dim=1).detach()
    found = F.normalize((latent_patches(z_m).flatten(0, 1) - mean) / std, dim=1)
    kinds = labels.flatten()
    left_out = kinds[:, None] == kinds[None]
    left_out.fill_diagonal_(False)

    def surprise(points: Tensor) -> Tensor:
        cosines = (points @ aim.T / TEMPERATURE).masked_fill(left_out, -torch.inf)
        return torch.logsumexp(cosines, 1) - cosines.diagonal()

    lost = torch.relu(surprise(found) - surprise(aim).detach())
    return lost.reshape(len(z), -1).mean(1)


def save(clusters: Sequence[PatchClusters], path: Path) -> None:
    """Write clusters, one set for each kind of crops, so that training goes on with the same."""
    temporary = path.with_suffix(".tmp")
    torch.save([{"mean": one.mean, "std": one.std, "centres": one.centres} for one in clusters], temporary)
    temporary.replace(path)


def load(path: Path, count: int) -> list[PatchClusters]:
    """What `save` wrote. Raises ValueError where it is not ``count`` sets of clusters."""
    try:
        found = [PatchClusters(**one) for one in torch.load(path, weights_only=True, map_location="cpu")]
    except (TypeError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: no clusters of patches ({error})") from None
    if len(found) != count:
        raise ValueError(f"{path}: {len(found)} sets of clusters, expected {count}; remove it to find them anew")
    return found
