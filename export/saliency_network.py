"""The saliency network as an ONNX graph."""

from __future__ import annotations

import numpy as np
import onnx

from duoview.export.float_networks import FLOAT, UINT8, block, blocks, convolution
from duoview.export.graph import GraphBuilder, Value
from duoview.models.saliency import GREY, Saliency

_GAIN = 4.0


def saliency(network: Saliency) -> onnx.ModelProto:
    """picture and background, at half size -> probabilities: float32 (N, 1, H/4, W/4).

    Both are uint8 (N, 3, H, W), H and W multiples of 16; a picture whose background is not known is its own.
    """
    g = GraphBuilder("saliency")
    g.name_layers(network, "saliency")
    picture, background = (g.operator("Cast", g.input(name, UINT8, ["N", 3, "H", "W"]), to=FLOAT)
                           for name in ("picture", "background"))
    apart = g.operator("ReduceMean", g.operator("Abs", g.operator("Sub", picture, background)), axes=[1], keepdims=1)
    shown = g.operator("Sub", g.operator("Mul", picture, g.number(_GAIN / 255)), g.number(_GAIN * GREY))
    seen = g.operator("Concat", shown, g.operator("Mul", apart, g.number(_GAIN / 255)), axis=1)
    scales = g.constant(np.array([1, 1, 2, 2], np.float32), "scales")

    def wide(x: Value) -> Value:
        return g.operator("Resize", x, "", scales, mode="nearest", nearest_mode="floor",
                          coordinate_transformation_mode="asymmetric")

    fine_channels, middle_channels = network.from_middle.out_channels, network.from_coarse.out_channels
    fine = blocks(g, convolution(g, g.unshuffle(seen, 4, 4), network.enter), network.fine)
    middle = blocks(g, convolution(g, g.unshuffle(fine, 2, fine_channels), network.to_middle), network.middle)
    coarse = blocks(g, convolution(g, g.unshuffle(middle, 2, middle_channels), network.to_coarse), network.coarse)
    middle = g.operator("Add", middle, wide(convolution(g, coarse, network.from_coarse)))
    middle = block(g, middle, network.join_middle)
    fine = g.operator("Add", fine, wide(convolution(g, middle, network.from_middle)))
    logits = convolution(g, blocks(g, fine, network.join_fine), network.leave)
    g.output(g.operator("Sigmoid", logits), "probabilities", FLOAT, ["N", 1, "h", "w"])
    return g.model()


def stored_shape(network: Saliency) -> dict[str, list[int]]:
    """What a manifest tells of a network's shape, so that its weights can be read back."""
    return {"channels": list(network.channels), "blocks": list(network.depths)}


def new_of_shape(shape: dict[str, list[int]]) -> Saliency:
    """A network of a shape that a manifest tells."""
    fine, middle, coarse = shape["channels"]
    first, second, third = shape["blocks"]
    return Saliency((fine, middle, coarse), (first, second, third))
