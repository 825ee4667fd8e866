"""A latent diffusion model from a folder: what is missing is named, the flow is its own, and streams go through it."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import onnx
import pytest
import torch
from skimage import data
from torch import Tensor, nn

pytest.importorskip("diffusers", reason="pip install 'duoview[train]'")
pytest.importorskip("transformers", reason="pip install 'duoview[train]'")

from duoview import Decoder, Encoder, Profile
from duoview.backends import CpuBackend
from duoview.clip_tokenizer import ClipTokenizer
from duoview.errors import ProfileError
from duoview.export import latent_diffusion as exporting
from duoview.export.profile import Networks, write
from duoview.export.variant import check_output
from duoview.models.denoiser import Denoiser
from duoview.models.inter import InterCodec
from duoview.models.latent_diffusion import (
    Folder,
    GuidedStep,
    LatentDiffusion,
    ModelFolderError,
    NoiseSchedule,
    load,
    time_of,
    tokenizer_tables,
)
from duoview.models.network import Shape, StillCodec

MODEL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("diffusion_folder.py"))))
HUMAN = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "human_profile.py")))
SMALL = Shape(latent=4, encoder=8, encoder_blocks=1, decoder=8, decoder_blocks=1, symbols=8, transform=8, hyper=4,
              parameters=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = MODEL.write(tmp_path_factory.mktemp("model"))
    return made


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> LatentDiffusion:
    return load(Folder(folder))


def untrained(folder: Path, latent: int = 4) -> Path:
    """A profile of random networks for latents of so many channels."""
    torch.manual_seed(0)
    shape = Shape(**{**SMALL.as_dict(), "latent": latent})
    inter = InterCodec(latent, shape.symbols, shape.transform, shape.hyper, shape.parameters, 1, 1, 8, 1).eval()
    write(Networks(StillCodec(shape).eval(), inter, Denoiser(latent, (8, 8, 8)).eval(), torch.full((64, latent), 0.5),
                   torch.zeros(2, latent, latent)), folder, name="sd", card="random weights")
    return folder


@pytest.fixture(scope="module")
def profile(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the model in it; the denoiser's weights stand in a file of their own."""
    made = untrained(tmp_path_factory.mktemp("profile"))
    exporting.put(Folder(folder), made, largest=25_000)
    return made


@pytest.mark.parametrize("file", [
    "vae/config.json", "vae/diffusion_pytorch_model.safetensors", "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors", "controlnet/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors", "tokenizer/vocab.json", "tokenizer/merges.txt",
    "scheduler/scheduler_config.json"])
def test_a_missing_file_is_named(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(ModelFolderError, match=f"{file}: missing") as caught:
        Folder(copy)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_missing_folder_and_one_of_something_else_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="nowhere: no such folder; expected one with vae, unet, controlnet"):
        Folder(tmp_path / "nowhere")
    with pytest.raises(ModelFolderError, match=r"tokenizer/config\.json|vae/config\.json"):
        Folder(copy / "tokenizer")
    shutil.rmtree(copy / "vae")
    shutil.copytree(copy / "unet", copy / "vae")
    with pytest.raises(ProfileError, match=r"vae/config\.json: a UNet2DConditionModel, expected a AutoencoderKL"):
        Folder(copy)


def test_pickled_weights_are_not_read_and_this_is_said(copy: Path) -> None:
    (copy / "unet/diffusion_pytorch_model.safetensors").rename(copy / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(ModelFolderError, match=r"diffusion_pytorch_model\.bin is a pickle, which is not read"):
        Folder(copy)


def test_the_control_branch_may_lie_elsewhere(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "controlnet", tmp_path / "branch")
    with pytest.raises(ModelFolderError, match=r"controlnet/config\.json"):
        Folder(copy)
    assert load(Folder(copy, tmp_path / "branch")).control == "picture"


def test_parts_that_do_not_fit_each_other_are_named(copy: Path, tmp_path: Path) -> None:
    path = copy / "scheduler/scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler"}))
    with pytest.raises(ProfileError, match=r"scheduler_config\.json: FlowMatchEulerDiscreteScheduler"):
        load(Folder(copy))
    from transformers import CLIPTextConfig, CLIPTextModel

    CLIPTextModel(CLIPTextConfig(vocab_size=600, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                 num_attention_heads=2)).save_pretrained(copy / "text_encoder")
    with pytest.raises(ProfileError, match="text_encoder: vectors of 16; expected the 8 of the unet"):
        load(Folder(copy))


def test_damaged_weights_are_an_error_of_their_part(copy: Path) -> None:
    (copy / "vae/diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ProfileError, match="vae: cannot be read as a AutoencoderKL"):
        load(Folder(copy))


@pytest.mark.parametrize("file", ["vae/diffusion_pytorch_model", "controlnet/diffusion_pytorch_model",
                                  "text_encoder/model"])
def test_weights_that_a_file_lacks_are_an_error_and_are_not_drawn(copy: Path, file: str) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / f"{file}.safetensors")
    last = sorted(weights)[-1]
    save_file({name: value for name, value in weights.items() if name != last}, copy / f"{file}.safetensors",
              metadata={"format": "pt"})
    with pytest.raises(ProfileError, match=rf"{file.split('/')[0]}: its weights lack .*{last.split('.', 1)[-1]}"):
        load(Folder(copy))


@pytest.mark.parametrize(("file", "content", "said"), [
    ("tokenizer_config.json", "{", "not JSON"), ("special_tokens_map.json", "[]", "list, expected an object"),
    ("merges.txt", "\xff", "not a text in UTF-8"), ("vocab.json", '{"<|startoftext|>": 0}', "lacks '<|endoftext|>'")])
def test_a_damaged_tokenizer_is_named(copy: Path, file: str, content: str, said: str) -> None:
    (copy / "tokenizer" / file).write_bytes(content.encode("latin-1"))
    with pytest.raises(ProfileError, match=re.escape(said)) as caught:
        tokenizer_tables(Folder(copy), MODEL.TOKENS)
    assert f"tokenizer/{file}" in str(caught.value)


@pytest.mark.parametrize("text", ["the dog", "The  CAR, 2 dogs!", "it's 10:30 — café", "x" * 40, "", "日本 ÅÄÖ ½"])
def test_texts_are_numbered_as_transformers_numbers_them(folder: Path, tmp_path: Path, text: str) -> None:
    from transformers import CLIPTokenizer

    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_tables(Folder(folder), MODEL.TOKENS)))
    theirs = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))(
        text, padding="max_length", max_length=MODEL.TOKENS, truncation=True)["input_ids"]
    assert ClipTokenizer(path)(text).tolist() == [theirs]


class Knowing(nn.Module):
    """A network that knows z, and answers as one trained on this schedule would; it notes at what timestep."""

    def __init__(self, z: Tensor, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.z, self.schedule, self.timesteps = z, schedule, [torch.zeros(1)]
        self.config = SimpleNamespace()

    def forward(self, noisy: Tensor, timestep: Tensor, **_: Any) -> tuple[Tensor]:
        self.timesteps.append(timestep)
        below = timestep.floor().long()
        above = torch.clamp(below + 1, max=len(self.schedule.log_ratio) - 1)
        part = timestep - below
        ratio = self.schedule.log_ratio[below] * (1 - part) + self.schedule.log_ratio[above] * part
        signal = torch.rsqrt(1 + torch.exp(2 * ratio)).float()
        noise = torch.sqrt(1 - signal**2)
        epsilon = (noisy - signal * self.z) / noise
        answers = {"epsilon": epsilon, "v_prediction": signal * epsilon - noise * self.z, "sample": self.z}
        return (answers[self.schedule.prediction],)


class Silent(nn.Module):
    def forward(self, noisy: Tensor, *_: Any, **__: Any) -> tuple[list[Tensor], Tensor]:
        return [], torch.zeros(1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 4, 20])
def test_a_network_that_knows_z_leads_there_in_any_number_of_steps(model: LatentDiffusion, prediction: str, steps: int
                                                                  ) -> None:
    torch.manual_seed(2)
    z, z_m, state = torch.randn(3, 1, 4, 8, 8)
    schedule = NoiseSchedule(model.schedule.log_ratio, prediction)
    network = Knowing(z, schedule)
    step = GuidedStep(LatentDiffusion(model.vae, network, Silent(), None, schedule, 1, 0, "latent", 12))
    for number in range(steps):
        state = step(state, z_m, torch.tensor([[number / steps]]), torch.tensor([1 / (steps - number)]),
                     torch.zeros(1, 12, 8))
    assert torch.allclose(state, z - z_m, atol=2e-3)
    timesteps = [float(one) for one in network.timesteps[1:]]
    assert timesteps[0] == 999 and timesteps == sorted(timesteps, reverse=True)


def test_the_network_sees_states_of_its_own_schedule(model: LatentDiffusion) -> None:
    """At the time of a timestep it is given that timestep, and z with just as much noise as it was trained on."""
    torch.manual_seed(3)
    z, z_m, noise = torch.randn(3, 1, 4, 8, 8)
    network = Knowing(z, model.schedule)
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    step = GuidedStep(LatentDiffusion(model.vae, network, Silent(), None, model.schedule, 1, 0, "latent", 12))
    ratio = float(model.schedule.log_ratio[400])
    t = time_of(ratio)
    step((1 - t) * noise + t * (z - z_m), z_m, torch.tensor([[t]]), torch.ones(1), torch.zeros(1, 12, 8))
    assert float(network.timesteps[-1]) == pytest.approx(400, abs=0.01)
    signal = (1 + np.exp(2 * ratio)) ** -0.5
    assert torch.allclose(seen[0], signal * z + (1 - signal**2) ** 0.5 * noise, atol=1e-4)


def test_guidance_goes_on_from_no_text_through_the_text(model: LatentDiffusion) -> None:
    torch.manual_seed(4)
    state, z_m = torch.randn(2, 1, 4, 8, 8)
    picture, texts = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.randn(2, MODEL.TOKENS, 8)
    where = (torch.tensor([[0.5]]), torch.ones(1))
    with torch.no_grad():
        alone = [GuidedStep(model)(state, z_m, *where, text[None], picture) for text in texts]
        both = GuidedStep(model, 3.0)(state, z_m, *where, texts, picture)
    assert not torch.allclose(alone[0], alone[1], atol=1e-4)
    assert torch.allclose(both, alone[0] + 3 * (alone[1] - alone[0]), atol=1e-3)


def test_a_control_branch_may_look_at_latents(tmp_path: Path) -> None:
    model = load(Folder(MODEL.write(tmp_path, control="latent", prediction="v_prediction")))
    assert (model.control, model.schedule.prediction) == ("latent", "v_prediction")
    torch.manual_seed(5)
    state, one, other = torch.randn(3, 1, 4, 8, 8)
    text, where = torch.zeros(1, MODEL.TOKENS, 8), (torch.tensor([[0.5]]), torch.ones(1))
    with torch.no_grad():
        residuals = [GuidedStep(model)(state - 0.5 * z_m, z_m, *where, text) + z_m for z_m in (one, other)]
    # z_m is chosen so that the U-Net sees the same: what differs comes through the control branch
    assert not torch.allclose(residuals[0], residuals[1], atol=1e-3)


def test_exported_networks_give_what_torch_gives_at_any_size(profile: Path, model: LatentDiffusion) -> None:
    loaded, backend, random = Profile(profile), CpuBackend(1), np.random.default_rng(0)
    picture = np.ascontiguousarray(data.astronaut()[:64, :320].transpose(2, 0, 1))[None]
    with torch.no_grad():
        z = model.encoder()(torch.from_numpy(picture).float() / 255)
        shown = model.decoder()(z).numpy()
    (found,) = loaded.load("encoder", backend)(picture=picture)
    assert np.abs(found - z.numpy()).max() < 0.02 * float(z.abs().max())
    (back,) = loaded.load("decoder", backend)(z=z.numpy())
    assert np.abs(back.astype(float) - np.clip(shown * 255, 0, 255)).max() <= 2
    state, z_m = random.normal(0, 1, (2, 1, 4, 24, 8)).astype(np.float32)
    ids = ClipTokenizer(loaded.path("tokenizer"))("the dog")
    (text,) = loaded.load("text_encoder", backend)(ids=ids)
    seen = random.integers(0, 256, (1, 3, 192, 64), np.uint8)
    given = {"state": state, "z_m": z_m, "time": np.array([[0.5]], np.float32), "gain": np.array([0.5], np.float32),
             "text": text, "condition": seen}
    with torch.no_grad():
        vectors = model.text_encoder(input_ids=torch.from_numpy(ids)).last_hidden_state
        expected = GuidedStep(model)(**{name: torch.from_numpy(value) for name, value in given.items()})
    assert np.abs(text - vectors.numpy()).max() < 0.01
    (following,) = loaded.load("denoiser", backend)(**given)
    assert np.abs(following - expected.numpy()).max() < 0.02


def test_a_decoder_of_human_views_goes_with_the_latents_that_it_read(folder: Path, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    made = untrained(tmp_path / "profile")
    HUMAN.add_human_decoder(made)  # of another latent, but nothing runs it
    assert Profile(made).has("human_decoder")
    monkeypatch.setattr(exporting, "graphs", lambda *_: {})  # what takes time, and has no part in it
    exporting.put(Folder(folder), made)
    there = Profile(made)
    assert not there.has("human_decoder") and "human_decoder" not in there.manifest
    assert not (made / "human_decoder.onnx").exists() and there.human_view_network == "decoder"


def test_nothing_of_the_machine_that_exported_is_in_the_files(profile: Path) -> None:
    for path in profile.glob("*.onnx"):
        content = path.read_bytes()
        assert b".py" not in content and str(Path(__file__).parents[2]).encode() not in content, path.name


def test_weights_too_large_for_one_file_stand_beside_it_and_are_checked(profile: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(profile, tmp_path / "profile"))
    weights = copied / "denoiser.weights"
    assert weights.stat().st_size > 20_000 and not (copied / "text_encoder.weights").exists()
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ProfileError, match=r"denoiser\.weights has sha256"):
        Profile(copied).load("denoiser", CpuBackend(1))
    weights.unlink()
    with pytest.raises(ProfileError, match=r"cannot read .*denoiser\.weights"):
        Profile(copied).verify()


def test_networks_of_other_weights_in_a_file_of_their_own_have_another_hash(tmp_path: Path) -> None:
    """Engines in the cache are found by the hash of the ONNX file alone."""
    entries, (x,) = [], [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2000])]
    for value in (1, 2):
        weights = onnx.numpy_helper.from_array(np.full(2000, value, np.float32), "w")
        graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [
            onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2000])], [weights])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
        entries.append(exporting._write_network("denoiser", model, tmp_path, 100))
        (found,) = CpuBackend(1).load(tmp_path / "denoiser.onnx")(x=np.zeros(2000, np.float32))
        assert (found == value).all()
    assert entries[0]["sha256"] != entries[1]["sha256"]
    assert entries[0]["weights"]["sha256"] != entries[1]["weights"]["sha256"]


def test_a_stream_has_a_human_view_of_the_model_that_text_and_seed_decide(profile: Path) -> None:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(data.astronaut()[:96, :128]), format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 10)
    (packet,) = Encoder(128, 96, rate=10, q=40, profile=str(profile), threads=1).encode(frame)

    def shown(**options: Any) -> tuple[np.ndarray[Any, Any], Any]:
        (out,) = Decoder(profile=str(profile), threads=1, view="human", steps=2, **options).decode(packet)
        return out.to_ndarray(format="rgb24"), out.opaque

    picture, origin = shown(seed=3, text="the dog")
    assert picture.shape == (96, 128, 3) and origin.provenance.text == "the dog"
    assert origin.provenance.profile == "sd" and 0 < origin.generated_share <= 1
    assert np.array_equal(picture, shown(seed=3, text="the dog")[0])
    for other in ({"seed": 4, "text": "the dog"}, {"seed": 3, "text": "a car"}):
        assert not np.array_equal(picture, shown(**other)[0])
    with pytest.raises(ProfileError, match=r"13 tokens; the text encoder of profile 'sd' reads 10"):
        Decoder(profile=str(profile), view="human", text="a b c d e f g h i j k l m")


def test_a_profile_of_other_latents_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"a machine codec of 8 latent channels; the model in .* has 4"):
        exporting.put(Folder(folder), untrained(tmp_path / "other", latent=8))


def test_what_is_refused_leaves_the_profile_as_it_was(copy: Path, tmp_path: Path) -> None:
    place = untrained(tmp_path / "profile")
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    for guidance in (0.5, float("nan")):
        with pytest.raises(ValueError, match=f"guidance={guidance}: expected 1 or more"):
            exporting.put(Folder(copy), place, guidance=guidance)
    with pytest.raises(ProfileError, match=r"s: no folder with a profile\.json"):
        exporting.put(Folder(copy), Path("s"))  # the bundled one is nobody's to change
    vocabulary = copy / "tokenizer/vocab.json"
    numbers = json.loads(vocabulary.read_text())
    vocabulary.write_text(json.dumps(numbers | {"<|endoftext|>": 99999}))
    with pytest.raises(ProfileError, match=r"tokenizer: numbers up to 99999; the text encoder knows those below \d+"):
        exporting.put(Folder(copy), place)
    manifest = json.loads(before["profile.json"])
    (place / "base.json").write_bytes(before["profile.json"])
    manifest["base"] = {"file": "base.json", "sha256": hashlib.sha256(before["profile.json"]).hexdigest()}
    (place / "profile.json").write_text(json.dumps(manifest))
    with pytest.raises(ProfileError, match="is at another precision; expected a profile that is its own base"):
        exporting.put(Folder(copy), place)
    assert {name: (place / name).read_bytes() for name in before if name != "profile.json"} == {
        name: content for name, content in before.items() if name != "profile.json"}


def test_a_damaged_tokenizer_of_a_profile_and_an_unknown_control_are_found(profile: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(profile, tmp_path / "profile"))
    (copied / "tokenizer.json").write_text("{}")
    with pytest.raises(ProfileError, match=r"tokenizer\.json has sha256"):
        Profile(copied).verify(CpuBackend(1))
    manifest = json.loads((copied / "profile.json").read_text())
    manifest["latent_diffusion"]["control"] = "sound"
    (copied / "profile.json").write_text(json.dumps(manifest))
    with pytest.raises(ProfileError, match="control 'sound', expected picture or latent"):
        Profile(copied)


def test_such_a_profile_is_not_made_at_another_precision(profile: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was made of a latent diffusion model"):
        check_output(Profile(profile), tmp_path / "out")


def test_the_command_says_what_is_missing(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "unet/config.json").unlink()
    assert exporting.main(["--model", str(copy), "--profile", str(tmp_path)]) == 1
    assert "unet/config.json: missing" in capsys.readouterr().err
