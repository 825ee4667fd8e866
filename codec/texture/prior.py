"""The prior of the chain: its exact networks, fed with decoded integers and nothing else.

``texture_features`` sees the neural layer's symbols once a frame, ``texture_means`` the block means of an inner codec's
picture; ``texture_prior`` runs for every depth of every
tile, in two checkerboard halves, and gives the logit of each child decision, from which a table makes the coder's
class, or no decision at all: the likely child is certain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.backends import Backend
from duoview.kernels.palette import MAX_DEPTH
from duoview.profile import Profile
from duoview.texture.tables import LOGITS, TextureTables
from duoview.texture.view import Floats, Seen

Nodes = NDArray[np.uint8]
Planes = NDArray[np.int8]
#: What a decided bit is for the network, plus or minus: 4 in sixteenths.
DECIDED = 64
#: Greatest value of a condition.
MOST_CONDITION = 63
#: Quality and its excess over three knots, one for each depth, second half, key frame.
CONDITIONS = 4 + MAX_DEPTH + 2
_KNOTS = (0, 16, 32, 48)


def ancestors(nodes: Nodes, levels: int) -> Nodes:
    """Nodes so many levels above."""
    return nodes >> np.uint8(levels)


def conditions(q: int, depth: int, half: int, key: bool) -> Floats:
    """(1, 14, 1, 1): what holds for a whole pass, integers 0..63."""
    values = [max(0, q - knot) for knot in _KNOTS]
    values += [MOST_CONDITION * (d == depth) for d in range(MAX_DEPTH)]
    values += [MOST_CONDITION * half, MOST_CONDITION * key]
    return np.array(values, np.float32)[None, :, None, None]


@dataclass(frozen=True)
class FrameContext:
    """What all tiles of a frame share: features (1, F, H, W), quality index, key frame or not."""

    features: Floats
    q: int
    key: bool

    def of(self, area: tuple[slice, slice]) -> FrameContext:
        """The part of one tile."""
        return FrameContext(np.ascontiguousarray(self.features[:, :, area[0], area[1]]), self.q, self.key)


class Prior:
    """The networks of a profile's texture layer on one backend. Raises ProfileError where the profile has none."""

    def __init__(self, profile: Profile, backend: Backend) -> None:
        self.tables: TextureTables = profile.texture()
        self._features, self._means = (profile.load(f"texture_{name}", backend) for name in ("features", "means"))
        self._prior = profile.load("texture_prior", backend)
        self._symbols = profile.sizes.symbols

    def frame(self, seen: Seen, shape: tuple[int, int]) -> FrameContext:
        """Context of a frame of (H, W) latent positions.

        In P frames y, which is a change of what is not known here, is not looked at.
        """
        level = np.array([seen.q], np.int64)
        if seen.means is not None:
            (features,) = self._means(means=seen.means, q=level)
        else:
            decoded = seen.decoded
            if not seen.key or decoded is None:
                decoded = np.zeros((1, self._symbols, shape[0] // 2, shape[1] // 2), np.float32)
            (features,) = self._features(decoded=decoded, q=level)
        return FrameContext(features, seen.q, seen.key)

    def at(self, context: FrameContext, nodes: Nodes, depth: int, previous: Planes) -> NodePrior:
        """The prior of the children of nodes (G, H, W) of ``depth``.

        previous: children in the frame before as -1 and 1, where the position then had the same node; 0 elsewhere.
        """
        tables, (groups, height, width) = self.tables, nodes.shape
        planes = np.empty((groups, tables.embedding[depth].shape[-1], height, width), np.float32)
        own = np.empty(nodes.shape, np.int32)
        for group in range(groups):
            # One number of the embedding after the other, so that planes come out as the network wants them. Nodes are
            # in range; without "clip", take would write to a copy of the plane first.
            for number, values in enumerate(tables.embedding[depth][group].T.astype(np.float32)):
                values.take(nodes[group], out=planes[group, number], mode="clip")
            own[group] = tables.logits[depth][group][nodes[group]]
        return NodePrior(self, context, depth, planes.reshape(1, -1, height, width), _signs(previous), own)

    def decisions(self, given: NodePrior, decided: Planes, half: int) -> Decisions:
        """See ``NodePrior.decisions``."""
        context = given.context
        (logits,) = self._prior(
            features=context.features, nodes=given.nodes, decided=_signs(decided), previous=given.previous,
            conditions=conditions(context.q, given.depth, half, context.key))
        summed = logits[0] + given.own
        np.maximum(summed, -LOGITS // 2, out=summed)
        np.minimum(summed, LOGITS // 2 - 1, out=summed)
        likely = (summed >= 0).astype(np.uint8) if self.tables.certain else None
        summed += LOGITS // 2
        return Decisions(self.tables.classes[summed], likely)


@dataclass(frozen=True)
class Decisions:
    """Bernoulli classes of child decisions, (G, H, W), 0 where the child is certain; then it is that of ``likely``.

    likely: None where the tables make nothing certain.
    """

    classes: Nodes
    likely: Nodes | None


@dataclass(frozen=True)
class NodePrior:
    """What both halves of a step share: nodes and signs as the network sees them, and the nodes' own logits."""

    prior: Prior
    context: FrameContext
    depth: int
    nodes: Floats
    previous: Floats
    own: NDArray[np.int32]

    def decisions(self, decided: Planes, half: int) -> Decisions:
        """How a half of the children is coded.

        decided: the children of the first half as -1 and 1, 0 elsewhere.
        """
        return self.prior.decisions(self, decided, half)


def _signs(planes: Planes) -> Floats:
    """-1, 0 and 1 as the network sees them, (1, G, H, W)."""
    found = planes[None].astype(np.float32)
    found *= DECIDED
    return found
