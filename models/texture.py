"""The exact networks of the texture layer: which child of a palette node comes next, from decoded integers alone."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.fixed_point import (
    QUARTERS,
    SIGNED,
    UNSIGNED,
    FixedConv,
    quality_conditions,
    quantise,
)
from duoview.texture.block_means import MEANS
from duoview.texture.prior import CONDITIONS, DECIDED, MOST_CONDITION
from duoview.texture.tables import FIRST_CLASS, LAST_CLASS, LOGITS

#: Numbers that stand for one in the networks' fixed point.
ONE = 2.0**UNSIGNED.fraction
#: Logits of so much or more, in sixteenths, either way make a child certain: those that are clamped. Less takes more
#: bits away, and more of what is rare and worth them.
CERTAIN = LOGITS // 2 - 1


@dataclass(frozen=True)
class TextureShape:
    """Sizes.

    groups, depth: of the palettes. embedding: numbers that a node of one group is shown as. features: channels of what
    is known of the machine layer at 1/8. width: of the prior's layers.
    """

    groups: int = 24
    depth: int = 6
    embedding: int = 3
    features: int = 32
    width: int = 64

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


class TextureFeatures(nn.Module):
    """Exact: decoded y at 1/16 (N, symbols, h/2, w/2) in units of the quantiser, q (N,) -> (N, features, h, w)."""

    def __init__(self, symbols: int, features: int, width: int = 96) -> None:
        super().__init__()
        self.enter = FixedConv(symbols, width, source=QUARTERS, conditions=4)
        self.mix = FixedConv(width, width, kernel=3)
        self.leave = FixedConv(width, features * 4)

    def forward(self, decoded: Tensor, q: Tensor) -> Tensor:
        x = self.enter(quantise(decoded, QUARTERS), quality_conditions(q, QUARTERS.fraction))
        return F.pixel_shuffle(self.leave(self.mix(x)), 2)


class TextureMeans(nn.Module):
    """Exact: block means (N, MEANS, h/2, w/2) in sixteenths, q (N,) -> what ``TextureFeatures`` gives."""

    def __init__(self, features: int, width: int = 96) -> None:
        super().__init__()
        self.enter = FixedConv(MEANS, width, source=SIGNED, conditions=4)
        self.mix = FixedConv(width, width, kernel=3)
        self.leave = FixedConv(width, features * 4)

    def forward(self, means: Tensor, q: Tensor) -> Tensor:
        x = self.enter(quantise(means, SIGNED), quality_conditions(q, SIGNED.fraction))
        return F.pixel_shuffle(self.leave(self.mix(x)), 2)


class TexturePrior(nn.Module):
    """Exact: features, node embeddings, decided and previous children, conditions -> logits (N, groups, h, w).

    All in fixed point with four bits behind the point. conditions: (N, 14, 1, 1).
    """

    def __init__(self, shape: TextureShape) -> None:
        super().__init__()
        width = shape.width
        inputs = shape.features + shape.groups * (shape.embedding + 2)
        self.enter = FixedConv(inputs, width, conditions=CONDITIONS)
        self.spread = FixedConv(width, width, kernel=5)
        self.mix = FixedConv(width, width)
        self.near = FixedConv(width, width, kernel=3)
        self.gather = FixedConv(width, width)
        self.head = FixedConv(width, shape.groups, target=SIGNED, gain=0.05)

    def forward(self, features: Tensor, nodes: Tensor, decided: Tensor, previous: Tensor, conditions: Tensor) -> Tensor:
        x = self.enter(torch.cat([features, nodes, decided, previous], 1), conditions)
        logits: Tensor = self.head(self.gather(self.near(self.mix(self.spread(x)))))
        return logits


class Texture(nn.Module):
    """The networks and the embeddings of the nodes.

    vectors: for depth 0..D (G, 2^d, C / G) float32, the palettes, which the embeddings start from; None for zeros,
    where weights are loaded anyway. odds: for depth 0..D - 1 (G, 2^d), logits of the second child, from counts.
    """

    def __init__(self, shape: TextureShape, symbols: int, vectors: list[Tensor] | None = None,
                 odds: list[Tensor] | None = None) -> None:
        super().__init__()
        self.shape, self.symbols = shape, symbols
        self.features = TextureFeatures(symbols, shape.features)
        self.means = TextureMeans(shape.features)
        self.prior = TexturePrior(shape)
        wide = vectors[0].shape[2] if vectors is not None else 1
        mixing = torch.randn(wide, shape.embedding, generator=torch.Generator().manual_seed(3)) / wide**0.5 * 4
        self.embedding = nn.ParameterList(
            nn.Parameter((vectors[depth] if vectors is not None else torch.zeros(shape.groups, 1 << depth, 1)) @ mixing)
            for depth in range(shape.depth + 1))
        own = odds if odds is not None else [torch.zeros(shape.groups, 1 << depth) for depth in range(shape.depth)]
        self.own = nn.ParameterList(nn.Parameter(one.clone()) for one in own)

    def own_logits(self, depth: int) -> Tensor:
        """What a node's own statistics add to its logit, on the grid: (G, 2^depth)."""
        return quantise(self.own[depth], SIGNED)

    def embeddings(self, depth: int) -> Tensor:
        """On the grid: (G, 2^depth, E)."""
        return quantise(self.embedding[depth], SIGNED)

    def seen(self, nodes: Tensor, depth: Tensor) -> Tensor:
        """What the prior sees of nodes (N, G, h, w), sample n of depth[n]: (N, G E, h, w)."""
        table = torch.cat([self.embeddings(d) for d in range(self.shape.depth + 1)], 1)  # (G, nodes of all depths, E)
        picked = table[self._places(nodes, depth)]  # (N, G, h, w, E)
        return picked.permute(0, 1, 4, 2, 3).flatten(1, 2)

    def _places(self, nodes: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Where nodes stand in tables of all depths: group and number, each (N, G, h, w) or broadcast to that."""
        groups = torch.arange(self.shape.groups, device=nodes.device)[None, :, None, None]
        return groups, nodes.long() + ((1 << depth) - 1)[:, None, None, None]

    def forward(self, features: Tensor, nodes: Tensor, depth: Tensor, decided: Tensor, previous: Tensor,
                q: Tensor, key: Tensor, half: int) -> Tensor:
        """Logits of the children of nodes (N, G, h, w); decided, previous: -1, 0, 1; depth, q, key: (N,)."""
        unit = DECIDED / ONE
        logits = self.prior(features, self.seen(nodes, depth), decided * unit, previous * unit,
                            pass_conditions(q, depth, half, key))
        own = torch.cat([self.own_logits(d) for d in range(self.shape.depth)], 1)
        most = (LOGITS // 2 - 1) / ONE
        return torch.clamp(logits + own[self._places(nodes, depth)], -LOGITS / 2 / ONE, most)


def pass_conditions(q: Tensor, depth: Tensor, half: int, key: Tensor) -> Tensor:
    """``duoview.texture.prior.conditions`` for a batch, in fixed point: (N, 14, 1, 1)."""
    levels = [(q - knot).clamp(min=0).float() for knot in (0, 16, 32, 48)]
    places = [(depth == d).float() * MOST_CONDITION for d in range(CONDITIONS - 6)]
    rest = [torch.full_like(levels[0], half * MOST_CONDITION), key.float() * MOST_CONDITION]
    return torch.stack([*levels, *places, *rest], 1)[:, :, None, None] / ONE


def class_table(certain: int | None = CERTAIN) -> Tensor:
    """The class of every integer logit -128..127: the one whose probability is nearest, (256,) uint8.

    certain: from which logits on, either way, the child is certain and the class 0; None for none.
    """
    logits = torch.arange(-LOGITS // 2, LOGITS // 2).double() / ONE
    classes = torch.floor(torch.sigmoid(logits) * 128) + FIRST_CLASS
    classes = classes.clamp(FIRST_CLASS, LAST_CLASS)
    if certain is not None:
        classes[logits.abs() * ONE >= certain] = 0
    return classes.to(torch.uint8)


class _FloatConv(nn.Module):
    """A fixed-point layer without its rounding."""

    def __init__(self, layer: FixedConv) -> None:
        super().__init__()
        self.weight, self.bias, self.condition = layer.weight, layer.bias, layer.condition
        self.kernel, self.groups, self.target = layer.kernel, layer.groups, layer.target

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        out = F.conv2d(x, self.weight, self.bias, padding=self.kernel // 2, groups=self.groups)
        if condition is not None:
            assert self.condition is not None
            out = out + F.conv2d(condition, self.condition)
        scale = 2.0**self.target.fraction
        return out.clamp(self.target.low / scale, self.target.high / scale)


def float_teacher(network: Texture) -> Texture:
    """A copy whose layers round neither weights nor activations: what exactness costs is measured against it."""
    teacher = copy.deepcopy(network)
    for part in (teacher.features, teacher.means, teacher.prior):
        for name, layer in list(part.named_children()):
            assert isinstance(layer, FixedConv)
            setattr(part, name, _FloatConv(layer))
    return teacher
