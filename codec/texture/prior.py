"""The prior of the chain: its exact networks, fed with decoded integers and nothing else.

``texture_features`` sees the machine layer's symbols once a frame; ``texture_prior`` runs for every depth of every
tile, in two checkerboard halves, and gives the logit of each child decision, from which a table makes the coder's
class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.backends import Backend
from duoview.kernels.palette import MAX_DEPTH
from duoview.profile import Profile
from duoview.texture.tables import LOGITS, TextureTables

Floats = NDArray[np.float32]
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
        self._features = profile.load("texture_features", backend)
        self._prior = profile.load("texture_prior", backend)
        self._symbols = profile.sizes.symbols

    def frame(self, decoded: Floats | None, shape: tuple[int, int], q: int, key: bool) -> FrameContext:
        """Context of a frame of (H, W) latent positions.

        decoded: y (1, C, H / 2, W / 2) in sixteenths; in P frames, whose y is a change of what is not known here, it
        is not looked at.
        """
        if not key or decoded is None:
            decoded = np.zeros((1, self._symbols, shape[0] // 2, shape[1] // 2), np.float32)
        (features,) = self._features(decoded=decoded, q=np.array([q], np.int64))
        return FrameContext(features, q, key)

    def classes(self, context: FrameContext, nodes: Nodes, depth: int, decided: Planes, previous: Planes, half: int
                ) -> Nodes:
        """Bernoulli classes of the children of nodes (G, H, W) of ``depth``: (G, H, W) uint8.

        decided: the children of the first half as -1 and 1, 0 elsewhere. previous: the same of the frame before, where
        the position then had the same node.
        """
        groups, height, width = nodes.shape
        at = np.arange(groups)[:, None], nodes.reshape(groups, -1)
        seen = self.tables.embedding[depth][at]
        planes = seen.transpose(0, 2, 1).reshape(1, -1, height, width)
        (logits,) = self._prior(
            features=context.features, nodes=planes.astype(np.float32),
            decided=decided[None].astype(np.float32) * DECIDED, previous=previous[None].astype(np.float32) * DECIDED,
            conditions=conditions(context.q, depth, half, context.key))
        own = self.tables.logits[depth][at].reshape(nodes.shape).astype(np.int32)
        return self.tables.classes[np.clip(logits[0] + own, -LOGITS // 2, LOGITS // 2 - 1) + LOGITS // 2]
