"""Training of the texture layer's exact networks: cross-entropy of the child decisions of coded pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from duoview.machine import first_half
from duoview.models.fixed_point import accumulator_share
from duoview.models.loop import Loop
from duoview.models.texture import Texture, TextureShape, class_table, float_teacher
from duoview.models.texture_palettes import STEP, Palettes
from duoview.models.texture_samples import TextureSamples
from duoview.texture.chain import Mask

#: Probabilities end here. Those of the coder's classes do at 1/256, but the logits beyond, which make children certain,
#: are to tell how rare the others are.
_EDGE = 1 / 4096


@dataclass(frozen=True)
class TextureTraining:
    """Options. ``minutes`` bounds wall time over all runs.

    moving: share of a batch that is trained as P frames, without the machine layer's integers and with the nodes of a
    frame before.
    """

    minutes: float = 25.0
    batch: int = 6
    rate: float = 3.0e-3
    seed: int = 1
    moving: float = 0.2
    device: str = "cpu"


@dataclass(frozen=True)
class Nodes:
    """Coded pictures as leaves (N, G, h, w) uint8; decoded, means, inner, q: as in ``TextureSamples``."""

    leaves: NDArray[np.uint8]
    decoded: NDArray[np.int16]
    means: NDArray[np.int16]
    inner: NDArray[np.bool_]
    q: NDArray[np.int64]

    @classmethod
    def of(cls, samples: TextureSamples, components: NDArray[np.float32], palettes: Palettes) -> Nodes:
        """Of samples whose components (N, C, h, w) are given, by palettes."""
        count, _, height, width = components.shape
        leaves = palettes.leaves(palettes.vectors(components, samples.q), samples.q)
        planes = leaves.reshape(count, height, width, palettes.scale.shape[1]).transpose(0, 3, 1, 2)
        return cls(np.ascontiguousarray(planes), samples.decoded, samples.means, samples.inner, samples.q)

    def __len__(self) -> int:
        return len(self.q)


@dataclass(frozen=True)
class Batch:
    """One step of every sample: nodes and their children, (N, G, h, w); the rest as ``Texture.forward`` takes it."""

    decoded: Tensor
    means: Tensor
    inner: Tensor
    nodes: Tensor
    children: Tensor
    previous: Tensor
    depth: Tensor
    q: Tensor
    key: Tensor


def halves(groups: int, height: int, width: int) -> Tensor:
    """(1, G, h, w), 1 at the first half of the coding order."""
    return torch.from_numpy(first_half(groups, height, width).copy()).float()[None]


def logits_of(network: Texture, batch: Batch) -> Tensor:
    """Logits of all child decisions, each from what is known when it is coded: (N, G, h, w)."""
    first = halves(*batch.nodes.shape[1:]).to(batch.nodes.device)
    features = torch.where(batch.inner[:, None, None, None] > 0, network.means(batch.means, batch.q),
                           network.features(batch.decoded, batch.q))
    nothing = torch.zeros_like(batch.previous)
    early = network(features, batch.nodes, batch.depth, nothing, batch.previous, batch.q, batch.key, 0)
    decided = (batch.children * 2 - 1) * first
    late = network(features, batch.nodes, batch.depth, decided, batch.previous, batch.q, batch.key, 1)
    return early * first + late * (1 - first)


def bits_of(logits: Tensor, children: Tensor) -> Tensor:
    """Bits of the decisions under probabilities of at least ``_EDGE``, elementwise."""
    likelihood = torch.sigmoid(torch.where(children > 0.5, logits, -logits))
    return -torch.log2(_EDGE + (1 - 2 * _EDGE) * likelihood)


def class_bits(logits: Tensor, children: Tensor) -> Tensor:
    """Bits of the decisions under the coder's classes, elementwise; none where the child is certain."""
    classes = class_table()[(logits * 16).round().long() + 128].float()
    one = (classes - 63.5) / 128
    likelihood = torch.where(children > 0.5, one, 1 - one)
    return -torch.log2(torch.where(classes > 0, likelihood, 1))


def overruled(logits: Tensor, children: Tensor) -> Tensor:
    """Where a child is certain, and another one than these: an encoder has to take it. Elementwise."""
    certain = class_table()[(logits * 16).round().long() + 128] == 0
    return certain & ((logits >= 0) != (children > 0.5))


def _blocks(random: np.random.Generator, height: int, width: int) -> Mask:
    """A random union of blocks, (h, w)."""
    coarse = random.random((-(-height // 4), -(-width // 4))) < random.random() * 0.6
    return coarse.repeat(4, 0).repeat(4, 1)[:height, :width]


def make_batch(nodes: Nodes, palettes: Palettes, chosen: NDArray[np.int64], depths: NDArray[np.int64],
               moving: NDArray[np.bool_], random: np.random.Generator, device: torch.device) -> Batch:
    """A step at ``depths`` (N,) of the chosen pictures; those that are ``moving`` (N,) as P frames.

    The frame before a P frame is made up: the same leaves with noise, in part forgotten.
    """
    deepest = palettes.depth
    leaves = nodes.leaves[chosen]
    groups, height, width = leaves.shape[1:]
    levels = (deepest - depths)[:, None, None, None]
    parents, children = leaves >> levels, leaves >> (levels - 1) & 1
    previous = np.zeros(leaves.shape, np.float32)
    table = palettes.nodes[-1].astype(np.float32) * np.float32(STEP)
    for n in np.flatnonzero(moving):
        noise = random.normal(0, random.choice([0.02, 0.1, 0.3]), (height * width, groups, table.shape[2]))
        flat = leaves[n].reshape(groups, -1).T
        before = palettes.leaves((table[np.arange(groups), flat] + noise).astype(np.float32), nodes.q[chosen[n:n + 1]])
        before = before.T.reshape(groups, height, width)
        deeper = before >> (levels[n] - 1)
        known = (deeper >> 1 == parents[n]) & ~_blocks(random, height, width)
        previous[n] = np.where(known, (deeper & 1) * 2.0 - 1, 0)
    decoded = nodes.decoded[chosen].astype(np.float32) / 16
    decoded[moving] = 0
    # P frames with texture are of the neural codec only.
    inner = (nodes.inner[chosen] & ~moving).astype(np.float32)
    means = nodes.means[chosen].astype(np.float32) / 16
    return Batch(*(torch.from_numpy(array).to(device) for array in (
        decoded, means, inner, parents.astype(np.int64), children.astype(np.float32), previous, depths, nodes.q[chosen],
        (~moving).astype(np.float32))))


def log_odds(nodes: Nodes, depth: int) -> list[NDArray[np.float32]]:
    """Logits of the second child of every node, by counts: for depth 0..D - 1 (G, 2^d)."""
    groups = nodes.leaves.shape[1]
    found = []
    for d in range(depth):
        counts = np.stack([np.bincount(nodes.leaves[:, group].reshape(-1) >> (depth - d - 1), minlength=2 << d)
                           for group in range(groups)]) + 0.5
        pairs = counts.reshape(groups, -1, 2)
        found.append(np.log(pairs[:, :, 1] / pairs[:, :, 0]).astype(np.float32))
    return found


def static_bits(train: Nodes, held: Nodes, depth: int) -> list[float]:
    """Bits a decision of held pictures under one probability for every node, counted on training pictures, by depth."""
    found = []
    groups = held.leaves.shape[1]
    for d in range(depth):
        total = 0.0
        for group in range(groups):
            counts = np.bincount(train.leaves[:, group].reshape(-1) >> (depth - d - 1), minlength=2 << d) + 0.5
            share = counts / counts.reshape(-1, 2).sum(1).repeat(2)
            total += -np.log2(share)[held.leaves[:, group].reshape(-1) >> (depth - d - 1)].mean()
        found.append(total / groups)
    return found


@torch.no_grad()
def validate(network: Texture, train: Nodes, held: Nodes, palettes: Palettes, *, most: int = 48) -> dict[str, float]:
    """Bits a decision on held pictures by depth: coder's classes, unquantised float teacher, static model.

    overruled: share of the decisions that are certain to be other ones, and cost error in place of bits.
    """
    if not len(held):
        return {}
    teacher = float_teacher(network)
    static = static_bits(train, held, palettes.depth)
    chosen = np.arange(min(most, len(held)))
    out: dict[str, float] = {}
    sums, against = np.zeros(3), 0.0
    for d in range(palettes.depth):
        batch = make_batch(held, palettes, chosen, np.full(len(chosen), d), np.zeros(len(chosen), np.bool_),
                           np.random.default_rng(5), torch.device("cpu"))
        logits = logits_of(network, batch)
        coded = float(class_bits(logits, batch.children).mean())
        against += float(overruled(logits, batch.children).float().mean()) / palettes.depth
        ideal = float(F.binary_cross_entropy_with_logits(logits_of(teacher, batch), batch.children)) / np.log(2)
        out |= {f"bits_{d + 1}": round(coded, 4), f"static_{d + 1}": round(static[d], 4)}
        sums += (coded, ideal, static[d])
    return out | {"bits": round(sums[0], 4), "teacher": round(sums[1], 4), "static": round(sums[2], 4),
                  "overruled": round(against, 6)}


def train(palettes: Palettes, shape: TextureShape, symbols: int, train_nodes: Nodes, held: Nodes,
          options: TextureTraining, folder: Path) -> Texture:
    """Train, or go on from ``texture.pt`` in ``folder``; returns the averaged network."""
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    vectors = [torch.from_numpy(one.astype(np.float32) * np.float32(STEP)) for one in palettes.nodes]
    odds = [torch.from_numpy(one) for one in log_odds(train_nodes, palettes.depth)]
    network = Texture(shape, symbols, vectors, odds).to(device)
    loop: Loop[Texture] = Loop("texture", network, folder / "texture.pt", minutes=options.minutes, rate=options.rate,
                               report_seconds=120, of={"palettes": palettes.sha256})
    loop.kept["shape"] = shape.as_dict()
    random = np.random.default_rng(options.seed + loop.step)

    def measure() -> dict[str, float]:
        average = loop.average.cpu()
        found = validate(average, train_nodes, held, palettes)
        loop.average.to(device)
        return {**found, "accumulator_share": round(accumulator_share(loop.average), 4)}

    for _ in loop.rounds(measure):
        chosen = random.integers(0, len(train_nodes), options.batch)
        depths = random.integers(0, palettes.depth, options.batch)
        batch = make_batch(train_nodes, palettes, chosen, depths, random.random(options.batch) < options.moving, random,
                           device)
        loop.update(bits_of(logits_of(network, batch), batch.children).mean())
    return loop.average
