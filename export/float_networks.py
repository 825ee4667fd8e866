"""The float networks of a profile as ONNX graphs: E, D, the transforms, the denoiser, the colour controller."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from duoview.export.graph import GraphBuilder, Value
from duoview.models.autoencoder import LatentDecoder, LatentEncoder
from duoview.models.denoiser import Denoiser, TimedBlock
from duoview.models.inter import STATE_GRID, STATE_LIMIT, InterCodec
from duoview.models.key import HYPER_LIMIT, KeyCodec, SymbolModel
from duoview.models.layers import SLOPE, Block, QualityTable

FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
#: Side of the low-pass cell of the colour controller, in pixels.
COLOUR_CELL = 16


def array(tensor: Tensor | None) -> NDArray[np.float32]:
    """Detached float32 copy of a parameter."""
    if tensor is None:
        raise ValueError("this layer has no bias")
    return tensor.detach().float().cpu().numpy().copy()


def convolution(g: GraphBuilder, x: Value, layer: nn.Conv2d) -> Value:
    """A convolution with its bias."""
    return g.convolve(x, array(layer.weight), array(layer.bias), stride=layer.stride[0], name=g.layers.get(id(layer)))


def leaky(g: GraphBuilder, x: Value) -> Value:
    """The leaky rectifier of all float networks."""
    return g.operator("LeakyRelu", x, alpha=SLOPE)


def linear(g: GraphBuilder, x: Value, layer: nn.Linear) -> Value:
    """A matrix product with its bias, (N, inputs) -> (N, outputs)."""
    weight = g.weights(array(layer.weight), g.name_of(layer, "weight") or "weight")
    return g.operator("Gemm", x, weight, g.weights(array(layer.bias), g.name_of(layer, "bias") or "bias"), transB=1)


def block(g: GraphBuilder, x: Value, layer: Block) -> Value:
    """A residual block."""
    y = leaky(g, convolution(g, convolution(g, x, layer.depthwise), layer.expand))
    return g.operator("Add", x, convolution(g, y, layer.project))


def blocks(g: GraphBuilder, x: Value, layers: nn.Module) -> Value:
    """Residual blocks in a row."""
    for layer in layers.children():
        assert isinstance(layer, Block)
        x = block(g, x, layer)
    return x


def quality_vector(g: GraphBuilder, table: QualityTable, q: Value) -> Value:
    """Row q of a quality table, (1, C, 1, 1). Stored in float32: gains beside quantisers."""
    rows = array(table.table())[:, :, None, None]
    return g.operator("Gather", g.constant(rows, g.name_of(table, "table") or "table"), q, axis=0)


def bounded(g: GraphBuilder, z: Value) -> Value:
    """Clamp a latent and round it to the grid of what is handed on from frame to frame."""
    z = g.operator("Clip", z, g.number(-STATE_LIMIT), g.number(STATE_LIMIT))
    z = g.operator("Floor", g.operator("Add", g.operator("Mul", z, g.number(STATE_GRID)), g.number(0.5)))
    return g.operator("Mul", z, g.number(1 / STATE_GRID))


def bytes_of(g: GraphBuilder, picture: Value) -> Value:
    """[0, 1] floats -> uint8, rounded."""
    x = g.operator("Add", g.operator("Mul", picture, g.number(255.0)), g.number(0.5))
    return g.operator("Cast", g.operator("Floor", g.operator("Clip", x, g.number(0), g.number(255))), to=UINT8)


def encoder(network: LatentEncoder, latent: int) -> onnx.ModelProto:
    """E. picture: uint8 (N, 3, H, W), H and W multiples of 64 -> z: float32 (N, latent, H/8, W/8)."""
    g = GraphBuilder("encoder")
    g.name_layers(network, "still.encoder")
    picture = g.input("picture", UINT8, ["N", 3, "H", "W"])
    x = g.operator("Cast", picture, to=FLOAT)
    # (p / 255 - 0.5) * 2 is folded into the stem.
    weight, bias = array(network.stem.weight), array(network.stem.bias)
    bias = bias - weight.sum((1, 2, 3))
    x = g.operator("Mul", x, g.number(2 / 255))
    x = g.convolve(x, weight, bias, stride=network.stem.stride[0], name="still.encoder.stem")
    z = convolution(g, blocks(g, x, network.blocks), network.head)
    g.output(z, "z", FLOAT, ["N", latent, "h", "w"])
    return g.model()


def picture_of(g: GraphBuilder, z: Value, network: LatentDecoder) -> Value:
    """D's picture, nominally in [0, 1]."""
    x = convolution(g, blocks(g, convolution(g, z, network.stem), network.blocks), network.head)
    return g.operator("Add", g.operator("Mul", g.shuffle(x, 8), g.number(0.5)), g.number(0.5))


def decoder(network: LatentDecoder, latent: int) -> onnx.ModelProto:
    """D. z: float32 (N, latent, H/8, W/8) -> picture: uint8 (N, 3, H, W)."""
    g = GraphBuilder("decoder")
    g.name_layers(network, "still.decoder")
    z = g.input("z", FLOAT, ["N", latent, "h", "w"])
    g.output(bytes_of(g, picture_of(g, z, network)), "picture", UINT8, ["N", 3, "H", "W"])
    return g.model()


def hyper_analysis(g: GraphBuilder, y: Value, model: SymbolModel, symbols: int) -> Value:
    """Rounded hyper symbols at 1/64, integers in float32."""
    x = leaky(g, convolution(g, g.unshuffle(y, 2, symbols), model.fold))
    x = leaky(g, block(g, x, model.fold_mix))
    x = convolution(g, g.unshuffle(x, 2, model.fold.out_channels), model.hyper_head)
    x = g.operator("Floor", g.operator("Add", x, g.number(0.5)))
    return g.operator("Clip", x, g.number(-HYPER_LIMIT), g.number(HYPER_LIMIT))


def key_analysis(network: KeyCodec, latent: int, symbols: int, hyper: int) -> onnx.ModelProto:
    """g_a of key frames. z, q: int64 (1,) -> y in quantiser steps (N, symbols, h, w), hyper (N, hyper, h/4, w/4)."""
    g = GraphBuilder("key_analysis")
    g.name_layers(network, "still.key")
    z = g.input("z", FLOAT, ["N", latent, "zh", "zw"])
    q = g.input("q", INT64, [1])
    x = blocks(g, convolution(g, g.unshuffle(z, 2, latent), network.analysis_in), network.analysis)
    y = g.operator("Mul", convolution(g, x, network.analysis_out), quality_vector(g, network.gain, q))
    g.output(y, "y", FLOAT, ["N", symbols, "h", "w"])
    g.output(hyper_analysis(g, y, network.model, symbols), "hyper", FLOAT, ["N", hyper, "hh", "hw"])
    return g.model()


def key_synthesis(network: KeyCodec, latent: int, symbols: int) -> onnx.ModelProto:
    """g_s of key frames. decoded: y in sixteenths, integers in float32; q -> z_m, bounded."""
    g = GraphBuilder("key_synthesis")
    g.name_layers(network, "still.key")
    decoded = g.input("decoded", FLOAT, ["N", symbols, "h", "w"])
    q = g.input("q", INT64, [1])
    x = g.operator("Mul", g.operator("Mul", decoded, g.number(1 / 16)), quality_vector(g, network.inverse_gain, q))
    x = g.operator("Mul", convolution(g, x, network.synthesis_in), quality_vector(g, network.modulation, q))
    x = convolution(g, blocks(g, x, network.synthesis), network.synthesis_out)
    g.output(bounded(g, g.shuffle(x, 2)), "z_m", FLOAT, ["N", latent, "zh", "zw"])
    return g.model()


def inter_analysis(network: InterCodec, latent: int, symbols: int, hyper: int) -> onnx.ModelProto:
    """g_a of P frames. z, previous: the previous z_m, q -> y in quantiser steps, hyper."""
    g = GraphBuilder("inter_analysis")
    g.name_layers(network, "inter")
    z = g.input("z", FLOAT, ["N", latent, "zh", "zw"])
    previous = g.input("previous", FLOAT, ["N", latent, "zh", "zw"])
    q = g.input("q", INT64, [1])
    change = g.operator("Sub", z, previous)
    x = g.concat((g.unshuffle(change, 2, latent), latent * 4), (g.unshuffle(previous, 2, latent), latent * 4))
    x = blocks(g, convolution(g, x, network.analysis_in), network.analysis)
    y = g.operator("Mul", convolution(g, x, network.analysis_out), quality_vector(g, network.gain, q))
    g.output(y, "y", FLOAT, ["N", symbols, "h", "w"])
    g.output(hyper_analysis(g, y, network.model, symbols), "hyper", FLOAT, ["N", hyper, "hh", "hw"])
    return g.model()


def inter_synthesis(network: InterCodec, latent: int, symbols: int) -> onnx.ModelProto:
    """g_s of P frames. decoded: sixteenths; symbols: integers; previous: z_m before; q -> z_m, bounded."""
    g = GraphBuilder("inter_synthesis")
    g.name_layers(network, "inter")
    decoded = g.input("decoded", FLOAT, ["N", symbols, "h", "w"])
    coded = g.input("symbols", FLOAT, ["N", symbols, "h", "w"])
    previous = g.input("previous", FLOAT, ["N", latent, "zh", "zw"])
    q = g.input("q", INT64, [1])
    x = g.operator("Mul", g.operator("Mul", decoded, g.number(1 / 16)), quality_vector(g, network.inverse_gain, q))
    x = g.concat((x, symbols), (g.unshuffle(previous, 2, latent), latent * 4))
    x = g.operator("Mul", convolution(g, x, network.synthesis_in), quality_vector(g, network.modulation, q))
    x = blocks(g, x, network.synthesis)
    if network.has_fine_stage:
        x = g.shuffle(convolution(g, x, network.rise), 2)
        x = g.concat((x, network.rise.out_channels // 4), (previous, latent))
        change = convolution(g, blocks(g, convolution(g, x, network.fine_in), network.fine), network.fine_out)
    else:
        change = g.shuffle(convolution(g, x, network.synthesis_out), 2)
    any_coded = g.operator("Clip", g.operator("ReduceMax", g.operator("Abs", coded), axes=[1], keepdims=1),
                           g.number(0), g.number(1))
    near = g.operator("MaxPool", any_coded, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    mask = g.operator("Resize", near, "", g.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest",
                      coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    z_m = bounded(g, g.operator("Add", previous, g.operator("Mul", change, mask)))
    g.output(z_m, "z_m", FLOAT, ["N", latent, "zh", "zw"])
    return g.model()


def timed_block(g: GraphBuilder, x: Value, layer: TimedBlock, time: Value) -> Value:
    """A block under the modulation of diffusion time; ``time`` is (1, 1)."""
    modulation = layer.modulation
    octave = (2.0 ** torch.arange(modulation.FREQUENCIES)).float() * (torch.pi / 4)
    angle = g.operator("Mul", time, g.constant(array(octave)[None], "octaves"))
    waves = g.operator("Concat", g.operator("Sin", angle), g.operator("Cos", angle), axis=1)
    hidden = linear(g, waves, modulation.hidden)
    both = linear(g, g.operator("Mul", hidden, g.operator("Sigmoid", hidden)), modulation.out)
    both = g.operator("Unsqueeze", both, g.constant(np.array([2, 3], np.int64)))
    channels = layer.block.depthwise.in_channels
    split = g.constant(np.array([channels, channels], np.int64))
    first, second = g._fresh("scale"), g._fresh("shift")
    g.nodes.append(helper.make_node("Split", [both.name, split.name], [first, second], axis=1))
    scaled = g.operator("Mul", x, g.operator("Add", first, g.number(1)))
    return block(g, g.operator("Add", scaled, second), layer.block)


def denoiser(network: Denoiser, latent: int) -> onnx.ModelProto:
    """One Euler step of the flow.

    state, z_m: (N, latent, h, w), h and w multiples of 4; time: (1, 1) in [0, 1); gain: (1,), the step's length
    over the time that is left; q -> next: ``state + (estimate - state) * gain``.
    """
    g = GraphBuilder("denoiser")
    g.name_layers(network, "denoiser")
    state = g.input("state", FLOAT, ["N", latent, "h", "w"])
    z_m = g.input("z_m", FLOAT, ["N", latent, "h", "w"])
    time = g.input("time", FLOAT, [1, 1])
    gain = g.input("gain", FLOAT, [1])
    q = g.input("q", INT64, [1])
    fine_channels, middle_channels = network.enter.out_channels, network.to_middle.out_channels
    x = convolution(g, g.concat((state, latent), (z_m, latent)), network.enter)
    x = g.operator("Mul", x, quality_vector(g, network.quality, q))

    def run(x: Value, layers: nn.ModuleList) -> Value:
        for layer in layers:
            assert isinstance(layer, TimedBlock)
            x = timed_block(g, x, layer, time)
        return x

    x = fine = run(x, network.fine_down)
    x = convolution(g, g.unshuffle(x, 2, fine_channels), network.to_middle)
    x = middle = run(x, network.middle_down)
    x = convolution(g, g.unshuffle(x, 2, middle_channels), network.to_coarse)
    x = run(x, network.coarse)
    x = g.operator("Add", g.shuffle(convolution(g, x, network.from_coarse), 2), middle)
    x = run(x, network.middle_up)
    x = g.operator("Add", g.shuffle(convolution(g, x, network.from_middle), 2), fine)
    estimate = convolution(g, run(x, network.fine_up), network.leave)
    step = g.operator("Mul", g.operator("Sub", estimate, state), gain)
    g.output(g.operator("Add", state, step), "next", FLOAT, ["N", latent, "h", "w"])
    return g.model()


def colour_controller() -> onnx.ModelProto:
    """Replace the low frequencies of the human view by the machine view's (after Shindo et al., 2503.17907).

    human, machine: uint8 (N, 3, H, W), H and W multiples of 16 -> picture: uint8, the same shape.
    """
    g = GraphBuilder("colour")
    human = g.input("human", UINT8, ["N", 3, "H", "W"])
    machine = g.input("machine", UINT8, ["N", 3, "H", "W"])
    a, b = g.operator("Cast", human, to=FLOAT), g.operator("Cast", machine, to=FLOAT)
    cell = [COLOUR_CELL, COLOUR_CELL]
    low = g.operator("AveragePool", g.operator("Sub", b, a), kernel_shape=cell, strides=cell)
    scales = g.constant(np.array([1, 1, COLOUR_CELL, COLOUR_CELL], np.float32))
    smooth = g.operator("Resize", low, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    x = g.operator("Add", g.operator("Add", a, smooth), g.number(0.5))
    x = g.operator("Floor", g.operator("Clip", x, g.number(0), g.number(255)))
    g.output(g.operator("Cast", x, to=UINT8), "picture", UINT8, ["N", 3, "H", "W"])
    return g.model()
