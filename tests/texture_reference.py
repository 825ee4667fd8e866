"""A second reader of texture sections, after docs/bitstream.md alone: plain Python and numpy, no kernel, no backend.

Slow. It reads the profile's files itself; of duoview it uses nothing. Palette sections are not its business: they
change no
node.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Integers = NDArray[np.int64]


class Refused(Exception):
    """A section that may not be decoded."""


class BinaryRans:
    """One chunk of symbols of binary classes, with 1, 4 or 32 lanes."""

    def __init__(self, data: bytes) -> None:
        self.states: list[int] = []
        first = data[0] if data else -1
        if first < 0:
            at = 0
        elif first < 0x80:
            self.states, at = [int.from_bytes(data[:3], "big")], 3
        elif first < 0xC0:
            self.states, at = [int.from_bytes(data[:4], "big") & 0x3FFFFFFF], 4
        elif first == 0xC0:
            self.states, at = [int.from_bytes(data[1:5], "big")], 5
        else:
            lanes = {0xE1: 4, 0xE2: 32}[first]
            self.states = [int.from_bytes(data[1 + 4 * n:5 + 4 * n], "little") for n in range(lanes)]
            at = 1 + 4 * lanes
        self.words = [int.from_bytes(data[n:n + 2], "little") for n in range(at, len(data), 2)]
        self.next = self.coded = 0

    def symbol(self, class_: int) -> int:
        """The next symbol."""
        if class_ == 0:
            return 0
        if not self.states:
            raise Refused("nothing was coded")
        lane = self.coded % len(self.states)
        self.coded += 1
        one = 32 * (class_ - 64) + 16  # of 4096
        state = self.states[lane]
        slot = state % 4096
        symbol = int(slot >= 4096 - one)
        frequency, start = (one, 4096 - one) if symbol else (4096 - one, 0)
        state = frequency * (state // 4096) + slot - start
        if state < 1 << 16:
            if self.next == len(self.words):
                raise Refused("the data ends too early")
            state = state << 16 | self.words[self.next]
            self.next += 1
        self.states[lane] = state
        return symbol

    def finish(self) -> None:
        """Everything was used, and every state is back at its start."""
        if self.next != len(self.words) or any(state != 1 << 16 for state in self.states):
            raise Refused("data is left over, or the states are not at their start")


class ExactNetwork:
    """A graph of the few operators that exact networks are made of, in float64, where their integers are exact."""

    def __init__(self, path: Path) -> None:
        self.graph = onnx.load(str(path)).graph
        self.constants: dict[str, NDArray[Any]] = {
            one.name: numpy_helper.to_array(one).astype(np.float64) for one in self.graph.initializer}

    def __call__(self, **inputs: NDArray[Any]) -> NDArray[np.float64]:
        """The first output."""
        values = self.constants | {name: array.astype(np.float64) for name, array in inputs.items()}
        for node in self.graph.node:
            given = [values[name] for name in node.input]
            found = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            values[node.output[0]] = self._run(node.op_type, given, found)
        return values[self.graph.output[0].name]

    @staticmethod
    def _run(kind: str, given: Sequence[NDArray[Any]], found: dict[str, Any]) -> NDArray[Any]:
        match kind:
            case "Conv":
                return convolve(given[0], given[1], given[2], found["group"])
            case "Round":
                return np.rint(given[0])
            case "Floor":
                return np.floor(given[0])
            case "Add":
                return np.asarray(given[0] + given[1])
            case "Mul":
                return np.asarray(given[0] * given[1])
            case "Clip":
                return np.clip(given[0], given[1], given[2])
            case "Concat":
                return np.concatenate(given, found["axis"])
            case "Cast" | "Identity":
                return given[0]
            case "Reshape":
                return given[0].reshape(given[1].astype(int))
            case "DepthToSpace":
                assert found["mode"] == b"CRD"
                n, c, h, w = given[0].shape
                b = found["blocksize"]
                parts = given[0].reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
                return parts.reshape(n, c // (b * b), h * b, w * b)
        raise ValueError(f"operator {kind}: expected one of those above, which are all that exact networks have")


def convolve(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], groups: int) -> NDArray[Any]:
    """Pointwise or depthwise convolution, (1, C, H, W), zeros around."""
    side = weight.shape[2]
    if groups == 1:
        return np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x) + bias[None, :, None, None]
    height, width = x.shape[2:]
    around = np.pad(x, ((0, 0), (0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    total = np.zeros_like(x) + bias[None, :, None, None]
    for row in range(side):
        for column in range(side):
            total += around[:, :, row:row + height, column:column + width] * weight[None, :, 0, row, column, None, None]
    return total


@dataclass
class Tile:
    """A tile's place, and its chain."""

    top: int
    left: int
    nodes: Integers
    depth: int = 0
    known: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    links: dict[int, int] = field(default_factory=dict)


class Reference:
    """Nodes of the tiles of one stream. decoded: y in sixteenths, moved: where the machine layer coded something."""

    def __init__(self, profile: Path, width: int, height: int, tile_log2: int) -> None:
        manifest = json.loads((profile / "profile.json").read_text())
        self.groups, self.deepest = manifest["texture"]["groups"], manifest["texture"]["depth"]
        with np.load(profile / manifest["texture"]["file"]) as stored:
            self.tables = {name: stored[name].astype(np.int64) for name in stored.files
                           if name.startswith(("embedding", "logits", "classes"))}
        self.features_network = ExactNetwork(profile / manifest["networks"]["texture_features"]["file"])
        self.prior_network = ExactNetwork(profile / manifest["networks"]["texture_prior"]["file"])
        rows, columns, side = -(-height // 64) * 8, -(-width // 64) * 8, 1 << tile_log2
        self.tiles = [Tile(top, left, np.zeros((self.groups, min(side, rows - top), min(side, columns - left)), int))
                      for top in range(0, rows, side) for left in range(0, columns, side)]

    def unit(self, sections: dict[tuple[int, int], bytes], decoded: NDArray[Any], moved: NDArray[np.bool_], q: int,
             key: bool) -> None:
        """Take a unit's sections by (depth, tile)."""
        features = self.features_network(decoded=decoded if key else np.zeros_like(decoded), q=np.array([q]))
        for number, tile in enumerate(self.tiles):
            height, width = tile.nodes.shape[1:]
            area = slice(tile.top, tile.top + height), slice(tile.left, tile.left + width)
            if key:
                tile.depth, tile.known, tile.links = 0, np.zeros((height, width), np.bool_), {}
            else:
                tile.known = tile.known & ~moved[area]
            mine = {depth: payload for (depth, at), payload in sections.items() if at == number}
            if mine:
                self._tile(tile, mine, features[:, :, area[0], area[1]], q, key)

    def _tile(self, tile: Tile, sections: dict[int, bytes], features: NDArray[Any], q: int, key: bool) -> None:
        nodes, held, reached = np.zeros_like(tile.nodes), None, 0
        refresh = sections[1][0] >> 7 if 1 in sections else 1
        links = dict(tile.links)
        for depth in range(1, self.deepest + 1):
            if depth not in sections:
                break
            try:
                if sections[depth][0] >> 7 != refresh or (key and not refresh):
                    raise Refused("refresh")
                nodes, held = self._section(tile, nodes, depth, sections[depth], held, features, q, key)
            except Refused:
                break
            links[depth] = (sections[depth][0] % 64 + 1) % 64
            reached = depth
        tile.nodes, tile.depth, tile.known = nodes, reached, np.full(tile.known.shape, reached > 0)
        tile.links = {depth: link for depth, link in links.items() if depth <= reached}

    def _section(self, tile: Tile, nodes: Integers, depth: int, payload: bytes, held: NDArray[np.bool_] | None,
                 features: NDArray[Any], q: int, key: bool) -> tuple[Integers, NDArray[np.bool_] | None]:
        groups, height, width = nodes.shape
        refresh, link = payload[0] >> 7, payload[0] % 64
        coder = BinaryRans(payload[1:])
        previous = np.zeros(nodes.shape, int)
        if not refresh:
            if tile.links.get(depth) != link or tile.depth < depth:
                raise Refused("link")
            if depth == 1:
                flags = np.array([coder.symbol(96) for _ in range(height // 8 * (width // 8))])
                held = np.kron(flags.reshape(height // 8, width // 8) == 0, np.ones((8, 8), np.bool_))
                if (held & ~tile.known).any():
                    raise Refused("held")
            before = tile.nodes >> (tile.depth - depth)
            previous = np.where(tile.known & (before >> 1 == nodes), before % 2 * 2 - 1, 0)
        conditions = [max(0, q - knot) for knot in (0, 16, 32, 48)] + [63 * (d == depth - 1) for d in range(8)]
        bits, decided = np.zeros(nodes.shape, int), np.zeros(nodes.shape, int)
        every = np.arange(groups)[:, None, None]
        seen = self.tables[f"embedding_{depth - 1}"][every, nodes]
        own = self.tables[f"logits_{depth - 1}"][every, nodes]
        for half in (0, 1):
            logits = self.prior_network(
                features=features, nodes=seen.transpose(0, 3, 1, 2).reshape(1, -1, height, width),
                decided=decided[None] * 64, previous=previous[None] * 64,
                conditions=np.array([*conditions, 63 * half, 63 * key]).reshape(1, -1, 1, 1))[0]
            classes = self.tables["classes"][np.clip(logits.astype(int) + own, -128, 127) + 128]
            for g in range(groups):
                for r in range(height):
                    for c in range(width):
                        if (r + c + (g >= groups // 2) + half) % 2:
                            continue
                        if held is not None and held[r, c]:
                            bits[g, r, c] = previous[g, r, c] > 0
                            continue
                        bits[g, r, c] = coder.symbol(int(classes[g, r, c]))
            if half == 0:
                rows, columns = np.arange(height)[:, None], np.arange(width)[None]
                first = (rows + columns + (np.arange(groups) >= groups // 2)[:, None, None]) % 2 == 0
                decided = np.where(first, bits * 2 - 1, 0)
        coder.finish()
        return nodes * 2 + bits, held
