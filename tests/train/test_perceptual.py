"""How far pictures are apart for networks that look at them, and that samplings learn from it."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from duoview.models.perceptual import ClassifierLayers, layer_distance, layers_of
from duoview.models.train_human import energy_score

SHUFFLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_shufflenet.py"))))
AGREEMENT = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_agreement.py"))))


class Edges:
    """Differences of neighbours, at the pictures' size and at half of it."""

    def layers(self, pictures: Tensor) -> Sequence[Tensor]:
        small = torch.nn.functional.avg_pool2d(pictures, 2)
        return [torch.cat([one[:, :, 1:, 1:] - one[:, :, 1:, :-1], one[:, :, 1:, 1:] - one[:, :, :-1, 1:]], 1)
                for one in (pictures, small)]


def pictures() -> Tensor:
    return torch.stack([torch.from_numpy(AGREEMENT.scene(n, 64, 96)).permute(2, 0, 1).float() / 255 for n in range(3)])


def test_pictures_are_no_distance_from_themselves_and_more_from_others_than_from_blurred_ones() -> None:
    torch.manual_seed(0)
    scene = pictures() + 0.05 * torch.rand(3, 3, 64, 96)
    blurred = torch.nn.functional.avg_pool2d(scene, 3, 1, 1)
    same, near, far = (layer_distance(layers_of([Edges()], scene), layers_of([Edges()], other))
                       for other in (scene, blurred, scene.flip(0, 3)))
    assert same.shape == (3,)
    assert (same < 0.01).all() and (near > 0.1).all() and (far[[0, 2]] > near[[0, 2]]).all() and (far <= 2).all()


def test_gradients_reach_the_pictures() -> None:
    scene = pictures()
    guess = (scene + 0.1 * torch.rand_like(scene)).requires_grad_()
    layer_distance(layers_of([Edges()], guess), layers_of([Edges()], scene)).mean().backward()
    assert guess.grad is not None and guess.grad.abs().max() > 0


def test_a_backbone_looks_at_three_resolutions(tmp_path: Path) -> None:
    path = tmp_path / "shuffle.pth"
    torch.save(SHUFFLE.backbone().state_dict(), path)
    found = layers_of([ClassifierLayers(path)], pictures())
    assert [tuple(layer.shape[2:]) for layer in found] == [(8, 12), (4, 6), (2, 3)]


def test_a_smaller_spread_draws_samples_to_what_is_likely() -> None:
    """Of samples from N(0, w^2) for truths from N(0, 1) the best w has w / sqrt(1 + w^2) = spread / sqrt(2)."""
    first, second, truth = torch.randn(3, 200_000, generator=torch.Generator().manual_seed(1))

    def best(spread: float) -> float:
        widths = torch.linspace(0, 2, 41)
        scores = [energy_score(width * first, width * second, truth, lambda a, b: (a - b).abs(), spread)
                  for width in widths]
        return float(widths[int(torch.stack(scores).argmin())])

    assert abs(best(1.0) - 1) <= 0.1
    assert abs(best(0.4) - 0.295) <= 0.1
