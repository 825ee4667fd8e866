"""What the denoiser is trained on."""

from __future__ import annotations

import numpy as np
import torch

from duoview.models.data import Material
from duoview.models.network import Shape, StillCodec
from duoview.models.train_denoiser import DenoiserTraining, Rollouts
from duoview.models.train_inter import new_inter_codec

SHAPE = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=8, transform=16, hyper=4,
              parameters=16)


def rollouts(batch: int = 3) -> Rollouts:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    clip = random.integers(0, 256, (30, 64, 64, 3)).astype(np.uint8)
    pictures = [random.integers(0, 256, (80, 80, 3)).astype(np.uint8)]
    options = DenoiserTraining(batch=batch, crop=64)
    return Rollouts(Material(pictures=pictures, clips={"a": clip}), StillCodec(SHAPE), new_inter_codec(SHAPE), options,
                    seed=1)


def test_rollouts_give_the_clean_pictures_and_latents_of_as_many_sequences_as_asked_for() -> None:
    picture, z_m, q = rollouts().advance()
    assert picture.shape == (3, 3, 64, 64)
    assert z_m.shape == (3, 8, 8, 8)
    assert q.shape == (3,)
    assert q.min() >= 0
    assert q.max() <= 63


def test_a_sequence_keeps_its_quality_and_moves_its_latent_on_from_frame_to_frame() -> None:
    played = rollouts()
    _, first, q = played.advance()
    _, second, q_next = played.advance()
    # Sequences have at least four frames, so none began anew.
    assert torch.equal(q, q_next)
    assert not torch.equal(first, second)


def test_what_was_given_out_does_not_change_when_the_sequences_go_on() -> None:
    played = rollouts()
    _, first, _ = played.advance()
    kept = first.clone()
    played.advance()
    assert torch.equal(first, kept)
