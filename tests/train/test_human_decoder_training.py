"""Training of D_h: its losses, its discriminator, checkpoints, and the command."""

from __future__ import annotations

import dataclasses
import json
import runpy
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from duoview import Profile
from duoview.export.restore import restore
from duoview.generation import Generation
from duoview.models import train_human, train_human_decoder
from duoview.models.autoencoder import LatentDecoder
from duoview.models.data import Material
from duoview.models.discriminator import Discriminator, adversarial, hinge
from duoview.models.human_decoder import HumanDecoder, HumanDecoderShape
from duoview.models.human_decoder_command import main
from duoview.models.network import Shape, StillCodec
from duoview.models.train_human import HumanNetworks
from duoview.models.train_human_decoder import HumanDecoderTraining, moved_alike, steepened, train
from duoview.models.train_inter import new_inter_codec

TESTS = Path(__file__).parents[1]
HUMAN = SimpleNamespace(**runpy.run_path(str(TESTS / "train" / "test_human_training.py")))
SHUFFLE = SimpleNamespace(**runpy.run_path(str(TESTS / "train" / "test_shufflenet.py")))
SMALL = Shape(latent=16, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=8, transform=16, hyper=4,
              parameters=16)
TINY = Generation((16, 24, 32), (1, 1, 1), caption=0)
OPTIONS = HumanDecoderTraining(batch=3, crop=64, channels=(16, 12, 8), blocks=(1, 1, 1), steps=6,
                               adversarial_from=0.3)


class Edges:
    """Looks at differences of neighbours."""

    def layers(self, pictures: Tensor) -> Sequence[Tensor]:
        return [torch.cat([pictures[:, :, 1:, 1:] - pictures[:, :, 1:, :-1],
                           pictures[:, :, 1:, 1:] - pictures[:, :, :-1, 1:]], 1)]


def material() -> Material:
    found: Material = HUMAN.material()
    return found


def go(folder: Path, *, seed: int = 1, eyes: Sequence[Any] = (Edges(),), **options: Any) -> HumanDecoder:
    torch.manual_seed(7)
    still, inter = StillCodec(SMALL), new_inter_codec(SMALL)
    torch.manual_seed(seed)
    networks = HumanNetworks(16, TINY)
    return train(material(), still, inter, networks, torch.ones(64, 16), None, None, eyes,
                 dataclasses.replace(OPTIONS, **options), folder)


def test_a_new_decoder_gives_the_pictures_of_d() -> None:
    torch.manual_seed(1)
    base = LatentDecoder(16, 16, 1)
    made = HumanDecoder(base, HumanDecoderShape((16, 12, 8), (1, 1, 1)))
    z, noise = torch.randn(2, 2, 16, 8, 12)
    with torch.no_grad():
        assert torch.equal(made(z, noise), base(z))


def test_noise_changes_texture_of_a_trained_one() -> None:
    torch.manual_seed(1)
    made = HumanDecoder(LatentDecoder(16, 16, 1), HumanDecoderShape((16, 12, 8), (1, 1, 1)))
    torch.nn.init.normal_(made.leave.weight, std=0.1)
    z, noise = torch.randn(2, 2, 16, 8, 12)
    with torch.no_grad():
        assert (made(z, noise) - made(z, -noise)).abs().mean() > 0.01


def test_emphasis_multiplies_what_is_added_to_the_picture_of_d() -> None:
    torch.manual_seed(1)
    made = HumanDecoder(LatentDecoder(16, 16, 1), HumanDecoderShape((16, 12, 8), (1, 1, 1)))
    torch.nn.init.normal_(made.leave.weight, std=0.1)
    z, noise = torch.randn(2, 2, 16, 8, 12)
    with torch.no_grad():
        before = made(z, noise) - made.base(z)
        made.emphasise(0.5)
        assert before.abs().mean() > 0.01 and torch.allclose(made(z, noise) - made.base(z), before / 2, atol=1e-5)


def test_a_latent_that_noise_cannot_be_dealt_out_by_is_refused() -> None:
    with pytest.raises(ValueError, match="a latent of 24 channels; expected a multiple of 16"):
        HumanDecoder(LatentDecoder(24, 16, 1), HumanDecoderShape())


@pytest.mark.parametrize("told", [{}, {"channels": [1, 2], "blocks": [1, 1, 1]},
                                  {"channels": [1, 2, 3], "blocks": [1, 0, 1]},
                                  {"channels": [1, 2, True], "blocks": [1, 1, 1]}])
def test_a_shape_that_is_none_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"human_decoder: (channels|blocks): .*; expected three whole numbers"):
        HumanDecoderShape.read(told)


def test_pictures_are_moved_alike_and_each_in_another_way() -> None:
    torch.manual_seed(2)
    pictures = torch.rand(1, 3, 32, 32).expand(4, -1, -1, -1).contiguous()
    first, second = moved_alike(pictures, pictures + 1)
    assert first.shape == pictures.shape
    assert torch.allclose(first + 1, second, atol=1e-5)
    assert all((one - pictures[0]).abs().mean() > 0.05 for one in first)
    assert (first[0] - first[1]).abs().mean() > 0.05


def test_the_discriminators_gradient_is_brought_to_a_share_of_the_others() -> None:
    shown = torch.randn(2, 3, 8, 8, requires_grad=True)
    near, natural = (shown**2).sum(), 1000 * shown.sum()
    loss = steepened(shown, near, natural, 0.5)
    assert float(loss.detach()) == pytest.approx(float(near.detach()), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, shown)
    added = gradient - 2 * shown.detach()
    assert float(added.norm()) == pytest.approx(0.5 * float((2 * shown.detach()).norm()), rel=1e-4)
    assert added.std() < 1e-4  # in the direction of the other: the same everywhere


def test_without_a_discriminator_the_gradient_is_that_of_the_others() -> None:
    shown = torch.randn(2, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(steepened(shown, (shown**2).sum(), None, 0.5), shown)
    assert torch.allclose(gradient, 2 * shown.detach(), atol=1e-6)


def test_the_discriminator_learns_to_tell_blurred_pictures_from_sharp_ones() -> None:
    torch.manual_seed(3)
    judge, eye = Discriminator([6], channels=8, head=8), Edges()
    optimiser = torch.optim.Adam(judge.parameters(), lr=5e-3)

    def looks(count: int) -> tuple[list[Tensor], list[Tensor]]:
        sharp = torch.rand(count, 3, 32, 32)
        blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
        found = [judge(one, blurred, [torch.nn.functional.normalize(eye.layers(one)[0], dim=1)])
                 for one in (sharp, blurred)]
        return found[0], found[1]

    before = float(hinge(*looks(4)).detach())
    for _ in range(60):
        optimiser.zero_grad()
        hinge(*looks(4)).backward()
        optimiser.step()
    with torch.no_grad():
        true, shown = looks(8)
        assert float(hinge(true, shown)) < 0.8 * before
        assert float(adversarial(shown)) > float(adversarial(true))


def test_training_changes_what_is_added_and_leaves_d_alone(tmp_path: Path) -> None:
    made = go(tmp_path)
    torch.manual_seed(7)
    base = StillCodec(SMALL).decoder
    assert all(torch.equal(a, b) for a, b in zip(made.base.parameters(), base.parameters(), strict=True))
    assert made.leave.weight.abs().max() > 0
    last = json.loads((tmp_path / "human_decoder.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 6 and last["guided_4_psnr"] != last["machine_psnr"]


def test_training_goes_on_with_its_discriminator(tmp_path: Path) -> None:
    go(tmp_path, steps=4)
    path = tmp_path / "human_decoder.pt"
    before = torch.load(path, weights_only=True)["discriminator"]
    go(tmp_path, steps=5)
    state = torch.load(path, weights_only=True)
    assert state["step"] == 5 and state["discriminator_optimiser"]["state"][0]["step"] == 5
    change = max(float((a - b).abs().max()) for a, b in zip(state["discriminator"].values(), before.values(),
                                                          strict=True))
    assert 0 < change < 0.05  # a new one would have other weights altogether


def test_without_its_weight_no_discriminator_is_trained(tmp_path: Path) -> None:
    go(tmp_path, adversarial=0.0)
    assert "discriminator" not in torch.load(tmp_path / "human_decoder.pt", weights_only=True)


def test_a_checkpoint_of_another_denoiser_is_refused(tmp_path: Path) -> None:
    go(tmp_path, steps=1)
    with pytest.raises(ValueError, match=r"human_decoder\.pt: its denoiser: \w+; expected \w+; remove it to begin"):
        go(tmp_path, steps=2, seed=2)


@pytest.mark.parametrize("options", [{"channels": (16, 12, 4)}, {"blocks": (1, 1, 2)}])
def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    go(tmp_path, steps=1)
    with pytest.raises(ValueError, match=r"human_decoder\.pt: its shape: .*; expected .*; remove it to begin"):
        go(tmp_path, steps=2, **options)


class Corners(Edges):
    """Has more to tell than edges."""

    def layers(self, pictures: Tensor) -> Sequence[Tensor]:
        (edges,) = super().layers(pictures)
        return [torch.cat([edges, edges[:, :3] * edges[:, 3:]], 1)]


@pytest.mark.parametrize("eyes", [(Corners(),), (Edges(), Edges())])
def test_a_discriminator_of_other_networks_is_told(tmp_path: Path, eyes: Sequence[Any]) -> None:
    go(tmp_path, steps=1)
    with pytest.raises(ValueError, match=r"human_decoder\.pt: its discriminator is told features of \[6\] channels, "
                                         r"expected \["):
        go(tmp_path, steps=2, eyes=eyes)
    go(tmp_path, steps=2, eyes=eyes, adversarial=0.0)  # which asks none


def test_samplings_are_told_the_machine_layer_and_the_quality_as_a_decoders_are(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Tensor] = []

    def sample(denoiser: Any, conditions: Any, *others: Any, **options: Any) -> Tensor:
        told.append(conditions.given)
        return train_human.sample(denoiser, conditions, *others, **options)

    monkeypatch.setattr(train_human_decoder, "sample", sample)
    go(tmp_path, batch=16, steps=6)
    given = torch.cat(told)
    assert len(given) >= 48 and given[:, [0, 2]].eq(1).all()


def test_nothing_to_look_through_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no network to look at pictures through"):
        go(tmp_path, eyes=())


def test_the_command_puts_the_decoder_into_a_profile(tmp_path: Path) -> None:
    shutil.copytree(Profile("s").folder, tmp_path / "profile")
    HUMAN.add_human(HUMAN.networks(48, TINY).denoiser, None, tmp_path / "profile")
    (tmp_path / "pictures").mkdir()
    for n, picture in enumerate(material().pictures * 6):
        Image.fromarray(np.asarray(picture)).save(tmp_path / "pictures" / f"{n}.png")
    torch.save(SHUFFLE.backbone().state_dict(), tmp_path / "shuffle.pth")
    code = main(["-i", str(tmp_path / "pictures"), "--profile", str(tmp_path / "profile"), "--minutes", "0.05",
                 "--out", str(tmp_path / "runs"), "--batch", "2", "--crop", "64", "--channels", "16,12,8",
                 "--blocks", "1,1,1", "--threads", "1", "--shufflenet", str(tmp_path / "shuffle.pth")])
    assert code == 0
    assert Profile(tmp_path / "profile").has("human_decoder")
    decoder = restore(tmp_path / "profile").human_decoder
    assert decoder is not None and decoder.shape == HumanDecoderShape((16, 12, 8), (1, 1, 1))
    assert "## The decoder of human views" in (tmp_path / "profile" / "MODEL_CARD.md").read_text()


def test_a_denoiser_of_another_texture_is_refused_before_anything_is_read(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(Profile("s").folder, tmp_path / "profile")
    shape = dataclasses.replace(TINY, levels=(1.0, 0.5))
    HUMAN.add_human(HUMAN.networks(48, shape).denoiser, None, tmp_path / "profile")
    torch.save(SHUFFLE.backbone().state_dict(), tmp_path / "shuffle.pth")
    assert main(["-i", str(tmp_path / "nowhere"), "--profile", str(tmp_path / "profile"), "--out",
                 str(tmp_path / "runs"), "--shufflenet", str(tmp_path / "shuffle.pth")]) != 0
    assert "its texture goes 6 deep, its denoiser was trained for 1" in capsys.readouterr().err


def test_a_profile_at_another_precision_is_refused_before_anything_is_read(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(Profile("s").folder, tmp_path / "profile")
    manifest = json.loads((tmp_path / "profile" / "profile.json").read_text())
    # One with streams of its own names no base.
    manifest["precision"] = {"is": "fp32", "networks": dict.fromkeys(manifest["networks"], "fp32")}
    (tmp_path / "profile" / "profile.json").write_text(json.dumps(manifest))
    torch.save(SHUFFLE.backbone().state_dict(), tmp_path / "shuffle.pth")
    assert main(["-i", str(tmp_path / "nowhere"), "--profile", str(tmp_path / "profile"), "--out",
                 str(tmp_path / "runs"), "--shufflenet", str(tmp_path / "shuffle.pth")]) == 2
    assert "is at another precision; expected the profile that it was exported from" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "told"), [
    (["--crop", "100"], "--crop 100: expected a multiple of 64"),
    (["--channels", "1,2"], "--channels 1,2: expected three whole numbers"),
    (["--blocks", "1,0,2"], "--blocks 1,0,2: expected three whole numbers above 0"),
    (["--channels", "256,96,4097"], "human_decoder: channels: [256, 96, 4097]; expected three whole numbers from 1 to"),
    (["--minutes", "-1"], "--minutes -1.0: expected 0 or more"),
    (["--batch", "0"], "--batch 0: expected 1 or more"),
    (["--emphasis", "0"], "--emphasis 0.0: expected above 0 to 4"),
    (["--adversarial", "-1"], "--adversarial -1.0: expected 0 or more"),
    (["--pixels", "0", "--features", "0", "--spectral", "0"], "nothing keeps pictures near the source"),
    ([], "expected --yolox or --shufflenet, or both"),
])
def test_what_cannot_be_trained_is_told(words: list[str], told: str, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-i", str(tmp_path), "--profile", "s", *words]) == 2
    assert told in capsys.readouterr().err
