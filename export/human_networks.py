"""The networks of the human view alone as ONNX graphs: the conditional denoiser, the text encoder and D_h."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import helper
from torch import nn

from duoview.export.float_networks import (
    FLOAT,
    INT64,
    UINT8,
    array,
    block,
    blocks,
    bytes_of,
    convolution,
    leaky,
    linear,
    picture_of,
)
from duoview.export.graph import GraphBuilder, Value
from duoview.models.conditional_denoiser import (
    FREQUENCIES,
    GIVEN,
    CaptionEncoder,
    ConditionalDenoiser,
    ModulatedBlock,
)
from duoview.models.human_decoder import DenseBlock, Grain, HumanDecoder


def _silu(g: GraphBuilder, x: Value) -> Value:
    return g.operator("Mul", x, g.operator("Sigmoid", x))


def _waves(g: GraphBuilder, x: Value) -> Value:
    """(1, 1) -> (1, 2 FREQUENCIES)."""
    octaves = array((2.0 ** torch.arange(FREQUENCIES)).float() * (torch.pi / 4))
    angle = g.operator("Mul", x, g.constant(octaves[None], "octaves"))
    return g.operator("Concat", g.operator("Sin", angle), g.operator("Cos", angle), axis=1)


def _split(g: GraphBuilder, x: Value, sizes: tuple[int, ...], axis: int) -> list[Value]:
    names = [g._fresh("part") for _ in sizes]
    g.nodes.append(helper.make_node("Split", [x.name, g.constant(np.array(sizes, np.int64)).name], names, axis=axis))
    return [Value(name) for name in names]


def _modulated(g: GraphBuilder, x: Value, layer: ModulatedBlock, told: Value) -> Value:
    both = g.operator("Unsqueeze", linear(g, told, layer.modulation), g.constant(np.array([2, 3], np.int64)))
    channels = layer.block.depthwise.in_channels
    scale, shift = _split(g, both, (channels, channels), 1)
    scaled = g.operator("Mul", x, g.operator("Add", scale, g.number(1)))
    return block(g, g.operator("Add", scaled, shift), layer.block)


def denoiser(network: ConditionalDenoiser) -> onnx.ModelProto:
    """One step of the flow.

    state, z_m, known: (N, latent, h, w), h and w multiples of 4; level: (N, 1, h, w); caption: (N, E, h/4, w/4), where
    the network takes captions. For all N alike: time, span: (1, 1); gain: (1,), the step's length over the time that is
    left; q: (1,); given: (1, 3) -> next: ``state + (estimate - state) * gain``.
    """
    g = GraphBuilder("denoiser")
    g.name_layers(network, "denoiser")
    latent, shape = network.latent, network.shape
    state, z_m, known = (g.input(name, FLOAT, ["N", latent, "h", "w"]) for name in ("state", "z_m", "known"))
    level = g.input("level", FLOAT, ["N", 1, "h", "w"])
    caption = g.input("caption", FLOAT, ["N", shape.caption, "ch", "cw"]) if shape.caption else None
    time, span = g.input("time", FLOAT, [1, 1]), g.input("span", FLOAT, [1, 1])
    gain, q = g.input("gain", FLOAT, [1]), g.input("q", INT64, [1])
    given = g.input("given", FLOAT, [1, GIVEN])
    has_z, has_caption, has_q = _split(g, given, (1,) * GIVEN, 1)
    quality = g.operator("Reshape", g.operator("Mul", g.operator("Cast", q, to=FLOAT), g.number(1 / 63)),
                         g.constant(np.array([1, 1], np.int64)))
    waves = [_waves(g, time), _waves(g, span), g.operator("Mul", _waves(g, quality), has_q), given]
    told = _silu(g, linear(g, g.operator("Concat", *waves, axis=1), network.told))
    spread = g.constant(np.array([2, 3], np.int64))
    z_m = g.operator("Mul", z_m, g.operator("Unsqueeze", has_z, spread))

    def run(x: Value, layers: nn.ModuleList) -> Value:
        for layer in layers:
            assert isinstance(layer, ModulatedBlock)
            x = _modulated(g, x, layer, told)
        return x

    fine_channels, middle_channels = shape.channels[:2]
    x = g.concat((state, latent), (z_m, latent), (known, latent), (level, 1))
    x = fine = run(convolution(g, x, network.enter), network.fine_down)
    x = convolution(g, g.unshuffle(x, 2, fine_channels), network.to_middle)
    x = middle = run(x, network.middle_down)
    x = convolution(g, g.unshuffle(x, 2, middle_channels), network.to_coarse)
    if network.caption is not None and caption is not None:
        said = g.operator("Mul", convolution(g, caption, network.caption), g.operator("Unsqueeze", has_caption, spread))
        x = g.operator("Add", x, said)
    x = run(x, network.coarse)
    x = g.operator("Add", g.shuffle(convolution(g, x, network.from_coarse), 2), middle)
    x = run(x, network.middle_up)
    x = g.operator("Add", g.shuffle(convolution(g, x, network.from_middle), 2), fine)
    estimate = g.operator("Add", known, convolution(g, run(x, network.fine_up), network.leave))
    step = g.operator("Mul", g.operator("Sub", estimate, state), gain)
    g.output(g.operator("Add", state, step), "next", FLOAT, ["N", latent, "h", "w"])
    return g.model()


def caption(network: CaptionEncoder) -> onnx.ModelProto:
    """The text encoder. phrases: int64 (P, 4), class, count, place and motion -> vectors: float32 (P, E)."""
    g = GraphBuilder("caption")
    g.name_layers(network, "caption")
    phrases = g.input("phrases", INT64, ["P", len(network.WORDS)])
    total: Value | None = None
    columns = _split(g, phrases, (1,) * len(network.words), 1)
    for column, table in zip(columns, network.words, strict=True):
        assert isinstance(table, nn.Embedding)
        index = g.operator("Squeeze", column, g.constant(np.array([1], np.int64)))
        weight = g.weights(array(table.weight), g.name_of(table, "weight") or "words")
        vector = g.operator("Gather", weight, index, axis=0)
        total = vector if total is None else g.operator("Add", total, vector)
    assert total is not None
    vectors = linear(g, _silu(g, linear(g, total, network.hidden)), network.out)
    g.output(vectors, "vectors", FLOAT, ["P", network.out.out_features])
    return g.model()


def _dense(g: GraphBuilder, x: Value, layers: nn.Module) -> Value:
    """Dense residual blocks in a row."""
    for layer in layers.children():
        assert isinstance(layer, DenseBlock)
        x = g.operator("Add", x, convolution(g, leaky(g, convolution(g, x, layer.first)), layer.second))
    return x


def _grain(g: GraphBuilder, x: Value, noise: Value, layer: Grain) -> Value:
    """Noise of the same size, as much of it as the features ask for."""
    amount = convolution(g, x, layer.amount)
    return g.operator("Add", x, g.operator("Mul", convolution(g, noise, layer.noise), amount))


def human_decoder(network: HumanDecoder) -> onnx.ModelProto:
    """D_h. z, noise: float32 (N, latent, H/8, W/8) -> picture: uint8 (N, 3, H, W), as of D.

    noise: the standard normals that the sampling of z began with.
    """
    g = GraphBuilder("human_decoder")
    g.name_layers(network, "human_decoder")
    latent = network.latent
    z, noise = (g.input(name, FLOAT, ["N", latent, "h", "w"]) for name in ("z", "noise"))
    x = blocks(g, convolution(g, g.concat((z, latent), (noise, latent)), network.stem), network.at_eighth)
    x = g.shuffle(convolution(g, x, network.to_quarter), 2)
    x = _dense(g, _grain(g, x, g.shuffle(noise, 2), network.quarter_grain), network.at_quarter)
    x = g.shuffle(convolution(g, x, network.to_half), 2)
    x = _dense(g, _grain(g, x, g.shuffle(noise, 4), network.half_grain), network.at_half)
    x = g.operator("Add", picture_of(g, z, network.base), g.shuffle(convolution(g, x, network.leave), 2))
    g.output(bytes_of(g, x), "picture", UINT8, ["N", 3, "H", "W"])
    return g.model()
