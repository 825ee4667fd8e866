"""Exported graphs compute what the torch networks compute."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from duoview.export import exact_networks, float_networks
from duoview.models.denoiser import Denoiser
from duoview.models.inter import InterCodec, TemporalHyperDecoder, bound_state
from duoview.models.key import HyperDecoder
from duoview.models.network import Shape, StillCodec
from duoview.models.train_denoiser import sample

SMALL = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=12, transform=16, hyper=6,
              parameters=16)


def session(model: onnx.ModelProto, optimise: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def still() -> StillCodec:
    torch.manual_seed(0)
    return StillCodec(SMALL).eval()


@pytest.fixture(scope="module")
def inter() -> InterCodec:
    torch.manual_seed(1)
    return InterCodec(SMALL.latent, SMALL.symbols, SMALL.transform, SMALL.hyper, SMALL.parameters, 1, 1, 16, 1).eval()


def test_encoder_and_decoder_graphs_agree_with_torch(still: StillCodec) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 128), np.uint8)
    with torch.no_grad():
        z = still.encoder(torch.from_numpy(picture).float() / 255)
        shown = still.decoder(z)
    (z_onnx,) = session(float_networks.encoder(still.encoder, SMALL.latent)).run(None, {"picture": picture})
    assert np.abs(z_onnx - z.numpy()).max() < 0.02
    (back,) = session(float_networks.decoder(still.decoder, SMALL.latent)).run(None, {"z": z.numpy()})
    expected = np.floor(np.clip(shown.numpy() * 255 + 0.5, 0, 255))
    assert np.abs(back.astype(int) - expected).max() <= 1


def test_key_transforms_agree_with_torch(still: StillCodec) -> None:
    q = torch.tensor([20])
    z = torch.randn(1, SMALL.latent, 16, 24)
    with torch.no_grad():
        y = still.key.analyse(z, q)
        hyper = torch.clamp(torch.floor(still.key.model.analyse(y) + 0.5), -127, 127)
    graph = session(float_networks.key_analysis(still.key, SMALL.latent, SMALL.symbols, SMALL.hyper))
    y_onnx, hyper_onnx = graph.run(None, {"z": z.numpy(), "q": np.array([20])})
    assert np.abs(y_onnx - y.numpy()).max() < 0.02 * max(1.0, float(y.abs().max()))
    assert np.abs(hyper_onnx - hyper.numpy()).max() <= 1
    sixteenths = torch.round(torch.randn(1, SMALL.symbols, 8, 12) * 40)
    with torch.no_grad():
        z_m = bound_state(still.key.synthesise(sixteenths / 16, q))
    (z_onnx,) = session(float_networks.key_synthesis(still.key, SMALL.latent, SMALL.symbols)).run(
        None, {"decoded": sixteenths.numpy(), "q": np.array([20])})
    assert np.abs(z_onnx - z_m.numpy()).max() < 0.05


@pytest.mark.parametrize("optimise", [True, False])
@pytest.mark.parametrize("q", [0, 24, 63])
def test_exact_hyper_decoder_gives_the_integers_of_training(still: StillCodec, q: int, optimise: bool) -> None:
    network = still.key.model.decoder
    assert isinstance(network, HyperDecoder)
    hyper = torch.randint(-127, 128, (1, SMALL.hyper, 2, 3)).float()
    with torch.no_grad():
        features, first = network(hyper, torch.tensor([q]))
    graph = session(exact_networks.hyper_decoder(network, SMALL.hyper, SMALL.symbols, SMALL.parameters), optimise)
    got = graph.run(None, {"hyper": hyper.numpy(), "q": np.array([q])})
    assert np.array_equal(got[0], features.numpy() * 16)
    assert np.array_equal(got[1], first.classes.numpy())
    assert np.array_equal(got[2], first.means.numpy() * 16)


@pytest.mark.parametrize("optimise", [True, False])
def test_exact_context_network_gives_the_integers_of_training(still: StillCodec, optimise: bool) -> None:
    network = still.key.model.context
    features = torch.randint(0, 256, (1, SMALL.parameters, 8, 12)).float()
    decoded = torch.randint(-2000, 2001, (1, SMALL.symbols, 8, 12)).float()
    with torch.no_grad():
        second = network(features / 16, decoded / 16)
    graph = session(exact_networks.context(network, "key_context", SMALL.symbols, SMALL.parameters), optimise)
    classes, means = graph.run(None, {"features": features.numpy(), "decoded": decoded.numpy()})
    assert np.array_equal(classes, second.classes.numpy())
    assert np.array_equal(means, second.means.numpy() * 16)


def test_exact_temporal_prior_gives_the_integers_of_training(inter: InterCodec) -> None:
    network = inter.model.decoder
    assert isinstance(network, TemporalHyperDecoder)
    hyper = torch.randint(-20, 21, (1, SMALL.hyper, 2, 3)).float()
    previous = torch.randint(-2000, 2001, (1, SMALL.symbols, 8, 12)).float()
    with torch.no_grad():
        features, first = network(hyper, torch.tensor([40]), previous / 16)
    graph = session(exact_networks.hyper_decoder(network, SMALL.hyper, SMALL.symbols, SMALL.parameters))
    got = graph.run(None, {"hyper": hyper.numpy(), "q": np.array([40]), "previous": previous.numpy()})
    assert np.array_equal(got[0], features.numpy() * 16)
    assert np.array_equal(got[1], first.classes.numpy())
    assert np.array_equal(got[2], first.means.numpy() * 16)


def test_inter_transforms_agree_with_torch(inter: InterCodec) -> None:
    q = torch.tensor([33])
    z, previous = torch.randn(1, SMALL.latent, 16, 24), bound_state(torch.randn(1, SMALL.latent, 16, 24))
    with torch.no_grad():
        y = inter.analyse(z, previous, q)
    graph = session(float_networks.inter_analysis(inter, SMALL.latent, SMALL.symbols, SMALL.hyper))
    got = graph.run(None, {"z": z.numpy(), "previous": previous.numpy(), "q": np.array([33])})
    assert np.abs(got[0] - y.numpy()).max() < 0.02 * max(1.0, float(y.abs().max()))
    symbols = torch.zeros(1, SMALL.symbols, 8, 12)
    symbols[:, 3, 2:4, 5] = 2
    decoded = symbols * 16 + 3
    with torch.no_grad():
        z_m = inter.synthesise(decoded / 16, symbols, previous, q)
    (z_onnx,) = session(float_networks.inter_synthesis(inter, SMALL.latent, SMALL.symbols)).run(
        None, {"decoded": decoded.numpy(), "symbols": symbols.numpy(), "previous": previous.numpy(),
               "q": np.array([33])})
    assert np.abs(z_onnx - z_m.numpy()).max() < 0.05
    untouched = np.ones((16, 24), bool)
    untouched[2:10, 8:14] = False
    assert np.array_equal(z_onnx[0][:, untouched], previous.numpy()[0][:, untouched])


def test_denoiser_graph_takes_the_steps_of_the_reference_sampler() -> None:
    torch.manual_seed(2)
    denoiser = Denoiser(SMALL.latent, (16, 24, 32)).eval()
    z_m, noise = torch.randn(1, SMALL.latent, 16, 24), torch.randn(1, SMALL.latent, 16, 24)
    scale = torch.rand(64, SMALL.latent)
    with torch.no_grad():
        expected = sample(denoiser, z_m, torch.tensor([24]), scale, noise, 4)
    graph = session(float_networks.denoiser(denoiser, SMALL.latent))
    state = noise.numpy()
    for step in range(4):
        (state,) = graph.run(None, {"state": state, "z_m": z_m.numpy(), "q": np.array([24]),
                                    "time": np.array([[step / 4]], np.float32),
                                    "gain": np.array([1 / (4 - step)], np.float32)})
    got = z_m.numpy() + state * scale[24].numpy()[None, :, None, None]
    assert np.abs(got - expected.numpy()).max() < 0.02


def test_colour_controller_takes_low_frequencies_from_the_machine_view() -> None:
    human = np.full((1, 3, 64, 64), 90, np.uint8)
    human[..., ::2] += 20
    machine = np.full((1, 3, 64, 64), 140, np.uint8)
    (out,) = session(float_networks.colour_controller()).run(None, {"human": human, "machine": machine})
    assert abs(float(out.mean()) - 140) < 0.6
    assert np.array_equal(np.diff(out.astype(int)), np.diff(human.astype(int)))


def test_an_exact_layer_that_could_overflow_is_rejected() -> None:
    torch.manual_seed(3)
    network = StillCodec(SMALL).key.model.decoder
    assert isinstance(network, HyperDecoder)
    with torch.no_grad():
        network.features.bias.fill_(3000.0)
    with pytest.raises(ValueError, match="accumulator may reach"):
        exact_networks.hyper_decoder(network, SMALL.hyper, SMALL.symbols, SMALL.parameters)
