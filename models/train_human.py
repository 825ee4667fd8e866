"""Training of the human view's second generation: one conditional denoiser for all starts, of few steps.

Three losses. The flow's own: squared error of the residual from states on the way. Self-consistency (Frans et al.,
"One step diffusion via shortcut models", ICLR 2025): one long step ends where two short ones do. And, later on, whole
samplings whose last step is trained by the energy score (Gneiting and Raftery, JASA 2007) of two samples of one
picture: how far they are from it, less half of how far they are apart. Plain distances would have samples shrink to the
mean or the median of what may be; this one is least where they are spread as pictures are. Each condition is left out
in part.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from duoview.captions import Caption
from duoview.captions.places import phrase_indices, place_masks
from duoview.errors import ProfileError
from duoview.generation import MOST_SHORTCUTS, Generation, span_of
from duoview.models.conditional_denoiser import CaptionEncoder, ConditionalDenoiser, Conditions
from duoview.models.data import Material, batches, crops, to_tensor
from duoview.models.human_material import CaptionedMaterial, Find, TextureStates
from duoview.models.inter import InterCodec, bound_state
from duoview.models.loop import Loop, weights_sha256
from duoview.models.motion_tracker import MotionTracker
from duoview.models.network import StillCodec
from duoview.models.perceptual import Eye, layer_distance, layers_of
from duoview.models.train_denoiser import DenoiserTraining, Rollouts
from duoview.models.train_still import spectral_distance

_LEAST_LEVEL = 0.05
#: What the estimate of a checkpoint's denoiser is. Before checkpoints told it, the layers had to repeat what is known.
_ESTIMATE = "what texture knows, and what the layers add"
#: What an energy score compares: tensors, or lists of them.
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class HumanTraining:
    """Options. ``minutes`` bounds wall time over all runs.

    consistent: share of a batch that is trained for self-consistency. rollouts_from, spectral: as in DenoiserTraining.
    features: weight of what networks see, where there are any to look. spread: of the energy scores, see there; for 0
    one sample of each picture is drawn. samplings: share of the steps that train whole samplings, from then on.
    slim, texture: shares that begin as those starts do, the others as ``guided``. drop_z, drop_q, drop_caption: shares
    from which a condition is left out. Shape: see Generation.
    """

    minutes: float = 120.0
    steps: int | None = None
    batch: int = 16
    crop: int = 128
    rate: float = 2.0e-3
    seed: int = 5
    consistent: float = 0.25
    rollouts_from: float = 0.4
    samplings: float = 0.5
    spectral: float = 60.0
    features: float = 6.0
    spread: float = 1.0
    slim: float = 0.2
    texture: float = 0.35
    least_noise: float = 0.3
    drop_z: float = 0.05
    drop_q: float = 0.05
    drop_caption: float = 0.3
    channels: tuple[int, int, int] = (192, 288, 384)
    blocks: tuple[int, int, int] = (3, 3, 4)
    caption: int = 64
    device: str = "cpu"
    workers: int = 0


class HumanNetworks(nn.Module):
    """The denoiser and its text encoder, trained together."""

    def __init__(self, latent: int, shape: Generation) -> None:
        super().__init__()
        self.denoiser = ConditionalDenoiser(latent, shape)
        self.captions = CaptionEncoder(shape.caption) if shape.caption else None

    @classmethod
    def of(cls, denoiser: ConditionalDenoiser, captions: CaptionEncoder | None) -> HumanNetworks:
        """Those of a profile."""
        made = cls(denoiser.latent, denoiser.shape)
        made.denoiser, made.captions = denoiser, captions
        return made

    def planes(self, captions: Sequence[Caption | None], rows: int, columns: int) -> Tensor | None:
        """Captions laid out over whole crops, (N, E, rows, columns) at 1/32; zeros for None and without phrases."""
        if self.captions is None:
            return None
        weight = self.captions.out.weight
        masks = torch.from_numpy(place_masks(rows, columns, columns * 32, rows * 32)).to(weight)
        empty = weight.new_zeros(len(weight), rows, columns)
        found = []
        for caption in captions:
            if caption is None or not caption.phrases:
                found.append(empty)
                continue
            phrases = torch.from_numpy(phrase_indices(caption)).to(weight.device)
            found.append(torch.einsum("pe,pyx->eyx", self.captions(phrases), masks[phrases[:, 2]]))
        return torch.stack(found)


def sample(denoiser: ConditionalDenoiser, conditions: Conditions, noise: Tensor, steps: int, *, last: bool = False
           ) -> Tensor:
    """The residual, in units of its scale, by ``steps`` steps; the reference of the runtime's sampler.

    last: gradients pass the last step only.
    """
    state = conditions.known + conditions.level * noise
    span = torch.full((len(noise),), span_of(steps), device=noise.device)
    for n in range(steps):
        time = torch.full((len(noise),), n / steps, device=noise.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and (not last or n == steps - 1)):
            estimate = denoiser(state, conditions, time, span).float()
            state = state + (estimate - state) / (steps - n)
    return state


def consistent_target(average: ConditionalDenoiser, state: Tensor, conditions: Conditions, time: Tensor, span: Tensor
                      ) -> Tensor:
    """The residual at which a step of ``span`` would have to aim to end where two of half that length do."""
    half = span / 2
    told = torch.where(half < 1 / MOST_SHORTCUTS, 0.0, half)
    wide = (slice(None), None, None, None)
    first = average(state, conditions, time, told).float()
    middle = state + (first - state) * (half / (1 - time))[wide]
    second = average(middle, conditions, time + half, told).float()
    end = middle + (second - middle) * (half / (1 - time - half))[wide]
    aim: Tensor = state + (end - state) * ((1 - time) / span)[wide]
    return aim


def energy_score(first: Seen, second: Seen, truth: Seen, distance: Callable[[Seen, Seen], Tensor],
                 spread: float = 1.0) -> Tensor:
    """Mean over a batch of ``(d(x, y) + d(x', y)) / 2 - spread d(x, x') / 2`` for two independent samples x, x' of y.

    With a ``spread`` of 1 it is least where samples are spread as truths are; below, they keep nearer to the likely.
    """
    near = (distance(first, truth) + distance(second, truth)) / 2
    return (near - spread * distance(first, second) / 2).mean()


def score(samples: Sequence[Seen], truth: Seen, distance: Callable[[Seen, Seen], Tensor], spread: float) -> Tensor:
    """The energy score of two samples; of one alone its distance from the truth, all that a spread of 0 leaves."""
    if len(samples) == 1:
        return distance(samples[0], truth).mean()
    first, second = samples
    return energy_score(first, second, truth, distance, spread)


def norm_distance(a: Tensor, b: Tensor) -> Tensor:
    """Length of the difference across channels, relative to the root of their number, mean over positions: (N,)."""
    return ((a - b).square().mean(1) + 1e-8).sqrt().mean((1, 2))


def picture_distance(a: Tensor, b: Tensor) -> Tensor:
    """Distance of windowed Fourier magnitudes, of luma and two colour differences: (N,)."""
    return spectral_distance(a, b, colour=True)


@dataclass(frozen=True)
class Samples:
    """Crops (N, 3, H, W), z and z_m (N, C, h, w), q (N,), and captions, None where nobody looked."""

    pictures: Tensor
    z: Tensor
    z_m: Tensor
    q: Tensor
    captions: tuple[Caption | None, ...]


class Source:
    """Samples in turn: crops, P frames, crops with captions where there is a detector, and P frames again."""

    def __init__(self, material: Material, still: StillCodec, inter: InterCodec, find: Find | None,
                 options: HumanTraining, seed: int, motion: MotionTracker | None = None) -> None:
        self.still, self.options, self.device = still, options, torch.device(options.device)
        self._crops = batches(material, options.batch, options.crop, seed, self.device, options.workers, 0.2)
        self._captioned = (CaptionedMaterial(material, find, size=options.crop, seed=seed).batches(options.batch)
                           if find is not None else None)
        played = DenoiserTraining(batch=options.batch, crop=options.crop, device=options.device)
        self._rollouts = Rollouts(material, still, inter, played, seed, motion)

    def __iter__(self) -> Iterator[Samples]:
        nothing: tuple[Caption | None, ...] = (None,) * self.options.batch
        while True:
            yield self._key(next(self._crops), nothing)
            yield self._played(nothing)
            if self._captioned is not None:
                crops_ = next(self._captioned)
                yield self._key(crops_.pictures.to(self.device, memory_format=torch.channels_last), crops_.captions)
                yield self._played(nothing)

    def _played(self, captions: tuple[Caption | None, ...]) -> Samples:
        pictures, z_m, q = self._rollouts.advance()
        return Samples(pictures, self._encoded(pictures), z_m, q, captions)

    @torch.no_grad()
    def _encoded(self, pictures: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.still.encoder(pictures).float()

    @torch.no_grad()
    def _key(self, pictures: Tensor, captions: tuple[Caption | None, ...]) -> Samples:
        z = self._encoded(pictures)
        q = torch.randint(0, 64, (len(z),), device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            z_m = bound_state(self.still.key(z, q).z.float())
        return Samples(pictures, z, z_m, q, captions)


@torch.no_grad()
def measure_levels(still: StillCodec, texture: TextureStates, material: Material, scale: Tensor, *, size: int = 128,
                   rounds: int = 12) -> tuple[float, ...]:
    """What residuals still lack at every depth of texture, root mean square relative to depth 0: (depth + 1) numbers.

    Over quality indices 14 to 54, on crops of ``size`` pixels; never above the one before.
    """
    source = crops(material, 1, size, seed=78)
    total = torch.zeros(texture.depth + 1, dtype=torch.float64)
    for number in range(rounds):
        q = 14 + 40 * number // max(1, rounds - 1)
        device = scale.device
        z = still.encoder(next(source).to(device))
        z_m = bound_state(still.key(z, torch.tensor([q], device=device)).z)
        lacking = (z - z_m).cpu() - texture.all_depths(z, z_m, q)
        total += (lacking / scale[q].cpu()[None, :, None, None]).double().square().mean((1, 2, 3))
    found = [1.0]
    for level in (total[1:] / total[0]).sqrt().tolist():
        found.append(round(max(_LEAST_LEVEL, min(level, found[-1])), 4))
    return tuple(found)


def draw_conditions(networks: HumanNetworks, samples: Samples, scale: Tensor, texture: TextureStates | None,
                    options: HumanTraining) -> Conditions:
    """Conditions of a batch: a start for each sample, and what of all that is there it is told."""
    count, device = len(samples.q), samples.z_m.device
    drawn = torch.rand(count, device=device)
    levels = torch.ones(count, device=device)
    slim = drawn < options.slim
    levels[slim] = options.least_noise + (1 - options.least_noise) * torch.rand(int(slim.sum()), device=device)
    known = torch.zeros_like(samples.z_m)
    if texture is not None:
        table = torch.tensor(networks.denoiser.shape.levels, device=device)
        textured = ~slim & (drawn < options.slim + options.texture)
        depths = torch.randint(1, texture.depth + 1, (count,), device=device) * textured
        known = texture.known(samples.z, samples.z_m, samples.q, depths) / scale[samples.q][:, :, None, None]
        levels = torch.where(textured, table[depths], levels)
    there = torch.tensor([caption is not None for caption in samples.captions], device=device)
    kept = torch.rand(3, count, device=device) >= torch.tensor(
        [[options.drop_z], [options.drop_caption], [options.drop_q]], device=device)
    given = torch.stack([kept[0], kept[1] & there, kept[2]], 1).float()
    rows, columns = (side // 4 for side in samples.z_m.shape[2:])
    level = levels[:, None, None, None].expand(-1, 1, *samples.z_m.shape[2:]).contiguous()
    return Conditions(samples.z_m, known, level, networks.planes(samples.captions, rows, columns), samples.q, given)


def lacking(known: Tensor, level: Tensor) -> Tensor:
    """How much of the noise a decoder gives D_h, (N, 1, h, w): with texture the share that it lacks, else all of it."""
    textured = known.abs().amax((1, 2, 3), keepdim=True) > 0
    return torch.where(textured, level, torch.ones_like(level))


def part_of(conditions: Conditions, which: slice) -> Conditions:
    """The conditions of some of the samples."""
    caption = conditions.caption
    return replace(conditions, **{name: getattr(conditions, name)[which] for name in
                                  ("z_m", "known", "level", "q", "given")},
                   caption=None if caption is None else caption[which])


def flow_loss(denoiser: ConditionalDenoiser, average: ConditionalDenoiser, conditions: Conditions, residual: Tensor,
              share: float) -> Tensor:
    """Flow matching, and self-consistency for the first ``share`` of the batch."""
    count, device = len(residual), residual.device
    long = round(count * share)
    time, span = torch.rand(count, device=device), torch.zeros(count, device=device)
    if long:
        parts = 2.0 ** torch.randint(0, MOST_SHORTCUTS.bit_length(), (long,), device=device)
        span[:long] = 1 / parts
        time[:long] = torch.floor(torch.rand(long, device=device) * parts) / parts
    wide = (slice(None), None, None, None)
    begin = conditions.known + conditions.level * torch.randn_like(residual)
    state = (1 - time[wide]) * begin + time[wide] * residual
    target = residual.clone()
    with torch.autocast(device.type, torch.bfloat16):
        if long:
            with torch.no_grad():
                first = slice(0, long)
                told = part_of(conditions, first)
                target[first] = consistent_target(average, state[first], told, time[first], span[first])
        estimate = denoiser(state, conditions, time, span)
    # Few steps are the rule, so early times (almost pure noise) matter as much as late ones.
    weight = 1 / (1 - time).clamp(min=0.15)
    return ((estimate.float() - target).square().mean((1, 2, 3)) * weight).mean()


@torch.no_grad()
def validate(networks: HumanNetworks, still: StillCodec, scale: Tensor, texture: TextureStates | None,
             pictures: list[np.ndarray], eyes: Sequence[Eye] = (), level: int = 24, *,
             decoder: nn.Module | None = None) -> dict[str, float]:
    """PSNR and detail (see ``train_denoiser.validate``) of guided samples of 1 and 4 steps and of all texture.

    On up to 32 held-back pictures of 128x128 and more; nothing where there is none. Also how far they are from the
    source to each of ``eyes``, see ``perceptual.layer_distance``. decoder: D_h, None for D; it is measured without
    sampling too.
    """
    tiles = [p[(p.shape[0] - 128) // 2:][:128, (p.shape[1] - 128) // 2:][:, :128] for p in pictures
             if min(p.shape[:2]) >= 128]
    if not tiles:
        return {}
    device = scale.device
    batch = to_tensor(np.stack(tiles[:32])).to(device)
    q = torch.full((len(batch),), level, device=device)
    z = still.encoder(batch)
    z_m = bound_state(still.key(z, q).z)
    noise = torch.randn(z_m.shape, generator=torch.Generator().manual_seed(5)).to(device)
    size = scale[q][:, :, None, None]
    rows, columns = (side // 4 for side in z_m.shape[2:])
    given = torch.tensor([[1.0, 0, 1]], device=device).expand(len(q), -1)
    guided = Conditions(z_m, torch.zeros_like(z_m), torch.ones_like(z_m[:, :1]),
                        networks.planes([None] * len(q), rows, columns), q, given)
    shown = {"machine": z_m}
    noises: dict[str, Tensor] = {}
    if decoder is not None:
        shown["guided_0"] = z_m
    for steps in (1, 4):
        shown[f"guided_{steps}"] = z_m + sample(networks.denoiser, guided, noise, steps) * size
    if texture is not None:
        known = texture.known(z, z_m, q, torch.full_like(q, texture.depth))
        told = replace(guided, known=known / size, level=guided.level * networks.denoiser.shape.levels[-1])
        shown["texture"] = z_m + known
        noises |= {f"textured_{steps}": noise * lacking(told.known, told.level) for steps in (0, 4)}
        if decoder is not None:
            shown["textured_0"] = shown["texture"]
        shown["textured_4"] = z_m + sample(networks.denoiser, told, noise, 4) * size
    found = {}
    energy = (batch - torch.nn.functional.avg_pool2d(batch, 5, 1, 2)).square().mean()
    aim = layers_of(eyes, batch)
    for name, latent in shown.items():
        generated = "_" in name  # the names of samplings end in their steps
        picture = (decoder(latent, noises.get(name, noise)) if decoder is not None and generated
                   else still.decoder(latent)).clamp(0, 1)
        error = (picture - batch).square().mean((1, 2, 3))
        detail = (picture - torch.nn.functional.avg_pool2d(picture, 5, 1, 2)).square().mean()
        found[f"{name}_psnr"] = round(float((-10 * torch.log10(error)).mean()), 2)
        found[f"{name}_detail"] = round(float(detail / energy), 3)
        if eyes:
            found[f"{name}_features"] = round(float(layer_distance(layers_of(eyes, picture), aim).mean()), 4)
    return found


def _kept_levels(checkpoint: Path, depth: int) -> tuple[float, ...]:
    """Those that a checkpoint was begun with.

    Raises ValueError where they are not for texture of this depth, or its denoiser had to repeat what texture knows.
    """
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    kept = state.get("levels")
    if kept is None:
        raise ValueError(f"{checkpoint}: has no levels; expected a checkpoint of this stage")
    if len(kept) != depth + 1:
        raise ValueError(f"{checkpoint}: was begun for texture of depth {len(kept) - 1}, the profile's is {depth} deep "
                         "(0: none); expected that profile, or another folder")
    if depth and state.get("of", {}).get("estimate") != _ESTIMATE:
        raise ValueError(f"{checkpoint}: of a denoiser whose layers repeat what texture knows, or that does not tell; "
                         "they are to add to it now: remove the checkpoint to begin anew, or give another folder")
    return tuple(float(level) for level in kept)


def train(material: Material, still: StillCodec, inter: InterCodec, scale: Tensor, texture: TextureStates | None,
          find: Find | None, options: HumanTraining, folder: Path, eyes: Sequence[Eye] = (),
          motion: MotionTracker | None = None) -> HumanNetworks:
    """Train, or go on from ``folder/human.pt``; writes ``human.jsonl`` there. Returns the averaged weights.

    scale is (64, latent), of the profile's residuals. eyes: networks through which whole samplings are looked at, too.
    motion: of the profile's P frames.
    Without ``texture`` no start from texture is trained, without
    ``find``, a detector, no captions. Raises ValueError for a checkpoint of another shape, captions, texture, E or D.
    """
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    still = copy.deepcopy(still).requires_grad_(False).to(device)
    scale = scale.to(device)
    checkpoint = folder / "human.pt"
    if checkpoint.is_file():
        levels = _kept_levels(checkpoint, 0 if texture is None else texture.depth)
    else:
        levels = (measure_levels(still, texture, material, scale, size=options.crop) if texture is not None
                  else (1.0,))
    shape = Generation(options.channels, options.blocks, options.caption if find is not None else 0, levels)
    networks = HumanNetworks(still.shape.latent, shape).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    of = {"estimate": _ESTIMATE, "E and D": weights_sha256(still.encoder, still.decoder)}
    if texture is not None:
        of["texture"] = texture.sha256
    try:
        loop: Loop[HumanNetworks] = Loop("human", networks, checkpoint, minutes=options.minutes, steps=options.steps,
                                         rate=options.rate, of=of)
    except (RuntimeError, ProfileError) as error:
        if not checkpoint.is_file():
            raise
        raise ValueError(f"{checkpoint}: other weights than those of {shape}; expected the channels, blocks and "
                         "captions (a detector, or none) that it was begun with, or another folder") from error
    loop.kept["levels"] = list(levels)
    source = iter(Source(material, still, copy.deepcopy(inter).requires_grad_(False).to(device), find, options,
                         options.seed + loop.step, motion))
    for done in loop.rounds(lambda: validate(loop.average, still, scale, texture, material.held_pictures, eyes)):
        samples = next(source)
        size = scale[samples.q][:, :, None, None]
        residual = (samples.z - samples.z_m) / size
        conditions = draw_conditions(networks, samples, scale, texture, options)
        if done <= options.rollouts_from or float(torch.rand(())) >= options.samplings:
            loop.update(flow_loss(networks.denoiser, loop.average.denoiser, conditions, residual, options.consistent))
            continue
        drawn = 2 if options.spread else 1
        kept, steps = slice(0, (len(residual) + drawn - 1) // drawn), int(torch.randint(1, 6, ()))
        told, truth = part_of(conditions, kept), residual[kept]
        with torch.autocast(device.type, torch.bfloat16):
            ends = [sample(networks.denoiser, told, torch.randn_like(truth), steps, last=True) for _ in range(drawn)]
            shown = [still.decoder(samples.z_m[kept] + one * size[kept]).float() for one in ends]
        latent = score(ends, truth, norm_distance, options.spread)
        spectral = score(shown, samples.pictures[kept], picture_distance, options.spread)
        loss, parts = latent + options.spectral * spectral, {"latent": latent, "spectral": spectral}
        if eyes:
            with torch.autocast(device.type, torch.bfloat16):
                seen = [layers_of(eyes, one) for one in shown]
                with torch.no_grad():
                    aim = layers_of(eyes, samples.pictures[kept])
            parts["features"] = score(seen, aim, layer_distance, options.spread)
            loss = loss + options.features * parts["features"]
        loop.update(loss, **parts)
    return loop.average
