"""The human view's second generation: its networks, what they are trained on, and the command."""

from __future__ import annotations

import dataclasses
import json
import math
import runpy
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from duoview import Decoder, Encoder, Profile
from duoview.backends import CpuBackend
from duoview.captions import Caption, Phrase
from duoview.detections import Detections
from duoview.export.profile import add_human
from duoview.export.restore import restore
from duoview.generation import Generation
from duoview.human import Hints, HumanView
from duoview.models.conditional_denoiser import ConditionalDenoiser, Conditions
from duoview.models.data import Material, Picture
from duoview.models.human_command import emphasise, main
from duoview.models.human_material import CaptionedMaterial, TextureStates, cropped
from duoview.models.network import Shape, StillCodec
from duoview.models.train_human import (
    HumanNetworks,
    HumanTraining,
    Samples,
    consistent_target,
    draw_conditions,
    energy_score,
    flow_loss,
    measure_levels,
    norm_distance,
    sample,
    score,
    train,
)
from duoview.models.train_inter import new_inter_codec
from duoview.texture import Depths, TextureSettings

TEXTURE = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "texture_profile.py")))
SMALL = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=8, transform=16, hyper=4,
              parameters=16)
TINY = Generation((16, 24, 32), (1, 1, 1), caption=4, levels=(1.0, 0.9, 0.7, 0.5, 0.3))
SAID = Caption.parse("1 person left, 2 car bottom-right moving left")
OPTIONS = HumanTraining(batch=3, crop=64, channels=(16, 24, 32), blocks=(1, 1, 1), caption=4, steps=6)


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("textured") / "profile"
    TEXTURE.write_profile(folder)
    return folder


def networks(latent: int = 8, shape: Generation = TINY) -> HumanNetworks:
    """Random ones, with modulations that do something."""
    torch.manual_seed(3)
    made = HumanNetworks(latent, shape).eval()
    for name, weight in made.named_parameters():
        if "modulation" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return made


def conditions(count: int = 2, side: int = 8, latent: int = 8, made: HumanNetworks | None = None) -> Conditions:
    torch.manual_seed(4)
    planes = (made or networks(latent)).planes([SAID] * count, side // 4, side // 4)
    return Conditions(torch.randn(count, latent, side, side), torch.randn(count, latent, side, side),
                      torch.rand(count, 1, side, side), planes, torch.full((count,), 24), torch.ones(count, 3))


def material() -> Material:
    random = np.random.default_rng(0)
    clip = random.integers(0, 256, (30, 64, 96, 3)).astype(np.uint8)
    pictures = [random.integers(0, 256, (128, 160, 3)).astype(np.uint8) for _ in range(3)]
    return Material(pictures=pictures, clips={"a": clip}, held_pictures=pictures[:2])


def find(pictures: Sequence[Picture]) -> list[Detections]:
    """A car in the left half of every picture."""
    found = []
    for picture in pictures:
        height, width = picture.shape[:2]
        found.append(Detections(np.array([[0, height / 4, width / 2, 3 * height / 4]], np.float32),
                                np.ones(1, np.float32), np.zeros(1, np.int32), ("car",), "tests", width, height))
    return found


@pytest.mark.parametrize(("index", "name"), [(0, "z_m"), (1, "caption"), (2, "q")])
def test_a_condition_that_is_not_given_does_not_matter(index: int, name: str) -> None:
    made, told = networks(), conditions()
    state, time = torch.randn(2, 8, 8, 8), torch.full((2,), 0.5)
    other = torch.full((2,), 50) if name == "q" else getattr(told, name) + 1
    changed = dataclasses.replace(told, **{name: other})
    without = torch.ones(2, 3)
    without[:, index] = 0

    def estimate(given: Conditions) -> Tensor:
        with torch.no_grad():
            return made.denoiser(state, given, time, time)

    assert not torch.equal(estimate(told), estimate(changed))
    unknown = [estimate(dataclasses.replace(one, given=without)) for one in (told, changed)]
    assert torch.equal(unknown[0], unknown[1])


def test_time_span_texture_and_level_matter() -> None:
    made, told = networks(), conditions()
    state, half = torch.randn(2, 8, 8, 8), torch.full((2,), 0.5)
    with torch.no_grad():
        first = made.denoiser(state, told, half, half)
        for other in (made.denoiser(state, told, half / 2, half), made.denoiser(state, told, half, half / 2),
                      made.denoiser(state, dataclasses.replace(told, known=told.known + 1), half, half),
                      made.denoiser(state, dataclasses.replace(told, level=told.level / 2), half, half)):
            assert not torch.equal(first, other)


def test_planes_of_a_caption_say_what_and_where() -> None:
    made = networks()
    planes = made.planes([SAID, None, Caption()], 6, 6)
    assert planes is not None and planes.shape == (3, 4, 6, 6)
    assert planes[0].abs().sum() > 0 and planes[1:].abs().sum() == 0
    assert planes[0, :, 0, 5].abs().sum() == 0 and planes[0, :, 5, 5].abs().sum() > 0


class Exact(ConditionalDenoiser):
    """Knows the residual."""

    def __init__(self, residual: Tensor) -> None:
        super().__init__(residual.shape[1], TINY)
        self.residual = residual

    def forward(self, state: Tensor, conditions: Conditions, time: Tensor, span: Tensor) -> Tensor:
        return self.residual[:len(state)]


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_a_sampler_with_the_right_estimates_ends_at_the_residual(steps: int) -> None:
    told, residual = conditions(), torch.randn(2, 8, 8, 8)
    assert torch.allclose(sample(Exact(residual), told, torch.randn_like(residual), steps), residual, atol=1e-5)


@pytest.mark.parametrize(("time", "span"), [(0.0, 1.0), (0.5, 0.5), (0.25, 0.25), (0.875, 0.125)])
def test_one_long_step_is_to_end_where_two_short_ones_do(time: float, span: float) -> None:
    made, told, state = networks(), conditions(), torch.randn(2, 8, 8, 8)
    now, length = torch.full((2,), time), torch.full((2,), span)
    with torch.no_grad():
        aim = consistent_target(made.denoiser, state, told, now, length)
        end = state + (aim - state) * span / (1 - time)
        walked = state
        for n in range(2):
            at = time + n * span / 2
            short = torch.full((2,), span / 2 if span / 2 >= 1 / 8 else 0.0)
            estimate = made.denoiser(walked, told, torch.full((2,), at), short)
            walked = walked + (estimate - walked) * (span / 2) / (1 - at)
    assert torch.allclose(end, walked, atol=1e-4)


def test_the_flow_loss_of_right_estimates_is_zero_and_of_wrong_ones_is_not() -> None:
    told, residual = conditions(4), torch.randn(4, 8, 8, 8)
    right = Exact(residual)
    assert float(flow_loss(right, right, told, residual, 0.5)) < 1e-6
    wrong = Exact(residual + 1)
    assert float(flow_loss(wrong, right, told, residual, 0.5)) > 0.9


def test_the_energy_score_is_least_where_samples_are_spread_as_the_truth() -> None:
    torch.manual_seed(1)
    truth = torch.randn(4000, 1, 1, 1)

    def score(spread: float) -> float:
        first, second = (spread * torch.randn_like(truth) for _ in range(2))
        return float(energy_score(first, second, truth, norm_distance))

    scores = {spread: score(spread) for spread in (0.0, 0.5, 1.0, 1.5, 2.0)}
    assert min(scores, key=lambda spread: scores[spread]) == 1.0


def test_starts_are_drawn_in_their_shares(textured: Path) -> None:
    torch.manual_seed(0)
    texture, count = TextureStates(Profile(textured)), 200
    made = HumanNetworks(48, TINY)
    z, z_m = torch.randn(count, 48, 8, 8), torch.randn(count, 48, 8, 8)
    samples = Samples(torch.zeros(count, 3, 64, 64), z, z_m, torch.full((count,), 24), (SAID, None) * (count // 2))
    told = draw_conditions(made, samples, torch.ones(64, 48), texture, OPTIONS)
    levels = told.level[:, 0, 0, 0]
    has_texture = told.known.flatten(1).abs().sum(1) > 0
    assert 40 < int(has_texture.sum()) < 100
    assert set(np.round(levels[has_texture].tolist(), 4)) <= {0.9, 0.7, 0.5, 0.3}
    assert 20 < int(((levels < 1) & ~has_texture).sum()) < 70
    assert int(told.given[1::2, 1].sum()) == 0 and 50 < int(told.given[::2, 1].sum()) < 90
    assert 0 < int((told.given[:, 0] == 0).sum()) < 30


def test_texture_in_training_is_known_at_its_depth_and_nothing_without(textured: Path) -> None:
    states = TextureStates(Profile(textured))
    z, z_m = torch.randn(2, 48, 8, 8), torch.randn(2, 48, 8, 8)
    q = torch.tensor([20, 30])
    known = states.known(z, z_m, q, torch.tensor([0, 3]))
    assert known[0].abs().sum() == 0
    assert torch.equal(known[1], states.all_depths(z[1:], z_m[1:], 30)[3])
    assert states.all_depths(z[1:], z_m[1:], 30)[0].abs().sum() == 0


@pytest.mark.parametrize("depth", [1, TEXTURE.DEPTH])
def test_texture_in_training_is_what_a_decoder_knows(depth: int, textured: Path, tmp_path: Path) -> None:
    shutil.copytree(textured, tmp_path / "profile")
    made = networks(48)
    add_human(made.denoiser, made.captions, tmp_path / "profile")
    profile = Profile(tmp_path / "profile")
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    settings = TextureSettings(Depths(TEXTURE.DEPTH), palettes=False)
    (packet,) = Encoder(64, 64, q=24, profile=profile, texture=settings, threads=1).encode(frame)
    decoder = Decoder(profile=profile, view="human", start="texture", texture=depth, steps=1, threads=1, strict=True)
    seen: list[tuple[NDArray[np.float32], Hints]] = []
    decoder._load(profile, inner=False)
    view = decoder._human
    assert view is not None
    sampled = view.latent

    def watched(z_m: NDArray[np.float32], q: int, hints: Hints | None = None) -> NDArray[np.float32]:
        assert hints is not None
        seen.append((z_m, hints))
        return sampled(z_m, q, hints)

    view.latent = watched  # type: ignore[method-assign]
    decoder.decode(packet)
    ((z_m, hints),) = seen
    assert hints.texture is not None and hints.depth is not None and (hints.depth == depth).all()
    (z,) = profile.load("encoder", CpuBackend(1))(picture=np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    known = TextureStates(profile).known(torch.from_numpy(z), torch.from_numpy(z_m), torch.tensor([24]),
                                         torch.tensor([depth]))
    assert np.abs(known.numpy() - hints.texture).max() < 1e-3


def test_levels_start_at_one_and_never_rise(textured: Path) -> None:
    profile = Profile(textured)
    made = restore(textured)
    levels = measure_levels(made.still, TextureStates(profile), material(), made.residual_scale, rounds=2)
    assert levels[0] == 1 and len(levels) == TEXTURE.DEPTH + 1
    assert all(0 < b <= a for a, b in pairwise(levels))


def test_objects_of_a_crop_are_those_that_lie_in_it() -> None:
    boxes = np.array([[10, 10, 50, 50], [90, 90, 130, 130], [60, 60, 140, 140]], np.float32)
    found = Detections(boxes, np.ones(3, np.float32), np.arange(3, dtype=np.int32), ("a", "b", "c"), "tests", 200, 200)
    inside = cropped(found, 20, 20, 80, mirrored=True)
    assert [one.name for one in inside] == ["a"]
    assert inside.boxes.tolist() == [[50, 0, 80, 30]] and (inside.width, inside.height) == (80, 80)


def test_captions_of_crops_tell_of_motion_in_clips_only() -> None:
    looked: list[int] = []

    def counted(pictures: Sequence[Picture]) -> list[Detections]:
        looked.append(1)
        return find(pictures)

    source = CaptionedMaterial(material(), counted, size=64, seed=1).batches(16)
    batches = [next(source) for _ in range(6)]
    assert batches[0].pictures.shape == (16, 3, 64, 64)
    phrases = [phrase for batch in batches for caption in batch.captions for phrase in caption.phrases]
    assert {phrase.motion for phrase in phrases} == {0, 1} and {phrase.class_id for phrase in phrases} == {2}
    assert len(looked) <= 3 + 30


def test_captions_of_crops_tell_of_all_that_the_detector_gives() -> None:
    def unsure(pictures: Sequence[Picture]) -> list[Detections]:
        return [dataclasses.replace(one, scores=np.full(1, 0.2, np.float32)) for one in find(pictures)]

    captions = next(CaptionedMaterial(material(), unsure, size=64, seed=1).batches(8)).captions
    assert any(caption.phrases for caption in captions)


def test_training_takes_steps_and_goes_on_from_its_checkpoint(textured: Path, tmp_path: Path) -> None:
    still, inter = StillCodec(SMALL), new_inter_codec(SMALL)
    for steps in (4, 6):
        options = dataclasses.replace(OPTIONS, steps=steps, rollouts_from=0.4)
        made = train(material(), still, inter, torch.ones(64, 8), None, find, options, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "human.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("final")] == [4, 6]
    assert math.isfinite(lines[-1]["guided_4_psnr"]) and lines[-1]["machine_psnr"] > 0
    assert made.captions is not None and made.denoiser.shape.starts == ("guided", "slim")


def test_without_spread_one_sample_of_every_picture_is_drawn() -> None:
    near, far = torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)
    assert float(score([far], near, norm_distance, 0.0)) == pytest.approx(1, abs=1e-3)
    assert float(score([far, far], near, norm_distance, 0.0)) == pytest.approx(1, abs=1e-3)
    assert float(score([far, -far], near, norm_distance, 1.0)) == pytest.approx(0, abs=1e-3)


def test_emphasis_multiplies_what_is_added_to_what_is_known() -> None:
    made = networks()
    told = conditions(made=made)
    state, time = torch.randn_like(told.z_m), torch.zeros(2)
    with torch.no_grad():
        before = made.denoiser(state, told, time, time) - told.known
        emphasise(made, 1.5)
        after = made.denoiser(state, told, time, time) - told.known
    assert before.abs().max() > 0.01 and torch.allclose(after, 1.5 * before, rtol=1e-4, atol=1e-5)


class Colours:
    """Looks at pictures as they are."""

    def layers(self, pictures: Tensor) -> Sequence[Tensor]:
        return [pictures]


def test_held_back_pictures_are_measured_as_those_see_them_that_samplings_learn_from(tmp_path: Path) -> None:
    still, inter = StillCodec(SMALL), new_inter_codec(SMALL)
    options = dataclasses.replace(OPTIONS, steps=3, rollouts_from=0.3, spread=0.0, samplings=1.0)
    train(material(), still, inter, torch.ones(64, 8), None, find, options, tmp_path, [Colours()])
    lines = [json.loads(line) for line in (tmp_path / "human.jsonl").read_text().splitlines()]
    assert 0 < lines[-1]["machine_features"] <= 2 and 0 < lines[-1]["guided_1_features"] <= 2


def test_a_checkpoint_whose_layers_repeat_what_texture_knows_is_refused(textured: Path, tmp_path: Path) -> None:
    profile = Profile(textured)
    made = restore(textured)

    def go() -> None:
        train(material(), made.still, made.inter, made.residual_scale, TextureStates(profile), None,
              dataclasses.replace(OPTIONS, steps=1), tmp_path)

    go()
    go()  # its own is taken
    path = tmp_path / "human.pt"
    state = torch.load(path, weights_only=True)
    for of in ({}, {"estimate": "the residual"}):
        torch.save(state | {"of": of}, path)
        with pytest.raises(ValueError, match=r"human\.pt: of a denoiser whose layers repeat what texture"):
            go()


def test_a_checkpoint_of_other_palettes_is_refused_and_one_of_another_prior_is_taken(
        textured: Path, tmp_path: Path) -> None:
    made = restore(textured)
    TEXTURE.write_profile(tmp_path / "other", seed=2)

    def go(profile: Path) -> None:
        train(material(), made.still, made.inter, made.residual_scale, TextureStates(Profile(profile)), None,
              dataclasses.replace(OPTIONS, steps=1), tmp_path)

    go(textured)
    with pytest.raises(ValueError, match=r"human\.pt: its texture: \w+; expected \w+; remove it to begin anew"):
        go(tmp_path / "other")
    certain = TEXTURE.write_profile(tmp_path / "certain", certain=100)
    assert TextureStates(certain).sha256 == TextureStates(Profile(textured)).sha256


def test_a_checkpoint_of_another_denoiser_is_refused(textured: Path, tmp_path: Path) -> None:
    still, inter = StillCodec(SMALL), new_inter_codec(SMALL)

    def go(texture: TextureStates | None = None, captions: bool = False, **options: Any) -> None:
        train(material(), still, inter, torch.ones(64, 8), texture, find if captions else None,
              dataclasses.replace(OPTIONS, steps=1, **options), tmp_path)

    go()
    with pytest.raises(ValueError, match="begun for texture of depth 0, the profile's is 4 deep"):
        go(texture=TextureStates(Profile(textured)))
    for other in ({"captions": True}, {"channels": (8, 16, 32)}):
        with pytest.raises(ValueError, match=r"human\.pt: other weights than those of"):
            go(**other)


@pytest.mark.parametrize("start", ["guided", "slim", "texture"])
def test_the_runtime_samples_what_the_reference_does(start: str, textured: Path, tmp_path: Path) -> None:
    shutil.copytree(textured, tmp_path / "profile")
    made = networks(48)
    assert made.captions is not None
    add_human(made.denoiser, made.captions, tmp_path / "profile")
    profile = Profile(tmp_path / "profile")
    random = np.random.default_rng(2)
    z_m, texture = (random.standard_normal((1, 48, 8, 16)).astype(np.float32) for _ in range(2))
    depth = np.full((8, 16), 3, np.uint8)
    view = HumanView(profile, CpuBackend(1), start=start, steps=3, seed=5, tile=0)
    hints = Hints(texture=texture, depth=depth, caption=SAID, picture=(128, 64))
    shown = view.latent(z_m, 24, hints)
    scale = torch.from_numpy(profile.residual_scale[24])[None, :, None, None]
    level = {"guided": 1.0, "slim": TINY.noise, "texture": TINY.levels[3]}[start]
    known = torch.from_numpy(texture) / scale if start == "texture" else torch.zeros(1, 48, 8, 16)
    captioned = start != "guided"
    told = Conditions(torch.from_numpy(z_m), known, torch.full((1, 1, 8, 16), level), made.planes([SAID], 2, 4),
                      torch.tensor([24]), torch.tensor([[1.0, float(captioned), 1.0]]))
    with torch.no_grad():
        expected = sample(made.denoiser, told, torch.from_numpy(view.noise(8, 16)), 3)
    assert np.abs(shown - (z_m + (expected * scale).numpy())).max() < 0.02
    assert view.provenance.caption == (str(SAID) if captioned else "")


def test_a_profile_comes_back_from_its_files(tmp_path: Path) -> None:
    shutil.copytree(Profile("s").folder, tmp_path / "profile")
    made = networks(48)
    add_human(made.denoiser, made.captions, tmp_path / "profile")
    assert all(result.passed for result in Profile(tmp_path / "profile").verify())
    back = restore(tmp_path / "profile")
    assert isinstance(back.denoiser, ConditionalDenoiser) and back.denoiser.shape == TINY and back.captions is not None
    for one, other in ((made.denoiser, back.denoiser), (made.captions, back.captions)):
        assert one is not None
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.allclose(a, b, atol=2e-3)


def test_a_denoiser_without_its_text_encoder_is_refused(tmp_path: Path) -> None:
    shutil.copytree(Profile("s").folder, tmp_path / "profile")
    with pytest.raises(ValueError, match="captions of 4 numbers, a text encoder of 0"):
        add_human(networks(48).denoiser, None, tmp_path / "profile")
    with pytest.raises(ValueError, match="a latent of 48 channels, a denoiser for 8"):
        add_human(networks(8).denoiser, networks(8).captions, tmp_path / "profile")


def test_a_phrase_may_be_of_any_word() -> None:
    made = networks()
    last = Caption((Phrase(80, 8, 7, 6),))
    planes = made.planes([last], 4, 4)
    assert planes is not None and torch.isfinite(planes).all()


def test_the_command_puts_the_networks_into_a_profile_with_texture(textured: Path, tmp_path: Path) -> None:
    shutil.copytree(textured, tmp_path / "profile")
    (tmp_path / "pictures").mkdir()
    for n, picture in enumerate(material().pictures * 6):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{n}.png")
    code = main(["-i", str(tmp_path / "pictures"), "--profile", str(tmp_path / "profile"), "--minutes", "0.05",
                 "--out", str(tmp_path / "runs"), "--batch", "2", "--crop", "64", "--channels", "16,24,32",
                 "--blocks", "1,1,1", "--threads", "1"])
    assert code == 0
    profile = Profile(tmp_path / "profile")
    assert profile.generation is not None and profile.generation.starts == ("guided", "slim", "texture")
    assert profile.generation.caption == 0
    assert "## The human view, second generation" in (tmp_path / "profile" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(("words", "told"), [
    (["--crop", "100"], "--crop 100: expected a multiple of 64"),
    (["--channels", "1,2"], "--channels 1,2: expected three whole numbers"),
    (["--minutes", "-1"], "--minutes -1.0: expected 0 or more"),
    (["--batch", "0"], "--batch 0: expected 1 or more"),
    (["--samplings-from", "1.5"], "--samplings-from 1.5: expected 0 to 1"),
    (["--emphasis", "0"], "--emphasis 0.0: expected above 0 to 4"),
    (["--samplings", "-0.1"], "--samplings -0.1: expected 0 to 1"),
])
def test_what_cannot_be_trained_is_told(words: list[str], told: str, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-i", str(tmp_path), "--profile", "s", *words]) == 2
    assert told in capsys.readouterr().err
