"""Exact networks as integer ONNX graphs, with the proof that their accumulators stay in range."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from duoview.export.float_networks import FLOAT, INT64, array
from duoview.export.graph import GraphBuilder, Value
from duoview.models.fixed_point import ACCUMULATOR_LIMIT, QUARTERS, FixedConv, Format
from duoview.models.inter import TemporalHyperDecoder
from duoview.models.key import ContextNetwork, HyperDecoder, ParameterHead

INT16, UINT8 = TensorProto.INT16, TensorProto.UINT8


def requantise(g: GraphBuilder, accumulator: Value, fraction: int, target: Format) -> Value:
    """Round, scale by a power of two, round half up, clamp: integers in, integers of ``target`` out.

    The first Round takes away whatever rounding error a backend's float sum may have left (below 0.5).
    """
    x = g.operator("Round", accumulator)
    x = g.operator("Mul", x, g.number(2.0 ** (target.fraction - fraction)))
    x = g.operator("Floor", g.operator("Add", x, g.number(0.5)))
    return g.operator("Clip", x, g.number(target.low), g.number(target.high))


def fixed(g: GraphBuilder, x: Value, layer: FixedConv, conditions: Value | None = None) -> Value:
    """One exact convolution. Raises ValueError when its accumulator cannot be proven to stay below 2^22."""
    bound = layer.accumulator_bound()
    if bound >= ACCUMULATOR_LIMIT:
        raise ValueError(f"{g.name}: an accumulator may reach {bound}, the limit is {ACCUMULATOR_LIMIT - 1}; "
                         "train with smaller weights or fewer inputs")
    out = g.convolve(x, array(layer.integer_weight()), array(layer.integer_bias()), exact=True,
                     name=g.layers.get(id(layer)))
    if conditions is not None:
        weight = array(layer.integer_condition())
        path = g.name_of(layer, "condition")
        shift = g.convolve(conditions, weight, array(layer.integer_bias()) * 0, exact=True, name=path)
        out = g.operator("Add", out, shift)
    return requantise(g, out, layer.accumulator_fraction, layer.target)


def quality_integers(g: GraphBuilder, q: Value) -> Value:
    """(1, 4, 1, 1): q and its excess over 16, 32, 48."""
    level = g.operator("Reshape", g.operator("Cast", q, to=FLOAT), g.constant(np.array([1, 1, 1, 1], np.int64)))
    knots = g.constant(np.array([0, 16, 32, 48], np.float32)[None, :, None, None], "knots")
    return g.operator("Relu", g.operator("Sub", level, knots))


def quarters(g: GraphBuilder, sixteenths: Value) -> Value:
    """Sixteenths -> quarters, rounded half up, clamped to 8 bits."""
    x = g.operator("Floor", g.operator("Add", g.operator("Mul", sixteenths, g.number(0.25)), g.number(0.5)))
    return g.operator("Clip", x, g.number(QUARTERS.low), g.number(QUARTERS.high))


def parameters(g: GraphBuilder, features: Value, head: ParameterHead, symbols: int) -> None:
    """Outputs ``classes`` (uint8) and ``means`` (int16, sixteenths)."""
    shape: list[str | int] = ["N", symbols, "h", "w"]
    g.output(g.operator("Cast", fixed(g, features, head.classes), to=UINT8), "classes", UINT8, shape)
    g.output(g.operator("Cast", fixed(g, features, head.means), to=INT16), "means", INT16, shape)


def hyper_decoder(network: HyperDecoder | TemporalHyperDecoder, hyper: int, symbols: int, width: int
                  ) -> onnx.ModelProto:
    """hyper: integers (N, hyper, h/4, w/4); q; for P frames previous: sixteenths -> features, classes, means."""
    temporal = isinstance(network, TemporalHyperDecoder)
    g = GraphBuilder("inter_hyper" if temporal else "key_hyper")
    g.name_layers(network, "inter.model.decoder" if temporal else "still.key.model.decoder")
    symbols_in = g.input("hyper", FLOAT, ["N", hyper, "hh", "hw"])
    q = g.input("q", INT64, [1])
    # A hyper symbol s is read as s / 4 in training: as quarters it is the integer s itself.
    x = g.shuffle(fixed(g, symbols_in, network.enter, quality_integers(g, q)), 2)
    x = g.shuffle(fixed(g, fixed(g, x, network.mix), network.rise), 2)
    x = fixed(g, x, network.spread)
    if isinstance(network, TemporalHyperDecoder):
        previous = g.input("previous", FLOAT, ["N", symbols, "h", "w"])
        moving = fixed(g, quarters(g, g.operator("Abs", previous)), network.activity)
        x = g.concat((x, width), (moving, symbols))
    features = fixed(g, x, network.features)
    g.output(features, "features", FLOAT, ["N", width, "h", "w"])
    parameters(g, features, network.head, symbols)
    return g.model()


def context(network: ContextNetwork, name: str, symbols: int, width: int) -> onnx.ModelProto:
    """features: integers; decoded: sixteenths of the first half, 0 elsewhere -> classes, means."""
    g = GraphBuilder(name)
    g.name_layers(network, "inter.model.context" if name.startswith("inter") else "still.key.model.context")
    features = g.input("features", FLOAT, ["N", width, "h", "w"])
    decoded = g.input("decoded", FLOAT, ["N", symbols, "h", "w"])
    near = fixed(g, quarters(g, decoded), network.neighbours)
    x = fixed(g, g.concat((features, width), (near, symbols)), network.gather)
    parameters(g, fixed(g, x, network.mix), network.head, symbols)
    return g.model()
