"""Rates in training: what the coder charges, and gradients that train values and classes."""

from __future__ import annotations

import torch

from duoview.decision import symbol_bits
from duoview.models.rate import counted_bits, noisy_bits, sigma_of_class


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


def test_an_eager_encoder_takes_fewer_bits() -> None:
    from duoview.models.network import Shape, StillCodec

    torch.manual_seed(2)
    small = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=12, transform=16,
                  hyper=6, parameters=16)
    key, z = StillCodec(small).key.eval(), torch.randn(1, 8, 16, 16)
    with torch.no_grad():
        plain, eager = (key(z, torch.tensor([40]), torch.tensor([e]), counted=True) for e in (0.0, 1.5))
    assert float(eager.bits) < float(plain.bits)
    assert float(eager.symbols.abs().sum()) < float(plain.symbols.abs().sum())
