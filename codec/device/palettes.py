"""Palettes of the texture layer as arrays of a device, which encoders ask for: each is made when it is first needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from duoview.device.networks import DeviceNetworks
from duoview.texture.palettes import APART, Palettes


class DevicePalettes:
    """The palettes in use, and what vectors are compared with them by."""

    def __init__(self, networks: DeviceNetworks, palettes: Palettes) -> None:
        self._networks, self._palettes = networks, palettes
        #: The ancestor's place in vectors for which leaves are sought below a node, (1,) float32.
        self.apart = networks.array(np.array([APART], np.float32))
        self._leaves: dict[tuple[int, int], Any] = {}
        self._nodes: dict[int, Any] = {}
        self._scales: dict[int, tuple[Any, Any]] = {}

    def use(self, palettes: Palettes) -> None:
        """From now on these."""
        if palettes is not self._palettes:
            self._palettes = palettes
            self._leaves.clear()
            self._nodes.clear()

    def leaves(self, q: int, depth: int) -> Any:
        """The table to seek leaves in: below nodes of ``depth``, or for 0 everywhere."""
        if (q, depth) not in self._leaves:
            table = self._palettes.apart_table(depth, q) if depth else self._palettes.leaf_table(q)
            self._leaves[q, depth] = self._networks.array(table)
        return self._leaves[q, depth]

    def nodes(self, depth: int) -> Any:
        """Vectors (G, 2^depth, C / G) of nodes; None for depth 0, which is no texture."""
        if depth and depth not in self._nodes:
            self._nodes[depth] = self._networks.array(self._palettes.vectors[depth])
        return self._nodes.get(depth)

    def scale(self, q: int) -> Any:
        """What components are divided by, (G,)."""
        return self._of(q)[0]

    def error(self, q: int) -> Any:
        """The picture's squared error for one of 1 in components, (1,)."""
        return self._of(q)[1]

    def _of(self, q: int) -> tuple[Any, Any]:
        if q not in self._scales:
            tables, array = self._palettes.tables, self._networks.array
            self._scales[q] = array(tables.scale[q]), array(tables.error[q:q + 1])
        return self._scales[q]
