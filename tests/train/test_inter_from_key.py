"""P frames that begin with the transforms of key frames, and their way into a profile."""

from __future__ import annotations

import runpy
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import onnx
import pytest
import torch

from duoview import Decoder, Encoder
from duoview.export import float_networks
from duoview.export.profile import replace_networks
from duoview.export.restore import restore
from duoview.models.inter import bound_state
from duoview.models.inter_from_key import inter_from_key
from duoview.models.machine_command import TRAINED_INTER, begin_with_key
from duoview.models.network import Shape, StillCodec
from duoview.profile import Profile

AGREEMENT = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_agreement.py"))))
EXPORT = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_export.py"))))
SMALL = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=12, transform=16, hyper=6,
              parameters=16)
BUNDLED = Profile("s").folder


@pytest.fixture(scope="module")
def still() -> StillCodec:
    """Of weights that are not symmetric in anything: biases and quality tables as training leaves them."""
    torch.manual_seed(3)
    made = StillCodec(SMALL).eval()
    with torch.no_grad():
        for name, weight in made.key.named_parameters():
            if name.endswith("bias"):
                weight.normal_(std=0.2)
        made.key.modulation.log_anchors.normal_(std=0.01)
    return made


def middle(x: torch.Tensor) -> torch.Tensor:
    """What no padding has reached."""
    return x[:, :, 8:-8, 8:-8]


def test_a_change_of_nothing_gives_symbols_of_nothing_at_every_quality(still: StillCodec) -> None:
    inter, _ = inter_from_key(still.key, SMALL)
    z = bound_state(torch.randn(1, SMALL.latent, 48, 48))
    with torch.no_grad():
        for level in (0, 31, 63):
            y = inter.analyse(z, z, torch.tensor([level]))
            assert middle(y).abs().max() < 1e-4


def test_a_change_gives_the_symbols_that_key_frames_would_give_it_less_those_of_nothing(still: StillCodec) -> None:
    inter, _ = inter_from_key(still.key, SMALL)
    z, before = torch.randn(1, SMALL.latent, 48, 48), bound_state(torch.randn(1, SMALL.latent, 48, 48))
    q = torch.tensor([40])
    with torch.no_grad():
        expected = still.key.analyse(z - before, q) - still.key.analyse(torch.zeros_like(z), q)
        assert torch.allclose(middle(inter.analyse(z, before, q)), middle(expected), atol=1e-3)


def test_symbols_give_the_change_that_key_frames_would_show_less_that_of_nothing(still: StillCodec) -> None:
    inter, shape = inter_from_key(still.key, SMALL, blocks=4)
    assert (shape.inter_blocks, shape.inter_fine) == (4, 0)
    before = bound_state(torch.randn(1, SMALL.latent, 48, 48))
    symbols = torch.randint(-2, 3, (1, SMALL.symbols, 24, 24)).float()
    q = torch.tensor([20])
    with torch.no_grad():
        after = inter.synthesise(symbols, symbols, before, q)
        nothing = still.key.synthesise(torch.zeros_like(symbols), q)
        expected = bound_state(before + still.key.synthesise(symbols, q) - nothing)
    # What nothing gives is taken away in the mean of all quality indices, which differ by the modulation alone.
    assert (middle(after) - middle(expected)).abs().mean() < 0.05
    assert middle(nothing).abs().mean() > 0.2


def test_more_blocks_than_key_frames_have_are_refused(still: StillCodec) -> None:
    with pytest.raises(ValueError, match="5 blocks of synthesis: expected 1 to the 4 of key frames"):
        inter_from_key(still.key, SMALL, blocks=5)


def test_transforms_without_a_stage_at_an_eighth_agree_with_torch(still: StillCodec) -> None:
    inter, _ = inter_from_key(still.key, SMALL)
    EXPORT.test_inter_transforms_agree_with_torch(inter.eval())
    graph = float_networks.inter_synthesis(inter, SMALL.latent, SMALL.symbols)
    names = {constant.name for constant in graph.graph.initializer}
    assert "inter.synthesis_out.weight" in names and not any("fine" in name for name in names)


def test_a_profile_takes_p_frames_of_other_sizes_codes_with_them_and_gives_them_back(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "new")
    networks = begin_with_key(restore(tmp_path / "new"))
    replace_networks(networks, TRAINED_INTER, tmp_path / "new")
    again = restore(tmp_path / "new")
    assert again.still.shape == networks.still.shape and again.still.shape.inter_fine == 0
    kept = {name: weight for name, weight in networks.inter.state_dict().items() if name.startswith("synthesis_out")}
    assert all(torch.allclose(again.inter.state_dict()[name], weight, atol=2e-3) for name, weight in kept.items())
    scene = AGREEMENT.scene(5, 128, 192)
    encoder = Encoder(192, 128, rate=10, q=40, gop=10, profile=tmp_path / "new", machine="neural")
    decoder, shown = Decoder(profile=tmp_path / "new", strict=True), []
    for n in range(4):
        moved = np.ascontiguousarray(np.roll(scene, 9 * n, 1))
        frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
        frame.pts, frame.time_base = n, Fraction(1, 10)
        for packet in encoder.encode(frame):
            shown += [(moved, picture.to_ndarray(format="rgb24")) for picture in decoder.decode(packet)]
    assert len(shown) == 4
    errors = [float(np.mean((a.astype(float) - b) ** 2)) for a, b in shown]
    # The bundled key frame's transforms say what moved, untrained, about as well as the key frame itself.
    assert max(errors[1:]) < 2.5 * errors[0]


def test_networks_of_p_frames_of_other_sizes_are_refused_where_others_are_replaced(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "s")
    networks = restore(tmp_path / "s")
    inter, shape = inter_from_key(networks.still.key, networks.still.shape, blocks=4)
    networks.still.shape = shape
    with pytest.raises(ValueError, match="'inter_blocks': 4"):
        replace_networks(replace(networks, inter=inter), ("key_analysis",), tmp_path / "s")


def test_graphs_of_either_kind_pass_the_checker(still: StillCodec) -> None:
    inter, _ = inter_from_key(still.key, SMALL)
    onnx.checker.check_model(float_networks.inter_synthesis(inter, SMALL.latent, SMALL.symbols), full_check=True)
