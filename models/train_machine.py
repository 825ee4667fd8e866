"""The machine stage: the key-frame codec trained on for what machines see, E and D frozen.

The latent space stays as it is, so what else was trained in it (the denoiser, the P frames' transforms) stays valid;
how much of the latent is kept, and where, changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.agreement import AgreementValidation, Curve
from duoview.models.data import Picture
from duoview.models.fixed_point import accumulator_share
from duoview.models.key import level_gain
from duoview.models.layers import QualityTable
from duoview.models.loop import Loop, weights_sha256
from duoview.models.machine_fidelity import Eyes, FidelityWeights, check_zooms, distances, total
from duoview.models.machine_material import Batch, Look, RegionWeights, batches
from duoview.models.network import LAMBDA_FIRST, LAMBDA_LAST, StillCodec

#: Added to a picture's cost before the slope of its logarithm is taken: what is cheaper than this weighs less.
COST_FLOOR = 0.005
#: Pictures are coded in multiples of this.
UNIT = 64
#: Pixels of a cell of a gain map, positions of symbols on its side, and how much coarser cells without objects are.
CELL, CELL_POSITIONS, MOST_COARSER = 32, 2, 5


@dataclass(frozen=True)
class MachineTraining:
    """Options of the stage.

    minutes, rate, seed: wall time over all runs, learning rate, seed. steps: as many in place of minutes.
    crops: (side, batch, share of the steps) of each kind of batch; objects are seen in large crops only, most
    photographs are smaller.
    lagrangian: the weight of the distances against bits per pixel at q 0 and q 63, log-linear between. worth: how much
    larger the distances are than a squared error in 8-bit steps, by which the quality tables of a codec that was
    trained for that are moved at the start; 0 leaves them, for a codec that is on this scale.
    weights, regions: of the distances, and of the parts of pictures. aimed: share of crops around an object.
    zooms: detectors look at decoded pictures and sources that many times larger, drawn between the two at every step,
    so that what is kept is not made for one size of objects.
    mapped: share of the steps whose crops are coded with gain maps, as encoders with a guide make them: what is not
    near an object 1 to MOST_COARSER levels coarser; its errors then weigh less by as much as its steps are larger.
    """

    minutes: float = 65.0
    steps: int | None = None
    rate: float = 1.0e-3
    seed: int = 31
    crops: tuple[tuple[int, int, float], ...] = ((256, 6, 0.65), (192, 9, 0.35))
    lagrangian: tuple[float, float] = (8.0e-6, 3.0e-2)
    worth: float = 2.9
    weights: FidelityWeights = field(default_factory=FidelityWeights)
    regions: RegionWeights = field(default_factory=RegionWeights)
    aimed: float = 0.75
    zooms: tuple[float, float] = (1.0, 1.0)
    mapped: float = 0.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_zooms(self.zooms)
        if not 0 <= self.mapped <= 1:
            raise ValueError(f"mapped={self.mapped}: expected a share of 0 to 1")
        first, last = self.lagrangian
        if not 0 < first < last:
            raise ValueError(f"lagrangian={self.lagrangian}: expected two rising numbers above 0")
        if not self.crops or any(side % UNIT or side <= 0 or count < 2 for side, count, _ in self.crops):
            raise ValueError(f"crops={self.crops}: expected sides in multiples of {UNIT} and 2 crops or more each")


def machine_lagrangian(q: Tensor, ends: tuple[float, float]) -> Tensor:
    """The weight of the distances at quality indices q, (N,) -> (N,) float32."""
    return ends[0] * (ends[1] / ends[0]) ** (q.float() / 63)


def move_quality(codec: nn.Module, ends: tuple[float, float], worth: float) -> None:
    """Move the quality tables of a frame type's codec from squared error's Lagrangian to that of the distances.

    Before training: an anchor moves by a learning rate a step, so a new scale would be a thousand steps away.
    What an exact network knows of the quality index moves by itself. ends: as of `machine_lagrangian`. worth: how much
    larger the sum of the distances is than a squared error in 8-bit steps.
    """
    slope = math.log(LAMBDA_LAST / LAMBDA_FIRST) / 63
    first, last = (math.log(end * worth / LAMBDA_FIRST) / slope for end in ends)
    for layer in codec.modules():
        if isinstance(layer, QualityTable):
            layer.move(first, last)


@torch.no_grad()
def code_picture(codec: StillCodec, picture: Picture, q: int) -> tuple[Picture, float]:
    """A picture (H, W, 3) uint8 as it is decoded, and its bits by the class model, hyper symbols included."""
    device = next(codec.parameters()).device
    height, width = picture.shape[:2]
    x = torch.from_numpy(np.ascontiguousarray(picture)).to(device).permute(2, 0, 1)[None].float() / 255
    x = F.pad(x, (0, -width % UNIT, 0, -height % UNIT), mode="replicate")
    with torch.autocast(device.type, torch.bfloat16):
        coded = codec.key(codec.encoder(x), torch.tensor([q], device=device), counted=True)
        decoded = codec.decoder(coded.z)
    shown = (decoded[0, :, :height, :width].float() * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    return shown.permute(1, 2, 0).cpu().numpy(), float(coded.bits + coded.hyper_bits)


def validate(codec: StillCodec, validation: AgreementValidation, levels: Sequence[int] = (4, 16, 28, 40)
             ) -> dict[str, float]:
    """What networks see at some quality indices, with rates of the class model, and rates against x265 intra."""
    codec.eval()
    shown: dict[str, float] = {}
    settings = []
    for q in levels:
        seen = validation.measure(partial(code_picture, codec, q=q))
        settings.append(seen)
        shown[f"q{q}_bpp"] = round(seen["psnr"][0], 4)
        shown |= {f"q{q}_{name}": round(value, 4) for name, (_, value) in seen.items()}
    codec.train()
    changes = validation.against_peer(Curve.of(settings))
    return shown | {f"rate_{name}": change for name, change in changes.items()}


def object_maps(weight: Tensor, coarser: Tensor) -> Tensor:
    """Gain maps of crops by what counts in them: levels (N, 1, S / CELL, S / CELL), 0 in cells with objects.

    weight: (N, 1, S, S), 1 near objects. coarser: (N,), by how many levels the other cells are coarser.
    """
    return (F.max_pool2d(weight, CELL) >= 1).float().sub(1) * coarser[:, None, None, None]


def losses(codec: StillCodec, batch: Batch, q: Tensor, eyes: Eyes, options: MachineTraining,
           levels: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, a scalar, and what to show of it: means of the distances, bits per pixel, logarithm of the cost.

    levels: of gain maps, (N, 1, S / CELL, S / CELL); None codes without.
    """
    kind, weight = batch.picture.device.type, batch.weight
    places = levels
    if levels is not None:
        # A step that is larger by g is the best one where an error weighs less by g squared.
        weight = weight * F.interpolate(level_gain(levels).square(), scale_factor=CELL, mode="nearest")
        places = F.interpolate(levels, scale_factor=CELL_POSITIONS, mode="nearest")
    with torch.autocast(kind, torch.bfloat16):
        with torch.no_grad():
            z = codec.encoder(batch.picture)
        coded = codec.key(z, q, counted=True, levels=places)
        decoded = codec.decoder(coded.z)
    found = distances(options.weights, eyes, batch.picture, decoded.float(), z, coded.z, weight)
    bits = (coded.bits + coded.hyper_bits) / (batch.picture.shape[2] * batch.picture.shape[3])
    cost = machine_lagrangian(q, options.lagrangian) * total(options.weights, found) + bits
    # The slope of the logarithm: every quality index and every picture matters by its own cost.
    loss = (cost / (cost.detach() + COST_FLOOR)).mean()
    shown = {name: value.detach().mean() for name, value in found.items()}
    return loss, shown | {"bpp": bits.detach().mean(), "log_cost": cost.detach().log().mean()}


def train(looks: Sequence[Look], eyes: Sequence[Eyes], start: StillCodec, options: MachineTraining, folder: Path, *,
          validation: AgreementValidation | None = None, report_seconds: float = 420.0) -> StillCodec:
    """Train on from ``start``, or from ``folder/machine.pt`` where it is; the averaged weights.

    eyes: who looks on, for each kind of crops of the options. Raises ValueError when there are not as many.
    """
    if len(eyes) != len(options.crops):
        raise ValueError(f"{len(eyes)} sets of eyes for {len(options.crops)} kinds of crops")
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    codec = start.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.worth:
        move_quality(codec.key, options.lagrangian, options.worth)
    codec.requires_grad_(False)
    codec.key.requires_grad_(True)
    loop: Loop[StillCodec] = Loop("codec", codec, folder / "machine.pt", minutes=options.minutes, rate=options.rate,
                                  steps=options.steps, report_seconds=report_seconds,
                                  of={"E and D": weights_sha256(codec.encoder, codec.decoder)})
    loop.kept["shape"] = codec.shape.as_dict()
    random = np.random.default_rng([options.seed, loop.step])
    sources = [batches(looks, side, count, options.regions, random, options.aimed)
               for side, count, _ in options.crops]
    shares = np.array([share for _, _, share in options.crops])
    shares = shares / shares.sum()

    def measure() -> dict[str, float]:
        shown = validate(loop.average, validation) if validation is not None else {}
        return shown | {"accumulator_share": round(accumulator_share(loop.average), 4)}

    def on_device(tensor: Tensor) -> Tensor:
        return tensor.to(device, memory_format=torch.channels_last)

    for _ in loop.rounds(measure):
        which = int(random.choice(len(sources), p=shares))
        batch = next(sources[which])
        batch = Batch(on_device(batch.picture), on_device(batch.weight))
        q = torch.from_numpy(random.integers(0, 64, len(batch.picture))).to(device)
        levels = None
        if random.random() < options.mapped:
            coarser = torch.from_numpy(random.integers(1, MOST_COARSER + 1, len(batch.picture))).float().to(device)
            levels = object_maps(batch.weight, coarser)
        loss, shown = losses(loop.network, batch, q, eyes[which].drawn(random, options.zooms), options, levels)
        loop.update(loss, **shown)
    return loop.average


