"""The distances of the machine stage: what each sees, and what it leaves alone."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from duoview.detectors import FastestDet
from duoview.models.feature_loss import DetectorEye, Seen
from duoview.models.machine_fidelity import (
    ClassifierEye,
    Eyes,
    FidelityWeights,
    answer_distance,
    check_zooms,
    distances,
    feature_distance,
    latent_distance,
    picture_distance,
    total,
)

FOREIGN = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_foreign_network.py"))))
SHUFFLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_shufflenet.py"))))


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Eyes:
    path = FOREIGN.grid_detector(tmp_path_factory.mktemp("eyes") / "grid.onnx")
    return Eyes((DetectorEye(path, FastestDet(), (1.0, 1.0)),), (ClassifierEye(SHUFFLE.backbone(), 1.0),))


def test_the_pictures_error_counts_in_eight_bit_steps_where_the_weight_is() -> None:
    source, weight = torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    weight[:, :, :4] = 1
    decoded = source.clone()
    decoded[0, :, :4], decoded[1, :, 4:] = 2 / 255, 2 / 255
    assert picture_distance(decoded, source, weight).tolist() == pytest.approx([2.0, 0.0])


def test_the_latents_error_is_weighed_at_its_own_resolution() -> None:
    z, weight = torch.zeros(1, 4, 2, 2), torch.zeros(1, 1, 16, 16)
    weight[:, :, :8, :8] = 1
    inside, outside = z.clone(), z.clone()
    inside[:, :, 0, 0], outside[:, :, 1, 1] = 3, 3
    assert float(latent_distance(inside, z, weight)) == pytest.approx(9 / 4)
    assert float(latent_distance(outside, z, weight)) == 0


def test_a_loud_channel_counts_no_more_than_a_quiet_one() -> None:
    torch.manual_seed(2)
    aim = torch.randn(2, 2, 16, 16)
    by = 0.3 * torch.randn(2, 1, 16, 16)
    scale = torch.tensor([1.0, 100.0])[None, :, None, None]
    alike = feature_distance(Seen((aim + by,), ()), Seen((aim,), ()))
    loud = feature_distance(Seen(((aim + by) * scale,), ()), Seen((aim * scale,), ()))
    assert torch.allclose(alike, torch.full((2,), 0.09), rtol=0.3)
    # Half: the quiet channel is silent beside the other one, and what is silent does not shout.
    assert torch.allclose(loud, alike / 2, rtol=0.15)


def test_features_count_where_the_weight_is_and_per_picture() -> None:
    torch.manual_seed(2)
    aim, weight = torch.randn(2, 3, 4, 4), torch.zeros(2, 1, 16, 16)
    weight[:, :, :8] = 1
    upper, lower = aim.clone(), aim.clone()
    upper[0, :, :2] += 1
    lower[0, :, 2:] += 1
    seen = feature_distance(Seen((upper,), ()), Seen((aim,), ()), weight)
    assert float(seen[0]) > 0.1 and float(seen[1]) == 0
    assert not feature_distance(Seen((lower,), ()), Seen((aim,), ()), weight).any()


def test_answers_count_objects_that_go_and_boxes_only_where_objects_are(eyes: Eyes) -> None:
    (eye,) = eyes.detectors
    aim = torch.zeros(2, 8, 4, 4)
    aim[0, 0, 1, 1] = 1
    gone, moved, elsewhere = aim.clone(), aim.clone(), aim.clone()
    gone[0, 0, 1, 1] = 0
    moved[0, 1:5, 1, 1] = 0.5
    elsewhere[0, 1:5, 3, 3] = 0.5
    wanted = Seen((), (aim,))
    by = 1 / 1.5  # one object in two pictures, and one more
    assert answer_distance(eye, Seen((), (gone,)), wanted).tolist() == pytest.approx([by, 0])
    assert answer_distance(eye, Seen((), (moved,)), wanted).tolist() == pytest.approx([2 * 0.5 * by, 0])
    assert not answer_distance(eye, Seen((), (elsewhere,)), wanted).any()


def test_a_weight_of_nothing_takes_its_distance_out(eyes: Eyes) -> None:
    torch.manual_seed(4)
    source, z = torch.rand(2, 3, 64, 64), torch.randn(2, 4, 8, 8)
    decoded = source + 0.1 * torch.randn(2, 3, 64, 64)
    everything = FidelityWeights(1, 1, 1, 1, 1, 1, 0, 0)
    names = ["picture", "latent", "features", "answers", "classes", "spectral"]
    weight = torch.ones(2, 1, 64, 64)
    found = distances(everything, eyes, source, decoded, z, z + 0.1, weight)
    assert list(found) == names and all(one.shape == (2,) and (one > 0).all() for one in found.values())
    for name in names:
        alone = FidelityWeights(**{other: float(other == name) for other in names})
        assert list(distances(alone, eyes, source, decoded, z, z + 0.1, weight)) == [name]
    assert torch.allclose(total(FidelityWeights(2, 3, 0, 0, 0, 0), {"picture": torch.ones(2), "latent": torch.ones(2)}),
                          torch.full((2,), 5.0))


def test_the_same_picture_is_at_no_distance(eyes: Eyes) -> None:
    source, z = torch.rand(2, 3, 64, 64), torch.randn(2, 4, 8, 8)
    found = distances(FidelityWeights(1, 1, 1, 1, 1, 0), eyes, source, source, z, z, torch.ones(2, 1, 64, 64))
    assert all(not one.any() for one in found.values())


def test_gradients_of_every_distance_reach_the_picture(eyes: Eyes) -> None:
    torch.manual_seed(5)
    source, z = torch.rand(2, 3, 64, 64), torch.randn(2, 4, 8, 8)
    decoded = torch.rand(2, 3, 64, 64, requires_grad=True)
    found = distances(FidelityWeights(1, 0, 1, 1, 1, 1), eyes, source, decoded, z, z, torch.ones(2, 1, 64, 64))
    for name, value in found.items():
        (gradient,) = torch.autograd.grad(value.sum(), decoded, retain_graph=True)
        assert float(gradient.abs().max()) > 0, name


def test_a_weight_that_needs_a_network_says_so() -> None:
    picture, z = torch.rand(1, 3, 64, 64), torch.zeros(1, 4, 8, 8)
    weight = torch.ones(1, 1, 64, 64)
    for name, what in (("features", "a detector"), ("answers", "a detector"), ("classes", "the backbone")):
        weights = FidelityWeights(**{**dict.fromkeys(("picture", "features", "answers", "classes"), 0.0), name: 1.0})
        with pytest.raises(ValueError, match=f"expected {what}"):
            distances(weights, Eyes(), picture, picture, z, z, weight)


def test_weights_below_nothing_and_all_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features=-1: expected a weight of 0 or more"):
        FidelityWeights(features=-1)
    with pytest.raises(ValueError, match="every weight is 0"):
        FidelityWeights(0, 0, 0, 0, 0, 0, 0, 0)


def test_what_a_detector_sees_through_a_zoom_is_the_enlarged_picture(eyes: Eyes) -> None:
    torch.manual_seed(6)
    (eye,) = eyes.detectors
    picture = torch.rand(1, 3, 64, 64)
    larger = F.interpolate(picture, (96, 96), mode="bilinear", antialias=True)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in
               zip(eye(picture, 1.5).features, eye(larger).features, strict=True))
    assert eye(picture, 0.5).answers[0].shape[2] == eye(picture).answers[0].shape[2] // 2
    # Decoded picture and source alike, so that the same picture is still at no distance.
    weights, zoomed = FidelityWeights(0, 0, 1, 1, 0, 0), replace(eyes, zoom=0.5)
    args = torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 64, 64)
    assert all(not one.any() for one in distances(weights, zoomed, picture, picture, *args).values())
    noisy = (picture + 0.1 * torch.randn_like(picture)).clamp(0, 1)
    near, far = (distances(weights, one, picture, noisy, *args)["features"] for one in (eyes, zoomed))
    assert float(near) > 0 and float(far) > 0 and float(near) != float(far)


def test_zooms_are_drawn_between_their_ends_and_change_no_other_draw(eyes: Eyes) -> None:
    several = Eyes([*eyes.detectors] * 3, eyes.classifiers)
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    drawn = [several.drawn(first, (0.5, 1.5)).zoom for _ in range(200)]
    assert 0.5 <= min(drawn) < 0.6 and 1.3 < max(drawn) <= 1.5
    assert {several.drawn(second).zoom for _ in range(200)} == {1.0}
    assert first.random() == second.random()


@pytest.mark.parametrize("zooms", [(0.0, 1.0), (1.5, 0.5), (1.0, float("inf"))])
def test_zooms_that_cannot_be_are_refused(zooms: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected two numbers above 0, the lower one first"):
        check_zooms(zooms)
