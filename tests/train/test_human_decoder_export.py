"""D_h in a profile: exported as torch computes it, restored, kept and dropped with the D that it adds to."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from duoview import Profile, ProfileError
from duoview.backends import CpuBackend
from duoview.export import human_networks, variant
from duoview.export.engine_graph import precision_of
from duoview.export.graph import weights_of
from duoview.export.parity import drawn_clip, report
from duoview.export.precision import folded
from duoview.export.profile import (
    Networks,
    add_human,
    add_human_decoder,
    graphs,
    replace_networks,
    write,
)
from duoview.export.restore import restore
from duoview.export.variant import Tolerance, write_fp16, write_fp32
from duoview.generation import Generation
from duoview.models.autoencoder import LatentDecoder
from duoview.models.conditional_denoiser import CaptionEncoder, ConditionalDenoiser
from duoview.models.denoiser import Denoiser
from duoview.models.human_decoder import HumanDecoder, HumanDecoderShape
from duoview.models.network import Shape, StillCodec
from duoview.models.train_inter import new_inter_codec

TINY = HumanDecoderShape((12, 8, 8), (1, 2, 1))
SMALL = Shape(latent=16, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=2, symbols=12, transform=16, hyper=6,
              parameters=16)


def trained(base: LatentDecoder, shape: HumanDecoderShape = TINY, seed: int = 5) -> HumanDecoder:
    """A D_h of random weights, whose last layer, too, adds something."""
    torch.manual_seed(seed)
    network = HumanDecoder(base, shape).eval()
    nn.init.normal_(network.leave.weight, std=0.02)
    assert network.leave.bias is not None
    nn.init.normal_(network.leave.bias, std=0.02)
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled profile with a D_h of random weights."""
    found = tmp_path_factory.mktemp("rich") / "profile"
    shutil.copytree(Profile("s").folder, found)
    add_human_decoder(trained(restore(found).still.decoder), found)
    return found


def copied(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place)
    return place


def small(seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    return Networks(StillCodec(SMALL).eval(), new_inter_codec(SMALL).eval(), Denoiser(SMALL.latent).eval(),
                    torch.rand(64, SMALL.latent), torch.rand(2, SMALL.latent, SMALL.latent))


def with_decoder(folder: Path) -> Networks:
    """Small networks written with a D_h, as they come back."""
    write(small(), folder, name="small", card="")
    add_human_decoder(trained(restore(folder).still.decoder), folder)
    return restore(folder)


def shown(network: nn.Module, *inputs: torch.Tensor) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return np.floor(np.clip(network(*inputs).numpy() * 255 + 0.5, 0, 255))


# ---- the graph


@pytest.mark.parametrize("shape", [TINY, HumanDecoderShape((16, 8, 4), (2, 1, 3)), HumanDecoderShape()])
def test_the_graph_shows_what_torch_does(shape: HumanDecoderShape, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = trained(LatentDecoder(48, 32, 2), shape)
    z, noise, other = (torch.randn(2, 48, 6, 10) for _ in range(3))
    onnx.save(human_networks.human_decoder(network), str(tmp_path / "human_decoder.onnx"))
    loaded = CpuBackend(1).load(tmp_path / "human_decoder.onnx")
    (picture,) = loaded(z=z.numpy(), noise=noise.numpy())
    assert picture.dtype == np.uint8 and picture.shape == (2, 3, 48, 80)
    apart = np.abs(picture.astype(int) - shown(network, z, noise))
    # Weights are stored in float16.
    assert apart.max() <= 1 and apart.mean() < 0.05
    # It is not D that is compared, and other noise would be another picture.
    assert np.abs(shown(network, z, noise) - shown(network.base, z)).mean() > 0.5
    assert np.abs(shown(network, z, noise) - shown(network, z, other)).mean() > 0.5


@pytest.mark.parametrize("grain", ["quarter_grain", "half_grain"])
def test_noise_of_each_size_is_where_torch_puts_it(grain: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = trained(LatentDecoder(48, 32, 1), HumanDecoderShape((8, 8, 8), (1, 1, 1)))
    with torch.no_grad():
        network.stem.weight[:, 48:] = 0
        for name in {"quarter_grain", "half_grain"} - {grain}:
            nn.init.zeros_(getattr(network, name).noise.weight)
    z, noise = torch.randn(1, 48, 6, 10), torch.randn(1, 48, 6, 10)
    onnx.save(human_networks.human_decoder(network), str(tmp_path / "human_decoder.onnx"))
    (picture,) = CpuBackend(1).load(tmp_path / "human_decoder.onnx")(z=z.numpy(), noise=noise.numpy())
    assert np.abs(picture.astype(int) - shown(network, z, noise)).max() <= 1
    assert np.abs(shown(network, z, noise) - shown(network, z, noise.flip(1))).max() > 1


def test_it_is_given_noise_beside_what_the_decoder_is_given_and_gives_the_same(folder: Path) -> None:
    profile, backend = Profile(folder), CpuBackend(1)
    one, other = (backend.load(profile.path(name)).signature for name in ("human_decoder", "decoder"))
    z, noise = one.inputs
    assert (z,) == other.inputs and noise == replace(z, name="noise") and one.outputs == other.outputs


def test_weights_are_stored_in_float16(folder: Path) -> None:
    model = onnx.load(str(Profile(folder).path("human_decoder")))
    kinds = {constant.data_type for constant in model.graph.initializer if "." in constant.name}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_all_networks_of_such_a_profile_agree_with_torch(folder: Path) -> None:
    (found,) = [one for one in report(Profile(folder)) if one.network == "human_decoder"]
    # On what D is given when a clip is coded, as D is compared, and noise.
    assert (found.kind, found.calls, found.passed) == ("rounded", 3, True)


# ---- into a profile, and back


def test_adding_it_changes_nothing_else_but_the_hash(folder: Path, tmp_path: Path) -> None:
    before, place = Profile("s"), copied(folder, tmp_path / "profile")
    again = trained(restore(place).still.decoder, seed=6)
    digest = add_human_decoder(again, place)
    after = Profile(place)
    assert digest == after.sha256.hex() and len({digest, before.sha256.hex(), Profile(folder).sha256.hex()}) == 3
    assert after.manifest["human_decoder"] == TINY.as_dict()
    assert all(result.passed for result in after.verify())
    for name, entry in before.manifest["networks"].items():
        if name != "human_decoder":
            assert after.manifest["networks"][name] == entry


def test_it_comes_back_as_it_was_stored(folder: Path) -> None:
    network, back = trained(restore(folder).still.decoder), restore(folder).human_decoder
    assert back is not None and back.shape == TINY
    for (name, one), other in zip(network.state_dict().items(), back.state_dict().values(), strict=True):
        assert torch.equal(one.half(), other.half()), name
    assert not any(weight.requires_grad for weight in back.base.parameters())
    assert any(weight.requires_grad for weight in back.parameters())


def test_what_came_back_makes_the_same_file_again(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path / "profile")
    back = restore(place).human_decoder
    assert back is not None and add_human_decoder(back, place) == Profile(folder).sha256.hex()


def test_training_on_leaves_the_decoder_of_the_machine_view_alone(folder: Path) -> None:
    networks = restore(folder)
    assert networks.human_decoder is not None
    ours = {id(weight) for weight in networks.human_decoder.parameters()}
    assert not ours & {id(weight) for weight in networks.still.parameters()}


def test_a_profile_without_one_gives_none(tmp_path: Path) -> None:
    write(small(), tmp_path, name="small", card="")
    assert restore(tmp_path).human_decoder is None
    assert "human_decoder" not in graphs(restore(tmp_path))


@pytest.mark.parametrize("change", ["one weight", "blocks"])
def test_one_of_another_decoder_is_refused_and_nothing_is_written(folder: Path, tmp_path: Path, change: str) -> None:
    place = copied(folder, tmp_path / "profile")
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    base = restore(place).still.decoder
    if change == "blocks":
        base.blocks = nn.Sequential(*list(base.blocks)[:-1])
    else:
        with torch.no_grad():
            base.head.weight[5, 3] += 0.01
    with pytest.raises(ValueError, match="its D is not the one that this human decoder adds to"):
        add_human_decoder(trained(base), place)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_difference_that_is_not_stored_is_none(folder: Path, tmp_path: Path) -> None:
    base = restore(folder).still.decoder
    with torch.no_grad():
        base.head.weight.mul_(1 + 1e-5)
    add_human_decoder(trained(base), copied(folder, tmp_path / "profile"))


def test_one_of_another_latent_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a latent of 48 channels, a human decoder for 32"):
        add_human_decoder(trained(LatentDecoder(32, 16, 1)), copied(folder, tmp_path / "profile"))


def test_no_profile_and_one_of_latent_diffusion_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no folder with a profile"):
        add_human_decoder(trained(LatentDecoder(48, 16, 1)), tmp_path / "nothing")
    place = copied(folder, tmp_path / "profile")
    manifest = json.loads((place / "profile.json").read_text())
    for name in ("human_decoder", "caption"):
        manifest["networks"].pop(name, None)
    for name in ("human_decoder", "human"):
        manifest.pop(name, None)
    manifest["latent_diffusion"] = {"control": "latent", "guidance": 1,
                                    "tokenizer": {"file": "tokenizer.json", "sha256": "0"}}
    (place / "profile.json").write_text(json.dumps(manifest))
    with pytest.raises(ProfileError, match="made of a latent diffusion model"):
        add_human_decoder(trained(restore(folder).still.decoder), place)


@pytest.mark.parametrize("entry", [{}, {"channels": [8, 8], "blocks": [1, 1, 1]},
                                   {"channels": [8, 8, 0], "blocks": [1, 1, 1]}])
def test_a_manifest_that_tells_no_shape_is_told_when_it_is_read_back(folder: Path, tmp_path: Path,
                                                                     entry: dict[str, Any]) -> None:
    place = copied(folder, tmp_path / "profile")
    manifest = json.loads((place / "profile.json").read_text()) | {"human_decoder": entry}
    (place / "profile.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"human_decoder: channels: .*expected three whole numbers"):
        restore(place)


@pytest.mark.parametrize("entry", [[8, 8, 8], None, "wide"])
def test_an_entry_that_is_none_is_told_when_it_is_read_back(folder: Path, tmp_path: Path, entry: Any) -> None:
    place = copied(folder, tmp_path / "profile")
    manifest = json.loads((place / "profile.json").read_text()) | {"human_decoder": entry}
    (place / "profile.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"human_decoder: .*; expected channels and blocks"):
        restore(place)


def test_a_network_whose_shape_the_manifest_does_not_tell_is_not_lost_in_silence(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path / "profile")
    add_human_decoder(trained(restore(place).still.decoder), place)
    manifest = json.loads((place / "profile.json").read_text())
    del manifest["human_decoder"]
    (place / "profile.json").write_text(json.dumps(manifest))
    with pytest.raises(ProfileError, match="network 'human_decoder' without an entry 'human_decoder' of its shape"):
        restore(place)


# ---- what else is put into the profile


@pytest.mark.parametrize("made", ["another", "the same shape"])
def test_it_goes_where_the_denoiser_whose_samplings_it_shows_is_replaced(folder: Path, tmp_path: Path,
                                                                         made: str) -> None:
    place = copied(folder, tmp_path / "profile")
    shape = Generation((8, 8, 8), (1, 1, 1)) if made == "another" else Profile(place).generation
    assert shape is not None
    captions = CaptionEncoder(shape.caption).eval() if shape.caption else None
    digest = add_human(ConditionalDenoiser(48, shape).eval(), captions, place)
    after = Profile(place)
    assert digest == after.sha256.hex() and all(result.passed for result in after.verify())
    assert not after.has("human_decoder") and "human_decoder" not in after.manifest
    assert not (place / "human_decoder.onnx").exists() and restore(place).human_decoder is None


def test_a_denoiser_that_is_refused_takes_nothing_away(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path / "profile")
    with pytest.raises(ValueError, match="a denoiser for captions of 0 numbers, a text encoder of 64"):
        add_human(ConditionalDenoiser(48, Generation((8, 8, 8), (1, 1, 1))).eval(), CaptionEncoder(64).eval(), place)
    assert (place / "human_decoder.onnx").exists() and Profile(place).sha256 == Profile(folder).sha256


def test_other_networks_of_the_machine_layer_leave_it_there_and_those_whose_latents_it_shows_do_not(
        tmp_path: Path) -> None:
    networks = with_decoder(tmp_path)
    replace_networks(networks, ["key_analysis", "inter_synthesis"], tmp_path)
    assert Profile(tmp_path).has("human_decoder") and restore(tmp_path).human_decoder is not None
    for name in ("encoder", "decoder", "denoiser"):
        copy = copied(tmp_path, tmp_path / name)
        replace_networks(networks, [name], copy)
        assert not Profile(copy).has("human_decoder") and "human_decoder" not in Profile(copy).manifest
        assert not (copy / "human_decoder.onnx").exists() and restore(copy).human_decoder is None


def test_it_is_not_replaced_by_its_name(tmp_path: Path) -> None:
    networks = with_decoder(tmp_path)
    with pytest.raises(ValueError, match="network 'human_decoder': expected some of encoder, decoder"):
        replace_networks(networks, ["human_decoder"], tmp_path)


def test_a_profile_that_is_written_anew_has_it_where_its_decoder_is_the_same(tmp_path: Path) -> None:
    networks = with_decoder(tmp_path / "first")
    write(networks, tmp_path / "second", name="small", card="")
    back = restore(tmp_path / "second").human_decoder
    assert back is not None and networks.human_decoder is not None
    z, noise = (torch.randn(1, SMALL.latent, 8, 8) for _ in range(2))
    assert np.array_equal(shown(back, z, noise), shown(networks.human_decoder, z, noise))
    assert all(result.passed for result in Profile(tmp_path / "second").verify())


def test_it_goes_where_the_text_encoder_of_the_denoiser_is_replaced(tmp_path: Path) -> None:
    shape = Generation((8, 8, 8), (1, 1, 1), caption=4)
    denoiser, captions = ConditionalDenoiser(SMALL.latent, shape).eval(), CaptionEncoder(4).eval()
    write(replace(small(), denoiser=denoiser, captions=captions), tmp_path, name="small", card="")
    add_human_decoder(trained(restore(tmp_path).still.decoder), tmp_path)
    replace_networks(restore(tmp_path), ["caption"], tmp_path)
    assert not Profile(tmp_path).has("human_decoder")


def test_a_profile_that_is_written_anew_has_none_where_its_decoder_is_another(tmp_path: Path) -> None:
    networks = with_decoder(tmp_path)
    with torch.no_grad():
        networks.still.decoder.head.weight.add_(0.01)
    write(networks, tmp_path, name="small", card="")
    assert not Profile(tmp_path).has("human_decoder") and not (tmp_path / "human_decoder.onnx").exists()
    assert restore(tmp_path).human_decoder is None


# ---- other precisions


def test_float32_shows_the_same_and_float16_nearly(folder: Path, tmp_path: Path) -> None:
    profile = Profile(folder)
    write_fp32(profile, tmp_path / "fp32")
    write_fp16(profile, tmp_path / "fp16", [], Tolerance(), tmp_path)
    made = [Profile(tmp_path / name) for name in ("fp32", "fp16")]
    assert [precision_of(onnx.load(str(one.path("human_decoder")))) for one in made] == ["fp32", "fp16"]
    z, noise = np.random.default_rng(3).standard_normal((2, 1, 48, 8, 16), np.float32)
    expected, wide, narrow = (one.load("human_decoder", CpuBackend(1))(z=z, noise=noise)[0].astype(int)
                              for one in (profile, *made))
    assert np.array_equal(wide, expected) and np.abs(narrow - expected).max() <= 1
    assert all(one.manifest["human_decoder"] == TINY.as_dict() for one in made)
    assert all(one.stream_hash == profile.stream_hash for one in made)
    (found,) = [one for one in report(made[1]) if one.network == "human_decoder"]
    assert (found.kind, found.passed) == ("fp16", True)


def test_8_bits_leave_it_as_it_is(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, taken = Profile(folder), tmp_path / "decoder.onnx"
    onnx.save(folded(onnx.load(str(profile.path("decoder")))), str(taken))
    asked: list[str] = []

    def run(search: variant.Search) -> dict[str, Path]:
        asked.extend(search.attempts)
        return {"decoder": taken}

    monkeypatch.setattr(variant.Search, "run", run)  # which takes long, and D at any precision will do
    clip = drawn_clip(2, 128, 128)
    variant.write_int8(profile, tmp_path / "int8", [clip], [clip], Tolerance(), tmp_path)
    made = Profile(tmp_path / "int8")
    assert asked == [*variant.ENCODER_NETWORKS, variant.VIEW_NETWORK]
    assert made.manifest["precision"]["networks"]["human_decoder"] == "as in the base"
    assert made.path("human_decoder").read_bytes() == profile.path("human_decoder").read_bytes()


def test_a_profile_at_another_precision_gets_none(folder: Path, tmp_path: Path) -> None:
    write_fp32(Profile(folder), tmp_path / "fp32")
    network = restore(folder).human_decoder
    assert network is not None
    with pytest.raises(ProfileError, match="is at another precision; expected the profile that it was exported from"):
        add_human_decoder(network, tmp_path / "fp32")


def test_weights_of_both_decoders_are_told_apart(folder: Path) -> None:
    names = weights_of(onnx.load(str(Profile(folder).path("human_decoder")))).keys()
    assert {name.split(".")[0] for name in names} == {"human_decoder"}
