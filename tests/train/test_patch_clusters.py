"""Kinds of patches, and the distances on them: that each falls for the right reason."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from duoview.models.feature_loss import Seen
from duoview.models.machine_fidelity import ClassifierEye, Eyes, FidelityWeights, distances
from duoview.models.patch_clusters import (
    PatchClusters,
    cluster_distance,
    contrast_distance,
    latent_patches,
    load,
    save,
    spherical_means,
)

SHUFFLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_shufflenet.py"))))
#: Three kinds of points, along the axes.
AXES = PatchClusters(torch.zeros(4), torch.ones(4), torch.eye(4)[:3])


def around(kind: int, by: float = 0.0) -> Tensor:
    """A point (1, 1, 4) of a kind, towards the next kind by a part."""
    points = (1 - by) * torch.eye(4)[kind] + by * torch.eye(4)[(kind + 1) % 3]
    return F.normalize(points, dim=0)[None, None]


def brightness(pictures: Tensor) -> Seen:
    """An eye that sees colours, at two resolutions."""
    return Seen((F.avg_pool2d(pictures, 8), F.avg_pool2d(pictures, 32)), ())


def test_means_are_where_the_points_are_and_the_same_again() -> None:
    torch.manual_seed(1)
    points = F.normalize(torch.eye(8)[torch.arange(200) % 3] + 0.05 * torch.randn(200, 8), dim=1)
    # Whatever points it begins with, some of 12 are of each kind.
    centres = spherical_means(points, 12)
    nearest = (points @ centres.T).argmax(1)
    for kind in range(3):
        others = nearest[torch.arange(200) % 3 != kind]
        assert not set(nearest[kind::3].tolist()) & set(others.tolist())
    assert torch.allclose(centres.norm(dim=1), torch.ones(12)) and torch.equal(centres, spherical_means(points, 12))


def test_clusters_need_points() -> None:
    with pytest.raises(ValueError, match="4 clusters of 7 points: expected two points for each"):
        spherical_means(torch.eye(7), 4)


def test_patches_of_one_colour_are_of_one_kind() -> None:
    torch.manual_seed(2)
    colours = torch.eye(3)[torch.randint(0, 3, (4, 4, 4))]
    pictures = colours.permute(0, 3, 1, 2).repeat_interleave(32, 2).repeat_interleave(32, 3)
    clusters = PatchClusters.fit(brightness, [pictures[:2], pictures[2:]], clusters=8)
    points = clusters.points(brightness(pictures), 4, 4)
    assert points.shape == (4, 16, 6) and torch.allclose(points.norm(dim=2), torch.ones(4, 16), atol=1e-5)
    labels = clusters.labels(points).reshape(4, 4, 4)
    kinds = [set(labels[colours[..., colour] == 1].tolist()) for colour in range(3)]
    assert all(kinds) and not (kinds[0] & kinds[1] or kinds[0] & kinds[2] or kinds[1] & kinds[2])


def test_a_patch_that_looks_like_another_kind_costs_and_one_that_is_surer_does_not() -> None:
    source = around(0, 0.1)
    assert float(cluster_distance(AXES, source, source)) == 0
    near, far = (float(cluster_distance(AXES, around(0, by), source)) for by in (0.3, 0.6))
    assert 0 < near < far
    assert float(cluster_distance(AXES, around(0), source)) == 0
    both = cluster_distance(AXES, torch.cat([around(0, 0.6), source]), torch.cat([source, source]))
    assert both.tolist() == pytest.approx([far, 0])


def test_against_its_gradient_a_patch_goes_to_the_kind_it_had_and_from_the_others() -> None:
    decoded = around(0, 0.6).requires_grad_()
    (slope,) = torch.autograd.grad(cluster_distance(AXES, decoded, around(0)).sum(), decoded)
    step = -slope[0, 0]
    assert float(step[0]) > 0 and float(step[1]) < 0
    assert float(step[3]) == 0  # no kind is there
    points = decoded.detach()
    for _ in range(20):
        points = F.normalize(points, dim=2).requires_grad_()
        (slope,) = torch.autograd.grad(cluster_distance(AXES, points, around(0)).sum(), points)
        points = (points - 0.1 * slope).detach()
    assert AXES.labels(decoded).item() == 1 and AXES.labels(points).item() == 0


def test_patches_of_a_latent_ignore_mirrors_and_shifts_but_not_what_is_in_them() -> None:
    torch.manual_seed(3)
    z = torch.randn(2, 5, 8, 12)
    patches = latent_patches(z)
    assert patches.shape == (2, 6, 45) and patches.dtype == torch.float32

    def within(change: Tensor) -> Tensor:
        return latent_patches(change)[:, 0]

    tile = z[:, :, :4, :4]
    for same in (tile.flip(2), tile.flip(3), tile.roll((1, 2), (2, 3))):
        assert torch.allclose(within(same), within(tile), atol=1e-5)
    assert not torch.allclose(within(-tile), within(tile), atol=0.1)
    assert not torch.allclose(within(tile * 0.5), within(tile), atol=0.1)
    flat = torch.zeros(1, 1, 4, 4, requires_grad=True)
    latent_patches(flat).sum().backward()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()


def test_a_latent_patch_that_looks_like_one_of_another_kind_costs_but_not_like_one_of_its_own() -> None:
    torch.manual_seed(4)
    z, kinds = torch.randn(1, 6, 8, 8), torch.tensor([[0, 0, 1, 1]])
    assert float(contrast_distance(z, z, kinds)) == 0
    mixed = z.clone()
    mixed[:, :, :4, :4] = 0.3 * z[:, :, :4, :4] + 0.7 * z[:, :, 4:, :4]  # the first one and the third
    assert float(contrast_distance(mixed, z, kinds)) > 0.1
    own = z.clone()
    own[:, :, :4, :4] = 0.3 * z[:, :, :4, :4] + 0.7 * z[:, :, :4, 4:]  # the first one and the second
    assert float(contrast_distance(own, z, kinds)) < 0.2 * float(contrast_distance(mixed, z, kinds))
    assert float(contrast_distance(mixed, z, torch.zeros_like(kinds))) == 0  # one kind, nothing to tell apart


def test_against_the_contrast_a_latent_finds_back_to_its_own_patch() -> None:
    torch.manual_seed(5)
    z, kinds = torch.randn(1, 6, 8, 8), torch.arange(4)[None]
    z_m = 0.2 * z + 0.8 * z.roll(4, 3)
    before, off = float(contrast_distance(z_m, z, kinds)), _cosines(z_m, z)
    steps = torch.optim.Adam([z_m.requires_grad_()], lr=0.05)
    for _ in range(60):
        steps.zero_grad()
        contrast_distance(z_m, z, kinds).sum().backward()
        steps.step()
    found = z_m.detach()
    assert float(contrast_distance(found, z, kinds)) < 0.2 * before
    now = _cosines(found, z)
    assert (now.diagonal() > off.diagonal()).all()  # nearer to its own,
    apart = ~torch.eye(4, dtype=torch.bool)
    assert float(now[apart].mean()) < float(off[apart].mean())  # and further from the others


def _cosines(z_m: Tensor, z: Tensor) -> Tensor:
    wanted = latent_patches(z)[0]
    mean, std = wanted.mean(0), wanted.std(0)
    found = (latent_patches(z_m)[0] - mean) / std
    return F.normalize(found, dim=1) @ F.normalize((wanted - mean) / std, dim=1).T


def test_both_distances_come_with_the_others_where_their_weights_are() -> None:
    torch.manual_seed(6)
    eye = ClassifierEye(SHUFFLE.backbone(), 1.0)
    source, z = torch.rand(6, 3, 64, 64), torch.randn(6, 4, 8, 8)
    nothing = dict.fromkeys(("picture", "features", "answers", "classes"), 0.0)
    weight = torch.ones(6, 1, 64, 64)
    with pytest.raises(ValueError, match="expected a classifier with clusters of patches"):
        distances(FidelityWeights(**nothing, contrast=1), Eyes((), (eye,)), source, source, z, z, weight)
    eye.clusters = PatchClusters.fit(eye, [source], clusters=6)
    decoded = (source + 0.2 * torch.randn(6, 3, 64, 64)).requires_grad_()
    z_m = (0.3 * z + 0.7 * z.roll(1, 0)).requires_grad_()
    both = FidelityWeights(**nothing, clusters=1, contrast=1)
    assert list(distances(both, Eyes((), (eye,)), source, decoded, z, z_m, weight)) == ["clusters", "contrast"]
    for name, through in (("clusters", decoded), ("contrast", z_m)):
        weights = FidelityWeights(**nothing, **{name: 1.0})
        found = distances(weights, Eyes((), (eye,)), source, decoded, z, z_m, weight)
        assert list(found) == [name] and found[name].shape == (6,) and bool(found[name].detach().mean() > 0)
        (slope,) = torch.autograd.grad(found[name].sum(), through)
        assert torch.isfinite(slope).all() and float(slope.abs().max()) > 0
        same = distances(weights, Eyes((), (eye,)), source, source, z, z, weight)
        assert not same[name].any()


def test_clusters_come_back_from_their_file(tmp_path: Path) -> None:
    save([AXES, AXES], tmp_path / "clusters.pt")
    first, second = load(tmp_path / "clusters.pt", 2)
    assert torch.equal(first.centres, AXES.centres) and torch.equal(second.mean, AXES.mean)
    with pytest.raises(ValueError, match="2 sets of clusters, expected 1; remove it"):
        load(tmp_path / "clusters.pt", 1)
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no clusters of patches"):
        load(tmp_path / "other.pt", 1)
