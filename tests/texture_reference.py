"""A second decoder of the texture layer, after docs/bitstream.md alone: plain Python and numpy, no kernel, no backend.

Slow. It reads units and the profile's files itself; of duoview it uses nothing.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
UNIT = SimpleNamespace(**runpy.run_path(str(HERE / "reference_unit.py")))
NETWORKS = SimpleNamespace(**runpy.run_path(str(HERE / "reference_networks.py")))
RANS, Refused = UNIT.RANS, UNIT.Refused
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass
class Tile:
    """A tile's place, and its chain: ``last`` has the index of the unit of every depth's last section, if it counts."""

    top: int
    left: int
    nodes: Integers
    depth: int = 0
    known: Mask = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    last: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Pass:
    """What the sections of a unit share."""

    index: int
    key: bool
    q: int
    features: NDArray[Any]


@dataclass(frozen=True)
class Head:
    """What stands before the symbols of a texture section, and these."""

    refresh: bool
    palette: bool
    distance: int
    symbols: bytes


def read_head(payload: bytes) -> Head:
    """Of a payload."""
    if not payload:
        raise Refused("no head")
    refresh, distance, at = bool(payload[0] >> 7), payload[0] % 64, 1
    if refresh != (distance == 0):
        raise Refused("refresh with a distance, or neither of them")
    if distance == 63:
        more, at = RANS.varint(payload, 1)
        distance += more
    return Head(refresh, bool(payload[0] >> 6 & 1), distance, payload[at:])


def read_map(payload: bytes, tiles: int, deepest: int) -> list[int]:
    """Depths of all tiles."""
    depths: list[int] = []
    at = 0
    while at < len(payload):
        run, at = RANS.varint(payload, at)
        depth = run & 15
        if depth > deepest or (depths and depths[-1] == depth) or len(depths) + (run >> 4) + 1 > tiles:
            raise Refused("a depth beyond the deepest, two runs of one depth, or too many tiles")
        depths += [depth] * ((run >> 4) + 1)
    if len(depths) != tiles:
        raise Refused("not all tiles are in the depth map")
    return depths


def read_changes(payload: bytes, shape: tuple[int, ...]) -> Integers:
    """What palette deltas add to the nodes of their depth."""
    if len(payload) < 2 or payload[0] > 12 or not 1 <= payload[1] <= 63:
        raise Refused("no palette deltas")
    coder = RANS.Symbols(payload[2:])
    changes = [coder.symbol(payload[1]) for _ in range(int(np.prod(shape)))]
    coder.finish()
    if any(abs(change) > 127 for change in changes):
        raise Refused("a change beyond 127")
    return np.array(changes).reshape(shape) << payload[0]


class Reference:
    """The texture of one stream.

    Attributes:
        tiles: nodes, known places and chains. palettes: for depth 0 to D the node vectors in use, as integers (G, 2^d,
            C / G). depth_map: how deep each tile goes at most, None where nothing says.
    """

    def __init__(self, profile: Path) -> None:
        manifest = json.loads((profile / "profile.json").read_text())
        with np.load(profile / manifest["texture"]["file"]) as stored:
            self.tables = {name: stored[name].astype(np.int64) for name in stored.files
                           if name.startswith(("nodes", "embedding", "logits", "classes", "levels"))}
        self.features_network, self.means_network, self.prior_network = (
            NETWORKS.ExactNetwork(profile / manifest["networks"][f"texture_{name}"]["file"])
            for name in ("features", "means", "prior"))
        self.tiles: list[Tile] = []
        self.palettes: list[Integers] = []
        self.depth_map: list[int] | None = None
        self._adapted = self._groups = self._deepest = self._q = 0
        self._sequence: Any = None

    def unit(self, data: bytes, decoded: NDArray[Any], moved: Mask, means: NDArray[Any] | None = None) -> None:
        """Take a unit, whose machine layer has been decoded: y in sixteenths, and where it coded something.

        means: block means of an inner codec's picture, of a key unit; then y does not count.
        """
        unit = UNIT.read_unit(data)
        quality = unit.sections.get((UNIT.QUALITY, 0))
        if quality is not None:
            self._q = RANS.varint(quality, 0)[0]
        if unit.key:
            self._begin(unit)
        q = self._q if means is None else int(self.tables["levels"][self._q])
        if means is None:
            features = self.features_network(decoded=decoded if unit.key else np.zeros_like(decoded), q=np.array([q]))
        else:
            features = self.means_network(means=means, q=np.array([q]))
        for number, tile in enumerate(self.tiles):
            height, width = tile.nodes.shape[1:]
            area = slice(tile.top, tile.top + height), slice(tile.left, tile.left + width)
            if not unit.key:
                tile.known = tile.known & ~moved[area]
            mine = {index >> 16: payload for (type_, index), payload in unit.sections.items()
                    if type_ == UNIT.TEXTURE and index & 65535 == number and 1 <= index >> 16 <= self._deepest}
            if mine:
                self._tile(tile, mine, self._deepest if self.depth_map is None else self.depth_map[number],
                           Pass(unit.index, unit.key, q, features[:, :, area[0], area[1]]))

    def _begin(self, unit: Any) -> None:
        """A key unit: tiles, palettes and depth map anew."""
        self._sequence = unit.sequence or self._sequence
        found = self._sequence
        self._groups, self._deepest = found.groups, found.depth
        rows, columns, side = -(-found.height // 64) * 8, -(-found.width // 64) * 8, 1 << found.tile_log2
        self.tiles = []
        for top in range(0, rows, side):
            for left in range(0, columns, side):
                shape = min(side, rows - top), min(side, columns - left)
                self.tiles.append(Tile(top, left, np.zeros((found.groups, *shape), int), 0, np.zeros(shape, np.bool_)))
        self.palettes = [self.tables[f"nodes_{depth}"].copy() for depth in range(self._deepest + 1)]
        self._adapted, self.depth_map = 0, None
        coded = unit.sections.get((UNIT.DEPTH_MAP, 0))
        if coded is not None:
            self.depth_map = self._unless_refused(lambda: read_map(coded, len(self.tiles), self._deepest))
        for depth in range(1, self._deepest + 1):
            payload = unit.sections.get((UNIT.PALETTE, depth))
            shape = self.palettes[depth].shape
            changes = None if payload is None else self._unless_refused(
                lambda payload=payload, shape=shape: read_changes(payload, shape))  # type: ignore[misc]
            if changes is None:
                break
            for deeper in range(depth, self._deepest + 1):
                for node in range(1 << deeper):
                    self.palettes[deeper][:, node] += changes[:, node >> deeper - depth]
            self._adapted = depth

    @staticmethod
    def _unless_refused(read: Callable[[], Any]) -> Any:
        """What is read; None where it breaks a rule, which counts as missing."""
        try:
            return read()
        except Refused:
            return None

    def _tile(self, tile: Tile, sections: dict[int, bytes | None], most: int, pass_: Pass) -> None:
        nodes, held, reached, refresh = np.zeros_like(tile.nodes), None, 0, True
        for depth in range(1, most + 1):
            payload = sections.get(depth)
            if payload is None:
                break
            try:
                head = read_head(payload)
                if (depth > 1 and head.refresh != refresh) or (pass_.key and not head.refresh):
                    raise Refused("refresh")
                if head.palette != (self._adapted >= depth):
                    raise Refused("palette")
                refresh = head.refresh
                nodes, held = self._section(tile, nodes, depth, head, held, pass_)
            except Refused:
                break
            reached = depth
        tile.nodes, tile.depth, tile.known = nodes, reached, np.full(tile.known.shape, reached > 0)
        tile.last = dict.fromkeys(range(1, reached + 1), pass_.index)

    def _section(self, tile: Tile, nodes: Integers, depth: int, head: Head, held: Mask | None, pass_: Pass
                 ) -> tuple[Integers, Mask | None]:
        """Nodes of a depth from those of the one before, and the positions that keep what they had."""
        groups, height, width = nodes.shape
        coder = RANS.Symbols(head.symbols)
        previous = np.zeros(nodes.shape, int)
        if not head.refresh:
            if tile.last.get(depth) != pass_.index - head.distance:
                raise Refused("chain")
            if depth == 1:
                flags = np.array([coder.symbol(96) for _ in range(height // 8 * (width // 8))])
                held = np.kron(flags.reshape(height // 8, width // 8) == 0, np.ones((8, 8), np.bool_))
                if (held & ~tile.known).any():
                    raise Refused("held")
            before = tile.nodes >> (tile.depth - depth)
            previous = np.where(tile.known & (before >> 1 == nodes), before % 2 * 2 - 1, 0)
        bits, decided = np.zeros(nodes.shape, int), np.zeros(nodes.shape, int)
        for half in (0, 1):
            classes, likely = self._decisions(nodes, depth, half, decided, previous, pass_)
            for g in range(groups):
                for r in range(height):
                    for c in range(width):
                        if (r + c + (g >= groups // 2) + half) % 2:
                            continue
                        if held is not None and held[r, c]:
                            bits[g, r, c] = previous[g, r, c] > 0
                        elif classes[g, r, c] == 0:
                            bits[g, r, c] = likely[g, r, c]
                        else:
                            bits[g, r, c] = coder.symbol(int(classes[g, r, c]))
                        if half == 0:
                            decided[g, r, c] = bits[g, r, c] * 2 - 1
        coder.finish()
        return nodes * 2 + bits, held

    def _decisions(self, nodes: Integers, depth: int, half: int, decided: Integers, previous: Integers, pass_: Pass
                   ) -> tuple[Integers, Mask]:
        """Classes, and the child where the class is 0."""
        every = np.arange(len(nodes))[:, None, None]
        q = pass_.q
        conditions = [max(0, q - knot) for knot in (0, 16, 32, 48)] + [63 * (d == depth - 1) for d in range(8)]
        conditions += [63 * half, 63 * pass_.key]
        seen = self.tables[f"embedding_{depth - 1}"][every, nodes]
        logits = self.prior_network(
            features=pass_.features, nodes=seen.transpose(0, 3, 1, 2).reshape(1, -1, *nodes.shape[1:]),
            decided=decided[None] * 64, previous=previous[None] * 64,
            conditions=np.array(conditions).reshape(1, -1, 1, 1))[0]
        own = self.tables[f"logits_{depth - 1}"][every, nodes]
        summed = np.clip(logits.astype(int) + own, -128, 127)
        return self.tables["classes"][summed + 128], summed >= 0
