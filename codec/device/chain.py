"""The chain of a tile on a device: one step from depth d to d + 1, wherever the child decisions come from.

See ``duoview.texture.chain`` and ``duoview.texture.prior``, which do the same on the host, to the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from duoview.device.networks import DeviceNetworks
from duoview.kernels import checkerboard
from duoview.kernels.cuda import Decoder
from duoview.texture.chain import ROW_POSITIONS
from duoview.texture.geometry import BLOCK, Tile
from duoview.texture.prior import conditions
from duoview.texture.section import BLOCK_CLASS
from duoview.texture.view import Seen


class StepPlanes:
    """Memory for steps of tiles of one size, used again for each."""

    def __init__(self, networks: DeviceNetworks, groups: int, numbers: int, height: int, width: int) -> None:
        empty, self.shape = networks.empty, (groups, height, width)
        self.seen = empty((1, groups * numbers, height, width), np.float32)
        #: Signs of children: none; of the first half, none in the second; of the second, which nobody asks for; before.
        self.no_signs, self.decided = (networks.array(np.zeros((1, *self.shape), np.float32)) for _ in range(2))
        self.decided_last, self.previous = (empty((1, *self.shape), np.float32) for _ in range(2))
        self.classes, self.fixed = (empty(self.shape, np.uint8) for _ in range(2))
        counts, blocks = [checkerboard.size(self.shape, half) for half in (0, 1)], height * width // BLOCK**2
        #: Flags of blocks that are coded, and symbols in coding order behind them; their classes; and parts of both.
        self.flagged = empty((blocks + sum(counts),), np.int16), empty((blocks + sum(counts),), np.uint8)
        self.flags, flag_classes = self._parts(networks, 0, blocks)
        networks.put(np.full(blocks, BLOCK_CLASS, np.uint8), flag_classes)
        self.symbols_row, self.classes_row = self._parts(networks, blocks, sum(counts))
        halves = [self._parts(networks, begin, count)
                  for begin, count in zip((blocks, blocks + counts[0]), counts, strict=True)]
        self.symbols_of, self.classes_of = ([half[one] for half in halves] for one in (0, 1))

    def _parts(self, networks: DeviceNetworks, begin: int, count: int) -> tuple[Any, Any]:
        """So many symbols of the rows, and their classes."""
        symbols, classes = self.flagged
        return (networks.view(symbols, (count,), np.int16, 2 * begin),
                networks.view(classes, (count,), np.uint8, begin))


class Choice(Protocol):
    """Where the child decisions of a half come from."""

    def __call__(self, networks: DeviceNetworks, planes: StepPlanes, nodes: Any, children: Any, decided: Any, half: int,
                 depth: int) -> None:
        """Fill a half of ``children``, and of ``decided`` with their signs, where ``planes`` hold what is coded."""


class Read:
    """Decisions from an entropy-coded payload."""

    def __init__(self, decoder: Decoder, scratch: Any) -> None:
        self._decoder, self._scratch = decoder, scratch

    def __call__(self, networks: DeviceNetworks, planes: StepPlanes, nodes: Any, children: Any, decided: Any, half: int,
                 depth: int) -> None:
        kernels, stream = networks.kernels, networks.stream
        kernels.gather_half(planes.classes, planes.classes_of[half], half, cuda_stream=stream)
        self._decoder.decode(planes.classes_of[half], planes.symbols_of[half], self._scratch, cuda_stream=stream)
        kernels.take_children(planes.symbols_of[half], planes.fixed, nodes, half, children=children, decided=decided,
                              cuda_stream=stream)


class Write:
    """Decisions that lead to ``wanted``, nodes of depth ``deepest``; rows of the planes then hold what is coded."""

    def __init__(self, wanted: Any, deepest: int) -> None:
        self._wanted, self._deepest = wanted, deepest

    def __call__(self, networks: DeviceNetworks, planes: StepPlanes, nodes: Any, children: Any, decided: Any, half: int,
                 depth: int) -> None:
        kernels, stream = networks.kernels, networks.stream
        kernels.gather_half(planes.classes, planes.classes_of[half], half, cuda_stream=stream)
        kernels.offer_children(self._wanted, planes.fixed, nodes, half, levels=self._deepest - depth - 1,
                               coded=planes.symbols_of[half], children=children, decided=decided, cuda_stream=stream)


class Draw:
    """Decisions drawn with their probabilities: see ``duoview.texture.chain.Sampler``."""

    def __init__(self, seed: int, tile: Tile, number: int = 0) -> None:
        self._seed, self._tile, self._number = seed, tile, number

    def __call__(self, networks: DeviceNetworks, planes: StepPlanes, nodes: Any, children: Any, decided: Any, half: int,
                 depth: int) -> None:
        networks.kernels.draw_children(
            planes.classes, planes.fixed, nodes, half, children=children, decided=decided, seed=self._seed,
            draw=self._number, depth=depth, top=self._tile.top, left=self._tile.left, row_positions=ROW_POSITIONS,
            cuda_stream=networks.stream)


@dataclass(frozen=True)
class DeviceContext:
    """What all tiles of a frame share: features (1, F, H, W) on the device, quality index, key frame or not."""

    chain: Chain
    features: Any
    q: int
    key: bool

    def of(self, area: tuple[slice, slice]) -> DeviceContext:
        """The part of one tile, in memory that the next tile of its size gets too."""
        rows, columns = area
        part = self.chain.window(self.features, rows.stop - rows.start, columns.stop - columns.start)
        self.chain.kernels.cut_window(self.features, part, top=rows.start, left=columns.start,
                                      cuda_stream=self.chain.stream)
        return DeviceContext(self.chain, part, self.q, self.key)


class Spare(Protocol):
    """Who has memory for nodes of a tile."""

    def spare(self, *used: Any) -> Any:
        """Memory that holds none of these."""


class Chain:
    """The exact networks of a profile's texture layer on a device, and steps down the trees by them.

    Raises ProfileError where the profile has no texture layer.
    """

    def __init__(self, networks: DeviceNetworks) -> None:
        self.networks, self.kernels, self.stream = networks, networks.kernels, networks.stream
        self.tables = networks.profile.texture()
        self._features, self._prior = networks["texture_features"], networks["texture_prior"]
        self._embedding = [networks.array(one.astype(np.float32)) for one in self.tables.embedding]
        self._own = [networks.array(one) for one in self.tables.logits]
        self._classes = networks.array(self.tables.classes)
        self._conditions: dict[tuple[int, int, int, bool], Any] = {}
        self._planes: dict[tuple[int, int], StepPlanes] = {}
        self._windows: dict[tuple[int, ...], Any] = {}
        self._no_symbols: tuple[tuple[int, ...], Any] = ((), None)

    def planes(self, height: int, width: int) -> StepPlanes:
        """Memory for tiles of this size."""
        if (height, width) not in self._planes:
            numbers = self.tables.embedding[0].shape[-1]
            self._planes[height, width] = StepPlanes(self.networks, self.tables.groups, numbers, height, width)
        return self._planes[height, width]

    def window(self, features: Any, height: int, width: int) -> Any:
        """Memory for the features (1, F, height, width) of a tile."""
        shape = (1, self.networks.driver.array("features", features).shape[1], height, width)
        if shape not in self._windows:
            self._windows[shape] = self.networks.empty(shape, np.float32)
        return self._windows[shape]

    def forget_sizes(self) -> None:
        """Give back the memory for tiles: a stream may have others from a key unit on, of any number of sizes."""
        self._planes.clear()
        self._windows.clear()

    def level(self, q: int) -> Any:
        """A quality index as networks take it, (1,) int64."""
        return self.networks.constant(np.array([q], np.int64))

    def frame(self, seen: Seen, shape: tuple[int, int]) -> DeviceContext:
        """Context of a frame of (H, W) latent positions, of the neural codec.

        In P frames y, which is a change of what is not known here, is not looked at.
        """
        decoded: Any = seen.decoded
        if not seen.key:
            size = (1, self.networks.profile.sizes.symbols, shape[0] // 2, shape[1] // 2)
            if self._no_symbols[0] != size:
                self._no_symbols = size, self.networks.array(np.zeros(size, np.float32))
            decoded = self._no_symbols[1]
        (features,) = self._features(decoded=decoded, q=self.level(seen.q))
        return DeviceContext(self, features, seen.q, seen.key)

    def _told(self, context: DeviceContext, depth: int, half: int) -> Any:
        key = context.q, depth, half, context.key
        if key not in self._conditions:
            self._conditions[key] = self.networks.constant(conditions(*key))
        return self._conditions[key]

    def step(self, context: DeviceContext, nodes: Any, children: Any, depth: int, choose: Choice, *,
             before: tuple[Any, Any, int] | None, held: Any = None) -> None:
        """Fill ``children``, nodes (G, h, w) uint8 of depth + 1, from ``nodes`` of ``depth``, in two halves.

        before: nodes of the frame before, where they are known (h, w), and their depth; None for a section that needs
        no frame before. held: (h, w) uint8, positions that keep their child of the frame before, or None.
        """
        kernels, stream = self.kernels, self.stream
        planes = self.planes(*self.networks.driver.array("nodes", nodes).shape[1:])
        kernels.embed_nodes(nodes, self._embedding[depth], planes.seen, cuda_stream=stream)
        previous = planes.no_signs
        if before is not None and before[2] > depth:
            previous = planes.previous
            kernels.previous_children(*before[:2], nodes, previous, levels=before[2] - depth - 1, cuda_stream=stream)
        for half in (0, 1):
            (logits,) = self._prior(features=context.features, nodes=planes.seen,
                                    decided=planes.decided if half else planes.no_signs, previous=previous,
                                    conditions=self._told(context, depth, half))
            kernels.child_classes(logits, nodes, self._own[depth], self._classes, half, previous=previous,
                                  classes=planes.classes, fixed=planes.fixed, held=held, cuda_stream=stream)
            choose(self.networks, planes, nodes, children, planes.decided_last if half else planes.decided, half, depth)

    def sampled(self, context: DeviceContext, nodes: Any, depth: int, memory: Spare, draw: Draw) -> Any:
        """Leaves below nodes (G, h, w) of ``depth``, drawn depth by depth; the nodes stay."""
        found = nodes
        for d in range(depth, self.tables.depth):
            children = memory.spare(nodes, found)
            self.step(context, found, children, d, draw, before=None)
            found = children
        return found
