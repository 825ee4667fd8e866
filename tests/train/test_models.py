"""Properties of the torch networks that streams depend on."""

from __future__ import annotations

import copy
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from duoview import machine
from duoview.decision import SymbolDecision
from duoview.gain_map import GainMap
from duoview.kernels import checkerboard
from duoview.models import train_denoiser, train_inter, train_still
from duoview.models.data import Material, crops, load
from duoview.models.denoiser import Denoiser
from duoview.models.fixed_point import (
    ACCUMULATOR_LIMIT,
    FixedConv,
    accumulator_share,
    keep_accumulators_in_range,
    quantise,
)
from duoview.models.inter import InterCodec, bound_state, update_mask
from duoview.models.key import Parameters, SymbolModel, decide, first_pass_mask
from duoview.models.network import Shape, StillCodec, lagrangian
from duoview.models.normalise import normalise_latent
from duoview.models.optimiser import orthogonalise, split_parameters
from duoview.models.rate import class_of_sigma, gaussian_bits, sigma_of_class
from duoview.models.sequences import SequenceMix, Slots
from duoview.models.train_inter import new_inter_codec
from duoview.models.train_still import spectral_distance

SMALL = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=12, transform=16, hyper=6,
              parameters=16)


def material(seed: int = 0) -> Material:
    random = np.random.default_rng(seed)
    blurred = [np.kron(random.integers(0, 256, (40, 40, 3)), np.ones((5, 5, 1))).astype(np.uint8) for _ in range(3)]
    return Material(pictures=blurred, clips={"a": np.stack([np.roll(blurred[0], 2 * n, 0) for n in range(12)])})


def test_training_and_runtime_agree_on_the_coding_order() -> None:
    mask = first_pass_mask(torch.zeros(1, 12, 8, 12))[0].numpy().astype(bool)
    order = np.arange(12 * 8 * 12, dtype=np.int16).reshape(12, 8, 12)
    assert np.array_equal(np.flatnonzero(mask), checkerboard.gather(order, 0))
    assert np.array_equal(np.flatnonzero(~mask), checkerboard.gather(order, 1))
    assert np.array_equal(mask, machine.first_half(12, 8, 12))


def test_training_and_runtime_decide_on_the_same_symbols() -> None:
    random = np.random.default_rng(5)
    eagerness = np.array([0.0, 0.1, 0.5, 0.75, 1.0, 1.5, 1.9, 2.0], np.float32)
    classes = random.integers(0, 64, (len(eagerness), 12, 40, 40))
    spread = 0.11 * (32 / 0.11) ** ((classes - 1) / 62)
    # From well inside to far outside of what a class expects, so that magnitudes from 0 to above 100 occur.
    values = (random.standard_normal(classes.shape) * spread * random.choice([0.5, 1, 4, 20], classes.shape)
              ).astype(np.float32)
    ours = decide(torch.from_numpy(values), torch.from_numpy(classes).float(), torch.from_numpy(eagerness)).numpy()
    nearest = decide(torch.from_numpy(values), torch.from_numpy(classes).float(), torch.zeros(len(eagerness))).numpy()
    for n, eager in enumerate(eagerness):
        symbols, decoded = np.empty(values[n].shape, np.int16), np.empty(values[n].shape, np.float32)
        for half in (0, 1):
            checkerboard.quantise(values[n], classes[n].astype(np.uint8), np.zeros(values[n].shape, np.int16), half,
                                  margins=SymbolDecision(inter=float(eager)).margins(False),
                                  symbols=symbols, decoded=decoded)
        assert np.array_equal(ours[n], symbols) and np.array_equal(decoded, 16 * ours[n])
        assert (eager == 0) == np.array_equal(ours[n], nearest[n])
    assert np.abs(nearest).max() > 100


def test_training_and_runtime_code_alike_with_gain_maps() -> None:
    random = np.random.default_rng(6)
    torch.manual_seed(6)
    model = SymbolModel(12, 6, 16).eval()
    y = torch.from_numpy((6 * random.standard_normal((1, 12, 8, 8))).astype(np.float32))
    levels = random.integers(-8, 9, (4, 4)).astype(np.int8)
    places = torch.from_numpy(levels.repeat(2, 0).repeat(2, 1)).float()[None, None]
    told: list[Parameters] = []
    model.decoder.register_forward_hook(lambda *call: told.append(call[2][1]))
    model.context.register_forward_hook(lambda *call: told.append(call[2]))
    with torch.no_grad():
        decoded, _, _, coded = model(y, torch.tensor([30]), eagerness=torch.zeros(1), levels=places)
    assert len(told) == 2
    scaling, symbols = GainMap(levels).positions(8, 8), np.zeros((12, 8, 8), np.int16)
    runtime = np.zeros((12, 8, 8), np.float32)
    for half, parameters in enumerate(told):
        means = (16 * parameters.means[0]).numpy().astype(np.int16)
        classes = scaling.classes(parameters.classes[0].numpy().astype(np.uint8))
        checkerboard.quantise(scaling.values(y[0].numpy(), means), classes, np.zeros_like(means), half,
                              margins=SymbolDecision().margins(True), symbols=symbols, decoded=runtime)
        here = machine.first_half(12, 8, 8) == (half == 0)
        runtime[here] = scaling.decoded(symbols, means)[here]
    assert np.abs(symbols).max() > 3 and np.array_equal(coded[0].numpy(), symbols)
    # The stream has sixteenths; training does without the rounding to them.
    assert np.abs(16 * decoded[0].numpy() - runtime).max() < 0.51 + 2e-4 * np.abs(runtime).max()


def test_a_decision_passes_the_gradient_on_where_the_class_codes_anything() -> None:
    values = torch.tensor([0.7, 0.7, -2.3]).reshape(1, 3, 1, 1).requires_grad_()
    decide(values, torch.tensor([0.0, 1.0, 40.0]).reshape(1, 3, 1, 1), torch.ones(1)).sum().backward()
    assert values.grad is not None
    assert values.grad.flatten().tolist() == [0.0, 1.0, 1.0]


def test_normalising_the_latent_changes_no_picture_and_no_symbol() -> None:
    torch.manual_seed(0)
    still = StillCodec(SMALL).eval()
    before = copy.deepcopy(still)
    normalise_latent(still, material(), batches=2)
    picture = torch.rand(1, 3, 128, 128)
    q = torch.tensor([30])
    with torch.no_grad():
        old_z, new_z = before.encoder(picture), still.encoder(picture)
        assert torch.allclose(before.key.analyse(old_z, q), still.key.analyse(new_z, q), atol=1e-3)
        assert torch.allclose(before.decoder(old_z), still.decoder(new_z), atol=1e-4)
        decoded = torch.round(torch.randn(1, SMALL.symbols, 8, 8) * 20) / 16
        old_m, new_m = before.key.synthesise(decoded, q), still.key.synthesise(decoded, q)
        assert torch.allclose(before.decoder(old_m), still.decoder(new_m), atol=1e-4)
    latents = torch.cat([still.encoder(next(crops(material(), 8, 128, n))).detach() for n in range(3)])
    assert latents.mean((0, 2, 3)).abs().max() < 0.4
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.4


def test_an_exact_layer_is_the_same_in_single_and_double_precision() -> None:
    torch.manual_seed(0)
    layer = FixedConv(256, 64)
    x = torch.randint(0, 256, (1, 256, 40, 40)).float() / 16
    wide = copy.deepcopy(layer).double()
    assert torch.equal(layer(x).double(), wide(x.double()))


def test_the_gradient_of_a_fixed_point_value_is_that_of_its_clamp() -> None:
    layer = FixedConv(4, 4)
    x = torch.tensor([0.03, 0.5, 15.0, 20.0, -1.0], requires_grad=True)
    quantise(x, layer.target).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


def layers_with_one_too_large() -> torch.nn.ModuleDict:
    torch.manual_seed(0)
    layers = torch.nn.ModuleDict({"large": FixedConv(256, 3, conditions=4), "small": FixedConv(256, 3)})
    large = layers["large"]
    assert isinstance(large, FixedConv)
    with torch.no_grad():
        large.weight[1] = 5.0  # beyond the integers, which end at 127 / 128
        large.bias[2] = 3000.0
    assert large.accumulator_bound() > ACCUMULATOR_LIMIT
    return layers


def test_channels_that_could_overflow_are_brought_into_range_in_one_go() -> None:
    layers = layers_with_one_too_large()
    keep_accumulators_in_range(layers)
    large = layers["large"]
    assert isinstance(large, FixedConv)
    assert 0.85 * ACCUMULATOR_LIMIT < large.accumulator_bound() < 0.9 * ACCUMULATOR_LIMIT


def test_layers_and_channels_within_range_are_left_alone() -> None:
    layers = layers_with_one_too_large()
    before = copy.deepcopy(layers.state_dict())
    keep_accumulators_in_range(layers)
    after = layers.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("small."))
    assert all(torch.equal(before[name][0], after[name][0]) for name in before if name.startswith("large."))


def test_the_accumulator_share_is_one_where_the_exporter_begins_to_refuse() -> None:
    layer = FixedConv(4, 4)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias[2] = -ACCUMULATOR_LIMIT / 2.0**layer.accumulator_fraction
    assert accumulator_share(layer) == 1.0
    with pytest.raises(ValueError, match="no fixed-point layer"):
        accumulator_share(torch.nn.Conv2d(1, 1, 1))


def test_where_no_symbol_is_coded_the_latent_stays_to_the_last_bit() -> None:
    torch.manual_seed(1)
    inter = InterCodec(SMALL.latent, SMALL.symbols, SMALL.transform, SMALL.hyper, SMALL.parameters)
    previous = bound_state(torch.randn(1, SMALL.latent, 16, 16))
    nothing = torch.zeros(1, SMALL.symbols, 8, 8)
    after = inter.synthesise(torch.full_like(nothing, 3.0), nothing, previous, torch.tensor([10]))
    assert torch.equal(after, previous)


def test_the_update_mask_covers_the_neighbours_of_a_coded_symbol() -> None:
    symbols = torch.zeros(1, 5, 6, 6)
    symbols[0, 2, 3, 3] = -1
    mask = update_mask(symbols)[0, 0]
    assert mask.sum() == 36
    assert mask[4:10, 4:10].all()


def test_table_classes_follow_the_coders_scale() -> None:
    assert float(sigma_of_class(torch.tensor(1.0))) == pytest.approx(0.11)
    assert float(sigma_of_class(torch.tensor(63.0))) == pytest.approx(32.0, rel=1e-5)
    classes = torch.arange(1, 64).float()
    assert torch.equal(class_of_sigma(sigma_of_class(classes)), classes)


def test_bits_of_a_wide_gaussian_are_its_entropy() -> None:
    torch.manual_seed(0)
    values = torch.randn(200_000) * 8
    bits = gaussian_bits(torch.round(values), torch.tensor(8.0)).mean()
    assert float(bits) == pytest.approx(0.5 * np.log2(2 * np.pi * np.e * 64), rel=0.01)


def test_the_lagrangian_grows_with_quality() -> None:
    weights = lagrangian(torch.arange(64))
    assert (weights[1:] > weights[:-1]).all()


def test_muon_takes_only_pointwise_weights_of_float_networks() -> None:
    still = StillCodec(SMALL)
    matrices, others = split_parameters([still])
    fixed = {id(p) for m in still.modules() if isinstance(m, FixedConv) for p in m.parameters()}
    assert matrices and all(p.dim() == 4 and p.shape[2] == 1 for p in matrices)
    assert not fixed & {id(p) for p in matrices}
    assert len(matrices) + len(others) == len(list(still.parameters()))


def test_orthogonalised_updates_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(2, 24, 40))[0])
    assert values.min() > 0.5 and values.max() < 1.4


def test_slots_play_sequences_on_and_mark_new_ones() -> None:
    slots = Slots(material(), 4, 64, SequenceMix(mean=3.0), seed=0)
    _, _, started = slots.advance()
    assert started.all()
    later = [slots.advance()[2] for _ in range(40)]
    assert 0 < np.mean(later) < 0.5


def write_clip(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=12)
        stream.width = stream.height = 160
        for n in range(frames):
            picture = np.full((160, 160, 3), 8 * n, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))


def test_loading_holds_back_whole_clips_by_name(tmp_path: Path) -> None:
    for name in ("street", "yard"):
        write_clip(tmp_path / f"{name}.mp4", 10)
    material = load([tmp_path], hold_clips=("yard",))
    assert list(material.clips) == ["street"]
    assert list(material.held_clips) == ["yard"]
    assert material.clips["street"].shape == (10, 160, 160, 3)


def test_clips_alone_are_material_too_and_damaged_ones_are_left_out(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "yard.mp4", 10)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    loaded = load([tmp_path])
    assert "left out broken.mp4" in capsys.readouterr().out
    assert [p.shape for p in loaded.pictures] == [(160, 160, 3)]
    assert next(crops(loaded, 2, 128, 0)).shape == (2, 3, 128, 128)
    assert Slots(loaded, 2, 128, SequenceMix(), 0).advance()[0].shape == (2, 128, 128, 3)


def test_validation_takes_small_clips_and_does_without_a_hold_out() -> None:
    still = StillCodec(SMALL).eval()
    inter = new_inter_codec(SMALL).eval()
    clip = np.random.default_rng(0).integers(0, 256, (3, 150, 200, 3), np.uint8)
    assert train_inter.validate(still, inter, {"small": clip}, levels=(24,))["q24_bpp"] > 0
    assert train_inter.validate(still, inter, {}) == {}
    assert train_still.validate(still, []) == {}
    assert train_denoiser.validate(Denoiser(SMALL.latent), still, torch.ones(64, SMALL.latent), []) == {}


def test_loading_an_empty_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load([tmp_path])


def test_the_spectral_distance_sees_detail_and_not_where_it_is() -> None:
    torch.manual_seed(2)
    texture = torch.rand(2, 3, 96, 96) * 0.2
    moved = texture.roll((3, 5), (2, 3))
    flat = texture.mean((2, 3), keepdim=True).expand_as(texture)
    for colour in (False, True):
        same, smooth = (spectral_distance(texture, other, colour=colour) for other in (moved, flat))
        assert same.shape == (2,)
        assert (same < 0.5 * smooth).all()
        assert spectral_distance(texture, texture, colour=colour).max() == 0
