"""Rates in training: what the coder charges, and gradients that train values and classes."""

from __future__ import annotations

import torch

from duoview.decision import symbol_bits
from duoview.models import train_inter, train_still
from duoview.models.network import Shape, StillCodec
from duoview.models.rate import counted_bits, noisy_bits, sigma_of_class
from duoview.models.train_still import latent_pass

SMALL = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=12, transform=16, hyper=6,
              parameters=16)


def test_counted_bits_are_those_of_the_coders_classes() -> None:
    symbols, classes = torch.meshgrid(torch.arange(-6.0, 7), torch.arange(1.0, 64), indexing="ij")
    bits = counted_bits(symbols + 0.3, symbols, sigma_of_class(classes))
    coder = torch.from_numpy(symbol_bits(symbols.numpy().astype("int16"), classes.numpy().astype("uint8")))
    assert torch.allclose(bits, coder, atol=0.02)


def test_a_zero_that_is_coded_as_one_costs_next_to_nothing_though_noise_says_otherwise() -> None:
    values, sigma = torch.zeros(4096), torch.full((4096,), 0.11)
    torch.manual_seed(1)
    assert float(counted_bits(values, values, sigma).mean()) < 1e-4
    assert float(noisy_bits(values, values, sigma).mean()) > 0.05


def test_values_learn_from_noise_and_classes_from_symbols() -> None:
    torch.manual_seed(1)
    values = torch.full((4096,), 0.4, requires_grad=True)
    sigma = torch.full((4096,), 0.5, requires_grad=True)
    counted_bits(values, torch.zeros(4096), sigma).sum().backward()
    assert values.grad is not None and sigma.grad is not None
    assert float(values.grad.mean()) > 0  # towards zero
    # Where every symbol is zero the class that suits it best has a smaller deviation.
    assert (sigma.grad > 0).all()


def test_stages_one_and_two_measure_what_is_coded_without_chance() -> None:
    torch.manual_seed(2)
    still, inter = StillCodec(SMALL).eval(), train_inter.new_inter_codec(SMALL).eval()
    pictures = [(torch.rand(128, 128, 3) * 255).byte().numpy() for _ in range(2)]
    first, second = (train_still.validate(still, pictures, (16, 40)) for _ in range(2))
    assert first == second and first["q16_bpp"] > 0
    clips = {"clip": torch.stack([torch.from_numpy(pictures[0])] * 4).numpy()}
    seen = [train_inter.validate(still, inter, clips, (24,), frames=4) for _ in range(2)]
    assert seen[0] == seen[1] and seen[0]["q24_bpp"] > 0


def test_a_still_pass_charges_for_symbols_unless_noise_is_asked_for() -> None:
    torch.manual_seed(2)
    codec, picture, q = StillCodec(SMALL), torch.rand(2, 3, 64, 64), torch.tensor([30, 40])
    coded = [latent_pass(codec, picture, q, 0)[1] for _ in range(2)]
    noisy = [latent_pass(codec, picture, q, 0, counted=False)[1] for _ in range(2)]
    assert torch.equal(*coded) and not torch.equal(*noisy)
    coded[0].sum().backward()
    for layer in (codec.encoder, codec.key.analysis_out, codec.key.model.context.head.classes):
        assert any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in layer.parameters())


def test_an_eager_encoder_takes_fewer_bits() -> None:
    torch.manual_seed(2)
    key, z = StillCodec(SMALL).key.eval(), torch.randn(1, 8, 16, 16)
    with torch.no_grad():
        plain, eager = (key(z, torch.tensor([40]), torch.tensor([e]), counted=True) for e in (0.0, 1.5))
    assert float(eager.bits) < float(plain.bits)
    assert float(eager.symbols.abs().sum()) < float(plain.symbols.abs().sum())
