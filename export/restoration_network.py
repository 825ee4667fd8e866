"""The restoration network as an ONNX graph."""

from __future__ import annotations

import numpy as np
import onnx

from duoview.export.float_networks import FLOAT, INT64, UINT8, blocks, convolution, quality_vector
from duoview.export.graph import GraphBuilder, Value
from duoview.models.restoration import CELL, DIFFERENCE_GAIN, GAIN, GREY, MAX_Q, REACH, Restoration


def restoration(network: Restoration) -> onnx.ModelProto:
    """picture, and the two before it (earlier, earliest), and q, one for all of them -> restored.

    Pictures are uint8 (N, 3, H, W), H and W multiples of 8.
    """
    g = GraphBuilder("restoration")
    g.name_layers(network, "restoration")
    side: list[str | int] = ["N", 3, "H", "W"]
    picture, earlier, earliest = (g.operator("Cast", g.input(name, UINT8, side), to=FLOAT)
                                  for name in ("picture", "earlier", "earliest"))
    q = g.input("q", INT64, [1])

    def difference(other: Value) -> Value:
        return g.operator("Mul", g.operator("Sub", other, picture), g.number(DIFFERENCE_GAIN / 255))

    level = g.operator("Mul", g.operator("Cast", q, to=FLOAT), g.number(1 / MAX_Q))
    level = g.operator("Reshape", level, g.constant(np.array([1, 1, 1, 1], np.int64), "plane"))
    shown = g.operator("Sub", g.operator("Mul", picture, g.number(GAIN / 255)), g.number(GREY * GAIN))
    seen = g.operator("Concat", shown, difference(earlier), difference(earliest), axis=1)
    x = g.operator("Add", convolution(g, seen, network.enter), convolution(g, level, network.level))
    fine = blocks(g, g.operator("Mul", x, quality_vector(g, network.gain, q)), network.fine)
    coarse = convolution(g, blocks(g, convolution(g, fine, network.down), network.coarse), network.up)
    scales = g.constant(np.array([1, 1, 2, 2], np.float32), "scales")
    wide = g.operator("Resize", coarse, "", scales, mode="nearest", nearest_mode="floor",
                      coordinate_transformation_mode="asymmetric")
    residual = g.shuffle(convolution(g, blocks(g, g.operator("Add", fine, wide), network.join), network.leave), CELL)
    out = g.operator("Add", picture, g.operator("Mul", residual, g.number(REACH * 255)))
    out = g.operator("Add", out, g.number(0.5))
    out = g.operator("Floor", g.operator("Clip", out, g.number(0), g.number(255)))
    g.output(g.operator("Cast", out, to=UINT8), "restored", UINT8, side)
    return g.model()


def stored_shape(network: Restoration) -> dict[str, list[int]]:
    """What a manifest tells of a network's shape, so that its weights can be read back."""
    return {"channels": list(network.channels), "blocks": list(network.blocks)}


def new_of_shape(shape: dict[str, list[int]]) -> Restoration:
    """A network of a shape that a manifest tells."""
    fine, coarse = shape["channels"]
    first, middle, last = shape["blocks"]
    return Restoration((fine, coarse), (first, middle, last))

