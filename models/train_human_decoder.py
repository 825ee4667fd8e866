"""Training of D_h, which shows human views: perceptual distances, Fourier magnitudes, and a discriminator.

It learns on what a decoder would give it: latents that the profile's own denoiser has sampled, of all starts, in one
to four steps or none, behind key frames and P frames. Pictures are moved, turned and scaled at random, both alike,
before networks look at them (Kettunen et al., "E-LPIPS", 2019), so that nothing can be learned that serves one alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from duoview.models.data import Material
from duoview.models.discriminator import Discriminator, adversarial, hinge
from duoview.models.human_decoder import HumanDecoder, HumanDecoderShape
from duoview.models.human_material import Find, TextureStates
from duoview.models.inter import InterCodec
from duoview.models.loop import Loop, weights_sha256
from duoview.models.motion_tracker import MotionTracker
from duoview.models.network import StillCodec
from duoview.models.perceptual import Eye, layer_distance, layers_of
from duoview.models.train_human import (
    HumanNetworks,
    HumanTraining,
    Samples,
    Source,
    draw_conditions,
    lacking,
    picture_distance,
    sample,
    validate,
)

#: Steps of the samplings that are shown, and how often: few are the rule, and none leaves all to D_h.
_STEPS, _STEP_SHARES = (0, 1, 2, 4), (0.25, 0.35, 0.2, 0.2)
#: Greatest turn (radians), scale and move (share of the side) of what networks are shown.
_TURN, _SCALE, _MOVE = 0.15, 1.3, 0.1


@dataclass(frozen=True)
class HumanDecoderTraining:
    """Options. ``minutes`` bounds wall time over all runs.

    pixels, features, spectral: weights of the mean absolute difference, of what networks see, and of the distance of
    Fourier magnitudes. adversarial: length of the discriminator's gradient at the pictures, as a share of that of the
    others together, from the share ``adversarial_from`` of the time on.
    """

    minutes: float = 90.0
    steps: int | None = None
    batch: int = 8
    crop: int = 128
    rate: float = 6.0e-4
    seed: int = 9
    pixels: float = 4.0
    features: float = 6.0
    spectral: float = 10.0
    adversarial: float = 1.0
    adversarial_from: float = 0.1
    channels: tuple[int, int, int] = (256, 96, 48)
    blocks: tuple[int, int, int] = (5, 3, 2)
    device: str = "cpu"
    workers: int = 0


def moved_alike(*pictures: Tensor) -> list[Tensor]:
    """Pictures (N, 3, H, W), each turned, scaled and moved by random amounts, the same for all that are given."""
    first = pictures[0]
    count, device = len(first), first.device
    turn = (torch.rand(count, device=device) * 2 - 1) * _TURN
    scale = torch.exp((torch.rand(count, device=device) * 2 - 1) * math.log(_SCALE))
    move = (torch.rand(count, 2, device=device) * 2 - 1) * _MOVE * 2
    flip = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
    theta = torch.stack([torch.stack([scale * flip * turn.cos(), -scale * turn.sin(), move[:, 0]], 1),
                         torch.stack([scale * flip * turn.sin(), scale * turn.cos(), move[:, 1]], 1)], 1)
    grid = F.affine_grid(theta, list(first.shape), align_corners=False)
    return [F.grid_sample(one, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
            for one in pictures]


def steepened(shown: Tensor, near: Tensor, natural: Tensor | None, share: float) -> Tensor:
    """A loss whose gradient at ``shown`` is that of ``near`` and, ``share`` times as long, that of ``natural``.

    Its value is that of ``near``. After Esser et al. (VQGAN, CVPR 2021), who weigh a discriminator by gradients of the
    last layer; taken at the picture they need one pass through it.
    """
    (gradient,) = torch.autograd.grad(near, shown, retain_graph=natural is not None)
    if natural is not None:
        (other,) = torch.autograd.grad(natural, shown)
        gradient = gradient + other * (share * gradient.norm() / (other.norm() + 1e-12))
    pulled = (shown * gradient).sum()
    return pulled + (near.detach() - pulled.detach())


@dataclass(frozen=True)
class _Shown:
    """A batch: pictures (N, 3, H, W), machine views, latents of human views (N, C, h, w), and their noise."""

    pictures: Tensor
    machine: Tensor
    latent: Tensor
    noise: Tensor


def _samplings(source: Iterator[Samples], networks: HumanNetworks, still: StillCodec, scale: Tensor,
               texture: TextureStates | None, options: HumanTraining) -> Iterator[_Shown]:
    device = scale.device
    shares = torch.tensor(_STEP_SHARES)
    for samples in source:
        size = scale[samples.q][:, :, None, None]
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            conditions = draw_conditions(networks, samples, scale, texture, options)
            steps = _STEPS[int(torch.multinomial(shares, 1))]
            noise = torch.randn_like(samples.z_m)
            residual = sample(networks.denoiser, conditions, noise, steps) if steps else conditions.known
            machine = still.decoder(samples.z_m).float().clamp(0, 1)
        yield _Shown(samples.pictures, machine, samples.z_m + residual.float() * size,
                     noise * lacking(conditions.known, conditions.level))


def _check_told(loop: Loop[HumanDecoder], widths: Sequence[int]) -> None:
    """ValueError for a checkpoint whose discriminator has heads for features of other widths."""
    # A head's first layer is 1x1, and its weight is kept as what spectral norm is taken of.
    told = [weight.shape[1] for name, weight in loop.kept["discriminator"].items()
            if name.startswith("heads.") and name.endswith(".0.parametrizations.weight.original")]
    if told != list(widths):
        raise ValueError(f"{loop.checkpoint}: its discriminator is told features of {told} channels, expected "
                         f"{list(widths)}; look through the networks that it began with, or give another folder")


def train(material: Material, still: StillCodec, inter: InterCodec, networks: HumanNetworks, scale: Tensor,
          texture: TextureStates | None, find: Find | None, eyes: Sequence[Eye], options: HumanDecoderTraining,
          folder: Path, motion: MotionTracker | None = None) -> HumanDecoder:
    """Train, or go on from ``folder/human_decoder.pt``; writes ``human_decoder.jsonl`` there. Returns averaged weights.

    networks: the profile's denoiser and text encoder, which stay as they are. scale is (64, latent), of its residuals.
    eyes: one or more. Raises ValueError for none, for a checkpoint of another shape, denoiser, E or D, and for one
    whose discriminator was told the features of other networks.
    """
    if not eyes:
        raise ValueError("no network to look at pictures through; expected one or more")
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    still = copy.deepcopy(still).requires_grad_(False).to(device)
    networks = copy.deepcopy(networks).requires_grad_(False).to(device)
    scale = scale.to(device)
    shape = HumanDecoderShape(options.channels, options.blocks)
    decoder = HumanDecoder(copy.deepcopy(still.decoder), shape)
    decoder = decoder.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    of = {"shape": str(shape.as_dict()), "E and D": weights_sha256(still.encoder, still.decoder),
          "denoiser": weights_sha256(networks)}
    loop: Loop[HumanDecoder] = Loop("human_decoder", decoder, folder / "human_decoder.pt", minutes=options.minutes,
                                    steps=options.steps, rate=options.rate, muon=False, of=of)
    with torch.no_grad():
        widths = [layer.shape[1] for layer in layers_of(eyes, torch.zeros(1, 3, 64, 64, device=device))]
    judge = Discriminator(widths).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    judge_optimiser = torch.optim.Adam(judge.parameters(), lr=options.rate, betas=(0.5, 0.98))
    if options.adversarial and "discriminator" in loop.kept:
        _check_told(loop, widths)
        judge.load_state_dict(loop.kept["discriminator"])
        judge_optimiser.load_state_dict(loop.kept["discriminator_optimiser"])
    # A decoder tells the denoiser z_m and the quality always.
    began = HumanTraining(batch=options.batch, crop=options.crop, device=options.device, workers=options.workers,
                          drop_z=0, drop_q=0)
    source = iter(Source(material, still, copy.deepcopy(inter).requires_grad_(False).to(device), find, began,
                         options.seed + loop.step, motion))
    batches = _samplings(source, networks, still, scale, texture, began)
    for done in loop.rounds(lambda: validate(networks, still, scale, texture, material.held_pictures, eyes,
                                             decoder=loop.average)):
        batch = next(batches)
        pictures = batch.pictures.float()
        with torch.autocast(device.type, torch.bfloat16):
            shown = decoder(batch.latent, batch.noise).float()
        looked_at, aimed_at = moved_alike(shown, pictures)
        with torch.autocast(device.type, torch.bfloat16):
            seen = layers_of(eyes, looked_at)
            with torch.no_grad():
                aim = layers_of(eyes, aimed_at)
        parts = {"pixels": (shown - pictures).abs().mean(), "features": layer_distance(seen, aim).mean(),
                 "spectral": picture_distance(shown, pictures).mean()}
        near = sum((getattr(options, name) * value for name, value in parts.items()), shown.new_zeros(()))
        natural = None
        if options.adversarial and done >= options.adversarial_from:
            with torch.autocast(device.type, torch.bfloat16):
                natural = adversarial(judge(shown, batch.machine, seen))
            parts["adversarial"] = natural
        loop.update(steepened(shown, near, natural, options.adversarial), **parts)
        if options.adversarial:
            # From the beginning: the generator is to meet a discriminator that knows something.
            with torch.autocast(device.type, torch.bfloat16):
                loss = hinge(judge(pictures, batch.machine, aim),
                             judge(shown.detach(), batch.machine, [one.detach() for one in seen]))
            judge_optimiser.param_groups[0]["lr"] = loop.rate_now
            judge_optimiser.zero_grad(set_to_none=True)
            loss.backward()
            judge_optimiser.step()
            loop.kept["discriminator"] = judge.state_dict()
            loop.kept["discriminator_optimiser"] = judge_optimiser.state_dict()
    return loop.average
